"""A recording that comes in pieces over a network: whole, in order, and the same as if it had come at once."""

from __future__ import annotations

import numpy as np
import pytest

from components.core.audio import load_audio
from components.core.errors import AudioError
from components.core.types import SAMPLING_RATE
from components.runs import microphone
from components.runs.microphone import Microphone


def tone(seconds: float, rate: int) -> np.ndarray:
    """A gliding tone, int16."""
    time_s = np.arange(round(seconds * rate)) / rate
    return np.round(20_000 * np.sin(2 * np.pi * (200 + 150 * time_s) * time_s)).astype("<i2")


@pytest.mark.parametrize("rate", [16_000, 44_100, 48_000])
@pytest.mark.parametrize("piece", [1_000, 12_345, 10**6])
def test_pieces_become_the_recording_as_a_whole(rate, piece):
    samples = tone(5, rate)
    source = Microphone(rate, 60)
    for start in range(0, len(samples), piece):
        source.take(start, samples[start : start + piece].tobytes(), last=start + piece >= len(samples))
    assert (source.received, source.ended) == (len(samples), True)
    np.testing.assert_allclose(source.recording.samples(), load_audio((rate, samples)).samples, atol=1e-6)


def test_what_comes_twice_is_taken_once_and_what_leaves_a_gap_is_not_taken():
    samples = tone(1, SAMPLING_RATE)
    source = Microphone(SAMPLING_RATE, 60)
    for start, end, received in (
        (0, 900, 900),
        (0, 900, 900),
        (500, 1200, 1200),
        (1300, 1500, 1200),
        (1200, 1500, 1500),
    ):
        source.take(start, samples[start:end].tobytes())
        assert source.received == received
    source.take(2000, b"", last=True)  # what lies between has not come
    assert not source.ended
    source.take(1500, samples[1500:].tobytes(), last=True)
    assert source.ended
    np.testing.assert_allclose(source.recording.samples(), samples / 32768, atol=1e-6)


def test_it_ends_at_its_longest_and_takes_nothing_after():
    source = Microphone(48_000, 0.5)
    source.take(0, tone(1, 48_000).tobytes())
    assert (source.received, source.ended, len(source.recording)) == (24_000, True, 8_000)
    source.take(24_000, tone(1, 48_000).tobytes())
    source.end()
    assert len(source.recording) == 8_000


def test_one_that_falls_silent_ends(monkeypatch):
    source = Microphone(48_000, 60)
    source.end_if_silent()
    assert not source.ended
    monkeypatch.setattr(microphone, "SILENT_S", -1.0)
    source.end_if_silent()
    assert source.ended


@pytest.mark.parametrize("rate", [0, -1, 10**9])
def test_a_rate_that_nothing_has_is_refused(rate):
    with pytest.raises(AudioError, match=str(rate)):
        Microphone(rate, 60)
