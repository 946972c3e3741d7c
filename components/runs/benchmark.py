"""A data set through the lanes: a row for each clip and lane, written as it is finished, and what they add up to."""

from __future__ import annotations

from dataclasses import dataclass
from itertools import islice
from pathlib import Path
from typing import TYPE_CHECKING, Any, Protocol

from components.core.caller import NOBODY, Caller
from components.core.catalog import checkpoint_name
from components.core.errors import LaneError
from components.core.files import read_rows
from components.core.normalizers import normalizer as find_normalizer
from components.core.settings import AUTO
from components.core.types import BASELINE_LANE, RowsHeader
from components.engines import device as devices
from components.engines.checkpoints import folder_state
from components.runs.batch import Batches
from components.runs.service import Task
from components.runs.shard import ONLY_PROCESS
from components.runs.sources import Manifest
from components.runs.totals import Totals

if TYPE_CHECKING:
    from collections.abc import Iterable, Iterator, Mapping, Sequence

    from components.core.settings import Settings
    from components.core.types import LaneSpec, Report, Row
    from components.runs.offer import Choices
    from components.runs.rowfile import RowFile
    from components.runs.shard import Process
    from components.runs.sources import Item, Source


class RowService(Protocol):
    """What makes rows of clips; see ``Service.rows``."""

    settings: Settings
    row_settings: Mapping[str, Any]

    def rows(
        self, tasks: Sequence[Task], choices: Choices, batches: Batches, caller: Caller
    ) -> Iterator[tuple[Task, tuple[Row, ...]]]: ...


MAX_BATCH = 256

AHEAD = 8
"""Batches of clips that are read ahead, to be sorted by length."""


@dataclass(frozen=True)
class Step:
    """One clip of a benchmark, done, as the ``number``-th; ``rows`` is empty where they were there already."""

    number: int
    total: int | None
    clip_id: str
    rows: tuple[Row, ...]


def steps(
    source: Source,
    output: Path,
    service: RowService,
    choices: Choices,
    *,
    batch_size: int = 1,
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
        service: Runs them: ``Service``, or ``LiveService`` as if somebody were speaking them.
        choices: Pair, lanes and how to decode.
        batch_size: Clips that go through a lane at once. Clips are read ahead and sorted by length, so that those of a
            batch are alike; ``AHEAD`` batches of them are in memory.
        resume: Go on with ``output``, if it is there.
        retry_failed: With ``resume``, run again what failed; its old rows are dropped.
        limit: How many clips, of the first or of the shuffled.
        seed: Shuffles the clips, the same way each time.
        process: Which of several this is; every one of them calls this with the same arguments.
        caller: Told how many clips are done.

    Raises:
        ManifestError: the data set cannot be read, or ``output`` is there already, belongs to another run, or cannot
            be written.
        LaneError: ``batch_size`` is out of range.
        Cancelled: asked to stop; the rows written so far are kept.
    """
    if not 1 <= batch_size <= MAX_BATCH:
        raise LaneError(f"The batch size must be a whole number from 1 to {MAX_BATCH}.")
    total = source.count()  # a manifest is checked as a whole before anything runs
    if limit is not None:
        total = limit if total is None else min(limit, total)
    header = _header(source, service, choices, batch_size, process)
    batches, ahead = Batches(batch_size), 1 if batch_size == 1 else AHEAD * batch_size
    with process.open(output, header, resume=resume, retry_failed=retry_failed) as file:
        finished = 0
        for tasks, others in _groups(islice(source.items(seed), limit), choices.lanes, file, process, ahead):
            for clip_id in others:
                finished += 1
                yield Step(finished, total, clip_id, ())
            if tasks:
                fraction = finished / total if total else 0.0
                caller.tell(fraction, f"Clip {_of(finished + 1, total)}: {tasks[0].item.clip_id}")
            for task, rows in service.rows(tasks, choices, batches, caller) if tasks else ():
                file.append(rows)
                finished += 1
                yield Step(finished, total, task.item.clip_id, rows)
        caller.tell(1.0, "Done")


def _header(source: Source, service: RowService, choices: Choices, batch_size: int, process: Process) -> RowsHeader:
    return RowsHeader(
        pair=choices.pair,
        checkpoints={lane.lane_id: checkpoint_name(_pinned(lane)) for lane in choices.lanes},
        settings={**_shared_settings(service.settings, choices, batch_size), **service.row_settings},
        machine=devices.machine(process.count),
        data=source.name,
        data_states=tuple(filter(None, (getattr(source, "state", None),))),
        data_notes=getattr(source, "notes", ()),
    )


def _groups(
    items: Iterable[Item], lanes: Sequence[LaneSpec], file: RowFile, process: Process, size: int
) -> Iterator[tuple[list[Task], list[str]]]:
    """Up to ``size`` clips that this process has to run, and the names of those among them that it has not to."""
    tasks: list[Task] = []
    others: list[str] = []
    turn = 0
    for item in items:
        done = file.done.get(item.clip_id, {})
        missing = tuple(lane for lane in lanes if lane.lane_id not in done)
        turn += bool(missing)
        if missing and turn % process.count == process.index:
            tasks.append(Task(item, missing, done.get(BASELINE_LANE)))
        else:
            others.append(item.clip_id)
        if len(tasks) == size or not tasks:
            yield tasks, others
            tasks, others = [], []
    yield tasks, others


def _shared_settings(settings: Settings, choices: Choices, batch_size: int) -> dict[str, Any]:
    """What rows of one file must agree on: among it, the state of checkpoints that are folders."""
    read = {lane.lane_id: lane.checkpoint for lane in choices.lanes}
    read |= {f"{lane.lane_id}, assistant": lane.assistant for lane in choices.lanes if lane.assistant}
    shared = {
        "language": choices.options.language or AUTO,
        "dtype": settings.dtype,
        "attention": settings.attention,
        "runtime": settings.runtime,
        "repeats": choices.repeats,
        "folders": {name: state for name, checkpoint in read.items() if (state := folder_state(checkpoint))},
        "normalizer": find_normalizer(choices.normalizer).version,
    }
    return shared | ({"batch_size": batch_size} if batch_size > 1 else {})


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


def _of(number: int, total: int | None) -> str:
    return f"{number} of {total}" if total else f"{number}"


def _pinned(lane: LaneSpec) -> str:
    pinned = f"{lane.checkpoint}@{lane.revision}" if lane.revision else lane.checkpoint
    return f"{pinned} with {lane.assistant}" if lane.assistant else pinned
