"""A benchmark over many processes, on one machine or several, by accelerate.

Each process runs every n-th clip and writes its rows beside the output (``RUNS.jsonl.part-1``); the first one writes
to the output itself. In the end the parts are gathered into it. A run that was killed leaves its parts behind; the next
one gathers them first, with however many processes it has.
"""

from __future__ import annotations

import re
from contextlib import contextmanager
from dataclasses import dataclass
from itertools import islice
from typing import TYPE_CHECKING, Any

from components.core.errors import ManifestError
from components.core.files import read_rows
from components.core.types import LaneFailure
from components.engines import device as devices
from components.runs.rowfile import RowFile, check_header, is_torn_header

if TYPE_CHECKING:
    from collections.abc import Iterator, Mapping
    from pathlib import Path

    from components.core.types import Row, RowsHeader

GATHERED_AT_ONCE = 100
"""Rows that each process sends at a time."""

LONGEST_WAIT_DAYS = 7
"""How long a process waits for the others."""


@dataclass(frozen=True)
class Process:
    """One process of a run: number ``index`` of ``count`` (``local_index`` on its machine), counted from 0."""

    index: int = 0
    count: int = 1
    local_index: int = 0

    @contextmanager
    def open(self, output: Path, header: RowsHeader, *, resume: bool, retry_failed: bool) -> Iterator[RowFile]:
        """The file that this process appends to; its ``done`` is that of all. Gathers the parts before and after.

        Raises:
            ManifestError: as ``RowFile``; also where another process had to stop.
        """
        if not resume and self.local_index == 0 and _parts(output):
            raise ManifestError(f"Parts of {output.name} are there already. Resume it (--resume) or remove them.")
        if self.index == 0:
            with RowFile(output, header, resume=resume, retry_failed=retry_failed) as file:
                self._gather(output, header, file, retry_failed=retry_failed)
                self._broadcast(dict(file.done))
                yield file
                self._gather(output, header, file)
            return
        self._gather(output, header)
        done = self._broadcast(None)
        with RowFile(_part(output, self.index), header) as file:
            file.done.update(done)
            yield file
        self._gather(output, header)

    def _gather(
        self, output: Path, header: RowsHeader, file: RowFile | None = None, *, retry_failed: bool = False
    ) -> None:
        """Bring the parts of every machine into the first process's file, then remove them."""
        self._wait()  # until each process has written what it writes
        parts = _parts(output) if self.local_index == 0 else []
        rows = (row for part in parts for row in _rows_of(part, header))
        while every := self._all(list(islice(rows, GATHERED_AT_ONCE))):
            for row in every if file is not None else ():
                again = retry_failed and isinstance(row, LaneFailure)
                if file is not None and not again and row.lane_id not in file.done.get(row.clip_id, {}):
                    file.append([row])
        self._wait()  # until the first has them
        for part in parts:
            part.unlink(missing_ok=True)
        self._wait()

    def _all(self, rows: list[Any]) -> list[Any]:
        if self.count == 1:
            return rows
        from accelerate.utils import gather_object

        return gather_object(rows)

    def _broadcast(self, value: Any) -> Any:
        if self.count == 1:
            return value
        from accelerate.utils import broadcast_object_list

        values = [value]
        broadcast_object_list(values, from_process=0)
        return values[0]

    def _wait(self) -> None:
        if self.count > 1:
            from accelerate import PartialState

            PartialState().wait_for_everyone()


ONLY_PROCESS = Process()
"""Runs every clip."""


def current_process(environ: Mapping[str, str]) -> Process:
    """Which of the processes that ``accelerate launch`` (or ``torchrun``) started this is; else the only one."""
    if int(environ.get("WORLD_SIZE", "1")) <= 1:
        return ONLY_PROCESS
    from datetime import timedelta

    from accelerate import PartialState

    state = PartialState(cpu=devices.detect().kind == "cpu", timeout=timedelta(days=LONGEST_WAIT_DAYS))
    return Process(state.process_index, state.num_processes, state.local_process_index)


def _rows_of(part: Path, header: RowsHeader) -> Iterator[Row]:
    if part.stat().st_size and not is_torn_header(part):
        check_header(part, header)
        yield from read_rows(part)[1]


def _part(output: Path, index: int) -> Path:
    return output.with_name(f"{output.name}.part-{index}")


def _parts(output: Path) -> list[Path]:
    pattern = re.compile(re.escape(output.name) + r"\.part-\d+")
    return sorted(path for path in output.parent.glob("*.part-*") if pattern.fullmatch(path.name))
