"""The folder of uploads and downloads: this process's own, bounded, and empty once the process has ended.

Gradio keeps what visitors send in ``GRADIO_TEMP_DIR``. A file goes when it is too old, when the disk runs short (oldest
first), when its upload broke off, and when the server stops. What an earlier process left behind goes at the start.
"""

from __future__ import annotations

import atexit
import contextlib
import errno
import logging
import os
import shutil
import tempfile
import threading
from pathlib import Path
from time import time
from typing import TYPE_CHECKING

from filelock import FileLock, Timeout

from components.core.errors import SettingsError

if TYPE_CHECKING:
    from collections.abc import Iterator

log = logging.getLogger(__name__)

PREFIX = "whisper-vs-distil-whisper-"
LOCK = ".in-use"

MAX_AGE_S = 3600.0
"""Seconds that a file is kept after it was last changed."""

LEAST_FREE_BYTES = 1_000_000_000
"""Disk space below which the oldest files go early."""

SWEEP_S = 20.0
"""Seconds between two sweeps."""

IN_USE_S = 120.0
"""Seconds for which a new file stays even where the disk is short: somebody's request is about to read it."""

FULL = "The server's disk is full. Try again in a few minutes; what you had before is kept."


class Storage:
    """A folder of this process's own for everything that visitors send or are sent; ``GRADIO_TEMP_DIR`` names it.

    Raises, when made:
        SettingsError: no folder can be made; the message names the variable.
    """

    def __init__(self, parent: Path | None = None) -> None:
        parent = parent or Path(os.environ.get("GRADIO_TEMP_DIR") or tempfile.gettempdir())
        try:
            parent.mkdir(parents=True, exist_ok=True)
            remove_abandoned(parent)
            self.folder = Path(tempfile.mkdtemp(prefix=PREFIX, dir=parent))
        except OSError as error:
            raise SettingsError(
                f"Uploads cannot be kept in {parent}: {error.strerror or error}. "
                "Set GRADIO_TEMP_DIR to a folder that you may write to."
            ) from error
        os.environ["GRADIO_TEMP_DIR"] = str(self.folder)  # read by Gradio whenever it writes a file
        self._lock = FileLock(self.folder / LOCK)
        self._lock.acquire()
        self._uploading = 0
        self._ended = threading.Event()
        atexit.register(self.close)
        threading.Thread(target=self._keep_sweeping, name="storage", daemon=True).start()

    def close(self) -> None:
        """Remove the folder and all in it. Does nothing the second time."""
        self._ended.set()
        self._lock.release()
        shutil.rmtree(self.folder, ignore_errors=True)

    @contextlib.contextmanager
    def upload(self) -> Iterator[None]:
        """Around an upload. What is still a part when no upload is under way will never be finished, and goes."""
        self._uploading += 1
        try:
            yield
        finally:
            self._uploading -= 1
            if not self._uploading:
                self.sweep(parts=True)

    def sweep(self, *, parts: bool = False) -> None:
        """Remove what is too old, unfinished ``parts`` of uploads, and, while the disk is short, the oldest."""
        now = time()
        short = LEAST_FREE_BYTES - shutil.disk_usage(self.folder).free
        for changed_s, size, place in sorted(self._kept()):
            age_s = now - changed_s
            unfinished = not place.is_dir() and (parts or age_s > IN_USE_S)
            if age_s > MAX_AGE_S or unfinished or (short > 0 and age_s > IN_USE_S):
                with contextlib.suppress(OSError):
                    shutil.rmtree(place) if place.is_dir() else place.unlink()
                    short -= size

    def _kept(self) -> Iterator[tuple[float, int, Path]]:
        """Time of the last change, bytes and path of all but the lock: parts, and folders of uploads and of runs."""
        for place in self.folder.iterdir():
            if place.name == LOCK:
                continue
            with contextlib.suppress(OSError):
                files = [file for file in place.rglob("*") if file.is_file()] if place.is_dir() else [place]
                states = [file.stat() for file in files or [place]]
                yield max(state.st_mtime for state in states), sum(state.st_size for state in states), place

    def _keep_sweeping(self) -> None:
        while not self._ended.wait(SWEEP_S):
            with contextlib.suppress(OSError):
                self.sweep()


def run_folder() -> str:
    """A new folder for the files of one run, within ``Storage``'s, whose end it shares."""
    return tempfile.mkdtemp(prefix="benchmark-", dir=runs_parent())


def runs_parent() -> str | None:
    """Where the files of runs lie: ``Storage``'s folder, whose end they share, else the system's for such files."""
    return os.environ.get("GRADIO_TEMP_DIR") or None


def remove_abandoned(parent: Path) -> None:
    """Remove the folders of processes that were killed: those whose lock nobody holds."""
    for folder in parent.glob(f"{PREFIX}*"):
        with contextlib.suppress(Timeout, OSError):
            if (folder / LOCK).exists() and os.access(folder, os.W_OK):
                with FileLock(folder / LOCK, timeout=0):
                    shutil.rmtree(folder, ignore_errors=True)


def is_full(error: BaseException) -> bool:
    """Whether an error, or what caused it, is a disk without space."""
    seen: BaseException | None = error
    while seen is not None:
        if isinstance(seen, OSError) and seen.errno in {errno.ENOSPC, errno.EDQUOT}:
            return True
        seen = seen.__cause__ or seen.__context__
    return False
