"""The nouns of the project: frozen dataclasses, no torch, no Gradio.

Seconds end in ``_s``. ``None`` means that a field does not apply, never that it is zero.
"""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Literal

if TYPE_CHECKING:
    from collections.abc import Collection

    import numpy as np

SAMPLING_RATE = 16_000
"""Hertz; the only rate Whisper's feature extractor accepts."""

WINDOW_S = 30.0
"""Seconds of audio in one encoder pass; longer clips are long-form."""

MAX_TOKENS = 448
"""Whisper's longest decoder sequence, prompt included."""

LongForm = Literal["sequential", "chunked"]
BASELINE_LANE = "whisper"
"""Speed-ups are relative to this lane."""


@dataclass(frozen=True, eq=False)
class AudioClip:
    """One clip to transcribe.

    ``samples``: float32, shape ``(n,)``, mono, 16 kHz, in [-1, 1]; read-only.
    """

    clip_id: str
    samples: np.ndarray
    sampling_rate: int = SAMPLING_RATE

    @property
    def audio_length_s(self) -> float:
        return len(self.samples) / self.sampling_rate


@dataclass(frozen=True)
class LaneSpec:
    """One contestant. ``checkpoint`` is a hub id or a folder; ``assistant`` a second one, for speculative decoding."""

    lane_id: str
    label: str
    backend: str
    checkpoint: str
    revision: str | None = None
    assistant: str | None = None


@dataclass(frozen=True)
class Pair:
    """A teacher and the student distilled from it; each a hub id, ``id@revision`` or a folder.

    ``long_form``: how audio over 30 s is cut where nobody chooses: the way that suits the student.
    """

    pair_id: str
    teacher: str
    student: str
    note: str = ""
    long_form: LongForm = "sequential"


@dataclass(frozen=True)
class ModelInfo:
    """What is known of a lane's model; device, dtype and attention are ``None`` until it is loaded."""

    lane_id: str
    checkpoint: str
    num_parameters: int
    encoder_parameters: int
    decoder_parameters: int
    encoder_layers: int
    decoder_layers: int
    dtype: str | None = None
    device: str | None = None
    attention: str | None = None


@dataclass(frozen=True)
class Segment:
    """A stretch of speech; times in seconds from the start of the clip."""

    start_s: float
    end_s: float
    text: str


@dataclass(frozen=True)
class Transcript:
    text: str
    segments: tuple[Segment, ...] = ()
    language: str | None = None


@dataclass(frozen=True)
class Timing:
    """Wall-clock seconds of one repeat on a warm, synchronised device.

    ``generation_time_s`` is encoder plus decoder, what the Distil-Whisper notebook measured;
    ``decoder_time_s`` is generation minus encoder, so that nothing synchronises per token;
    ``end_to_end_time_s`` is clip in, text out, features included.
    """

    feature_time_s: float
    encoder_time_s: float
    decoder_time_s: float
    generation_time_s: float
    end_to_end_time_s: float


@dataclass(frozen=True)
class WordErrors:
    """Word-level edits against a reference; ``+`` sums, ``wer`` divides, once, at the end."""

    substitutions: int = 0
    deletions: int = 0
    insertions: int = 0
    reference_words: int = 0

    def __add__(self, other: WordErrors) -> WordErrors:
        return WordErrors(
            self.substitutions + other.substitutions,
            self.deletions + other.deletions,
            self.insertions + other.insertions,
            self.reference_words + other.reference_words,
        )

    @property
    def wer(self) -> float | None:
        """Word error rate as a fraction, or ``None`` without reference words."""
        if not self.reference_words:
            return None
        return (self.substitutions + self.deletions + self.insertions) / self.reference_words


@dataclass(frozen=True)
class Machine:
    """Where figures were measured; every report and every file of rows carries it."""

    device: str
    device_name: str
    platform: str
    python: str
    libraries: dict[str, str]
    threads: int
    processes: int = 1


@dataclass(frozen=True)
class LaneRun:
    """One row: one clip through one lane. ``timing`` is that of the median repeat (the lower one of two)."""

    clip_id: str
    lane_id: str
    checkpoint: str
    transcript: Transcript
    audio_length_s: float
    timing: Timing | None
    repeats: tuple[Timing, ...]
    generated_tokens: int
    dtype: str
    attention: str
    runtime: str
    reference: str | None = None
    normalized_reference: str | None = None
    normalized_text: str | None = None
    word_errors: WordErrors | None = None
    warnings: tuple[str, ...] = ()
    acceptance_rate: float | None = None
    tokens_per_pass: float | None = None
    peak_memory_bytes: int | None = None

    @property
    def rtfx(self) -> float | None:
        """Inverse real-time factor: seconds of audio per second of generation; ``None`` when nothing was timed."""
        if self.timing is None or self.timing.generation_time_s <= 0:
            return None
        return self.audio_length_s / self.timing.generation_time_s


@dataclass(frozen=True)
class LaneFailure:
    """A lane that failed on a clip: a row, not a crash. ``message`` is for a person."""

    clip_id: str
    lane_id: str
    message: str


@dataclass(frozen=True)
class Comparison:
    """One clip through several lanes, in the order they were asked for."""

    clip_id: str
    audio_length_s: float
    pair_id: str
    runs: tuple[LaneRun, ...]
    failures: tuple[LaneFailure, ...]
    machine: Machine

    def run(self, lane_id: str) -> LaneRun | None:
        """The run of a lane, or ``None`` where it failed or was not asked for."""
        return next((run for run in self.runs if run.lane_id == lane_id), None)

    @property
    def speed_up(self) -> dict[str, float]:
        """Generation time of the ``whisper`` lane over that of each other lane; empty without it."""
        baseline = self.run(BASELINE_LANE)
        if baseline is None or baseline.timing is None:
            return {}
        return {
            run.lane_id: baseline.timing.generation_time_s / run.timing.generation_time_s
            for run in self.runs
            if run.lane_id != BASELINE_LANE and run.timing is not None and run.timing.generation_time_s > 0
        }


@dataclass(frozen=True)
class BenchmarkReport:
    """The rows of a whole data set, and what they add up to (``summary``, see ``runs.summary``).

    ``runs`` and ``failures`` may be views of a file that read it anew each time: a data set can be larger than memory.
    """

    pair_id: str
    runs: Collection[LaneRun]
    failures: Collection[LaneFailure]
    machine: Machine
    summary: dict[str, object] = field(default_factory=dict)
