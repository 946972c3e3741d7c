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
from weakref import WeakKeyDictionary

from filelock import FileLock

from components.core.types import SAMPLING_RATE, AudioClip
from components.runs.measure import measure, warm_up

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


class Paces:
    """The paces of the engines of one process, each measured once, and kept for the next process.

    Args:
        file: Where they are kept, as JSON. Where it cannot be read or written, two processes may see a recording cut
            a little differently.
        speech: At least ``LONG_S`` seconds of somebody speaking, to measure on.
    """

    def __init__(self, file: Path, speech: Callable[[], AudioClip]) -> None:
        self._file = file
        self._speech = speech
        self._known: WeakKeyDictionary[Engine, Pace] = WeakKeyDictionary()

    def of(self, engine: Engine, key: str, options: DecodingOptions, caller: Caller) -> Pace:
        """The pace of a loaded engine. ``key``: names the model, what runs it, and the machine.

        Raises:
            Cancelled: the caller left.
        """
        if engine not in self._known:
            now = measured_pace(engine, self._speech(), options, caller)
            self._known[engine] = self._kept(key, now)
        return self._known[engine]

    def _kept(self, key: str, now: Pace) -> Pace:
        """The pace kept under a key, as long as it is near to what was measured now; else that, which is kept."""
        try:
            self._file.parent.mkdir(parents=True, exist_ok=True)
            with FileLock(f"{self._file}.lock", timeout=5):
                paces = json.loads(self._file.read_text(encoding="utf-8")) if self._file.exists() else {}
                if key in paces and (kept := Pace(**paces[key])).is_near(now):
                    return kept
                self._file.write_text(json.dumps({**paces, key: asdict(now)}), encoding="utf-8")
        except (OSError, ValueError, TypeError):
            logger.warning("the paces in %s cannot be kept", self._file.name, exc_info=True)
        return now


def measured_pace(engine: Engine, speech: AudioClip, options: DecodingOptions, caller: Caller) -> Pace:
    """Time an engine on a short and a long piece of speech, the faster of ``REPEATS`` runs each, after one to warm up.

    Args:
        engine: Loaded.
        speech: At least ``LONG_S`` seconds of somebody speaking.
        options: As the passes will have them.
        caller: Who waits.

    Raises:
        Cancelled: the caller left.
    """
    warm_up(engine, speech, options, caller=caller)
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


def _beginning(speech: AudioClip, length_s: float) -> AudioClip:
    return AudioClip(speech.clip_id, speech.samples[: round(length_s * SAMPLING_RATE)])


def _rounded_up(seconds: float) -> float:
    """The next power of ``RATIO``, in seconds; zero stays zero."""
    return RATIO ** math.ceil(math.log(seconds, RATIO) - 1e-9) if seconds > 1e-4 else 0.0
