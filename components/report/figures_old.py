"""The Plotly figures: plain nouns in, a figure out.

Every figure has an explicit height, a unit on every axis and a transparent background. The page draws them with
plotly.js 3, so nothing that is new in plotly.js 4 is used.
"""

from __future__ import annotations

from html import escape
from textwrap import wrap
from typing import TYPE_CHECKING

import plotly.graph_objects as go
from plotly.subplots import make_subplots

from components.core.catalog import lane_label
from components.core.types import BASELINE_LANE, MAX_TOKENS
from components.report.theme import GRID, INK, lane_colour
from components.report.totals import lanes_of, samples, speed_ups, total_speed_up

if TYPE_CHECKING:
    from collections.abc import Sequence

    from components.core.types import LaneRun, ModelInfo

HEIGHT_PX = 340
LEGEND_ROW_PX = 19
"""A legend above the plot takes this much for each entry on a phone; beyond three, figures grow by it."""
LABEL_LENGTH = 14
"""Characters of a lane's name before it is broken, so that it fits beside a bar on a phone."""
MIN_SLOTS = 3
"""Samples that a chart has room for at least, so that a first one is no wall of colour."""

ENCODER_PATTERN = {
    "shape": "/",
    "size": 6,
    "solidity": 0.3,
    "fgcolor": "rgba(255, 255, 255, 0.9)",
    "fillmode": "overlay",
}
"""Encoder bars are hatched, decoder bars solid: the part is told by more than colour."""


def styled(figure: go.Figure, *, x: str, y: str, height: int = HEIGHT_PX) -> go.Figure:
    """The looks that all figures share; ``x`` and ``y`` are axis titles with their unit."""
    axis = {"gridcolor": GRID, "zerolinecolor": GRID, "linecolor": GRID, "automargin": True, "fixedrange": True}
    figure.update_layout(
        template="none",
        height=height,
        margin={"l": 52, "r": 16, "t": 16, "b": 44},
        paper_bgcolor="rgba(0,0,0,0)",
        plot_bgcolor="rgba(0,0,0,0)",
        font={"family": "system-ui, sans-serif", "size": 12, "color": INK},
        legend={
            "orientation": "h",
            "x": 0,
            "xanchor": "left",
            "y": 1.04,
            "yanchor": "bottom",
            "traceorder": "normal",
            "itemclick": False,
            "itemdoubleclick": False,
        },
        bargap=0.3,
        bargroupgap=0.08,
        dragmode=False,
    )
    figure.update_xaxes(title={"text": x, "standoff": 8}, **axis)
    figure.update_yaxes(title={"text": y, "standoff": 8}, **axis)
    return figure


def broken_label(lane_id: str, length: int) -> str:
    """A lane's name in lines of at most so many characters, for an axis."""
    return "<br>".join(escape(line) for line in wrap(lane_label(lane_id), length))


def _height(entries: int) -> int:
    return HEIGHT_PX + LEGEND_ROW_PX * max(0, entries - 3)


def _slots(count: int) -> list[float]:
    """Range of a category axis with ``count`` samples in its middle."""
    spare = max(0, MIN_SLOTS - count) / 2
    return [-0.5 - spare, count - 0.5 + spare]


def _bar(lane_id: str, part: str = "") -> dict[str, object]:
    """Name, colour and pattern of a lane's bar; ``part`` is ``encoder``, ``decoder`` or nothing."""
    marker: dict[str, object] = {"color": lane_colour(lane_id)}
    if part == "encoder":
        marker["pattern"] = ENCODER_PATTERN
    # The legend names each lane once, and beside them, once, what hatched and solid mean.
    return {
        "name": escape(lane_label(lane_id)),
        "marker": marker,
        "offsetgroup": lane_id,
        "showlegend": part != "encoder",
    }


def _part_legend(figure: go.Figure) -> None:
    """Two entries whose bars have no length: hatched is the encoder, solid the decoder."""
    place: dict[str, object] = {"x": [None], "y": [None]}
    if figure.data:
        first = figure.data[0]
        across = first.orientation == "h"
        place = {"x": [None] if across else first.x[:1], "y": first.y[:1] if across else [None]}
        place |= {"orientation": first.orientation, "offsetgroup": first.offsetgroup}
    for part, marker in (("encoder", {"color": INK, "pattern": ENCODER_PATTERN}), ("decoder", {"color": INK})):
        figure.add_bar(name=part, marker=marker, hoverinfo="skip", **place)


def latency_figure(rows: Sequence[LaneRun]) -> go.Figure:
    """Seconds a sample: one group a sample, one bar a lane, encoder and decoder stacked, in the order of the rows."""
    grouped = samples(rows)
    numbers = [str(number) for number in range(1, len(grouped) + 1)]
    figure = go.Figure()
    for lane_id in lanes_of(rows):
        for part in ("encoder", "decoder"):
            runs = [sample.get(lane_id) for sample in grouped]
            seconds = [getattr(run.timing, f"{part}_time_s") if run and run.timing else None for run in runs]
            figure.add_bar(
                x=numbers,
                y=seconds,
                customdata=[[escape(run.clip_id) if run else ""] for run in runs],
                hovertemplate=f"%{{customdata[0]}}<br>{part} %{{y:.3f}} s<extra>{escape(lane_label(lane_id))}</extra>",
                **_bar(lane_id, part),
            )
    _part_legend(figure)
    figure.update_layout(barmode="stack")
    styled(figure, x="Sample (number)", y="Latency (seconds)", height=_height(len(lanes_of(rows))))
    figure.update_xaxes(type="category", showgrid=False, range=_slots(len(grouped)))
    return figure.update_yaxes(rangemode="tozero")


def speed_up_figure(rows: Sequence[LaneRun]) -> go.Figure:
    """Times as fast as the baseline lane, a sample: with a line at 1 and each lane's total over total."""
    lanes = [lane_id for lane_id in lanes_of(rows) if lane_id != BASELINE_LANE]
    grouped = samples(rows)
    numbers = [str(number) for number in range(1, len(grouped) + 1)]
    clips = [[escape(next(iter(sample.values())).clip_id)] for sample in grouped]
    figure = go.Figure()
    for lane_id in lanes:
        ratios = speed_ups(rows, lane_id)
        total = total_speed_up(rows, lane_id)
        bar = _bar(lane_id)
        if total is not None:
            bar["name"] = f"{bar['name']}, total {total:.2f}× (dotted)"
            figure.add_hline(y=total, line={"color": lane_colour(lane_id), "width": 2, "dash": "dot"})
        figure.add_bar(
            x=numbers,
            y=ratios,
            customdata=clips,
            text=[f"{ratio:.2f}×" if ratio else "" for ratio in ratios] if len(lanes) * len(numbers) <= 8 else None,
            textposition="inside",
            insidetextanchor="start",
            textangle=0,
            textfont={"color": "#000000"},  # at least 4.5:1 on every lane's colour, which white is not
            hovertemplate="%{customdata[0]}<br>%{y:.2f}×<extra>" + escape(lane_label(lane_id)) + "</extra>",
            **bar,
        )
    figure.add_hline(
        y=1,
        line={"color": INK, "width": 2, "dash": "dash"},
        name=f"{lane_label(BASELINE_LANE)} (dashed)",
        showlegend=True,
    )
    figure.update_layout(barmode="group", showlegend=True)
    styled(figure, x="Sample (number)", y="Speed-up (times)", height=_height(len(lanes)))
    figure.update_xaxes(type="category", showgrid=False, range=_slots(len(grouped)))
    highest = max([1.0, *(ratio for lane_id in lanes for ratio in speed_ups(rows, lane_id) if ratio)])
    return figure.update_yaxes(range=[0, highest * 1.08])


def parameters_figure(infos: Sequence[ModelInfo]) -> go.Figure:
    """Millions of parameters: one line a lane, encoder and decoder stacked, the total at its end."""
    figure = go.Figure()
    for info in infos:
        label = broken_label(info.lane_id, LABEL_LENGTH)
        for part, count in (("encoder", info.encoder_parameters), ("decoder", info.decoder_parameters)):
            bar = _bar(info.lane_id, part) | {"offsetgroup": None, "showlegend": False}
            figure.add_bar(
                x=[count / 1e6],
                y=[label],
                orientation="h",
                customdata=[[f"{count:,}"]],
                hovertemplate=f"{part}: %{{customdata[0]}} parameters<extra>{label}</extra>",
                **bar,
            )
        length = (info.encoder_parameters + info.decoder_parameters) / 1e6
        text = f" {_millions(info.num_parameters)} M"
        figure.add_annotation(x=length, y=label, text=text, showarrow=False, xanchor="left")
    _part_legend(figure)
    figure.update_layout(barmode="stack", showlegend=True)
    styled(figure, x="Parameters (millions)", y="Lane", height=_height(len(infos)))
    figure.update_yaxes(showgrid=False, autorange="reversed")
    # Room for the totals at the ends of the bars.
    return figure.update_xaxes(
        range=[0, 1.35 * max((info.num_parameters / 1e6 for info in infos), default=1.0)], nticks=5
    )


def _millions(count: int) -> str:
    return f"{count / 1e6:,.0f}" if count >= 1e8 else f"{count / 1e6:.2f}"


def decoder_passes_figure(tokens: int, infos: Sequence[ModelInfo]) -> go.Figure:
    """Why two layers are faster: one line a decoder layer, as long as the tokens written; the area is the work.

    The decoder runs once a token, so a transcript of ``tokens`` costs ``tokens * decoder_layers`` layer passes:
    4,096 for Whisper large-v2 and 256 for its student at 128 tokens. A checkpoint that several lanes run is drawn once.
    """
    checkpoints = [info.checkpoint for info in infos]
    infos = [info for index, info in enumerate(infos) if info.checkpoint not in checkpoints[:index]]
    if not infos:
        return styled(go.Figure(), x="Tokens written (number)", y="Decoder layers")
    layers = [info.decoder_layers for info in infos]
    titles = [
        f"<b>{escape(lane_label(info.lane_id))}: {info.decoder_layers * tokens:,} layer passes</b><br>"
        f"{info.decoder_layers:,} layers × {tokens:,} tokens"
        for info in infos
    ]
    # Heights follow the layer counts, so that a layer is as thick in every panel.
    gap_px, layer_px = 66, max(4.0, min(12.0, 320 / max(layers)))
    plot_px = sum(layers) * layer_px + gap_px * (len(infos) - 1)
    figure = make_subplots(
        rows=len(infos),
        cols=1,
        shared_xaxes=True,
        row_heights=[count / sum(layers) for count in layers],
        vertical_spacing=gap_px / plot_px if len(infos) > 1 else 0,
    )
    for row, info in enumerate(infos, start=1):
        figure.add_bar(
            x=[tokens] * info.decoder_layers,
            y=list(range(1, info.decoder_layers + 1)),
            orientation="h",
            marker={"color": lane_colour(info.lane_id)},
            name=escape(lane_label(info.lane_id)),
            hovertemplate="layer %{y}: %{x:,} passes<extra>" + escape(lane_label(info.lane_id)) + "</extra>",
            row=row,
            col=1,
        )
    top_px, bottom_px = 48, 48
    styled(figure, x="", y="", height=round(plot_px + top_px + bottom_px))
    figure.update_layout(showlegend=False, margin={"t": top_px, "b": bottom_px, "l": 52, "r": 16}, bargap=0.25)
    for row, (title, info) in enumerate(zip(titles, infos, strict=True), start=1):
        figure.add_annotation(
            text=title,
            xref="x domain",
            x=0,
            xanchor="left",
            yref="y domain",
            y=1,
            yanchor="bottom",
            yshift=4,
            align="left",
            showarrow=False,
            row=row,
            col=1,
        )
        figure.update_yaxes(
            row=row,
            range=[info.decoder_layers + 0.5, 0.5],
            tickvals=[1, info.decoder_layers],
            showgrid=False,
            title={"text": "Layer" if info.decoder_layers * layer_px > 40 else "", "standoff": 4},
        )
    figure.update_xaxes(range=[0, MAX_TOKENS], dtick=64)
    return figure.update_xaxes(title={"text": "Tokens written (number)"}, row=len(infos))
