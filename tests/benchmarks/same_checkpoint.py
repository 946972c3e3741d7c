"""The same checkpoint in both lanes: the page must not give a figure that says one is faster.

Each comparison is made as the page makes it, three to five alternated rounds. Every second one runs beside a process
that keeps a core busy. A bold figure outside 0.95 to 1.05 is a miss; one that is withheld, or no clear difference, is
not. ``--add`` goes on with what an earlier call has written, so that a long measurement can be made in parts.
"""

from __future__ import annotations

import json
import subprocess
import sys
from contextlib import contextmanager
from dataclasses import replace
from typing import TYPE_CHECKING, Any

from components.core.settings import CUSTOM_PAIR
from components.engines.base import DecodingOptions
from components.engines.pool import Pool
from components.report.headline import headline
from components.runs.compare import compare
from tests.benchmarks import common

if TYPE_CHECKING:
    import argparse
    from collections.abc import Iterator

    from components.core.types import AudioClip, Comparison, LaneSpec

LOWEST, HIGHEST = 0.95, 1.05
BUSY = "import numpy\na = numpy.ones((600, 600), numpy.float32)\nwhile True: a @ a"


@contextmanager
def busy_process() -> Iterator[None]:
    """Another process that computes without a pause."""
    process = subprocess.Popen([sys.executable, "-c", BUSY])
    try:
        yield
    finally:
        process.kill()
        process.wait()


def told(compared: Comparison, *, busy: bool) -> dict[str, Any]:
    """What the page says of a comparison, and the ratio behind it."""
    found = headline(compared)
    return {
        "busy_process": busy,
        "verdict": found.verdict,
        "figure": found.figure,
        "ratio": compared.speed_up.get("distil"),
        "rounds_s": {run.lane_id: [each.generation_time_s for each in run.repeats] for run in compared.runs},
    }


def misses(run: dict[str, Any]) -> bool:
    """Whether a figure is given that should not be."""
    return bool(run["figure"]) and not LOWEST <= run["ratio"] <= HIGHEST


def measure(clip: AudioClip, twins: tuple[LaneSpec, ...], pool: Pool, count: int) -> Iterator[dict[str, Any]]:
    """So many comparisons, every second one beside a busy process."""
    options = DecodingOptions()
    for number in range(count):
        if number % 2:
            with busy_process():
                yield told(compare(clip, twins, pool, options=options, pair_id=CUSTOM_PAIR), busy=True)
        else:
            yield told(compare(clip, twins, pool, options=options, pair_id=CUSTOM_PAIR), busy=False)


def main() -> int:
    parser = common.parser(__doc__)
    parser.add_argument("--comparisons", type=int, default=20)
    parser.add_argument("--add", action="store_true", help="to the comparisons of the file that is there")
    options = parser.parse_args()
    teacher, student = common.lanes(options)
    twins = (teacher, replace(student, checkpoint=teacher.checkpoint, revision=teacher.revision))
    clip = common.speech_clip(options)
    path = options.results / "same_checkpoint.json"
    runs = json.loads(path.read_text())["comparisons"] if options.add and path.exists() else []
    code = 0
    for run in measure(clip, twins, Pool(common.settings(options)), options.comparisons):
        runs.append(run)
        code = save(options, clip, runs)  # each time: a measurement that is cut short is not lost
    return code


def save(options: argparse.Namespace, clip: AudioClip, runs: list[dict[str, Any]]) -> int:
    """Write what there is so far; the exit code."""
    missed = sum(map(misses, runs))
    quiet = [run["ratio"] for run in runs if not run["busy_process"]]
    result = {
        "clip_id": clip.clip_id,
        "audio_length_s": clip.audio_length_s,
        "goal": f"no figure outside {LOWEST:g} to {HIGHEST:g}",
        "figures_outside": missed,
        "figures_given": sum(bool(run["figure"]) for run in runs),
        "lowest_and_highest_ratio_quiet": [min(quiet), max(quiet)],
        "comparisons": runs,
    }
    return common.finish("same_checkpoint", options, result, passed=not missed)


if __name__ == "__main__":
    sys.exit(main())
