"""An engine that is slower than another by a known time."""

from __future__ import annotations

import time
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from collections.abc import Callable

    from components.core.types import AudioClip
    from components.engines.base import DecodingOptions, Engine, EngineOutput, Stopwatch


class DelayedEngine:
    """Another engine, with ``delay_s`` seconds added at the end of one part of every request."""

    def __init__(self, engine: Engine, delay_s: float, part: str = "generation") -> None:
        self.engine = engine
        self.delay_s = delay_s
        self.part = part
        self.info = engine.info
        self.runtime = engine.runtime
        self.runtime_note = engine.runtime_note
        self.synchronize = engine.synchronize
        self.reset_peak_memory = engine.reset_peak_memory
        self.peak_memory_bytes = engine.peak_memory_bytes
        self.unload = engine.unload

    def transcribe(
        self,
        clip: AudioClip,
        options: DecodingOptions,
        stopwatch: Stopwatch,
        *,
        cancelled: Callable[[], bool] | None = None,
    ) -> EngineOutput:
        return self.engine.transcribe(clip, options, _Delaying(stopwatch, self), cancelled=cancelled)


class _Delaying:
    def __init__(self, stopwatch: Stopwatch, engine: DelayedEngine) -> None:
        self.stopwatch = stopwatch
        self.engine = engine

    def start(self, part: str) -> None:
        self.stopwatch.start(part)

    def stop(self, part: str) -> None:
        if part == self.engine.part:
            time.sleep(self.engine.delay_s)
        self.stopwatch.stop(part)
