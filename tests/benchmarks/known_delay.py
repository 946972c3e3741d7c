"""A known delay, added to one part of an engine, must be recovered within 5 % in that part and in no other."""

from __future__ import annotations

import statistics
import sys
from dataclasses import replace
from typing import TYPE_CHECKING

from components.core.settings import CUSTOM_PAIR
from components.engines.base import DecodingOptions
from components.engines.pool import Pool
from components.runs.compare import compare
from tests.benchmarks import common
from tests.runs.delayed import DelayedEngine

if TYPE_CHECKING:
    from collections.abc import Collection

    from components.core.settings import Settings
    from components.core.types import LaneRun, LaneSpec
    from components.engines.base import Engine

GOAL = 0.05
FIELDS = {"features": "feature_time_s", "encoder": "encoder_time_s", "generation": "decoder_time_s"}
"""Where a delay at the end of a part must show; at the end of the generation it is the decoder's."""


class DelayingPool(Pool):
    """Gives the ``distil`` lane the engine of the other lane, delayed."""

    def __init__(self, settings: Settings, delay_s: float, part: str) -> None:
        super().__init__(settings)
        self.delay_s = delay_s
        self.part = part
        self.delayed: DelayedEngine | None = None

    def get(self, lane: LaneSpec, *, beside: Collection[LaneSpec] = ()) -> Engine:
        engine = super().get(lane, beside=beside)
        if lane.lane_id != "distil":
            return engine
        self.delayed = self.delayed or DelayedEngine(engine, self.delay_s, self.part)
        return self.delayed


def main() -> int:
    parser = common.parser(__doc__)
    parser.add_argument("--repeats", type=int, default=20)
    parser.add_argument("--delay", type=float, default=0.2, metavar="SECONDS")
    options = parser.parse_args()

    teacher, student = common.lanes(options)
    twins = (teacher, replace(student, checkpoint=teacher.checkpoint, revision=teacher.revision))
    clip = common.speech_clip(options, 2.0, 6.0)  # one window, so that the delay is added once
    recovered: dict[str, dict[str, float]] = {}
    for part in FIELDS:
        comparison = compare(
            clip,
            twins,
            DelayingPool(common.settings(options), options.delay, part),
            options=DecodingOptions(),
            pair_id=CUSTOM_PAIR,
            repeats=options.repeats,
        )
        plain, delayed = comparison.runs
        recovered[part] = {where: median_s(delayed, field) - median_s(plain, field) for where, field in FIELDS.items()}
    passed = all(
        abs(shown_s - (options.delay if where == part else 0)) <= GOAL * options.delay
        for part, parts in recovered.items()
        for where, shown_s in parts.items()
    )
    result = {
        "clip_id": clip.clip_id,
        "repeats": options.repeats,
        "delay_s": options.delay,
        "goal": f"recovered within {GOAL:.0%} of the delay, and no more than that in another part",
        "recovered_s": recovered,
    }
    return common.finish("known_delay", options, result, passed=passed)


def median_s(run: LaneRun, field: str) -> float:
    return statistics.median(getattr(timing, field) for timing in run.repeats)


if __name__ == "__main__":
    sys.exit(main())
