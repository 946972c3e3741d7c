"""The clock of a live lane: the same words twice, a known delay in every pass, and the same lags beside other lanes."""

from __future__ import annotations

import sys
from pathlib import Path
from tempfile import TemporaryDirectory
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
from components.runs.live_steps import LiveSteps, long_example, paces_of_this_machine
from components.runs.measure import measure
from components.runs.pace import Paces
from tests.benchmarks import common
from tests.runs.delayed import DelayedEngine

if TYPE_CHECKING:
    from collections.abc import Callable, Collection, Iterator, Sequence

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
    parts: dict[str, Callable[[], Iterator[tuple[bool | None, dict[str, Any]]]]] = {
        "twice": lambda: twice(settings, clip),
        "delay": lambda: delay(settings, clip, options.delay),
        "others": lambda: others(settings, clip),
    }
    name, passed, result = f"live_clock_{options.part}", None, {}
    for passed, found in parts[options.part]():
        result = {"clip_id": clip.clip_id, "audio_length_s": clip.audio_length_s, **found}
        common.save(name, options, result, passed=passed)
    return common.finish(name, options, result, passed=bool(passed))


def live(pool: Pool, clip: AudioClip, lanes: Sequence[str], paces: Paces | None = None) -> Live:
    """One live run of a clip, with its offline pass."""
    steps = LiveSteps(
        catalog.lane_specs(pool.settings.get_pair(CUSTOM_PAIR), tuple(lanes)),
        pool,
        paces or paces_of_this_machine(),
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


def twice(settings: Settings, clip: AudioClip) -> Iterator[tuple[bool | None, dict[str, Any]]]:
    """Two runs, each with engines of its own: the words of every pass, and the audio that it had."""
    goal = "every pass has the same audio and writes the same"
    words: list[list[tuple[str, float, str, str]]] = []
    for _ in range(2):
        passes = live(Pool(settings), clip, ("whisper", "distil")).passes
        words.append(sorted((each.lane_id, each.audio_end_s, each.committed, each.tentative) for each in passes))
        yield None, {"goal": goal, "passes": [len(run) for run in words]}
    same = words[0] == words[1]
    yield same, {"goal": goal, "passes": [len(run) for run in words], "same": same}


def delay(settings: Settings, clip: AudioClip, delay_s: float) -> Iterator[tuple[bool | None, dict[str, Any]]]:
    """A pass takes so much longer than the engine by itself."""
    pool = DelayingPool(settings, "whisper", delay_s)
    with TemporaryDirectory() as folder:  # not to be taken for the pace of the engine without the delay
        paces = Paces(Path(folder) / "paces.json", long_example)
        passes = [each for each in of_lane(live(pool, clip, ("whisper",), paces), "whisper") if each.buffer_s]
    own_s = pool.delayed.seconds if pool.delayed is not None else []
    more_s = [each.end_s - each.start_s - own for each, own in zip(passes, own_s, strict=True)]
    passed = bool(more_s) and all(abs(each - delay_s) <= DELAY_GOAL * delay_s for each in more_s)
    goal = f"every pass takes {delay_s:g} s more than the engine itself, within {DELAY_GOAL:.0%}"
    yield passed, {"goal": goal, "delay_s": delay_s, "more_s": more_s}


def others(settings: Settings, clip: AudioClip) -> Iterator[tuple[bool | None, dict[str, Any]]]:
    """The lags of a lane alone, and beside all the others there are."""
    pool = Pool(settings)
    result: dict[str, Any] = {"goal": f"the median compute lag is the same within {LAGS_GOAL:.0%}"}
    medians = result["compute_median_s"] = {}
    for how, lanes in (("alone", ("whisper",)), ("beside", tuple(catalog.LANES))):
        runs = live(pool, clip, lanes).live.runs
        medians[how] = next(run.lags.compute_median_s for run in runs if run.lane_id == "whisper" and run.lags)
        result["lanes"] = len(runs)
        yield None, result
    ratio = medians["beside"] / medians["alone"]
    yield abs(ratio - 1) <= LAGS_GOAL, result | {"ratio": ratio}


if __name__ == "__main__":
    sys.exit(main())
