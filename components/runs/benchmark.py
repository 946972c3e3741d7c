"""A data set through the lanes: a row for each clip and lane, written as it is finished, and what they add up to."""

from __future__ import annotations

from dataclasses import dataclass
from itertools import islice
from pathlib import Path
from typing import TYPE_CHECKING, Any

from components.core.caller import NOBODY, Caller
from components.core.catalog import checkpoint_name
from components.core.errors import AudioError, TextError
from components.core.files import read_rows
from components.core.types import BASELINE_LANE, LaneFailure, RowsHeader
from components.engines import device as devices
from components.runs.shard import ONLY_PROCESS
from components.runs.sources import Item, Manifest
from components.runs.totals import Totals

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator, Mapping, Sequence

    from components.core.types import Comparison, LaneSpec, Report, Row
    from components.runs.shard import Process
    from components.runs.sources import Source

    CompareItem = Callable[[Item, Sequence[LaneSpec], int | None], Comparison]


@dataclass(frozen=True)
class Step:
    """One clip of a benchmark, done. ``number`` counts from 1; ``rows`` is empty where they were there already."""

    number: int
    total: int | None
    clip_id: str
    rows: tuple[Row, ...]


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
    process: Process = ONLY_PROCESS,
    caller: Caller = NOBODY,
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
        process: Which of several this is; every one of them calls this with the same arguments.
        caller: Told which clip is run.

    Raises:
        ManifestError: the data set cannot be read, or ``output`` is there already, belongs to another run, or cannot
            be written.
        Cancelled: asked to stop; the rows written so far are kept.
    """
    total = source.count()  # a manifest is checked as a whole before anything runs
    if limit is not None:
        total = limit if total is None else min(limit, total)
    header = RowsHeader(
        pair=pair_id,
        checkpoints={lane.lane_id: checkpoint_name(_pinned(lane)) for lane in lanes},
        settings=dict(settings),
        machine=devices.machine(process.count),
        data=source.name,
        data_states=tuple(filter(None, (getattr(source, "state", None),))),
        data_notes=getattr(source, "notes", ()),
    )
    with process.open(output, header, resume=resume, retry_failed=retry_failed) as file:
        turn = 0
        for number, item in enumerate(islice(source.items(seed), limit), start=1):
            done = file.done.get(item.clip_id, {})
            missing = [lane for lane in lanes if lane.lane_id not in done]
            rows: tuple[Row, ...] = ()
            if missing:
                turn += 1
                if turn % process.count == process.index:
                    fraction = (number - 1) / total if total else 0.0
                    caller.tell(fraction, f"Clip {_of(number, total)}: {item.clip_id}")
                    rows = _rows(item, missing, compare_item, done.get(BASELINE_LANE))
                    file.append(rows)
            yield Step(number, total, item.clip_id, rows)
        caller.tell(1.0, "Done")


def as_source(source: Source | str | Path) -> Source:
    return Manifest(Path(source)) if isinstance(source, str | Path) else source


def read_report(path: str | Path) -> Report:
    """What a file of rows adds up to, with the figures of every clip.

    Raises:
        ManifestError: the file is not one of ours.
    """
    header, rows = read_rows(path)
    totals = Totals(header)
    for row in rows:
        totals.add(row)
    return totals.report()


def _rows(
    item: Item, lanes: Sequence[LaneSpec], compare_item: CompareItem, baseline_tokens: int | None
) -> tuple[Row, ...]:
    fault = item.fault
    if fault is None:
        try:
            comparison = compare_item(item, lanes, baseline_tokens)
        except (AudioError, TextError) as error:
            fault = error.message
        else:
            return (*comparison.runs, *comparison.failures)
    return tuple(LaneFailure(clip_id=item.clip_id, lane_id=lane.lane_id, message=fault) for lane in lanes)


def _of(number: int, total: int | None) -> str:
    return f"{number} of {total}" if total else f"{number}"


def _pinned(lane: LaneSpec) -> str:
    pinned = f"{lane.checkpoint}@{lane.revision}" if lane.revision else lane.checkpoint
    return f"{pinned} with {lane.assistant}" if lane.assistant else pinned
