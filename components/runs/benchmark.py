"""A data set through the lanes: a row for each clip and lane, written as it is finished, and what they add up to."""

from __future__ import annotations

from dataclasses import dataclass
from itertools import islice
from pathlib import Path
from typing import TYPE_CHECKING, Any, Generic, TypeVar

from components.core import records
from components.core.errors import AudioError, ManifestError
from components.core.types import BASELINE_LANE, BenchmarkReport, LaneFailure, LaneRun
from components.engines import device as devices
from components.runs.shard import ALONE
from components.runs.sources import Item, Manifest
from components.runs.summary import report_json, tally_of

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator, Mapping, Sequence

    from components.core.reports import ReportJSON
    from components.core.types import Comparison, LaneSpec
    from components.runs.compare import Progress
    from components.runs.shard import Share
    from components.runs.sources import Source
    from components.runs.summary import Tally

    CompareItem = Callable[[Item, Sequence[LaneSpec], int | None], Comparison]

Kind = TypeVar("Kind", LaneRun, LaneFailure)


@dataclass(frozen=True)
class Step:
    """One clip of a benchmark, done. ``number`` counts from 1; ``rows`` is empty where they were there already."""

    number: int
    total: int | None
    clip_id: str
    rows: tuple[LaneRun | LaneFailure, ...]


def steps(
    source: Source,
    output: Path,
    compare_item: CompareItem,
    *,
    lanes: Sequence[LaneSpec],
    pair_id: str,
    settings: Mapping[str, Any],
    resume: bool = False,
    retry_failed: bool = False,
    limit: int | None = None,
    seed: int | None = None,
    share: Share = ALONE,
    progress: Progress | None = None,
) -> Iterator[Step]:
    """Run every clip of a data set, append its rows to ``output``, and yield; ``output`` starts with a header line.

    A lane that fails on a clip is a row, and so is every lane of a clip that cannot be read. With ``resume`` the
    clips and lanes that have a row already, failures too, are not run again. Nothing of a clip is kept but its rows.

    Args:
        source: The clips.
        output: The file of rows.
        compare_item: Runs the lanes that are missing over one clip; its last argument is the baseline's number of
            tokens where that lane is among those already done.
        lanes: The lanes, in the order of the rows.
        pair_id: For the header.
        settings: For the header: what a resumed run must share.
        resume: Go on with ``output``, if it is there.
        retry_failed: With ``resume``, run again what failed; its old rows are dropped.
        limit: How many clips, of the first or of the shuffled.
        seed: Shuffles the clips, the same way each time.
        share: Which of several processes this is; every one of them calls this with the same arguments.
        progress: Called with a fraction from 0 to 1 and the clip.

    Raises:
        ManifestError: the data set cannot be read, or ``output`` is there already, belongs to another run, or cannot
            be written.
        Cancelled: asked to stop; the rows written so far are kept.
    """
    total = source.count()  # a manifest is checked as a whole before anything runs
    if limit is not None:
        total = limit if total is None else min(limit, total)
    header = records.header_to_json(
        pair_id, {lane.lane_id: _pinned(lane) for lane in lanes}, settings, devices.machine(share.processes)
    )
    header["data"] = source.name
    with share.open(output, header, resume=resume, retry_failed=retry_failed) as file:
        turn = 0
        for number, item in enumerate(islice(source.items(seed), limit), start=1):
            done = file.done.get(item.clip_id, {})
            missing = [lane for lane in lanes if lane.lane_id not in done]
            rows: tuple[LaneRun | LaneFailure, ...] = ()
            if missing:
                turn += 1
                if turn % share.processes == share.index:
                    if progress is not None:
                        progress((number - 1) / total if total else 0.0, f"Clip {_of(number, total)}: {item.clip_id}")
                    rows = _rows(item, missing, compare_item, done.get(BASELINE_LANE))
                    file.append(rows)
            yield Step(number, total, item.clip_id, rows)
        if progress is not None:
            progress(1.0, "Done")


def as_source(source: Source | str | Path) -> Source:
    return Manifest(Path(source)) if isinstance(source, str | Path) else source


@dataclass(frozen=True)
class RowsOfFile(Generic[Kind]):
    """The rows of one kind in a file, read anew each time they are asked for."""

    path: Path
    kind: type[Kind]

    def __iter__(self) -> Iterator[Kind]:
        return (row for row in records.read_rows(self.path)[1] if isinstance(row, self.kind))

    def __len__(self) -> int:
        return sum(1 for _ in self)

    def __contains__(self, row: object) -> bool:
        return any(row == each for each in self)


def read_report(path: str | Path) -> BenchmarkReport:
    """The report of a file of rows. Its runs and failures stay in the file.

    Raises:
        ManifestError: the file is not one of ours.
    """
    path = Path(path)
    header, tally = _tally(path)
    machine = records.machine_from_json(header["machine"])
    return BenchmarkReport(
        header["pair"], RowsOfFile(path, LaneRun), RowsOfFile(path, LaneFailure), machine, dict(tally.summary())
    )


def read_report_json(path: str | Path) -> ReportJSON:
    """The same as JSON, with the figures of every clip.

    Raises:
        ManifestError: the file is not one of ours.
    """
    return report_json(*_tally(Path(path)))


def _tally(path: Path) -> tuple[records.HeaderJSON, Tally]:
    header, rows = records.read_rows(path)
    try:
        tally = tally_of(header)
        for row in rows:
            tally.add(row)
    except (KeyError, TypeError, ValueError, AttributeError) as error:
        raise ManifestError(f"{path.name} is not a whole file of runs: {error}.") from error
    return header, tally


def _rows(
    item: Item, lanes: Sequence[LaneSpec], compare_item: CompareItem, baseline_tokens: int | None
) -> tuple[LaneRun | LaneFailure, ...]:
    try:
        comparison = compare_item(item, lanes, baseline_tokens)
    except AudioError as error:
        return tuple(LaneFailure(item.clip_id, lane.lane_id, error.message) for lane in lanes)
    return (*comparison.runs, *comparison.failures)


def _of(number: int, total: int | None) -> str:
    return f"{number} of {total}" if total else f"{number}"


def _pinned(lane: LaneSpec) -> str:
    pinned = f"{lane.checkpoint}@{lane.revision}" if lane.revision else lane.checkpoint
    return f"{pinned} with {lane.assistant}" if lane.assistant else pinned
