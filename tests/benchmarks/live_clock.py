"""The clock of a live lane: the same words twice, a known delay in every pass, and the same lags beside other lanes."""

from __future__ import annotations

import sys
from typing import TYPE_CHECKING, Any, cast

from components.core import catalog
from components.core.audio import load_audio
from components.core.caller import NOBODY
from components.core.manifests import read_manifest
from components.core.normalizers import DEFAULT
from components.core.settings import CUSTOM_PAIR
from components.engines.base import DecodingOptions
from components.engines.pool import Pool
from components.runs.live import Recording
from components.runs.live_steps import LiveSteps, paces_of_this_machine
from components.runs.measure import measure
from tests.benchmarks import common
from tests.runs.delayed import DelayedEngine

if TYPE_CHECKING:
    from collections.abc import Callable, Collection, Sequence

    from components.core.caller import Caller
    from components.core.settings import Settings
    from components.core.types import AudioClip, LaneSpec, Live, LivePass
    from components.engines.base import Engine, EngineOutput, Stopwatch

DELAY_GOAL, LAGS_GOAL = 0.05, 0.10
PARTS = ("twice", "delay", "others")


class TwiceEngine(DelayedEngine):
    """A delayed engine that runs each pass without the delay first, and notes how many seconds that took.

    Passes are known by their clips, which are called after the lane.
    """

    def __init__(self, engine: Engine, delay_s: float, lane_id: str) -> None:
        super().__init__(engine, delay_s)
        self.text, self.special = engine.text, engine.special
        self.lane_id = lane_id
        self.seconds: list[float] = []

    def transcribe(
        self, clip: AudioClip, options: DecodingOptions, stopwatch: Stopwatch, *caller: Caller
    ) -> EngineOutput:
        if clip.clip_id == self.lane_id:
            self.seconds.append(measure(self.engine, clip, options, *caller).timing.end_to_end_time_s)
        return super().transcribe(clip, options, stopwatch, *caller)


class DelayingPool(Pool):
    """Delays the passes of one lane."""

    def __init__(self, settings: Settings, lane_id: str, delay_s: float) -> None:
        super().__init__(settings)
        self.lane_id = lane_id
        self.delay_s = delay_s
        self.delayed: TwiceEngine | None = None

    def get(self, lane: LaneSpec, *, beside: Collection[LaneSpec] = ()) -> Engine:
        engine = super().get(lane, beside=beside)
        if lane.lane_id != self.lane_id:
            return engine
        self.delayed = self.delayed or TwiceEngine(engine, self.delay_s, lane.lane_id)
        return cast("Engine", self.delayed)


def main() -> int:
    parser = common.parser(__doc__)
    parser.add_argument("--clip", default="library", help="of the manifest")
    parser.add_argument("--delay", type=float, default=2.0, metavar="SECONDS")
    parser.add_argument("--part", choices=PARTS, required=True, help="what is looked at")
    options = parser.parse_args()
    settings = common.settings(options)
    clip = next(
        load_audio(row.audio, clip_id=row.clip_id)
        for row in read_manifest(options.manifest)
        if row.clip_id == options.clip
    )
    parts: dict[str, Callable[[], tuple[bool, dict[str, Any]]]] = {
        "twice": lambda: twice(settings, clip),
        "delay": lambda: delay(settings, clip, options.delay),
        "others": lambda: others(settings, clip),
    }
    passed, found = parts[options.part]()
    result = {"clip_id": clip.clip_id, "audio_length_s": clip.audio_length_s, **found}
    return common.finish(f"live_clock_{options.part}", options, result, passed=passed)


def live(pool: Pool, clip: AudioClip, lanes: Sequence[str]) -> Live:
    """One live run of a clip, with its offline pass."""
    steps = LiveSteps(
        catalog.lane_specs(pool.settings.get_pair(CUSTOM_PAIR), tuple(lanes)),
        pool,
        paces_of_this_machine(),
        NOBODY,
        options=DecodingOptions("en"),
        pair_id=CUSTOM_PAIR,
        normalizer=DEFAULT,
        clip_id=clip.clip_id,
        recording=Recording(clip.samples),
    )
    *_, last = steps.steps()
    return cast("Live", last)


def of_lane(result: Live, lane_id: str) -> list[LivePass]:
    return [each for each in result.passes if each.lane_id == lane_id]


def twice(settings: Settings, clip: AudioClip) -> tuple[bool, dict[str, Any]]:
    """Two runs, each with engines of its own: the words of every pass, and the audio that it had."""
    runs = [live(Pool(settings), clip, ("whisper", "distil")) for _ in range(2)]
    words = [[(each.lane_id, each.audio_end_s, each.committed, each.tentative) for each in run.passes] for run in runs]
    same = sorted(words[0]) == sorted(words[1])
    return same, {"goal": "every pass has the same audio and writes the same", "passes": len(words[0]), "same": same}


def delay(settings: Settings, clip: AudioClip, delay_s: float) -> tuple[bool, dict[str, Any]]:
    """A pass takes so much longer than the engine by itself."""
    pool = DelayingPool(settings, "whisper", delay_s)
    passes = [each for each in of_lane(live(pool, clip, ("whisper",)), "whisper") if each.buffer_s]
    own_s = pool.delayed.seconds if pool.delayed is not None else []
    more_s = [each.end_s - each.start_s - own for each, own in zip(passes, own_s, strict=True)]
    passed = bool(more_s) and all(abs(each - delay_s) <= DELAY_GOAL * delay_s for each in more_s)
    goal = f"every pass takes {delay_s:g} s more than the engine itself, within {DELAY_GOAL:.0%}"
    return passed, {"goal": goal, "delay_s": delay_s, "more_s": more_s}


def others(settings: Settings, clip: AudioClip) -> tuple[bool, dict[str, Any]]:
    """The lags of a lane alone, and beside all the others there are."""
    pool = Pool(settings)
    runs = {
        "alone": live(pool, clip, ("whisper",)),
        "beside": live(pool, clip, tuple(catalog.LANES)),
    }
    lags = {how: run.live.run("whisper").lags for how, run in runs.items()}  # type: ignore[union-attr]
    medians = {how: each.compute_median_s for how, each in lags.items() if each is not None}
    ratio = medians["beside"] / medians["alone"]
    goal = f"the median compute lag is the same within {LAGS_GOAL:.0%}"
    lanes = len(runs["beside"].live.runs)
    return abs(ratio - 1) <= LAGS_GOAL, {"goal": goal, "lanes": lanes, "compute_median_s": medians, "ratio": ratio}


if __name__ == "__main__":
    sys.exit(main())
