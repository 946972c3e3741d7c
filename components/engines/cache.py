"""Folders that are made once and kept in the user's cache, whatever happens on the way."""

from __future__ import annotations

import errno
import shutil
import tempfile
from pathlib import Path
from typing import TYPE_CHECKING

from filelock import FileLock

if TYPE_CHECKING:
    from collections.abc import Callable

FULL = {errno.ENOSPC, errno.EDQUOT, errno.EFBIG}
"""Error numbers that say that a disk, or a user's share of it, is full."""


def cache_folder(kind: str) -> Path:
    """Folder for one kind of file that this project makes, such as ``ctranslate2``: beside the hub's cache."""
    from huggingface_hub import constants

    return Path(constants.HF_HOME).parent / "whisper-vs-distil-whisper" / kind


def make_once(folder: Path, write: Callable[[Path], None]) -> Path:
    """Return ``folder``, first having ``write`` fill it if it does not exist.

    ``write`` fills a temporary folder beside it, which is renamed once it is whole. A lock on the file system has
    other threads and processes wait; what an interrupted process left is removed by the next one.

    Raises:
        OSError: the cache cannot be written, or is full. Nothing half made stays, here or where ``write`` raises.
    """
    if folder.is_dir():
        return folder
    folder.parent.mkdir(parents=True, exist_ok=True)
    with FileLock(folder.with_name(f"{folder.name}.lock")):
        if folder.is_dir():
            return folder
        prefix = f"{folder.name}.part-"
        for left in folder.parent.glob(f"{prefix}*"):
            shutil.rmtree(left)
        part = Path(tempfile.mkdtemp(prefix=prefix, dir=folder.parent))
        try:
            write(part)
            part.rename(folder)
        except BaseException:
            shutil.rmtree(part, ignore_errors=True)
            raise
    return folder


def why_not_written(error: OSError) -> str:
    """What to tell a person of a cache that cannot be written: half a sentence and what to do."""
    if error.errno in FULL:
        return "the disk of the cache folder is full. Make room, or set HF_HOME to a folder on another disk."
    return "the cache folder cannot be written. Set HF_HOME to a folder that can."
