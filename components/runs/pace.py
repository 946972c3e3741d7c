"""How long a pass of a lane usually takes on this machine: what a live schedule is made of.

A schedule made of each measured time would differ a little at every run, and so would the words. A pace is measured
once, rounded up to a coarse step, and kept beside the hub's cache: the same lane then has the same schedule every time.
"""

from __future__ import annotations

import json
import logging
import math
from dataclasses import asdict, dataclass
from typing import TYPE_CHECKING

from filelock import FileLock

from components.core.types import SAMPLING_RATE, AudioClip
from components.runs.measure import measure

if TYPE_CHECKING:
    from collections.abc import Callable
    from pathlib import Path

    from components.core.caller import Caller
    from components.engines.base import DecodingOptions, Engine

logger = logging.getLogger(__name__)

RATIO = 1.25
"""Between one step of a pace and the next."""

MARGIN = 1.1
"""Room that a pace leaves for passes that take longer than usual; without it a schedule would fall behind them."""

OFF = 1.6
"""Factor between a kept pace and a new measurement from which the kept one is replaced."""

SHORT_S, LONG_S = 4.0, 14.0
"""Seconds of speech that a pace is measured on."""

REPEATS = 2


@dataclass(frozen=True)
class Pace:
    """Expected seconds of a pass: ``fixed_s`` and, for each second of audio in the buffer, ``per_second_s``."""

    fixed_s: float
    per_second_s: float

    def expected_s(self, buffer_s: float) -> float:
        return self.fixed_s + self.per_second_s * buffer_s

    def is_near(self, other: Pace) -> bool:
        """Whether both expect about the same of a pass over a long buffer."""
        ratio = self.expected_s(LONG_S) / other.expected_s(LONG_S)
        return 1 / OFF <= ratio <= OFF


def measured_pace(engine: Engine, speech: AudioClip, options: DecodingOptions, caller: Caller) -> Pace:
    """Time a warm engine on a short and a long piece of speech, the faster of ``REPEATS`` runs each.

    Args:
        engine: Loaded and warm.
        speech: At least ``LONG_S`` seconds of somebody speaking.
        options: As the passes will have them.
        caller: Who waits.
    """
    short_s, long_s = (
        min(
            measure(engine, _beginning(speech, length_s), options, caller).timing.end_to_end_time_s
            for _ in range(REPEATS)
        )
        for length_s in (SHORT_S, LONG_S)
    )
    per_second_s = max(0.0, (long_s - short_s) / (LONG_S - SHORT_S))
    fixed_s = max(0.0, short_s - per_second_s * SHORT_S)
    return Pace(_rounded_up(MARGIN * fixed_s), _rounded_up(MARGIN * per_second_s))


def kept_pace(file: Path, key: str, measure_pace: Callable[[], Pace]) -> Pace:
    """The pace kept under a key, as long as it is near to what is measured now; else the new one, which is kept.

    A file that cannot be read or written costs nothing but the sameness of two runs.
    """
    now = measure_pace()
    try:
        file.parent.mkdir(parents=True, exist_ok=True)
        with FileLock(f"{file}.lock", timeout=5):
            paces = json.loads(file.read_text()) if file.exists() else {}
            if key in paces and (kept := Pace(**paces[key])).is_near(now):
                return kept
            file.write_text(json.dumps({**paces, key: asdict(now)}))
    except (OSError, ValueError, TypeError, TimeoutError):
        logger.warning("the paces in %s cannot be kept", file.name, exc_info=True)
    return now


def _beginning(speech: AudioClip, length_s: float) -> AudioClip:
    return AudioClip(speech.clip_id, speech.samples[: round(length_s * SAMPLING_RATE)])


def _rounded_up(seconds: float) -> float:
    """The next power of ``RATIO``, in seconds; zero stays zero."""
    return RATIO ** math.ceil(math.log(seconds, RATIO) - 1e-9) if seconds > 1e-4 else 0.0
