"""Many minutes of speech as if live: whether memory and lag stay bounded, and when a lane is told to be too slow.

The clips of the manifest one after another, again and again, through the lane ``whisper``; then once more with every
pass ``--delay`` seconds longer on the lane's clock, which nobody has to wait for.
"""

from __future__ import annotations

import sys
from collections import defaultdict
from dataclasses import replace
from itertools import cycle
from typing import TYPE_CHECKING, Any

import numpy as np
import psutil

from components.core import catalog
from components.core.caller import NOBODY
from components.core.settings import CUSTOM_PAIR
from components.core.types import SAMPLING_RATE
from components.engines.base import DecodingOptions
from components.engines.pool import Pool
from components.runs import live
from components.runs.live_steps import LiveSteps, paces_of_this_machine
from components.runs.measure import Measurement, measure
from tests.benchmarks import common

if TYPE_CHECKING:
    import argparse

    from components.core.types import LivePass

GROWTH = 1.25
"""How much larger lag and memory may be in the second half than at most in the first."""


def main() -> int:
    parser = common.parser(__doc__)
    parser.add_argument("--minutes", type=float, default=10.0, help="of speech")
    parser.add_argument("--delay", type=float, default=40.0, metavar="SECONDS", help="of each pass of the slow lane")
    options = parser.parse_args()
    samples = speech(options)
    goal = (
        f"lag and memory at most {GROWTH:g} times those of the first half; the slow lane is told from when it is late"
    )
    result: dict[str, Any] = {"goal": goal, "audio_length_s": len(samples) / SAMPLING_RATE, "delay_s": options.delay}
    for name, delay_s in (("alone", 0.0), ("delayed", options.delay)):
        for found in run(options, samples, delay_s):
            result[name] = found
            common.save("live_minutes", options, result)
    passed = bounded(result["alone"]) and result["delayed"]["cannot_keep_up_from_s"] is not None
    return common.finish("live_minutes", options, result, passed=passed)


def speech(options: argparse.Namespace) -> np.ndarray:
    """The manifest's spoken clips, joined up to the length that was asked for, half a second between two."""
    length = round(60 * options.minutes * SAMPLING_RATE)
    pause = np.zeros(SAMPLING_RATE // 2, dtype=np.float32)
    pieces: list[np.ndarray] = []
    for clip in cycle(common.spoken_clips(options)):
        pieces += [clip.samples, pause]
        if sum(map(len, pieces)) >= length:
            break
    return np.concatenate(pieces)[:length]


def run(options: argparse.Namespace, samples: np.ndarray, delay_s: float) -> Any:
    """Yield what is known so far: at each minute of audio, and at the end."""

    def delayed(*request: Any) -> Measurement:
        found = measure(*request)
        longer_s = found.timing.end_to_end_time_s + delay_s
        return replace(found, timing=found.timing.model_copy(update={"end_to_end_time_s": longer_s}))

    settings = common.settings(options)
    steps = LiveSteps(
        catalog.lane_specs(settings.get_pair(CUSTOM_PAIR), ("whisper",)),
        Pool(settings),
        paces_of_this_machine(),
        NOBODY,
        options=DecodingOptions("en"),
        pair_id=CUSTOM_PAIR,
        normalizer="none",
        recording=live.Recording(samples),
    )
    steps.prepare()
    (lane,) = steps.lanes
    minutes: dict[int, list[LivePass]] = defaultdict(list)
    memory_mb: dict[int, float] = {}
    live.measure = delayed  # the virtual clock is charged, and nobody waits
    try:
        for done in live.LiveRun([lane], steps.recording, steps.options, NOBODY).passes():
            minute = int(done.audio_end_s // 60)
            if minute not in minutes:
                yield so_far(lane, minutes, memory_mb)
            minutes[minute].append(done)
            memory_mb[minute] = psutil.Process().memory_info().rss / 1e6
    finally:
        live.measure = measure
    yield so_far(lane, minutes, memory_mb)


def so_far(lane: live.LiveLane, minutes: dict[int, list[LivePass]], memory_mb: dict[int, float]) -> dict[str, Any]:
    """The largest lags of each minute of audio, and the memory at its end."""
    rows = [
        {
            "minute": minute,
            "passes": len(passes),
            "compute_max_s": max(each.compute_lag_s for each in passes),
            "policy_max_s": max(each.policy_lag_s for each in passes),
            "memory_mb": memory_mb[minute],
        }
        for minute, passes in minutes.items()
    ]
    return {"cannot_keep_up_from_s": lane.behind_from_s, "words": len(lane.text.split()), "minutes": rows}


def bounded(found: dict[str, Any]) -> bool:
    """Whether nothing grew in the second half, and the lane kept up."""
    rows = found["minutes"]
    first, second = rows[: len(rows) // 2] or rows, rows[len(rows) // 2 :]
    largest = [
        {key: max(row[key] for row in half) for key in ("compute_max_s", "memory_mb")} for half in (first, second)
    ]
    grown = [largest[1][key] <= GROWTH * largest[0][key] for key in largest[0]]
    return all(grown) and found["cannot_keep_up_from_s"] is None


if __name__ == "__main__":
    sys.exit(main())
