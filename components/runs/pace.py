"""How long a pass of a lane usually takes on this machine: what a live schedule is made of.

A schedule made of each measured time would differ a little at every run, and so would the words. A pace is measured
once and kept beside the hub's cache: the same lane then has the same schedule every time. One that was measured while
the machine was busy is not kept for the next process; one that passes do not bear out is measured again the next time.
"""

from __future__ import annotations

import json
import logging
from dataclasses import asdict, dataclass
from statistics import median
from typing import TYPE_CHECKING

from filelock import FileLock

from components.core.types import SAMPLING_RATE, AudioClip
from components.runs.compare import BUSY_RATIO
from components.runs.measure import measure, warm_up

if TYPE_CHECKING:
    from collections.abc import Callable, Sequence
    from pathlib import Path

    from components.core.caller import Caller
    from components.engines.base import DecodingOptions, Engine, EngineOutput

logger = logging.getLogger(__name__)

MARGIN = 1.1
"""Room that a pace leaves for passes that take longer than usual; without it a schedule would fall behind them."""

OFF = 1.3
"""Factor between what a pace expects and what passes take from which it is not believed."""

SHORT_S, LONG_S = 4.0, 14.0
"""Seconds of speech that a pace is measured on."""

REPEATS = 2

LEAST_PASSES = 5
"""Passes of a live run from which a pace is judged."""


@dataclass(frozen=True)
class Pace:
    """Expected seconds of a pass: ``fixed_s`` and, for each time the decoder runs, ``step_s``."""

    fixed_s: float
    step_s: float

    def expected_s(self, steps: int) -> float:
        return self.fixed_s + self.step_s * steps


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
        self._known: dict[str, Pace] = {}

    def of(self, engine: Engine, key: str, options: DecodingOptions, caller: Caller) -> Pace:
        """The pace of a loaded engine. ``key``: names the model, what runs it, and the machine.

        Raises:
            Cancelled: the caller left.
        """
        pace = self._known.get(key) or self._read().get(key)
        if pace is None:
            pace, busy = measured_pace(engine, self._speech(), options, caller)
            if not busy:
                self._write(key, pace)
        self._known[key] = pace
        return pace

    def check(self, key: str, passes: Sequence[tuple[int, float]]) -> None:
        """Forget a pace that passes do not bear out. ``passes``: how often the decoder ran in each, and its seconds."""
        pace = self._known.get(key)
        ratios = [took_s / pace.expected_s(steps) for steps, took_s in passes] if pace is not None else []
        if len(ratios) >= LEAST_PASSES and not 1 / OFF <= median(ratios) <= OFF:
            self._known.pop(key, None)
            self._write(key, None)

    def _read(self) -> dict[str, Pace]:
        try:
            kept = json.loads(self._file.read_text(encoding="utf-8")) if self._file.exists() else {}
            return {key: Pace(**each) for key, each in kept.items()}
        except (OSError, ValueError, TypeError, AttributeError):
            logger.warning("the paces in %s cannot be read", self._file.name, exc_info=True)
            return {}

    def _write(self, key: str, pace: Pace | None) -> None:
        """Keep a pace, or with ``None`` forget it."""
        try:
            self._file.parent.mkdir(parents=True, exist_ok=True)
            with FileLock(f"{self._file}.lock", timeout=5):
                paces = {name: asdict(each) for name, each in self._read().items() if name != key}
                paces |= {} if pace is None else {key: asdict(pace)}
                self._file.write_text(json.dumps(paces), encoding="utf-8")
        except OSError:
            logger.warning("the paces in %s cannot be kept", self._file.name, exc_info=True)


def measured_pace(engine: Engine, speech: AudioClip, options: DecodingOptions, caller: Caller) -> tuple[Pace, bool]:
    """Time an engine on a short and a long piece of speech, the faster of ``REPEATS`` runs each, after one to warm up.

    Args:
        engine: Loaded.
        speech: At least ``LONG_S`` seconds of somebody speaking.
        options: As the passes will have them.
        caller: Who waits.

    Returns:
        The pace, and whether the machine was busy: the encoder does the same each time, and took times too far apart.

    Raises:
        Cancelled: the caller left.
    """
    warm_up(engine, speech, options, caller=caller)
    found = [
        [measure(engine, _beginning(speech, length_s), options, caller) for _ in range(REPEATS)]
        for length_s in (SHORT_S, LONG_S)
    ]
    encoder_s = [each.timing.encoder_time_s for pair in found for each in pair]
    short_s, long_s = (min(each.timing.end_to_end_time_s for each in pair) for pair in found)
    short, long = (decoder_steps(pair[0].output) for pair in found)
    step_s = max(0.0, (long_s - short_s) / max(1, long - short))
    fixed_s = max(0.0, short_s - step_s * short)
    return Pace(MARGIN * fixed_s, MARGIN * step_s), max(encoder_s) > BUSY_RATIO * min(encoder_s)


def decoder_steps(output: EngineOutput) -> int:
    """How often the decoder ran for what it wrote: once a token, but for those that were drafted and right."""
    return round(output.generated_tokens / (output.tokens_per_pass or 1.0))


def _beginning(speech: AudioClip, length_s: float) -> AudioClip:
    return AudioClip(speech.clip_id, speech.samples[: round(length_s * SAMPLING_RATE)])
