"""Whether a clip holds speech, and when: asked once for a clip, before any model, and the same for every lane."""

from __future__ import annotations

import weakref
from dataclasses import dataclass
from typing import TYPE_CHECKING, Literal

import numpy as np

from components.core.types import SAMPLING_RATE

if TYPE_CHECKING:
    from collections.abc import Sequence

    from components.core.types import AudioClip, Segment

    Kind = Literal["short", "silent", "noise", "quiet", "speech"]

MIN_SPEECH_S = 0.2
"""A clip shorter than this holds no word; models write "you" or "Thank you" for it."""

NOTHING_DBFS = -100.0
"""Below this peak, relative to full scale, there is nothing, whatever its shape."""

SILENCE_DBFS = -60.0
"""A clip whose peak lies under this is silence, unless it rises over its own noise floor as speech does."""

QUIET_DBFS = -40.0
"""Speech with a peak under this is told to be very quiet."""

SPEECH_OVER_FLOOR_DB = 8.0
"""Speech swings from its noise floor (10th percentile of the level) to its loud parts (95th) by more than this."""

_FRAME = 320  # samples of a level, 20 ms
_DETECTED_AT_ONCE = 60 * SAMPLING_RATE  # bounds the detector's memory
_TARGET_PEAK = 0.5  # what the detector was trained on; quiet speech is raised to it

WARNINGS = {
    "short": "Too short for speech: under 0.2 s, so no model was asked.",
    "silent": "Silence: nothing rises over the noise of the recording, so no model was asked.",
    "noise": "No speech was found in this clip, so its words and its speed mean little.",
    "quiet": "Very quiet: the speech peaks under -40 dBFS, so words may be missed.",
}


@dataclass(frozen=True)
class Speech:
    """What is heard in a clip before any model is asked.

    ``kind``: ``short`` (under 0.2 s), ``silent``, ``noise`` (sound, but no speech was found), ``quiet`` (speech, or
    perhaps speech, that is very quiet) or ``speech``. ``peak_dbfs`` and ``floor_dbfs`` in decibels of full scale.
    ``spans``: start and end of each stretch of speech, in seconds.
    """

    kind: Kind
    peak_dbfs: float
    floor_dbfs: float
    spans: tuple[tuple[float, float], ...] = ()

    @property
    def worth_asking(self) -> bool:
        """Whether a model is to be asked: it may be in vain, but is not known to be."""
        return self.kind not in {"short", "silent"}

    @property
    def counts_as_speed(self) -> bool:
        """Whether the time that a model takes says something about its speed."""
        return self.kind in {"quiet", "speech"}

    @property
    def warning(self) -> str | None:
        return WARNINGS.get(self.kind)


def find_speech(clip: AudioClip) -> Speech:
    """Judge a clip by its length, its level over its own noise floor, and a detector of speech.

    The detector is Silero's (https://github.com/snakers4/silero-vad), which Faster-Whisper carries. The result is kept
    as long as the clip is.
    """
    known = _KNOWN.get(clip)
    if known is None:
        known = _KNOWN[clip] = _judge(clip.samples)
    return known


def within_speech(segments: Sequence[Segment], spans: Sequence[tuple[float, float]]) -> tuple[Segment, ...]:
    """Segments whose times are cut to the speech they hold; one that holds none is left as it is."""
    return tuple(_within(segment, spans) for segment in segments)


def _within(segment: Segment, spans: Sequence[tuple[float, float]]) -> Segment:
    held = [span for span in spans if span[0] < segment.end_s and span[1] > segment.start_s]
    if not held:
        return segment
    start_s, end_s = max(segment.start_s, held[0][0]), min(segment.end_s, held[-1][1])
    return segment.model_copy(update={"start_s": start_s, "end_s": end_s})


_KNOWN: weakref.WeakKeyDictionary[AudioClip, Speech] = weakref.WeakKeyDictionary()


def _judge(samples: np.ndarray) -> Speech:
    peak = max(-float(samples.min()), float(samples.max())) if len(samples) else 0.0
    peak_dbfs = _decibels(peak)
    floor_dbfs, loud_dbfs = _levels(samples)
    if len(samples) < MIN_SPEECH_S * SAMPLING_RATE:
        return Speech("short", peak_dbfs, floor_dbfs)
    if peak_dbfs < NOTHING_DBFS:
        return Speech("silent", peak_dbfs, floor_dbfs)
    spans = _spans(samples, _TARGET_PEAK / peak)
    if peak_dbfs < QUIET_DBFS and (spans or loud_dbfs - floor_dbfs > SPEECH_OVER_FLOOR_DB):
        return Speech("quiet", peak_dbfs, floor_dbfs, spans)
    if spans:
        return Speech("speech", peak_dbfs, floor_dbfs, spans)
    return Speech("silent" if peak_dbfs < SILENCE_DBFS else "noise", peak_dbfs, floor_dbfs)


def _levels(samples: np.ndarray) -> tuple[float, float]:
    """The noise floor and the loud parts, in dBFS: percentiles of the level of 20 ms.

    Of the differences of neighbouring samples, which hum, rumble and a slow drift leave alone; frames of digital
    silence are not counted.
    """
    frames = samples[: len(samples) // _FRAME * _FRAME].reshape(-1, _FRAME)
    powers = np.square(np.diff(frames, axis=1)).mean(axis=1, dtype=np.float64)
    powers = powers[powers > 1e-14]
    if not len(powers):
        return -140.0, -140.0
    floor, loud = np.percentile(10 * np.log10(powers), (10, 95))
    return float(floor), float(loud)


def _decibels(amplitude: float) -> float:
    return 20 * float(np.log10(max(amplitude, 1e-7)))


def _spans(samples: np.ndarray, gain: float) -> tuple[tuple[float, float], ...]:
    from faster_whisper.vad import VadOptions, get_speech_timestamps

    options = VadOptions(threshold=0.4, min_speech_duration_ms=200, min_silence_duration_ms=500, speech_pad_ms=100)
    spans: list[tuple[float, float]] = []
    for start in range(0, len(samples), _DETECTED_AT_ONCE):
        block = samples[start : start + _DETECTED_AT_ONCE] * np.float32(gain)
        for found in get_speech_timestamps(block, options):
            first, last = ((start + found[edge]) / SAMPLING_RATE for edge in ("start", "end"))
            if spans and first - spans[-1][1] < 0.5:
                first = spans.pop()[0]
            spans.append((first, min(last, len(samples) / SAMPLING_RATE)))
    return tuple(spans)
