"""Warm-up, synchronise, clock: the only stopwatch of the project."""

from __future__ import annotations

from dataclasses import dataclass, replace
from time import perf_counter
from typing import TYPE_CHECKING
from weakref import WeakSet

from components.core.types import WINDOW_S, Timing

if TYPE_CHECKING:
    from collections.abc import Callable, Sequence

    from components.core.types import AudioClip
    from components.engines.base import DecodingOptions, Engine, EngineOutput

_warm: WeakSet[Engine] = WeakSet()
"""Engines that have run in this process. A process of its own, as on ZeroGPU, starts cold and warms its copies."""


class RequestStopwatch:
    """Seconds of each part of one request, added up over its windows.

    The device is waited for before the clock is read, on both sides of a part: what was launched before does not
    count, and what was launched within does.
    """

    def __init__(self, synchronize: Callable[[], None]) -> None:
        self._synchronize = synchronize
        self._started_s: dict[str, float] = {}
        self.seconds: dict[str, float] = {}

    def start(self, part: str) -> None:
        self._synchronize()
        self._started_s[part] = perf_counter()

    def stop(self, part: str) -> None:
        self._synchronize()
        elapsed_s = perf_counter() - self._started_s.pop(part)
        self.seconds[part] = self.seconds.get(part, 0.0) + elapsed_s


@dataclass(frozen=True)
class Measurement:
    """One timed run of one engine over one clip."""

    output: EngineOutput
    timing: Timing
    peak_memory_bytes: int | None


def measure(
    engine: Engine,
    clip: AudioClip,
    options: DecodingOptions,
    *,
    cancelled: Callable[[], bool] | None = None,
) -> Measurement:
    """Run a loaded, warm engine once over a clip, under the clock.

    Raises:
        Cancelled: ``cancelled()`` turned true on the way.
    """
    stopwatch = RequestStopwatch(engine.synchronize)
    engine.reset_peak_memory()
    stopwatch.start("end_to_end")
    output = engine.transcribe(clip, options, stopwatch, cancelled=cancelled)
    stopwatch.stop("end_to_end")
    seconds = stopwatch.seconds
    generation_time_s, encoder_time_s = seconds.get("generation", 0.0), seconds.get("encoder", 0.0)
    timing = Timing(
        feature_time_s=seconds.get("features", 0.0),
        encoder_time_s=encoder_time_s,
        decoder_time_s=generation_time_s - encoder_time_s,
        generation_time_s=generation_time_s,
        end_to_end_time_s=seconds["end_to_end"],
    )
    return Measurement(output, timing, engine.peak_memory_bytes())


def is_warm(engine: Engine) -> bool:
    return engine in _warm


def warm_up(
    engine: Engine,
    clip: AudioClip,
    options: DecodingOptions,
    *,
    again: bool = False,
    cancelled: Callable[[], bool] | None = None,
) -> None:
    """Run an engine over the first window of a clip; where it has run before in this process, only if ``again``.

    A real clip, so that the decoder reaches the lengths that it will be timed at: allocator, kernel choice and
    thread pool then have nothing left to do for the first time.
    """
    if is_warm(engine) and not again:
        return
    window = replace(clip, samples=clip.samples[: int(WINDOW_S * clip.sampling_rate)])
    engine.transcribe(window, options, RequestStopwatch(engine.synchronize), cancelled=cancelled)
    _warm.add(engine)


def lower_median(timings: Sequence[Timing]) -> int:
    """Index of the median by generation time; of an even number, the lower of the two in the middle."""
    ranked = sorted(range(len(timings)), key=lambda index: timings[index].generation_time_s)
    return ranked[(len(ranked) - 1) // 2]
