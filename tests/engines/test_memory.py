"""Memory that a process freed serves what it asks for next, also in other threads."""

from __future__ import annotations

import platform
import subprocess
import sys

import pytest

PROGRAM = """
import resource, threading
from components.engines import memory

if {keeps}:
    memory.keep_freed_memory()

def faults():
    return resource.getrusage(resource.RUSAGE_SELF).ru_minflt

def work():
    for size in (96, 20, 96, 20):
        before = faults()
        block = bytearray(size << 20)
        block[::4096] = bytes(len(block[::4096]))
        del block
        last[size] = faults() - before

last = {{}}
thread = threading.Thread(target=work)
thread.start()
thread.join()
print(last[96] + last[20])
memory.return_freed_memory()
"""


@pytest.mark.skipif(platform.libc_ver()[0] != "glibc", reason="the C library is not glibc")
def test_what_was_freed_is_used_again_without_the_kernel():
    pages = {
        keeps: int(subprocess.run([sys.executable, "-c", PROGRAM.format(keeps=keeps)], capture_output=True, check=True,
                                  text=True).stdout)
        for keeps in (False, True)
    }  # fmt: skip
    assert pages[False] > 20_000  # of 4 KiB: 96 MB come from the kernel each time
    assert pages[True] < 1_000
