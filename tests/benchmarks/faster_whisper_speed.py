"""Faster-Whisper in int8 is at least twice as fast as plain Transformers in float32, on a CPU, in small.en's shapes.

Random weights; CTranslate2 through its own ``encode`` and ``generate``, the end token suppressed; the notebook's token
counts, the lanes alternated. About 80 s on two cores.
"""

from __future__ import annotations

import sys

from components.core.caller import Caller
from components.core.settings import Settings
from components.runs.speed import speed
from tests.benchmarks import common

GOAL = 2.0


def main() -> int:
    parser = common.parser(__doc__)
    parser.add_argument("--pair", default="small.en", help="of the catalogue")
    parser.add_argument("--limit", type=int, default=6, help="clips of the notebook")
    options = parser.parse_args()
    shapes = speed(
        options.pair,
        Settings(dtype="int8"),
        lanes=["whisper", "faster-whisper"],
        limit=options.limit,
        caller=Caller(lambda fraction, doing: print(f"{fraction:4.0%} {doing}", file=sys.stderr)),
    )
    ratios = {lane.lane_id: lane.ratio for lane in shapes.lanes}
    ratio = ratios.get("faster-whisper")
    result = {"goal": f"at least {GOAL} times", "ratio": ratio, "speed": shapes.model_dump(mode="json")}
    return common.finish("faster_whisper_speed", options, result, passed=ratio is not None and ratio >= GOAL)


if __name__ == "__main__":
    sys.exit(main())
