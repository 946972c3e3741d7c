"""What every backend offers. An engine transcribes; it never times itself (``runs.measure`` does)."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Protocol

if TYPE_CHECKING:
    from collections.abc import Callable

    from components.core.types import AudioClip, LongForm, ModelInfo, Transcript


@dataclass(frozen=True)
class DecodingOptions:
    """The same for every lane of a comparison: greedy, no temperature fallback, no conditioning on previous text."""

    language: str | None = "en"
    timestamps: bool = True
    long_form: LongForm = "sequential"
    max_new_tokens: int | None = None


@dataclass(frozen=True)
class EngineOutput:
    """What ``generate`` gives back. ``generated_tokens`` counts end-of-text, not the prompt."""

    transcript: Transcript
    generated_tokens: int
    ended: bool = True
    """False where a window ran into the token limit without its end token."""
    acceptance_rate: float | None = None
    tokens_per_pass: float | None = None


class Stopwatch(Protocol):
    """What an engine calls around its parts; implemented by ``runs.measure`` alone."""

    def start(self, part: str) -> None:
        """Begin a part: ``"features"``, ``"encoder"`` or ``"generation"``; the encoder lies inside the generation."""

    def stop(self, part: str) -> None:
        """End a part; parts add up over windows."""


class Engine(Protocol):
    """A loaded model of one lane."""

    info: ModelInfo
    runtime: str
    runtime_note: str
    """Why the runtime is not the one that was asked for; empty where it is."""

    def transcribe(
        self,
        clip: AudioClip,
        options: DecodingOptions,
        stopwatch: Stopwatch,
        *,
        cancelled: Callable[[], bool] | None = None,
    ) -> EngineOutput:
        """Transcribe one clip, calling ``stopwatch`` around features, encoder and generation.

        Raises ``Cancelled`` within one token of ``cancelled()`` turning true.
        """

    def synchronize(self) -> None:
        """Wait until the device has done all that was asked of it."""

    def reset_peak_memory(self) -> None: ...

    def peak_memory_bytes(self) -> int | None:
        """Largest device allocation since the last reset, or ``None`` where the device does not say."""

    def unload(self) -> None:
        """Free the device memory. The engine is not used again."""
