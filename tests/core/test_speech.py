"""Speech told from silence and noise, on speech of people and on sounds made here."""

from __future__ import annotations

import numpy as np
import pytest

from components.core.audio import load_audio
from components.core.catalog import EXAMPLES
from components.core.speech import find_speech, within_speech
from components.core.types import SAMPLING_RATE, AudioClip, Segment

TIME_S = np.arange(6 * SAMPLING_RATE) / SAMPLING_RATE


@pytest.fixture(scope="module")
def voice() -> np.ndarray:
    """Some seconds of a person, with the peak at 1."""
    samples = load_audio(EXAMPLES.parent / "pencil.ogg").samples
    return samples / np.abs(samples).max()


def kind(samples: np.ndarray) -> str:
    return find_speech(AudioClip("clip", np.asarray(samples, np.float32))).kind


def noise(dbfs: float, colour: float = 0.0, seed: int = 0) -> np.ndarray:
    """Noise whose power falls with the frequency to the power of ``colour``, with its peak at ``dbfs``."""
    spectrum = np.fft.rfft(np.random.default_rng(seed).standard_normal(len(TIME_S)))
    spectrum[1:] /= np.arange(1, len(spectrum)) ** (colour / 2)
    samples = np.fft.irfft(spectrum)
    return samples / np.abs(samples).max() * 10 ** (dbfs / 20)


def click() -> np.ndarray:
    samples = noise(-80)
    samples[50_000:50_010] = 0.5
    return samples


CHORD = sum(np.sin(2 * np.pi * hz * TIME_S) for hz in (220, 277, 330)) / 4 * np.exp(-3 * (TIME_S % 0.5))


@pytest.mark.parametrize("dbfs", [0, -30, -38])
def test_speech(voice, dbfs):
    assert kind(voice * 10 ** (dbfs / 20)) == "speech"


@pytest.mark.parametrize("dbfs", [-45, -62, -75, -85])
@pytest.mark.parametrize("bits", [16, 24, None])
def test_very_quiet_speech_is_asked_with_a_warning(voice, dbfs, bits):
    samples = voice * 10 ** (dbfs / 20)
    if bits:
        samples = np.round(samples * 2 ** (bits - 1)) / 2 ** (bits - 1)
    found = find_speech(AudioClip("clip", samples.astype(np.float32)))
    assert found.kind == "quiet"
    assert found.worth_asking
    assert found.counts_as_speed
    assert "quiet" in found.warning


def test_speech_in_noise(voice):
    rng = np.random.default_rng(0)
    for share in (0.3, 1.0):  # of the voice's power
        assert kind(voice + share * voice.std() * rng.standard_normal(len(voice))) == "speech"
    assert kind(10 ** (-75 / 20) * (voice + 0.05 * rng.standard_normal(len(voice)))) == "quiet"


@pytest.mark.parametrize(
    "samples",
    [
        np.zeros(48_000),
        noise(-70),
        noise(-62, 1),
        noise(-65, 2),
        noise(-95),
        10 ** (-65 / 20) * np.sin(2 * np.pi * 50 * TIME_S),
        np.round(np.random.default_rng(0).triangular(-1, 0, 1, 48_000)) / 32_768,
        np.full(48_000, 1e-6),
    ],
    ids=["zeros", "hiss", "pink", "brown", "faint hiss", "hum", "dither", "constant"],
)
def test_silence(samples):
    found = find_speech(AudioClip("clip", samples.astype(np.float32)))
    assert found.kind == "silent"
    assert not found.worth_asking
    assert not found.counts_as_speed
    assert found.spans == ()


@pytest.mark.parametrize(
    "samples",
    [
        noise(-20),
        noise(-50),
        noise(-20, 1),
        noise(-20, 2),
        0.5 * np.sin(2 * np.pi * 440 * TIME_S),
        0.3 * np.sin(2 * np.pi * (100 + 100 * TIME_S) * TIME_S),
        CHORD,
        click(),
    ],
    ids=["hiss", "hiss at -50", "pink", "brown", "tone", "sweep", "chords", "click"],
)
def test_sound_without_speech_is_asked_but_no_speed(samples):
    found = find_speech(AudioClip("clip", samples.astype(np.float32)))
    assert found.kind == "noise"
    assert found.worth_asking
    assert not found.counts_as_speed
    assert "No speech" in found.warning


@pytest.mark.parametrize("seconds", [0.0, 0.01, 0.1, 0.19])
def test_too_short_for_speech(voice, seconds):
    found = find_speech(AudioClip("clip", voice[16_000 : 16_000 + round(seconds * SAMPLING_RATE)]))
    assert found.kind == "short"
    assert not found.worth_asking
    assert "Too short for speech" in found.warning


def test_spans_are_where_somebody_speaks(voice):
    pause = np.zeros(3 * SAMPLING_RATE, np.float32)
    length_s = len(voice) / SAMPLING_RATE
    spans = find_speech(AudioClip("clip", np.concatenate([pause, voice, pause, voice, pause]))).spans
    assert spans[0][0] == pytest.approx(3, abs=0.5)
    assert spans[-1][1] == pytest.approx(6 + 2 * length_s, abs=0.7)
    assert not any(start < 5 + length_s < end for start, end in spans)
    assert all(start < end for start, end in spans)


def test_a_clip_longer_than_a_block_of_the_detector(voice):
    samples = np.tile(voice, round(130 * SAMPLING_RATE / len(voice)))
    found = find_speech(AudioClip("clip", samples))
    assert sum(end - start for start, end in found.spans) > 0.6 * len(samples) / SAMPLING_RATE
    assert found is not find_speech(AudioClip("other", voice))


def test_segments_are_cut_to_the_speech_they_hold():
    def segment(start_s: float, end_s: float) -> Segment:
        return Segment(start_s=start_s, end_s=end_s, text="a")

    spans = ((4.0, 6.0), (7.0, 9.0), (20.0, 21.0))
    pairs = (((0, 6.5), (4, 6)), ((0, 12), (4, 9)), ((5, 8), (5, 8)), ((10, 12), (10, 12)), ((8.5, 30), (8.5, 21)))
    for (start_s, end_s), right in pairs:
        (cut,) = within_speech([segment(start_s, end_s)], spans)
        assert (cut.start_s, cut.end_s) == right
    assert within_speech([segment(0, 1)], ()) == (segment(0, 1),)
