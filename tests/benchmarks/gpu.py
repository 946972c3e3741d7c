"""Everything that is worth measuring on a GPU, one command after another; each figure beside its compiled twin.

    python -m tests.benchmarks.gpu --minutes 4    # large-v2's shapes: eager, compiled, flash attention, batch 16
    python -m tests.benchmarks.gpu --minutes 10   # other shapes and batches too, the GPU tests, and base's real words

Each speed run is saved as ``speed_*.json`` in the results folder, as ``speed --json`` writes it. What has not begun
when the time is over is named and left out; a command that fails is named, and the rest goes on.
"""

from __future__ import annotations

import argparse
import os
import subprocess
import sys
from dataclasses import dataclass, field
from pathlib import Path
from time import monotonic

from components.core.types import SpeedRun
from components.engines import device as devices
from components.report.text import file_name
from tests.benchmarks import common

NO_GPU = 2


@dataclass
class Command:
    """One measurement, in a process of its own: the arguments of ``python -m``, and its environment's changes.

    ``label``: what the file of a speed run is called by, beside what ``speed --share`` calls it by.
    """

    arguments: list[str]
    environment: dict[str, str] = field(default_factory=dict)
    label: str = ""

    def __str__(self) -> str:
        return " ".join([*(f"{name}={value}" for name, value in self.environment.items()), *self.arguments])


def _speed(pair: str, runtime: str, batch_size: int = 1, label: str = "", **environment: str) -> Command:
    arguments = ["components.runs", "speed", "--json", "--pair", pair, "--batch-size", str(batch_size)]
    lanes = ["--lanes", "whisper,distil,speculative"] if batch_size == 1 else ["--lanes", "whisper,distil"]
    return Command([*arguments, *lanes], {"RUNTIME": runtime, **environment}, label)


SHORT = [
    _speed("large-v2", "compiled"),
    _speed("large-v2", "compiled", label="unfused", TORCHDYNAMO_DISABLE="1"),  # before kernels were joined
    _speed("large-v2", "eager"),
    _speed("large-v2", "eager", label="flash-attention", ATTENTION="flash_attention_2"),
    _speed("large-v2", "eager", 16),
]
LONG = [
    *SHORT,
    Command(["tests.benchmarks.dtype_words", "--dtypes", "float16", "bfloat16"]),
    Command(["pytest", "tests/engines", "-k", "gpu or half_precision"]),
    _speed("large-v2", "eager", 4),
    _speed("large-v3.5", "compiled"),
    _speed("small.en", "compiled"),
    Command(["components.runs", "speed", "--json", "--pair", "large-v2", "--lanes", "faster-whisper,faster-distil"]),
]


def main() -> int:
    options = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    options.add_argument("--minutes", type=int, choices=(4, 10), default=10)
    options.add_argument("--results", type=Path, default=common.RESULTS)
    options.add_argument("--any-device", action="store_true", help="go on without a GPU, to try the script")
    chosen = options.parse_args()
    if devices.detect().kind != "cuda" and not chosen.any_device:
        print("There is no CUDA device here.", file=sys.stderr)
        return NO_GPU
    end, missed = monotonic() + 60 * chosen.minutes, []
    chosen.results.mkdir(parents=True, exist_ok=True)
    for command in SHORT if chosen.minutes == 4 else LONG:
        left = end - monotonic()
        print(f"-- {command} ({max(left, 0):.0f} s left)", file=sys.stderr, flush=True)
        if left <= 0 or not _run(command, left, chosen.results):
            missed.append(str(command))
    print("\n".join(["Not measured:", *missed] if missed else ["All measured."]))
    return 1 if missed else 0


def _run(command: Command, seconds: float, results: Path) -> bool:
    """Run a command for at most so long; keep what a speed run prints. Whether it did what it should."""
    arguments = [sys.executable, "-m", *command.arguments]
    if command.arguments[0].startswith("tests.benchmarks"):
        arguments += ["--results", str(results)]
    try:
        done = subprocess.run(
            arguments,
            env={**os.environ, **command.environment},
            stdout=subprocess.PIPE,
            text=True,
            timeout=seconds,
            check=True,
        )
    except (subprocess.CalledProcessError, subprocess.TimeoutExpired) as error:
        print(error, file=sys.stderr)
        return False
    print(done.stdout)
    if "speed" in command.arguments:
        run = SpeedRun.model_validate_json(done.stdout.strip().splitlines()[-1])
        name = file_name(run)
        name = name.replace("speed_", f"speed_{command.label}_", 1) if command.label else name
        (results / name).write_text(run.model_dump_json(indent=2) + "\n")
    return True


if __name__ == "__main__":
    sys.exit(main())
