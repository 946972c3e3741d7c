"""``DTYPE=bfloat16`` is at least 1.4 times as fast as float32 on a CPU that has it, in small.en's shapes.

Random weights in plain Transformers, the notebook's token counts, teacher and student, the dtypes alternated clip by
clip; the goal is the teacher's. About 80 s on two cores.
"""

from __future__ import annotations

import sys

from components.core import catalog
from components.core.settings import Settings
from components.engines.device import detect
from components.engines.shapes import ShapePair
from components.runs.measure import RequestStopwatch
from components.runs.speed import notebook_tokens
from tests.benchmarks import common

GOAL = 1.4
DTYPES = ("float32", "bfloat16")


def main() -> int:
    parser = common.parser(__doc__)
    parser.add_argument("--pair", default="small.en", help="of the catalogue")
    parser.add_argument("--limit", type=int, default=4, help="clips of the notebook")
    options = parser.parse_args()
    pair = catalog.get_pair(options.pair)
    shapes = [catalog.architecture(checkpoint) for checkpoint in (pair.teacher, pair.student)]
    lanes = dict(zip(("teacher", "student"), catalog.lane_specs(pair, ("whisper", "distil")), strict=True))
    models = {dtype: ShapePair(*shapes, Settings(dtype=dtype), detect()) for dtype in DTYPES}
    engines = {(dtype, role): models[dtype].engine(lane, role) for role, lane in lanes.items() for dtype in DTYPES}
    seconds = {role: {dtype: {"encoder": 0.0, "generation": 0.0} for dtype in DTYPES} for role in lanes}
    clips = notebook_tokens(options.limit)
    for (_, role), engine in engines.items():
        engine.write(max(clip[role] for clip in clips), RequestStopwatch(engine.synchronize))
    for number, clip in enumerate(clips):
        for dtype, role in engines if number % 2 == 0 else reversed(engines):
            stopwatch = RequestStopwatch(engines[dtype, role].synchronize)
            engines[dtype, role].write(clip[role], stopwatch)
            for part, total in seconds[role][dtype].items():
                seconds[role][dtype][part] = total + stopwatch.seconds[part]
        print(f"clip {number + 1} of {len(clips)}", file=sys.stderr)
    ratio = {
        role: {part: each["float32"][part] / each["bfloat16"][part] for part in ("encoder", "generation")}
        for role, each in seconds.items()
    }
    result = {
        "goal": f"generation of the teacher at least {GOAL} times",
        "ratio": ratio,
        "pair": options.pair,
        "clips": len(clips),
        "tokens": {role: sum(clip[role] for clip in clips) for role in lanes},
        "seconds": seconds,
    }
    return common.finish("bfloat16_speed", options, result, passed=ratio["teacher"]["generation"] >= GOAL)


if __name__ == "__main__":
    sys.exit(main())
