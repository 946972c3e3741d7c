"""An architecture's latency on this hardware, without its weights: the notebook's 73 clips by their token counts.

Random weights of the published shapes write as many tokens as Whisper and Distil-Whisper wrote in the Distil-Whisper
notebook, one clip after another, the lanes alternating; warm, and with nothing but the models inside the clock.
"""

from __future__ import annotations

import json
import statistics
from contextlib import contextmanager
from dataclasses import dataclass, field
from operator import itemgetter
from pathlib import Path
from typing import TYPE_CHECKING

from components.core import catalog
from components.core.caller import NOBODY, Caller
from components.core.errors import CheckpointError, LaneError
from components.core.types import BASELINE_LANE, LaneFailure, SpeedLane, SpeedRun
from components.engines import device as devices
from components.runs.measure import RequestStopwatch

if TYPE_CHECKING:
    from collections.abc import Iterator, Mapping, Sequence

    from components.core.settings import Settings
    from components.core.types import LaneSpec
    from components.engines.shapes import ShapeEngine

NOTEBOOK = Path(catalog.__file__).with_name("notebook_73.json")
"""Tokens of each of the notebook's clips, end-of-text included, prompt not; and the seconds that it printed."""

COPIES = 10


@dataclass
class _Timed:
    """A lane of random weights, and its times so far."""

    lane: LaneSpec
    role: str
    engine: ShapeEngine
    encoder_time_s: float = 0.0
    generation_time_s: float = 0.0
    tokens: int = 0
    bytes_read: int = 0
    peaks: list[int] = field(default_factory=list)
    tokens_per_pass: list[float] = field(default_factory=list)

    def write(self, clips: Sequence[Mapping[str, int]]) -> None:
        """Time clips that are decoded at once: for as long as the longest of them takes."""
        stopwatch = RequestStopwatch(self.engine.synchronize)
        self.engine.reset_peak_memory()
        counts = [clip[self.role] for clip in clips]
        longest = max(counts)
        per_pass = self.engine.write(longest, stopwatch)
        self.encoder_time_s += stopwatch.seconds["encoder"]
        self.generation_time_s += stopwatch.seconds["generation"]
        self.tokens += sum(counts)
        self.bytes_read += self.engine.bytes_read(longest)
        if (peak := self.engine.peak_memory_bytes()) is not None:
            self.peaks.append(peak)
        if per_pass is not None:
            self.tokens_per_pass.append(per_pass)


def notebook_tokens(limit: int | None = None) -> list[dict[str, int]]:
    """Tokens that teacher and student wrote for each clip of the notebook; the first ``limit`` of them."""
    figures = json.loads(NOTEBOOK.read_text(encoding="utf-8"))
    pairs = zip(figures["whisper_tokens"], figures["distil_tokens"], strict=True)
    return [{"teacher": teacher, "student": student} for teacher, student in pairs][:limit]


def speed(
    pair_id: str,
    settings: Settings,
    *,
    lanes: Sequence[str] | None = None,
    limit: int | None = None,
    batch_size: int = 1,
    caller: Caller = NOBODY,
) -> SpeedRun:
    """Time the lanes of a pair's shapes.

    Clips of a batch are sorted by their tokens, and the batch writes as many as the longest of them; what does not fill
    the last batch is left out.

    Args:
        pair_id: A pair of the catalogue, or the one that the variables define.
        settings: Dtype and runtime; the weights are never looked at.
        lanes: All that the catalogue has, unless given.
        limit: Clips of the notebook to replay; all 73 unless given.
        batch_size: Clips at a time.
        caller: Told what is being done; may leave between two clips.

    Raises:
        CheckpointError: the pair is unknown, or its shapes are.
        LaneError: a lane is unknown, no lane can run, or there are fewer clips than one batch takes.
    """
    if limit is not None and limit < 1:
        raise LaneError("The number of clips must be at least 1.")
    clips = sorted(notebook_tokens(limit), key=itemgetter("teacher")) if batch_size > 1 else notebook_tokens(limit)
    batches = [clips[start : start + batch_size] for start in range(0, len(clips) - batch_size + 1, batch_size)]
    if not batches:
        raise LaneError(f"There are {len(clips)} clips: too few for a batch of {batch_size}.")
    specs = catalog.lane_specs(settings.get_pair(pair_id), lanes or settings.lanes)
    entries, failures = _entries(pair_id, specs, settings, batch_size, caller)
    if not entries:
        raise LaneError(failures[0].message)
    longest = max(max(clip.values()) for clip in clips)
    with _explained_memory():
        for entry in entries:
            caller.tell(0.0, f"Warming up {entry.lane.label}")
            for _ in range(2):
                entry.engine.write(longest, RequestStopwatch(entry.engine.synchronize))
        for number, batch in enumerate(batches):
            caller.check()
            caller.tell(number / len(batches), f"Clip {number * batch_size + 1} of {len(clips)}")
            for entry in entries if number % 2 == 0 else reversed(entries):
                entry.write(batch)
    caller.tell(1.0, "Measuring the memory bandwidth")
    bandwidth = _bandwidth()
    baseline = next((entry for entry in entries if entry.lane.lane_id == BASELINE_LANE), None)
    return SpeedRun(
        pair=pair_id,
        clips=sum(map(len, batches)),
        lanes=tuple(_totals(entry, baseline, bandwidth) for entry in entries),
        failures=tuple(failures),
        bandwidth_bytes_per_s=bandwidth,
        notebook={key: json.loads(NOTEBOOK.read_text())[f"{key}_total_s"] for key in ("whisper", "distil")},
        machine=devices.machine(),
    )


def _entries(
    pair_id: str, specs: Sequence[LaneSpec], settings: Settings, batch_size: int, caller: Caller
) -> tuple[list[_Timed], list[LaneFailure]]:
    from components.engines.shapes import ShapePair

    caller.tell(0.0, f"Making random weights of the shapes of {pair_id}")
    pair = settings.get_pair(pair_id)
    shapes = [catalog.architecture(catalog.split_checkpoint(text)[0]) for text in (pair.teacher, pair.student)]
    if shapes[0] is None or shapes[1] is None:
        raise CheckpointError(f"The shapes of {pair_id} are not known here: use a folder, or a pair of the catalogue.")
    with _explained_memory():
        models = ShapePair(shapes[0], shapes[1], settings, devices.detect())
    entries, failures = [], []
    for lane in specs:
        caller.tell(0.0, f"Setting up {lane.label}")
        role = catalog.LANES[lane.lane_id].role
        try:
            with _explained_memory():
                entries.append(_Timed(lane, role, models.engine(lane, role, batch_size)))
        except LaneError as error:
            failures.append(LaneFailure(clip_id="shapes", lane_id=lane.lane_id, message=error.message))
    return entries, failures


@contextmanager
def _explained_memory() -> Iterator[None]:
    """Say in a sentence that memory ran out.

    Raises:
        LaneError: in place of that error.
    """
    try:
        yield
    except Exception as error:
        if not devices.is_out_of_memory(error):
            raise
        raise LaneError(
            "Memory ran out. Choose a smaller pair or fewer lanes (--lanes), or a machine with more memory."
        ) from error


def _bandwidth() -> float:
    """Bytes a second that a copy reads and writes on the device; the median of some."""
    from components.engines.shapes import Copy

    device = devices.detect()
    copy, seconds = Copy(device), []
    for _ in range(COPIES + 2):
        stopwatch = RequestStopwatch(device.synchronize)
        with stopwatch.part("end_to_end"):
            copy.run()
        seconds.append(stopwatch.seconds["end_to_end"])
    return copy.bytes_moved / statistics.median(seconds[2:])


def _totals(entry: _Timed, baseline: _Timed | None, bandwidth: float) -> SpeedLane:
    decoder_time_s = entry.generation_time_s - entry.encoder_time_s
    info = entry.engine.info
    return SpeedLane(
        lane_id=entry.lane.lane_id,
        encoder_time_s=entry.encoder_time_s,
        decoder_time_s=decoder_time_s,
        generation_time_s=entry.generation_time_s,
        generated_tokens=entry.tokens,
        ms_per_token=1000 * decoder_time_s / entry.tokens,
        peak_memory_bytes=max(entry.peaks, default=None),
        ratio=baseline.generation_time_s / entry.generation_time_s if baseline else None,
        bandwidth_fraction=entry.bytes_read / bandwidth / decoder_time_s,
        tokens_per_pass=statistics.fmean(entry.tokens_per_pass) if entry.tokens_per_pass else None,
        dtype=info.dtype or "",
        attention=info.attention or "",
        runtime=entry.engine.runtime,
        note=entry.engine.runtime_note,
        batch_size=entry.engine.batch_size,
    )
