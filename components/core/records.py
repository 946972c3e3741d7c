"""The nouns as JSON: rows of a file, answers of the API and the command line, and the manifest of a data set.

Every key is always there; ``None`` says that it does not apply. ``TypedDict`` comes from ``typing_extensions``: schema
generators refuse the standard library's before Python 3.12.
"""

from __future__ import annotations

import json
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any, NotRequired, cast

from typing_extensions import TypedDict

from components.core.catalog import checkpoint_name
from components.core.errors import ManifestError
from components.core.types import (
    BASELINE_LANE,
    Comparison,
    LaneFailure,
    LaneRun,
    Machine,
    ModelInfo,
    Segment,
    Timing,
    Transcript,
    WordErrors,
)

if TYPE_CHECKING:
    from collections.abc import Iterable, Iterator, Mapping

FORMAT = "whisper-vs-distil-whisper/1"
"""Names the format of a file of rows in its header line."""

STUDENT_LANE = "distil"
"""The lane whose parameters are compared with the baseline's."""


class SegmentJSON(TypedDict):
    start_s: float
    end_s: float
    text: str


class TimingJSON(TypedDict):
    feature_time_s: float
    encoder_time_s: float
    decoder_time_s: float
    generation_time_s: float
    end_to_end_time_s: float


class WordErrorsJSON(TypedDict):
    substitutions: int
    deletions: int
    insertions: int
    reference_words: int
    wer: float | None


class RunJSON(TypedDict):
    """One row: one clip through one lane. Times of the median repeat, in seconds; null where nothing was timed."""

    clip_id: str
    lane_id: str
    checkpoint: str
    text: str
    segments: list[SegmentJSON]
    language: str | None
    audio_length_s: float
    generated_tokens: int
    feature_time_s: float | None
    encoder_time_s: float | None
    decoder_time_s: float | None
    generation_time_s: float | None
    end_to_end_time_s: float | None
    rtfx: float | None
    repeats: list[TimingJSON]
    dtype: str
    attention: str
    runtime: str
    reference: str | None
    normalized_reference: str | None
    normalized_text: str | None
    word_errors: WordErrorsJSON | None
    warnings: list[str]
    acceptance_rate: float | None
    tokens_per_pass: float | None
    peak_memory_bytes: int | None


class FailureJSON(TypedDict):
    """A row of a lane that failed on a clip."""

    clip_id: str
    lane_id: str
    message: str


class MachineJSON(TypedDict):
    device: str
    device_name: str
    platform: str
    python: str
    libraries: dict[str, str]
    threads: int
    processes: int


class CompareJSON(TypedDict):
    """The answer of ``/compare``; ``speed_up`` maps a lane to its factor over the ``whisper`` lane."""

    clip_id: str
    audio_length_s: float
    pair: str
    runs: list[RunJSON]
    failures: list[FailureJSON]
    speed_up: dict[str, float]
    machine: MachineJSON


class ModelJSON(TypedDict):
    lane_id: str
    checkpoint: str
    num_parameters: int
    encoder_parameters: int
    decoder_parameters: int
    encoder_layers: int
    decoder_layers: int
    dtype: str | None
    device: str | None
    attention: str | None


class ModelsJSON(TypedDict):
    """The answer of ``/models``; the ratios are fractions, student over teacher, null where one is missing."""

    pair: str
    lanes: list[ModelJSON]
    parameter_ratio: float | None
    decoder_parameter_ratio: float | None


class SpeedLaneJSON(TypedDict):
    """A lane's totals over the clips replayed. ``ratio``: the baseline's generation time over this lane's.

    ``bandwidth_fraction``: the time that reading weights and caches once a token would take at the memory bandwidth
    measured, over the decoder's time; above 1 where a pass writes several tokens.
    """

    lane_id: str
    encoder_time_s: float
    decoder_time_s: float
    generation_time_s: float
    generated_tokens: int
    ms_per_token: float
    peak_memory_bytes: int | None
    ratio: float | None
    bandwidth_fraction: float
    tokens_per_pass: float | None
    dtype: str
    attention: str
    runtime: str
    note: str


class SpeedJSON(TypedDict):
    """The answer of ``speed``: an architecture's latency with random weights. ``notebook``: the seconds it printed."""

    pair: str
    clips: int
    lanes: list[SpeedLaneJSON]
    failures: list[FailureJSON]
    bandwidth_bytes_per_s: float
    notebook: dict[str, float]
    machine: MachineJSON


class HeaderJSON(TypedDict):
    """First line of a file of rows. ``checkpoints`` maps a lane to its checkpoint, ``id@revision`` where pinned.

    ``data`` names the data set. ``machines``: every machine that wrote rows, where a resumed run was on another one.
    """

    format: str
    pair: str
    checkpoints: dict[str, str]
    settings: dict[str, Any]
    machine: MachineJSON
    data: NotRequired[str]
    machines: NotRequired[list[MachineJSON]]


@dataclass(frozen=True)
class ManifestRow:
    """One clip of a data set; ``text`` is its reference, empty where nothing is said, ``None`` where none is known."""

    clip_id: str
    audio: Path
    text: str | None = None


def comparison_to_json(comparison: Comparison) -> CompareJSON:
    return {
        "clip_id": comparison.clip_id,
        "audio_length_s": comparison.audio_length_s,
        "pair": comparison.pair_id,
        "runs": [run_to_row(run) for run in comparison.runs],
        "failures": [failure_to_row(failure) for failure in comparison.failures],
        "speed_up": comparison.speed_up,
        "machine": machine_to_json(comparison.machine),
    }


def models_to_json(pair_id: str, infos: Iterable[ModelInfo]) -> ModelsJSON:
    lanes = {info.lane_id: info for info in infos}
    teacher, student = lanes.get(BASELINE_LANE), lanes.get(STUDENT_LANE)
    whole = decoder = None
    if teacher is not None and student is not None:
        whole = student.num_parameters / teacher.num_parameters
        decoder = student.decoder_parameters / teacher.decoder_parameters
    return {
        "pair": pair_id,
        "lanes": [_model_to_json(info) for info in lanes.values()],
        "parameter_ratio": whole,
        "decoder_parameter_ratio": decoder,
    }


def _model_to_json(info: ModelInfo) -> ModelJSON:
    return cast("ModelJSON", asdict(info) | {"checkpoint": checkpoint_name(info.checkpoint)})


def machine_to_json(machine: Machine) -> MachineJSON:
    return cast("MachineJSON", asdict(machine))


def machine_from_json(row: MachineJSON) -> Machine:
    return Machine(**row)


def run_to_row(run: LaneRun) -> RunJSON:
    """The row of a run, its timing and transcript flattened into it. A folder's path becomes its name."""
    row = asdict(run)
    transcript, timing, errors = row.pop("transcript"), row.pop("timing"), row["word_errors"]
    row |= transcript | (timing or dict.fromkeys(TimingJSON.__annotations__))
    row["checkpoint"] = checkpoint_name(run.checkpoint)
    row["rtfx"] = run.rtfx
    if errors is not None and run.word_errors is not None:
        errors["wer"] = run.word_errors.wer
    # In the order of the shape, and tuples as the lists that they are in JSON.
    plain = {key: list(row[key]) if isinstance(row[key], tuple) else row[key] for key in RunJSON.__annotations__}
    return cast("RunJSON", plain)


def row_to_run(row: Mapping[str, Any]) -> LaneRun:
    """The run of a row.

    Raises:
        ManifestError: the row lacks a field, or one is of the wrong kind.
    """
    try:
        values = {key: row[key] for key in RunJSON.__annotations__ if key in LaneRun.__dataclass_fields__}
        errors = row["word_errors"]
        timing = {key: row[key] for key in TimingJSON.__annotations__}
        segments = tuple(Segment(**segment) for segment in row["segments"])
        values |= {
            "transcript": Transcript(row["text"], segments, row["language"]),
            "timing": None if timing["generation_time_s"] is None else Timing(**timing),
            "repeats": tuple(Timing(**repeat) for repeat in row["repeats"]),
            "word_errors": None
            if errors is None
            else WordErrors(**{key: errors[key] for key in WordErrors.__dataclass_fields__}),
            "warnings": tuple(row["warnings"]),
        }
        return LaneRun(**values)
    except (KeyError, TypeError) as error:
        raise ManifestError(f"A row of the runs is not complete: {error}.") from error


def failure_to_row(failure: LaneFailure) -> FailureJSON:
    return cast("FailureJSON", asdict(failure))


def header_to_json(
    pair_id: str, checkpoints: Mapping[str, str], settings: Mapping[str, Any], machine: Machine
) -> HeaderJSON:
    """The header of a file of rows; ``settings`` are those that a resumed run must share."""
    return {
        "format": FORMAT,
        "pair": pair_id,
        "checkpoints": {lane: checkpoint_name(checkpoint) for lane, checkpoint in checkpoints.items()},
        "settings": dict(settings),
        "machine": machine_to_json(machine),
    }


def to_line(row: Mapping[str, Any]) -> str:
    """One line of a file of rows, newline included."""
    return json.dumps(row, ensure_ascii=False, allow_nan=False) + "\n"


def read_rows(path: str | Path) -> tuple[HeaderJSON, Iterator[LaneRun | LaneFailure]]:
    """Read a file of rows: its header now, its rows as they are asked for. A torn last line is left out.

    Raises:
        ManifestError: the file cannot be read, has no header of ours, or a whole line is not a row; the latter as the
            rows are read.
    """
    path = Path(path)
    lines = _json_lines(path, torn_end=True)
    _, header = next(lines, (0, {}))
    if header.get("format") != FORMAT:
        raise ManifestError(f"{path.name} is not a file of runs: its first line is not their header.")
    return cast("HeaderJSON", header), (_parse_row(row) for _, row in lines)


def _parse_row(row: dict[str, Any]) -> LaneRun | LaneFailure:
    if "message" not in row:
        return row_to_run(row)
    try:
        return LaneFailure(**row)
    except TypeError as error:
        raise ManifestError(f"A row of the failures is not complete: {error}.") from error


def read_manifest(path: str | Path) -> Iterator[ManifestRow]:
    """Read a manifest, one ``{"clip_id", "audio", "text"}`` a line; ``audio`` is relative to the manifest.

    ``text`` may be empty (nothing is said), or missing or null (no reference). Whether the audio is there is not looked
    at: a clip that is missing is a failure of that clip.

    Raises:
        ManifestError: the file cannot be read; a line is not such a row; two rows share a clip id; there is no row.
    """
    path = Path(path)
    seen: set[str] = set()
    for number, row in _json_lines(path):
        clip_id, audio, text = row.get("clip_id"), row.get("audio"), row.get("text")
        if not isinstance(clip_id, str) or not clip_id or not isinstance(audio, str) or not audio:
            raise ManifestError(f"Line {number} of {path.name} needs a clip_id and an audio, both text.")
        if not isinstance(text, str | None):
            raise ManifestError(f"Line {number} of {path.name}: text, the reference, must be text or null.")
        if clip_id in seen:
            raise ManifestError(f"Line {number} of {path.name} repeats the clip id {clip_id!r}. Make each its own.")
        seen.add(clip_id)
        yield ManifestRow(clip_id, path.parent / audio, text)
    if not seen:
        raise ManifestError(f"{path.name} lists no clips.")


def _json_lines(path: Path, *, torn_end: bool = False) -> Iterator[tuple[int, dict[str, Any]]]:
    """Line numbers and objects, blank lines left out; with ``torn_end`` also a last line that was never finished."""
    try:
        with path.open("rb") as file:  # bytes: a torn line may end within a character
            for number, line in enumerate(file, start=1):
                if not line.strip() or (torn_end and not line.endswith(b"\n")):
                    continue
                text = line.decode("utf-8")
                try:
                    row = json.loads(text)
                except ValueError as error:
                    raise ManifestError(f"Line {number} of {path.name} is not JSON.") from error
                if not isinstance(row, dict):
                    raise ManifestError(f"Line {number} of {path.name} is not a JSON object.")
                yield number, row
    except OSError as error:
        raise ManifestError(f"{path.name} is not there or cannot be read.") from error
    except UnicodeDecodeError as error:
        raise ManifestError(f"{path.name} is not text in UTF-8.") from error
