"""The charts of a benchmark: a report's JSON in, a figure out. Looks are those of ``report.figures``."""

from __future__ import annotations

from html import escape
from typing import TYPE_CHECKING, Any

import plotly.graph_objects as go

from components.core.catalog import lane_label
from components.core.types import BASELINE_LANE
from components.report.figures_old import styled
from components.report.theme import INK, lane_colour

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable, Sequence

    from components.core.types import ClipFigures, Report

SYMBOLS = ("circle", "diamond", "square", "triangle-up", "cross")
"""Lanes are told apart by more than colour."""

FEW = 10
MANY = 2000
"""Points from which a chart is drawn by WebGL."""


def latency_by_clip(report: Report) -> go.Figure:
    """Seconds of generation, clip by clip in the order they ran; a point a lane.

    On a logarithmic scale: short and long clips can both be read, and an equal speed-up is an equal distance.
    """
    figure = _scatter(report, lambda clip: clip.generation_time_s, "%{y:.3f} s")
    figure = styled(figure, x="Clip (number)", y="Latency (seconds, logarithmic)")
    ticks = [digit * 10.0**power for power in range(-4, 5) for digit in (1, 2, 5)]
    return figure.update_yaxes(type="log", tickvals=ticks, ticktext=[f"{tick:g}" for tick in ticks])


def speed_up_by_clip(report: Report) -> go.Figure:
    """Times as fast as the baseline, clip by clip, with the line at 1, total over total, and its interval as a band."""
    baseline = {c.clip_id: c.generation_time_s for c in report.clips if c.lane_id == BASELINE_LANE}

    def ratio(clip: ClipFigures) -> float | None:
        first, own = baseline.get(clip.clip_id), clip.generation_time_s
        return first / own if first and own else None

    figure = _scatter(report, ratio, "%{y:.2f}×", lanes=[lane for lane in _lanes(report) if lane != BASELINE_LANE])
    for lane_id, total in report.summary.speed_up.items():
        interval = report.summary.speed_up_interval.get(lane_id)
        name = f"{lane_label(lane_id)} total {total:.2f}×"
        if interval is not None:
            name += f" ({interval[0]:.2f} to {interval[1]:.2f})"
            figure.add_hrect(
                y0=interval[0],
                y1=interval[1],
                fillcolor=lane_colour(lane_id),
                opacity=0.15,
                line_width=0,
                layer="below",
            )
        line = {"color": lane_colour(lane_id), "width": 2, "dash": "dot"}
        figure.add_hline(y=total, line=line, name=escape(name), showlegend=True)
    line = {"color": INK, "width": 2, "dash": "dash"}
    figure.add_hline(y=1, line=line, name=f"{lane_label(BASELINE_LANE)} (1×)", showlegend=True)
    figure.update_layout(showlegend=True)
    return styled(figure, x="Clip (number)", y="Speed-up (times)").update_yaxes(rangemode="tozero")


def latency_by_tokens(report: Report) -> go.Figure:
    """Seconds of generation against tokens generated: the slope of each lane's line is what a token costs."""
    figure = _scatter(
        report,
        lambda clip: clip.generation_time_s,
        "%{x} tokens, %{y:.3f} s",
        x=lambda clip: clip.generated_tokens,
    )
    for lane_id, totals in report.summary.lanes.items():
        timed = [
            (clip.generated_tokens, clip.generation_time_s)
            for clip in report.clips
            if clip.lane_id == lane_id and clip.generation_time_s is not None
        ]
        slope = totals.ms_per_token
        if slope is None or not timed:
            continue
        tokens = [count for count, _ in timed]
        middle = sum(tokens) / len(tokens), sum(time_s for _, time_s in timed) / len(timed)  # the line goes through it
        ends = [min(tokens), max(tokens)]
        figure.add_scatter(
            x=ends,
            y=[middle[1] + slope / 1000 * (count - middle[0]) for count in ends],
            mode="lines",
            line={"color": lane_colour(lane_id), "width": 2},
            name=escape(f"{lane_label(lane_id)}: {slope:.2f} ms a token"),
            hoverinfo="skip",
        )
    figure.update_layout(showlegend=True)
    return styled(figure, x="Tokens generated (number)", y="Latency (seconds)").update_yaxes(rangemode="tozero")


def wer_by_rtfx(report: Report) -> go.Figure:
    """Word error rate, with its interval, against RTFx: a point a lane. Down and right is better."""
    figure = go.Figure()
    for number, (lane_id, totals) in enumerate(report.summary.lanes.items()):
        wer, interval = totals.word_errors.wer, totals.wer_interval
        if wer is None or totals.rtfx is None:
            continue
        low, high = interval or (wer, wer)
        figure.add_scatter(
            x=[totals.rtfx],
            y=[100 * wer],
            error_y={"type": "data", "array": [100 * (high - wer)], "arrayminus": [100 * (wer - low)], "width": 8},
            mode="markers",
            marker={"color": lane_colour(lane_id), "size": 13, "symbol": SYMBOLS[number % len(SYMBOLS)]},
            name=escape(lane_label(lane_id)),
            hovertemplate="%{x:.1f}× real time<br>WER %{y:.2f} %<extra>" + escape(lane_label(lane_id)) + "</extra>",
        )
    if not figure.data:
        text = "No references, so no word error rate"
        figure.add_annotation(text=text, showarrow=False, xref="paper", yref="paper", x=0.5, y=0.5)
    figure.update_layout(showlegend=True)
    figure = styled(figure, x="RTFx (times real time)", y="Word error rate (%)")
    return figure.update_xaxes(rangemode="tozero").update_yaxes(rangemode="tozero")


FIGURES: dict[str, tuple[str, Callable[[Report], go.Figure]]] = {
    "clip-latency": ("Latency of each clip", latency_by_clip),
    "clip-speed-up": ("Speed-up of each clip", speed_up_by_clip),
    "token-latency": ("Latency against tokens", latency_by_tokens),
    "wer-rtfx": ("Word errors against speed", wer_by_rtfx),
}
"""Every chart of a benchmark: id -> title and function."""


def _lanes(report: Report) -> list[str]:
    return list(dict.fromkeys(clip.lane_id for clip in report.clips))


def _scatter(
    report: Report,
    y: Callable[[ClipFigures], float | None],
    hover: str,
    *,
    x: Callable[[ClipFigures], float] | None = None,
    lanes: Iterable[str] | None = None,
) -> go.Figure:
    """A point a clip and lane; x is the number of the clip unless told."""
    numbers: dict[str, int] = {}
    for clip in report.clips:
        numbers.setdefault(clip.clip_id, len(numbers) + 1)
    trace: Any = go.Scattergl if len(report.clips) > MANY else go.Scatter
    figure = go.Figure()
    every = _lanes(report)
    for lane_id in every if lanes is None else lanes:
        clips: Sequence[ClipFigures] = [clip for clip in report.clips if clip.lane_id == lane_id]
        label = escape(lane_label(lane_id))
        figure.add_trace(
            trace(
                x=[x(clip) if x else numbers[clip.clip_id] for clip in clips],
                y=[y(clip) for clip in clips],
                mode="markers",
                marker={
                    "color": lane_colour(lane_id),
                    "size": 7,
                    "symbol": SYMBOLS[every.index(lane_id) % len(SYMBOLS)],
                },
                name=label,
                customdata=[[escape(clip.clip_id)] for clip in clips],
                hovertemplate="%{customdata[0]}<br>" + hover + f"<extra>{label}</extra>",
            )
        )
    if x is None and len(numbers) <= FEW:
        figure.update_xaxes(dtick=1)  # no tick between two clips
    return figure
