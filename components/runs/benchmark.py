"""A manifest through the lanes: a row for each clip and lane, written as it is finished, and what they add up to."""

from __future__ import annotations

import os
from collections import defaultdict
from pathlib import Path
from typing import TYPE_CHECKING, Any

from components.core import records
from components.core.errors import AudioError, ManifestError
from components.core.types import BASELINE_LANE, BenchmarkReport, LaneFailure, LaneRun, WordErrors
from components.engines import device as devices

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable, Mapping, Sequence
    from typing import TextIO

    from components.core.records import ManifestRow
    from components.core.types import Comparison, LaneSpec
    from components.runs.compare import Progress

    CompareRow = Callable[[ManifestRow, Sequence[LaneSpec], int | None], Comparison]


def benchmark(
    manifest: str | Path,
    output: str | Path,
    compare_row: CompareRow,
    *,
    lanes: Sequence[LaneSpec],
    pair_id: str,
    settings: Mapping[str, Any],
    resume: bool = False,
    progress: Progress | None = None,
) -> BenchmarkReport:
    """Run every clip of a manifest and append its rows to ``output``, which starts with a header line.

    A lane that fails on a clip is a row, and so is every lane of a clip that cannot be read. With ``resume`` the
    clips and lanes that have a row already, failures too, are not run again.

    Args:
        manifest: JSON lines, see ``core.records.read_manifest``.
        output: The file of rows.
        compare_row: Runs the lanes that are missing over one clip; its last argument is the baseline's number of
            tokens where that lane is among those already done.
        lanes: The lanes, in the order of the rows.
        pair_id: For the header.
        settings: For the header: what a resumed run must share.
        resume: Go on with ``output``, if it is there.
        progress: Called with a fraction from 0 to 1 and the clip.

    Raises:
        ManifestError: the manifest cannot be read, or ``output`` is there already or belongs to another run.
        Cancelled: asked to stop; the rows written so far are kept.
    """
    total = sum(1 for _ in records.read_manifest(manifest))  # the whole of it is checked before anything runs
    output = Path(output)
    header = records.header_to_json(
        pair_id, {lane.lane_id: _pinned(lane) for lane in lanes}, settings, devices.machine()
    )
    done = _done(output, header, resume=resume)
    try:
        with output.open("a", encoding="utf-8") as file:
            if not file.tell():
                _append(file, [header])
            for number, row in enumerate(records.read_manifest(manifest), start=1):
                if progress is not None:
                    progress((number - 1) / total, f"Clip {number} of {total}: {row.clip_id}")
                missing = [lane for lane in lanes if lane.lane_id not in done[row.clip_id]]
                if missing:
                    _append(file, _rows(row, missing, compare_row, done[row.clip_id].get(BASELINE_LANE)))
    except OSError as error:
        raise ManifestError(f"{output.name} cannot be written: {error.strerror}. Finished rows are kept.") from error
    if progress is not None:
        progress(1.0, "Done")
    return read_report(output)


def read_report(path: str | Path) -> BenchmarkReport:
    """The report of a file of rows.

    Raises:
        ManifestError: the file is not one of ours.
    """
    header, rows = records.read_rows(path)
    every = tuple(rows)
    runs = tuple(row for row in every if isinstance(row, LaneRun))
    failures = tuple(row for row in every if isinstance(row, LaneFailure))
    machine = records.machine_from_json(header["machine"])
    return BenchmarkReport(header["pair"], runs, failures, machine, summarise(runs, failures))


def summarise(runs: Iterable[LaneRun], failures: Iterable[LaneFailure]) -> dict[str, Any]:
    """Totals of each lane; times and word errors are summed over the clips and divided once, at the end.

    ``speed_up`` is the baseline's total generation time over the lane's, over the clips that both have timed.
    """
    by_lane: dict[str, dict[str, LaneRun]] = defaultdict(dict)
    for run in runs:
        by_lane[run.lane_id][run.clip_id] = run
    failures = list(failures)
    failed = [failure.lane_id for failure in failures]
    return {
        "clips": len({clip_id for clips in by_lane.values() for clip_id in clips} | {f.clip_id for f in failures}),
        "lanes": {lane_id: _totals(clips.values()) for lane_id, clips in by_lane.items()},
        "failures": {lane_id: failed.count(lane_id) for lane_id in dict.fromkeys(failed)},
        "speed_up": {
            lane_id: ratio
            for lane_id, clips in by_lane.items()
            if lane_id != BASELINE_LANE and (ratio := _speed_up(by_lane[BASELINE_LANE], clips)) is not None
        }
        if BASELINE_LANE in by_lane
        else {},
    }


def _rows(
    row: ManifestRow, lanes: Sequence[LaneSpec], compare_row: CompareRow, baseline_tokens: int | None
) -> list[Mapping[str, Any]]:
    try:
        comparison = compare_row(row, lanes, baseline_tokens)
    except AudioError as error:
        return [records.failure_to_row(LaneFailure(row.clip_id, lane.lane_id, error.message)) for lane in lanes]
    runs = [records.run_to_row(run) for run in comparison.runs]
    return [*runs, *(records.failure_to_row(failure) for failure in comparison.failures)]


def _append(file: TextIO, rows: Iterable[Mapping[str, Any]]) -> None:
    """Write whole lines and see them to the disk."""
    file.write("".join(records.to_line(row) for row in rows))
    file.flush()
    os.fsync(file.fileno())


def _done(output: Path, header: Mapping[str, Any], *, resume: bool) -> dict[str, dict[str, int | None]]:
    """Clip -> lane -> tokens of the rows that are there; cuts off a last line that was never finished.

    Raises:
        ManifestError: the file is there and is not to be resumed, or another run wrote it.
    """
    done: dict[str, dict[str, int | None]] = defaultdict(dict)
    if not output.exists() or not output.stat().st_size:
        return done
    if not resume:
        raise ManifestError(f"{output.name} is there already. Resume it (--resume) or choose another name.")
    theirs, rows = records.read_rows(output)
    for key in ("pair", "checkpoints", "settings"):
        if theirs[key] != header[key]:
            raise ManifestError(
                f"{output.name} belongs to another run: its {key} are {theirs[key]}, not {header[key]}. "
                "Choose another name."
            )
    for row in rows:
        done[row.clip_id][row.lane_id] = row.generated_tokens if isinstance(row, LaneRun) else None
    with output.open("rb+") as file:
        file.truncate(file.read().rfind(b"\n") + 1)
    return done


def _pinned(lane: LaneSpec) -> str:
    return f"{lane.checkpoint}@{lane.revision}" if lane.revision else lane.checkpoint


def _totals(runs: Iterable[LaneRun]) -> dict[str, Any]:
    runs = list(runs)
    timed = [(run, run.timing) for run in runs if run.timing is not None]
    generation_time_s = sum(timing.generation_time_s for _, timing in timed)
    audio_length_s = sum(run.audio_length_s for run, _ in timed)
    errors = sum((run.word_errors for run in runs if run.word_errors is not None), WordErrors())
    return {
        "clips": len(runs),
        "audio_length_s": audio_length_s,
        "encoder_time_s": sum(timing.encoder_time_s for _, timing in timed),
        "decoder_time_s": sum(timing.decoder_time_s for _, timing in timed),
        "generation_time_s": generation_time_s,
        "rtfx": audio_length_s / generation_time_s if generation_time_s else None,
        "generated_tokens": sum(run.generated_tokens for run in runs),
        "word_errors": {
            "substitutions": errors.substitutions,
            "deletions": errors.deletions,
            "insertions": errors.insertions,
            "reference_words": errors.reference_words,
            "wer": errors.wer,
        },
    }


def _speed_up(baseline: Mapping[str, LaneRun], lane: Mapping[str, LaneRun]) -> float | None:
    both = [
        (baseline[clip_id].timing, run.timing)
        for clip_id, run in lane.items()
        if clip_id in baseline and baseline[clip_id].timing is not None and run.timing is not None
    ]
    lane_s = sum(timing.generation_time_s for _, timing in both if timing is not None)
    baseline_s = sum(timing.generation_time_s for timing, _ in both if timing is not None)
    return baseline_s / lane_s if lane_s else None
