"""What happens to speech on its way to a recording: a room, a narrow band, noise, another loudness.

Every function takes and returns float32 ``(n,)`` at 16 kHz and leaves its argument as it was.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np

from components.core.types import SAMPLING_RATE

if TYPE_CHECKING:
    import random


def degrade(samples: np.ndarray, rng: random.Random) -> np.ndarray:
    """Draw a degradation: a room for one clip in four, a narrow band for one in six, noise for half, a gain for all."""
    noise = np.random.default_rng(rng.getrandbits(32))
    if rng.random() < 0.25:
        samples = in_room(samples, rng.uniform(0.1, 0.4), noise)
    if rng.random() < 1 / 6:
        samples = band_limited(samples, rng.uniform(80, 300), rng.uniform(3200, 7000))
    if rng.random() < 0.5:
        samples = with_noise(samples, rng.uniform(12, 40), rng.choice((0.0, 0.5, 1.0)), noise)
    gain = 10 ** (rng.uniform(-18, 4) / 20)
    return np.clip(gain * samples, -1, 1).astype(np.float32)


def coloured_noise(n: int, tilt: float, rng: np.random.Generator) -> np.ndarray:
    """Noise of unit power whose amplitude falls as frequency to the minus ``tilt``: 0 white, 0.5 pink, 1 brown."""
    spectrum = np.fft.rfft(rng.standard_normal(n))
    frequencies = np.fft.rfftfreq(n, 1 / SAMPLING_RATE)
    spectrum *= np.maximum(frequencies, 20.0) ** -tilt
    signal = np.fft.irfft(spectrum, n)
    return (signal / max(float(np.sqrt(np.mean(signal**2))), 1e-12)).astype(np.float32)


def with_noise(samples: np.ndarray, snr_db: float, tilt: float, rng: np.random.Generator) -> np.ndarray:
    """Add noise at a signal-to-noise ratio in decibels, over the whole clip."""
    level = float(np.sqrt(np.mean(samples**2))) * 10 ** (-snr_db / 20)
    return samples + level * coloured_noise(len(samples), tilt, rng)


def in_room(samples: np.ndarray, decay_s: float, rng: np.random.Generator) -> np.ndarray:
    """Convolve with exponentially decaying noise, 60 dB down after ``decay_s``, 10 dB under the direct sound."""
    n = int(decay_s * SAMPLING_RATE)
    tail = rng.standard_normal(n) * 10 ** (-3 * np.arange(n) / n)
    tail *= 0.33 / np.sqrt(np.sum(tail**2))
    response = np.concatenate([[1.0], tail])
    size = len(samples) + n
    wet = np.fft.irfft(np.fft.rfft(samples, size) * np.fft.rfft(response, size), size)[: len(samples)]
    return wet.astype(np.float32)


def band_limited(samples: np.ndarray, low_hz: float, high_hz: float) -> np.ndarray:
    """Keep a band of frequencies, its edges falling off over a fifth of an octave or so."""
    spectrum = np.fft.rfft(samples)
    frequencies = np.fft.rfftfreq(len(samples), 1 / SAMPLING_RATE)
    spectrum *= 1 / (1 + (low_hz / np.maximum(frequencies, 1.0)) ** 8) / (1 + (frequencies / high_hz) ** 16)
    return np.fft.irfft(spectrum, len(samples)).astype(np.float32)
