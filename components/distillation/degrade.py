"""Speech as other rooms, microphones and lines would carry it. Samples: float32, shape ``(n,)``, 16 kHz, in [-1, 1]."""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np

from components.core.types import SAMPLING_RATE

if TYPE_CHECKING:
    from collections.abc import Callable

UNCHANGED_SHARE = 0.25
"""Windows that a student hears as they are."""


def degrade(samples: np.ndarray, rng: np.random.Generator) -> np.ndarray:
    """Draw a room, a tilt, coloured noise, a narrow band or a telephone, clipping and a level, each now and then.

    The result is as long as ``samples`` and depends on them and on ``rng`` alone.
    """
    if rng.random() < UNCHANGED_SHARE or not samples.any():
        return samples
    changes: tuple[tuple[float, Callable[[np.ndarray, np.random.Generator], np.ndarray]], ...] = (
        (0.3, _room),
        (0.3, _tilt),
        (0.5, _noise),
        (0.2, _telephone),
        (0.15, _muffled),
    )
    for chance, change in changes:
        if rng.random() < chance:
            samples = change(samples, rng)
    return (samples / np.abs(samples).max() * 10 ** (-rng.uniform(0, 26) / 20)).astype(np.float32)


def _room(samples: np.ndarray, rng: np.random.Generator) -> np.ndarray:
    """Convolve with noise that decays by 60 dB in 0.1 to 0.6 s, after the direct sound."""
    length = int(rng.uniform(0.1, 0.6) * SAMPLING_RATE)
    echo = rng.normal(size=length) * 10 ** (-3 * np.arange(length) / length)
    echo *= rng.uniform(0.2, 1.0) / np.sqrt((echo**2).sum())
    echo[0] = 1
    size = len(samples) + length
    return np.fft.irfft(np.fft.rfft(samples, size) * np.fft.rfft(echo, size), size)[: len(samples)]


def _tilt(samples: np.ndarray, rng: np.random.Generator) -> np.ndarray:
    """Up to 2 dB an octave up or down."""
    slope_db = rng.uniform(-2, 2)
    return _filtered(samples, lambda hertz: 10 ** (slope_db * np.log2((hertz + 50) / 1000) / 20))


def _noise(samples: np.ndarray, rng: np.random.Generator) -> np.ndarray:
    """White to brown noise, 5 to 35 dB under the speech."""
    noise = _filtered(rng.normal(size=len(samples)), lambda hertz: (hertz + 20) ** -rng.uniform(0, 1))
    ratio = 10 ** (-rng.uniform(5, 35) / 20)
    return samples + noise * (samples.std() * ratio / (noise.std() + 1e-9))


def _telephone(samples: np.ndarray, rng: np.random.Generator) -> np.ndarray:
    """300 to 3,400 Hz, give or take, in the 256 levels of G.711's mu-law."""
    low, high, peak = rng.uniform(150, 350), rng.uniform(2800, 3800), np.abs(samples).max() + 1e-9
    narrow = _filtered(samples, lambda hertz: 1 / (1 + (low / (hertz + 1)) ** 6) / (1 + (hertz / high) ** 16)) / peak
    coded = np.round(np.sign(narrow) * np.log1p(255 * np.abs(narrow)) / np.log(256) * 127) / 127
    return np.sign(coded) * (256 ** np.abs(coded) - 1) / 255 * peak


def _muffled(samples: np.ndarray, rng: np.random.Generator) -> np.ndarray:
    high = rng.uniform(3000, 7000)
    return _filtered(samples, lambda hertz: 1 / (1 + (hertz / high) ** 12))


def _filtered(samples: np.ndarray, gain: Callable[[np.ndarray], np.ndarray]) -> np.ndarray:
    hertz = np.fft.rfftfreq(len(samples), 1 / SAMPLING_RATE)
    return np.fft.irfft(np.fft.rfft(samples) * gain(hertz), len(samples))
