"""Short clips that count as speech, for tests of everything around the models."""

from __future__ import annotations

from functools import cache
from typing import TYPE_CHECKING

from components.core.audio import load_audio
from components.core.catalog import EXAMPLES

if TYPE_CHECKING:
    import numpy as np


@cache
def _voice() -> np.ndarray:
    return load_audio(EXAMPLES.parent / "pencil.ogg").samples[16_000:20_000]


def spoken(rng: np.random.Generator) -> np.ndarray:
    """A quarter of a second of a voice, in a little noise of its own; 16 kHz."""
    return _voice() + 0.01 * rng.standard_normal(len(_voice()))
