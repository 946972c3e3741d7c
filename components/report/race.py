"""Bars of all lanes on one time axis: encoder, decoder, and the decoder's steps as ticks."""

from __future__ import annotations

from dataclasses import dataclass
from math import floor, log10
from typing import TYPE_CHECKING

from components.core.types import WINDOW_S
from components.report.columns import seconds
from components.report.words import step_times

if TYPE_CHECKING:
    from collections.abc import Iterable

    from components.core.types import Comparison, LaneRun

WIDTH = 1000
"""Units of the drawing from 0 to the end of the axis."""
MAX_STEPS = 250
"""Ticks that can still be told apart; beyond, a bar has none."""


@dataclass(frozen=True)
class Bar:
    """One lane; ``encoder`` and ``decoder`` are lengths, ``steps`` positions, in units of the drawing."""

    run: LaneRun
    encoder: float
    decoder: float
    steps: tuple[float, ...]
    time: str


@dataclass(frozen=True)
class Race:
    """The bars of a comparison.

    ``scale_s``: the longest bar. ``ticks``: share of the axis and label. ``even``: lanes whose steps are spaced evenly,
    since the engine does not tell when it wrote each. ``pending``: lanes still to come, whose bars the page draws.
    """

    scale_s: float
    bars: tuple[Bar, ...]
    ticks: tuple[tuple[float, str], ...]
    even: tuple[str, ...]
    pending: tuple[str, ...] = ()


def race(comparison: Comparison, pending: Iterable[str] = ()) -> Race | None:
    """The bars of the lanes that were timed, and room for those ``pending``; ``None`` where none was timed."""
    timed = [run for run in comparison.runs if run.generation_time_s]
    if not timed:
        return None
    scale_s = max(run.generation_time_s or 0.0 for run in timed)
    step = _tick_distance(scale_s)
    bars = tuple(_bar(run, scale_s) for run in timed)
    # A label at the very end would not fit.
    shown = [number * step for number in range(floor(scale_s / step) + 1) if number * step < 0.96 * scale_s]
    ticks = tuple((at_s / scale_s, _label(at_s, scale_s)) for at_s in shown)
    even = tuple(bar.run.lane_id for bar in bars if bar.steps and not bar.run.token_times_s)
    return Race(scale_s, bars, ticks, even, tuple(pending))


def _bar(run: LaneRun, scale_s: float) -> Bar:
    encoder_s, decoder_s = run.encoder_time_s or 0.0, run.decoder_time_s or 0.0
    steps = step_times(run)
    # In audio of several windows the encoder runs again between the steps, which one bar cannot show.
    shown = steps if run.audio_length_s <= WINDOW_S and len(steps) <= MAX_STEPS else []
    positions = tuple(WIDTH * at_s / scale_s for at_s in shown if encoder_s <= at_s <= encoder_s + decoder_s)
    return Bar(run, WIDTH * encoder_s / scale_s, WIDTH * decoder_s / scale_s, positions, seconds(run.generation_time_s))


def _tick_distance(longest_s: float) -> float:
    """A round number of seconds that fits two to five times into the longest bar."""
    rough = longest_s / 5
    power = 10.0 ** floor(log10(rough))
    return next(factor * power for factor in (1, 2, 2.5, 5, 10) if factor * power >= rough * 0.999)


def _label(at_s: float, scale_s: float) -> str:
    return f"{at_s:g} s" if scale_s >= 0.2 else f"{1000 * at_s:g} ms"
