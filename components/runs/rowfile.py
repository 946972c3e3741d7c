"""A file of rows while it is written: every row is there whole, once, whatever ends the process."""

from __future__ import annotations

import contextlib
import json
import os
from collections import defaultdict
from typing import TYPE_CHECKING, Any, Self

from components.core.errors import ManifestError
from components.core.files import private, read_rows, to_line
from components.core.types import ROWS_FORMAT, LaneFailure, LaneRun

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable, Iterator, Mapping
    from io import FileIO
    from pathlib import Path
    from types import TracebackType

    from components.core.types import Row, RowsHeader

    Done = dict[str, dict[str, int | None]]

SYNC_EVERY = 50
"""Rows after which the disk is waited for. Rows are the system's as soon as they are written, so that they outlive
the process; these may be lost only where the machine itself stops."""

FIRST_BYTES = json.dumps({"format": ROWS_FORMAT})[:-1].encode()
"""What every file of rows starts with."""


class RowFile:
    """Opens a file of rows for appending, mends its torn end, and knows what it holds.

    ``done``: clip -> lane -> tokens generated, ``None`` for a failure.

    Args:
        path: The file; made where it is not there.
        header: Its first line; pair, checkpoints, settings and data set must agree with those that stand there.
        resume: Go on with a file that is there.
        retry_failed: Leave failures out, so that their clips are missing.

    Raises:
        ManifestError: the file is there and not to be resumed, belongs to another run or process, or cannot be written.
    """

    def __init__(self, path: Path, header: RowsHeader, *, resume: bool = False, retry_failed: bool = False) -> None:
        self.path = path
        self.done: Done = defaultdict(dict)
        self._unsynced = 0
        with self._sentences():
            filled = path.exists() and path.stat().st_size > 0
            if filled and not resume:
                raise ManifestError(f"{path.name} is there already. Resume it (--resume) or choose another name.")
            if filled and not is_torn_header(path):
                theirs = check_header(path, header)
                with self._locked():
                    self._mend()
                    self._renew(theirs, header, retry_failed=retry_failed)
            self._file = self._open()
            try:
                if is_torn_header(path):
                    self._file.truncate(0)
                if not path.stat().st_size:
                    self._write(to_line(header))
            except BaseException:
                self._file.close()
                raise
            if filled:
                for row in read_rows(path)[1]:
                    self._note(row)

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, traceback: TracebackType | None
    ) -> None:
        with contextlib.suppress(OSError):
            os.fsync(self._file.fileno())
        self._file.close()

    def append(self, rows: Iterable[Row]) -> None:
        """Write whole rows, all or none of them.

        Raises:
            ManifestError: the disk is full, or cannot be written; the rows before these are kept.
        """
        rows = list(rows)
        with self._sentences():
            self._write("".join(to_line(row) for row in rows))
        for row in rows:
            self._note(row)

    def _note(self, row: Row) -> None:
        self.done[row.clip_id][row.lane_id] = row.generated_tokens if isinstance(row, LaneRun) else None

    def _write(self, text: str) -> None:
        end = self._file.seek(0, os.SEEK_END)
        left = memoryview(text.encode())
        try:
            while left:
                left = left[self._file.write(left) or 0 :]
            self._unsynced += text.count("\n")
            if self._unsynced >= SYNC_EVERY:
                os.fsync(self._file.fileno())
                self._unsynced = 0
        except OSError:
            with contextlib.suppress(OSError):
                self._file.truncate(end)
            raise

    def _open(self) -> FileIO:
        file = open(self.path, "ab", buffering=0, opener=private)  # noqa: SIM115 - takes an opener, and is kept
        try:
            lock_rows(file, self.path.name)
        except BaseException:
            file.close()
            raise
        return file

    @contextlib.contextmanager
    def _locked(self) -> Iterator[None]:
        with self._open():
            yield

    def _mend(self) -> None:
        """Cut off a last line that was never finished."""
        with self.path.open("rb+") as file:
            end = file.seek(0, os.SEEK_END)
            while end:
                start = max(0, end - 65536)
                file.seek(start)
                newline = file.read(end - start).rfind(b"\n")
                if newline >= 0:
                    file.truncate(start + newline + 1)
                    return
                end = start

    def _renew(self, theirs: RowsHeader, ours: RowsHeader, *, retry_failed: bool) -> None:
        """Note another machine and a changed data set in the header, and drop failures, by a new file in its place."""
        machines, states = theirs.all_machines, theirs.data_states
        moved, changed = ours.machine not in machines, not set(ours.data_states) <= set(states)
        failed = retry_failed and any(isinstance(row, LaneFailure) for row in read_rows(self.path)[1])
        if not moved and not changed and not failed:
            return
        header = theirs.model_copy(
            update={
                "machines": (*machines, ours.machine) if moved else theirs.machines,
                "data_states": (*states, *ours.data_states) if changed else states,
            }
        )
        replace_rows(self.path, header, lambda row: not (retry_failed and "message" in row))

    @contextlib.contextmanager
    def _sentences(self) -> Iterator[None]:
        try:
            yield
        except (FileNotFoundError, NotADirectoryError) as error:
            folder = self.path.parent.name or "there"
            raise ManifestError(
                f"{self.path.name} cannot be written: there is no folder {folder}. Make it, or choose another."
            ) from error
        except (IsADirectoryError, PermissionError) as error:
            raise ManifestError(
                f"{self.path.name} cannot be written: {error.strerror}. Choose another place, or another name."
            ) from error
        except OSError as error:
            raise ManifestError(
                f"{self.path.name} cannot be written: {error.strerror or error}. Finished rows are kept: "
                "make room, then resume."
            ) from error


def check_header(path: Path, ours: RowsHeader) -> RowsHeader:
    """The header of a file of rows that this run may go on with.

    Raises:
        ManifestError: pair, checkpoints, settings or data set are not the same, or it is no file of rows.
    """
    theirs, _ = read_rows(path)
    for key in ("pair", "checkpoints", "settings"):
        if getattr(theirs, key) != getattr(ours, key):
            raise ManifestError(
                f"{path.name} belongs to another run: its {key} are {getattr(theirs, key)}, not {getattr(ours, key)}. "
                "Choose another name."
            )
    if theirs.data is not None and theirs.data != ours.data:
        raise ManifestError(
            f"{path.name} belongs to another run: its data are {theirs.data}, not {ours.data}. Choose another name."
        )
    return theirs


def replace_rows(path: Path, header: RowsHeader, keep: Callable[[Mapping[str, Any]], bool]) -> None:
    """Put a file with this header and the rows to keep in the place of another, at once or not at all."""
    new = path.with_name(f"{path.name}.new")
    try:
        with path.open("rb") as old, open(new, "wb", opener=private) as file:
            next(old)
            file.write(to_line(header).encode())
            file.writelines(line for line in old if line.strip() and keep(json.loads(line)))
            file.flush()
            os.fsync(file.fileno())
        new.replace(path)
    except BaseException:
        new.unlink(missing_ok=True)
        raise


def is_torn_header(path: Path) -> bool:
    """Whether the file ends within the first line of a file of rows: killed before it had written anything."""
    with path.open("rb") as file:
        start = file.read(65536)
    return bool(start) and b"\n" not in start and (start.startswith(FIRST_BYTES) or FIRST_BYTES.startswith(start))


def lock_rows(file: FileIO, name: str) -> None:
    """Hold the file for this process, until it is closed or the process ends; not on Windows, which has no flock."""
    try:
        import fcntl
    except ImportError:
        return
    try:
        fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except BlockingIOError as error:
        raise ManifestError(f"{name} is being written by another process. Choose another name, or wait.") from error
