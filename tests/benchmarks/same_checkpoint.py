"""The same checkpoint in both lanes must come out at a speed-up of 1, within 3 %, over 20 alternated repeats."""

from __future__ import annotations

import sys
from dataclasses import replace

from components.core.settings import CUSTOM_PAIR
from components.engines.base import DecodingOptions
from components.engines.pool import Pool
from components.runs.compare import compare
from tests.benchmarks import common

GOAL = 0.03


def main() -> int:
    parser = common.parser(__doc__)
    parser.add_argument("--repeats", type=int, default=20)
    options = parser.parse_args()

    teacher, student = common.lanes(options)
    twins = (teacher, replace(student, checkpoint=teacher.checkpoint, revision=teacher.revision))
    clip = common.speech_clip(options)
    comparison = compare(
        clip,
        twins,
        Pool(common.settings(options)),
        options=DecodingOptions(),
        pair_id=CUSTOM_PAIR,
        repeats=options.repeats,
    )
    speed_up = comparison.speed_up["distil"]
    result = {
        "clip_id": clip.clip_id,
        "audio_length_s": clip.audio_length_s,
        "repeats": options.repeats,
        "goal": f"within {GOAL:.0%} of 1",
        "speed_up": speed_up,
        "generation_time": {
            run.lane_id: common.middle([timing.generation_time_s for timing in run.repeats]) for run in comparison.runs
        },
    }
    return common.finish("same_checkpoint", options, result, passed=abs(speed_up - 1) <= GOAL)


if __name__ == "__main__":
    sys.exit(main())
