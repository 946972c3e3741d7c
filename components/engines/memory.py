"""What becomes of memory that this process frees.

CTranslate2 on a CPU asks the allocator for every intermediate result: for Whisper small, 108 MB for the scores of one
layer's attention. glibc fetches what is so large, and most of what a thread other than the first asks for, from the
kernel anew each time, page by page: 370,000 page faults an encoder pass of ``small.en``, two fifths of its time.
"""

from __future__ import annotations

import ctypes
import platform

_M_TRIM_THRESHOLD, _M_MMAP_MAX, _M_ARENA_MAX = -1, -4, -8
"""Names of ``mallopt``'s parameters in glibc's ``malloc.h``."""

KEPT_BYTES = 2**30
"""Where more than this is free at the heap's end, it goes back to the kernel at once."""


def keep_freed_memory() -> None:
    """Let all threads share one heap, which keeps what is freed for what is asked for next.

    To be called before a thread is started, since each stays with the heap that it began with. Does nothing where the
    C library is not glibc.
    """
    if _is_glibc():
        libc = ctypes.CDLL(None)
        libc.mallopt(_M_ARENA_MAX, 1)
        libc.mallopt(_M_MMAP_MAX, 0)
        libc.mallopt(_M_TRIM_THRESHOLD, KEPT_BYTES)


def return_freed_memory() -> None:
    """Give all that is free back to the kernel."""
    if _is_glibc():
        ctypes.CDLL(None).malloc_trim(0)


def _is_glibc() -> bool:
    return platform.libc_ver()[0] == "glibc"
