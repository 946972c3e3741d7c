"""An engine that is slower than another by a known time."""

from __future__ import annotations

import time
from contextlib import contextmanager
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from collections.abc import Iterator

    from components.core.caller import Caller
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
        self.warm = False
        self.detect_language = engine.detect_language
        self.synchronize = engine.synchronize
        self.reset_peak_memory = engine.reset_peak_memory
        self.peak_memory_bytes = engine.peak_memory_bytes
        self.unload = engine.unload

    def transcribe(
        self, clip: AudioClip, options: DecodingOptions, stopwatch: Stopwatch, *caller: Caller
    ) -> EngineOutput:
        return self.engine.transcribe(clip, options, _Delaying(stopwatch, self), *caller)


class _Delaying:
    def __init__(self, stopwatch: Stopwatch, engine: DelayedEngine) -> None:
        self.stopwatch = stopwatch
        self.engine = engine

    @contextmanager
    def part(self, name: str) -> Iterator[None]:
        with self.stopwatch.part(name):
            yield
            if name == self.engine.part:
                time.sleep(self.engine.delay_s)

    def elapsed_s(self, name: str) -> float:
        return self.stopwatch.elapsed_s(name)
