"""Warm-up, synchronise, clock: the only stopwatch of the project."""

from __future__ import annotations

from contextlib import contextmanager
from dataclasses import dataclass, replace
from time import perf_counter
from typing import TYPE_CHECKING

from components.core.caller import NOBODY, Caller
from components.core.types import WINDOW_S, Timing

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator, Mapping, Sequence

    from components.core.types import AudioClip
    from components.engines.base import DecodingOptions, Engine, EngineOutput


class RequestStopwatch:
    """Seconds of each part of one request, added up over its windows.

    The device is waited for before the clock is read, on both sides of a part: what was launched before does not
    count, and what was launched within does.
    """

    def __init__(self, synchronize: Callable[[], None]) -> None:
        self._synchronize = synchronize
        self._started_s: dict[str, float] = {}
        self.seconds: dict[str, float] = {}

    @contextmanager
    def part(self, name: str) -> Iterator[None]:
        """Time what happens inside; what an exception cut short does not count."""
        self._synchronize()
        self._started_s[name] = perf_counter()
        try:
            yield
            self._synchronize()
            self.seconds[name] = self.elapsed_s(name)
        finally:
            del self._started_s[name]

    def elapsed_s(self, name: str) -> float:
        """Seconds of a part so far, the current one included; without waiting for the device."""
        return self.seconds.get(name, 0.0) + perf_counter() - self._started_s[name]


@dataclass(frozen=True)
class Measurement:
    """One timed run of one engine over one clip."""

    output: EngineOutput
    timing: Timing
    peak_memory_bytes: int | None


def measure(engine: Engine, clip: AudioClip, options: DecodingOptions, caller: Caller = NOBODY) -> Measurement:
    """Run a loaded, warm engine once over a clip, under the clock.

    Raises:
        Cancelled: the caller left on the way.
    """
    return measure_batch(engine, [clip], options, caller)[0]


def measure_batch(
    engine: Engine, clips: Sequence[AudioClip], options: DecodingOptions, caller: Caller = NOBODY
) -> list[Measurement]:
    """Run clips in one batch, under the clock; each gets the share of the batch's times that its audio has.

    Raises:
        Cancelled: the caller left on the way.
    """
    stopwatch = RequestStopwatch(engine.synchronize)
    engine.reset_peak_memory()
    with stopwatch.part("end_to_end"):
        if len(clips) == 1:
            outputs = [engine.transcribe(clips[0], options, stopwatch, caller)]
        else:
            outputs = engine.transcribe_batch(clips, options, stopwatch, caller)
    whole_s = sum(clip.audio_length_s for clip in clips)
    shares = [clip.audio_length_s / whole_s if len(clips) > 1 else 1.0 for clip in clips]
    peak = engine.peak_memory_bytes()
    return [
        Measurement(output, _timing(stopwatch.seconds, share), peak)
        for output, share in zip(outputs, shares, strict=True)
    ]


def _timing(seconds: Mapping[str, float], share: float) -> Timing:
    features, encoder, generation, whole = (
        share * seconds.get(part, 0.0) for part in ("features", "encoder", "generation", "end_to_end")
    )
    return Timing(
        feature_time_s=features,
        encoder_time_s=encoder,
        decoder_time_s=generation - encoder,
        generation_time_s=generation,
        end_to_end_time_s=whole,
    )


def warm_up(
    engine: Engine, clip: AudioClip, options: DecodingOptions, caller: Caller = NOBODY, *, again: bool = False
) -> None:
    """Run an engine over the first window of a clip; where it has run before in this process, only if ``again``.

    A real clip, so that the decoder reaches the lengths that it will be timed at: allocator, kernel choice and
    thread pool then have nothing left to do for the first time.
    """
    if engine.warm and not again:
        return
    window = replace(clip, samples=clip.samples[: int(WINDOW_S * clip.sampling_rate)])
    engine.transcribe(window, options, RequestStopwatch(engine.synchronize), caller)
    engine.warm = True


def lower_median(timings: Sequence[Timing]) -> int:
    """Index of the median by generation time; of an even number, the lower of the two in the middle."""
    ranked = sorted(range(len(timings)), key=lambda index: timings[index].generation_time_s)
    return ranked[(len(ranked) - 1) // 2]
