"""What every backend offers. An engine transcribes; it never times itself (``runs.measure`` does)."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Literal, Protocol

from components.core.caller import NOBODY, Caller

if TYPE_CHECKING:
    from collections.abc import Sequence
    from contextlib import AbstractContextManager

    from components.core.types import AudioClip, LongForm, ModelInfo, Transcript
    from components.engines.device import Device
    from components.engines.prompt import SpecialTokens

Part = Literal["end_to_end", "features", "encoder", "generation"]
"""What a request's time is divided into. The encoder lies inside the generation; everything in ``end_to_end``."""


@dataclass(frozen=True)
class DecodingOptions:
    """The same for every lane of a comparison: greedy, no temperature fallback, no conditioning on previous text.

    ``language``: a code such as ``"en"``; ``None`` to have the engine detect it, outside the clock. ``draft``: token
    ids that the first window may begin with (those of an earlier pass over the same audio, say). An engine may check
    them all in one pass of its decoder; what it writes is the same with and without.
    """

    language: str | None = "en"
    timestamps: bool = True
    long_form: LongForm = "sequential"
    max_new_tokens: int | None = None
    draft: tuple[int, ...] = ()


@dataclass(frozen=True)
class Window:
    """One window of audio that was decoded: its place in the clip in seconds, and its tokens, the end token included.

    ``ended``: false where it ran into the token limit without its end token. ``looped``: its text repeats itself.
    """

    start_s: float
    end_s: float
    tokens: tuple[int, ...]
    ended: bool = True
    looped: bool = False


@dataclass(frozen=True)
class EngineOutput:
    """What an engine wrote. ``generated_tokens`` counts end tokens, not the prompt."""

    transcript: Transcript
    generated_tokens: int
    ended: bool = True
    """False where a window ran into the token limit without its end token."""
    acceptance_rate: float | None = None
    tokens_per_pass: float | None = None
    windows: tuple[Window, ...] = ()
    token_times_s: tuple[float, ...] | None = field(default=None, compare=False)
    """Seconds of generation after which each token was known; ``None`` where the backend does not say."""
    warnings: tuple[str, ...] = ()
    """Sentences on what may be wrong with the text, for a person."""

    @property
    def looped(self) -> bool:
        """Whether a window repeats itself, so that its time says nothing about speed."""
        return any(window.looped for window in self.windows)


class Stopwatch(Protocol):
    """What an engine wraps around its parts; implemented by ``runs.measure`` alone."""

    def part(self, name: Part) -> AbstractContextManager[None]:
        """Time what happens inside; parts add up over windows. The device is waited for at both ends."""

    def elapsed_s(self, name: Part) -> float:
        """Seconds of a part so far, the current one included; without waiting for the device."""


class Engine(Protocol):
    """A loaded model of one lane.

    Made by ``engines.pool`` with ``(lane, settings, device, models)``, where loading fails with ``CheckpointError`` or
    ``LaneError``. Most backends derive from ``engines.windowed.WindowedEngine`` and write ``encode``, ``decode`` and
    ``language_probabilities``. A class may also have these two static methods, which load nothing:

    - ``expected(settings, device) -> dict[str, str]``: what of its row is known before, such as ``runtime``;
    - ``preparation(lane, settings, device) -> str``: a long step that making it takes, told to whoever waits.
    """

    info: ModelInfo
    runtime: str
    runtime_note: str
    """Why the runtime is not the one that was asked for; empty where it is."""
    warm: bool
    """Whether it has run before in this process."""
    special: SpecialTokens

    def transcribe(
        self, clip: AudioClip, options: DecodingOptions, stopwatch: Stopwatch, caller: Caller = NOBODY
    ) -> EngineOutput:
        """Transcribe one clip, with ``stopwatch`` around features, encoder and generation.

        Raises:
            Cancelled: within one token of the caller's ``cancelled()`` turning true.
            LaneError: this lane cannot do what the options ask for.
        """

    def transcribe_batch(
        self, clips: Sequence[AudioClip], options: DecodingOptions, stopwatch: Stopwatch, caller: Caller = NOBODY
    ) -> list[EngineOutput]:
        """Transcribe several clips at once, their windows in the same passes. The times are those of the batch."""

    def detect_language(self, clip: AudioClip, caller: Caller = NOBODY) -> tuple[str, float]:
        """The language of a clip's first window, as a code, and its probability; ``("en", 1.0)`` if English-only."""

    def text(self, tokens: Sequence[int]) -> str:
        """What tokens say, timestamps and other special tokens left out."""

    def synchronize(self) -> None:
        """Wait until the device has done all that was asked of it."""

    def reset_peak_memory(self) -> None: ...

    def peak_memory_bytes(self) -> int | None:
        """Largest device allocation since the last reset, or ``None`` where the device does not say."""

    def unload(self) -> None:
        """Free the device memory. The engine is not used again."""


class OnDevice:
    """What an ``Engine`` leaves to its device."""

    device: Device

    def synchronize(self) -> None:
        self.device.synchronize()

    def reset_peak_memory(self) -> None:
        self.device.reset_peak_memory()

    def peak_memory_bytes(self) -> int | None:
        return self.device.peak_memory_bytes()
