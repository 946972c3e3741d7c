"""Every chart: nouns in, a Plotly figure out; ``None`` where there is too little to draw.

Each has an explicit height, a unit on every axis and a transparent background, and can be read at 390 pixels. The page
draws them with plotly.js 3.3, so nothing that is newer is used.
"""

from __future__ import annotations

from html import escape
from textwrap import wrap
from typing import TYPE_CHECKING, Any

import plotly.graph_objects as go
from plotly.subplots import make_subplots

from components.core.catalog import LANES, lane_label
from components.core.types import BASELINE_LANE, MAX_TOKENS
from components.core.wording import counted
from components.report.columns import (
    MIN_CLIPS_FOR_SLOPE,
    between,
    error_rate_of,
    lanes_of,
    machine_line,
    run_name,
    samples,
    speed_rows,
    time_per_token,
    times,
)
from components.report.theme import GRID, INK, ON_COLOUR, lane_colour

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable, Mapping, Sequence

    from components.core.types import ClipFigures, ModelInfo, Models, Report, SpeedRun
    from components.report.columns import SpeedRow

HEIGHT_PX = 340
LEGEND_ROW_PX = 19
"""Height of one entry of the legend on a phone; from the fourth on, a chart grows by it."""
LABEL_LENGTH = 14
"""Characters of a lane's name before it is broken, so that it fits beside a bar on a phone."""
MIN_SLOTS = 3
"""Samples that a chart has room for at least, so that a single bar is not as wide as the chart."""
MAX_BARS = 12
"""Samples up to which each has bars; more are drawn as points."""
MANY_POINTS = 2000
"""Points from which a chart is drawn by WebGL."""
FAINT = 0.6
"""Opacity of the runs around a chosen one."""
SYMBOLS = ("circle", "diamond", "square", "triangle-up", "cross")
"""Lanes are told apart by more than colour."""

ENCODER_PATTERN = {
    "shape": "/",
    "size": 6,
    "solidity": 0.3,
    "fgcolor": "rgba(255, 255, 255, 0.9)",
    "fillmode": "overlay",
}
"""Encoder bars are hatched, decoder bars solid."""


# What all charts share.


def styled(figure: go.Figure, *, x: str, y: str, height: int = HEIGHT_PX) -> go.Figure:
    """The looks of every chart; ``x`` and ``y`` are axis titles with their unit."""
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


def _label(lane_id: str) -> str:
    return escape(lane_label(lane_id))


def _broken(text: str, length: int = LABEL_LENGTH) -> str:
    """A text in lines of at most so many characters, for an axis."""
    return "<br>".join(escape(line) for line in wrap(text, length))


def _height(entries: int) -> int:
    return HEIGHT_PX + LEGEND_ROW_PX * max(0, entries - 3)


def _slots(count: int) -> list[float]:
    """Range of a category axis with ``count`` samples in its middle."""
    spare = max(0, MIN_SLOTS - count) / 2
    return [-0.5 - spare, count - 0.5 + spare]


def _marker(lane_id: str, size: int) -> dict[str, Any]:
    """A lane's point: the same colour and symbol in every chart."""
    symbol = SYMBOLS[LANES[lane_id].colour] if lane_id in LANES else "x"
    return {"color": lane_colour(lane_id), "size": size, "symbol": symbol}


def _line_at(figure: go.Figure, y: float, colour: str, dash: str, name: str) -> None:
    line = {"color": colour, "width": 2, "dash": dash}
    figure.add_hline(y=y, line=line, name=name, showlegend=True)


def _scale(figure: go.Figure, values: Iterable[float | None], axis: str = "y") -> None:
    """From zero, or logarithmic with ticks at 1, 2 and 5 where the largest value would squash the smallest."""
    known = [value for value in values if value]
    update = figure.update_yaxes if axis == "y" else figure.update_xaxes
    if known and max(known) > 10 * min(known):
        ticks = [digit * 10.0**power for power in range(-5, 7) for digit in (1, 2, 5)]
        update(type="log", tickvals=ticks, ticktext=[f"{tick:,g}" for tick in ticks])
    else:
        update(rangemode="tozero")


def _bar(lane_id: str, part: str = "") -> dict[str, Any]:
    """Name, colour and pattern of a lane's bar; ``part`` is ``encoder``, ``decoder`` or nothing."""
    marker: dict[str, Any] = {"color": lane_colour(lane_id)}
    if part == "encoder":
        marker["pattern"] = ENCODER_PATTERN
    # The legend names each lane once, and beside them, once, what hatched and solid mean.
    return {"name": _label(lane_id), "marker": marker, "offsetgroup": lane_id, "showlegend": part != "encoder"}


def _part_legend(figure: go.Figure) -> None:
    """Two entries whose bars have no length: hatched is the encoder, solid the decoder."""
    at: dict[str, Any] = {"x": [None], "y": [None]}
    if figure.data:
        first = figure.data[0]
        across = first.orientation == "h"
        at = {"x": [None] if across else first.x[:1], "y": first.y[:1] if across else [None]}
        at |= {"orientation": first.orientation, "offsetgroup": first.offsetgroup}
    for part, marker in (("encoder", {"color": INK, "pattern": ENCODER_PATTERN}), ("decoder", {"color": INK})):
        figure.add_bar(name=part, marker=marker, hoverinfo="skip", **at)


# One or many clips.


def latency(report: Report) -> go.Figure | None:
    """Seconds a sample. Bars, encoder and decoder stacked, or, where there are many, a point a sample and lane."""
    found = samples(report)
    if not any(row.generation_time_s for row in report.clips):
        return None
    if len(found) > MAX_BARS:
        figure = _points(report, lanes_of(report), lambda row, _: row.generation_time_s, "%{y:.3f} s")
        figure = styled(figure, x="Clip (number)", y="Time (seconds)", height=_height(len(lanes_of(report))))
        _scale(figure, (row.generation_time_s for row in report.clips))
        return figure
    figure = go.Figure()
    numbers = [str(number) for number in range(1, len(found) + 1)]
    for lane_id in lanes_of(report):
        rows = [sample.get(lane_id) for sample in found]
        for part in ("encoder", "decoder"):
            figure.add_bar(
                x=numbers,
                y=[getattr(row, f"{part}_time_s") if row else None for row in rows],
                customdata=[[escape(row.clip_id) if row else ""] for row in rows],
                hovertemplate=f"%{{customdata[0]}}<br>{part} %{{y:.3f}} s<extra>{_label(lane_id)}</extra>",
                **_bar(lane_id, part),
            )
    _part_legend(figure)
    figure.update_layout(barmode="stack")
    styled(figure, x="Clip (number)", y="Time (seconds)", height=_height(len(lanes_of(report)) + 2))
    figure.update_xaxes(type="category", showgrid=False, range=_slots(len(found)))
    return figure.update_yaxes(rangemode="tozero")


def speed_up(report: Report) -> go.Figure | None:
    """Times as fast as Whisper, a sample; with the line at 1, and each lane's total with its interval as a band."""
    lanes = [lane_id for lane_id in lanes_of(report) if report.summary.speed_up.get(lane_id)]
    if not lanes:
        return None
    ratios = {lane_id: [_ratio(sample, lane_id) for sample in samples(report)] for lane_id in lanes}
    bars = len(samples(report)) <= MAX_BARS
    figure = _speed_up_bars(report, ratios) if bars else _points(report, lanes, _ratio_of, "%{y:.2f}×")
    if len(samples(report)) > 1:
        figure.update_traces(showlegend=False)  # the line of the total names the lane
        for lane_id in lanes:
            _total(figure, report, lane_id)
    _line_at(figure, 1, INK, "dash", f"{lane_label(BASELINE_LANE)} (dashed)")
    figure.update_layout(showlegend=True)
    styled(figure, x="Clip (number)", y="Speed-up (times)", height=_height(len(lanes) + 1))
    if bars:
        figure.update_xaxes(type="category", showgrid=False, range=_slots(len(samples(report))))
    highest = max([1.0, *(ratio for each in ratios.values() for ratio in each if ratio)])
    return figure.update_yaxes(range=[0, highest * 1.08])


def _ratio(sample: Mapping[str, ClipFigures], lane_id: str) -> float | None:
    first, own = sample.get(BASELINE_LANE), sample.get(lane_id)
    if first is None or own is None or not first.generation_time_s or not own.generation_time_s:
        return None
    return first.generation_time_s / own.generation_time_s


def _ratio_of(row: ClipFigures, sample: Mapping[str, ClipFigures]) -> float | None:
    return _ratio(sample, row.lane_id)


def _speed_up_bars(report: Report, ratios: Mapping[str, Sequence[float | None]]) -> go.Figure:
    figure = go.Figure(layout={"barmode": "group"})
    names = [[escape(next(iter(sample.values())).clip_id)] for sample in samples(report)]
    written = len(names) * len(ratios) <= 8
    for lane_id, values in ratios.items():
        figure.add_bar(
            x=[str(number) for number in range(1, len(names) + 1)],
            y=values,
            customdata=names,
            text=[times(value) if value else "" for value in values] if written else None,
            textposition="inside",
            insidetextanchor="start",
            textangle=0,
            textfont={"color": ON_COLOUR},
            hovertemplate="%{customdata[0]}<br>%{y:.2f}×<extra>" + _label(lane_id) + "</extra>",
            **_bar(lane_id),
        )
    return figure


def _total(figure: go.Figure, report: Report, lane_id: str) -> None:
    """Total over total as a dotted line, its 95 % interval as a band around it."""
    interval = report.summary.speed_up_interval.get(lane_id)
    total = times(report.summary.speed_up[lane_id])
    name = f"{_label(lane_id)}, all clips: {total}"
    if interval is not None:
        name += f" ({between(interval, times)})"
        band = {"fillcolor": lane_colour(lane_id), "opacity": 0.15, "line_width": 0, "layer": "below"}
        figure.add_hrect(y0=interval[0], y1=interval[1], **band)
    _line_at(figure, report.summary.speed_up[lane_id], lane_colour(lane_id), "dot", name)


def _points(
    report: Report,
    lanes: Iterable[str],
    y: Callable[[ClipFigures, Mapping[str, ClipFigures]], float | None],
    hover: str,
    x: Callable[[ClipFigures], float] | None = None,
) -> go.Figure:
    """A point a sample and lane; ``x`` is the sample's number unless given, ``y`` takes a row and its sample."""
    trace: Any = go.Scattergl if len(report.clips) > MANY_POINTS else go.Scatter
    figure = go.Figure()
    for lane_id in lanes:
        numbered = [
            (number, sample[lane_id], sample)
            for number, sample in enumerate(samples(report), start=1)
            if lane_id in sample
        ]
        figure.add_trace(
            trace(
                x=[x(row) if x else number for number, row, _ in numbered],
                y=[y(row, sample) for _, row, sample in numbered],
                mode="markers",
                marker=_marker(lane_id, 7),
                name=_label(lane_id),
                customdata=[[escape(row.clip_id)] for _, row, _ in numbered],
                hovertemplate="%{customdata[0]}<br>" + hover + f"<extra>{_label(lane_id)}</extra>",
            )
        )
    return figure


def tokens_and_time(report: Report) -> go.Figure | None:
    """Seconds against tokens: the slope of a lane's line is what a token costs. ``None`` below eight timed clips."""
    lanes = [lane for lane, totals in report.summary.lanes.items() if time_per_token(totals)]
    timed = [row for row in report.clips if row.generation_time_s]
    if not lanes or len({row.clip_id for row in timed}) < MIN_CLIPS_FOR_SLOPE:
        return None
    figure = _points(
        report,
        lanes_of(report),
        lambda row, _: row.generation_time_s,
        "%{x} tokens, %{y:.3f} s",
        x=lambda row: row.generated_tokens,
    )
    for trace, lane_id in zip(figure.data, lanes_of(report), strict=True):
        trace.showlegend = lane_id not in lanes  # the line of the slope names the lane
    for lane_id in lanes:
        _slope(figure, [row for row in timed if row.lane_id == lane_id], time_per_token(report.summary.lanes[lane_id]))
    figure.update_layout(showlegend=True)
    styled(figure, x="Tokens written (number)", y="Time (seconds)", height=_height(len(lanes)))
    return _without_outliers(figure, timed)


def _slope(figure: go.Figure, rows: Sequence[ClipFigures], ms_per_token: float | None) -> None:
    """A line of this slope through the middle of the points, which is where a least-squares line goes."""
    if not rows or ms_per_token is None:
        return
    tokens = [row.generated_tokens for row in rows]
    middle = sum(tokens) / len(tokens), sum(row.generation_time_s or 0.0 for row in rows) / len(rows)
    ends = [min(tokens), max(tokens)]
    lane_id = rows[0].lane_id
    figure.add_scatter(
        x=ends,
        y=[middle[1] + ms_per_token / 1000 * (count - middle[0]) for count in ends],
        mode="lines",
        line={"color": lane_colour(lane_id), "width": 2},
        name=f"{_label(lane_id)}: {ms_per_token:.2f} ms a token",
        hoverinfo="skip",
    )


def _without_outliers(figure: go.Figure, rows: Sequence[ClipFigures]) -> go.Figure:
    """Axes that end at the bulk of the clips, where one of them would squash the rest; how many lie beyond is said."""
    tokens = sorted(row.generated_tokens for row in rows)
    bulk = tokens[min(len(tokens) - 1, int(0.95 * len(tokens)))]
    figure.update_xaxes(rangemode="tozero").update_yaxes(rangemode="tozero")
    if tokens[-1] <= 2 * bulk:
        return figure
    edge = 1.2 * bulk
    beyond = len({row.clip_id for row in rows if row.generated_tokens > edge})
    highest = max(row.generation_time_s or 0.0 for row in rows if row.generated_tokens <= edge)
    figure.update_xaxes(range=[0, edge], title_text=f"Tokens written (number; {counted(beyond, 'clip')} beyond)")
    return figure.update_yaxes(range=[0, 1.1 * highest])


def words_and_speed(report: Report) -> go.Figure | None:
    """Error rate, with its interval, against RTFx: a point a lane; down and right is better."""
    figure, rate = go.Figure(), error_rate_of(report)
    for lane_id, totals in report.summary.lanes.items():
        wer, interval = totals.word_errors.wer, totals.wer_interval
        if wer is None or totals.rtfx is None:
            continue
        low, high = interval or (wer, wer)
        figure.add_scatter(
            x=[totals.rtfx],
            y=[100 * wer],
            error_y={"type": "data", "array": [100 * (high - wer)], "arrayminus": [100 * (wer - low)], "width": 8},
            mode="markers",
            marker=_marker(lane_id, 13),
            name=_label(lane_id),
            hovertemplate="%{x:.1f}× real time<br>" + rate + ": %{y:.1f} %<extra>" + _label(lane_id) + "</extra>",
        )
    if not figure.data:
        return None
    figure.update_layout(showlegend=True)
    styled(figure, x="RTFx (times real time)", y=f"{rate} (%)", height=_height(len(figure.data)))
    return figure.update_xaxes(rangemode="tozero").update_yaxes(rangemode="tozero")


BENCHMARK: dict[str, tuple[str, Callable[[Report], go.Figure | None]]] = {
    "clip-latency": ("Time of each clip", latency),
    "clip-speed-up": ("Speed-up of each clip", speed_up),
    "token-latency": ("Time against tokens", tokens_and_time),
    "wer-rtfx": ("Error rate against speed", words_and_speed),
}
"""Every chart of a benchmark: id -> title and function."""


# Models.


def parameters(models: Models) -> go.Figure | None:
    """Millions of parameters: one bar a lane, encoder and decoder stacked, the total at its end."""
    if not models.lanes:
        return None
    figure = go.Figure()
    for info in models.lanes:
        label = _broken(lane_label(info.lane_id))
        for part, count in (("encoder", info.encoder_parameters), ("decoder", info.decoder_parameters)):
            figure.add_bar(
                x=[count / 1e6],
                y=[label],
                orientation="h",
                customdata=[[f"{count:,}"]],
                hovertemplate=f"{part}: %{{customdata[0]}} parameters<extra>{_label(info.lane_id)}</extra>",
                **(_bar(info.lane_id, part) | {"offsetgroup": None, "showlegend": False}),
            )
        length = (info.encoder_parameters + info.decoder_parameters) / 1e6
        text = f" {_millions(info.num_parameters)} M"
        figure.add_annotation(x=length, y=label, text=text, showarrow=False, xanchor="left")
    _part_legend(figure)
    figure.update_layout(barmode="stack", showlegend=True)
    styled(figure, x="Parameters (millions)", y="Model", height=_height(len(models.lanes)))
    figure.update_yaxes(showgrid=False, autorange="reversed")
    # Room for the totals at the ends of the bars.
    longest = max(info.num_parameters / 1e6 for info in models.lanes)
    return figure.update_xaxes(range=[0, 1.35 * longest or 1], nticks=5)


def _millions(count: int) -> str:
    return f"{count / 1e6:,.0f}" if count >= 1e8 else f"{count / 1e6:.1f}"


def decoder_passes(models: Models, tokens: int) -> go.Figure | None:
    """Why fewer layers are faster: one bar a decoder layer, as long as the tokens written; the area is the work.

    The decoder runs once a token, so a transcript of ``tokens`` costs ``tokens * decoder_layers`` layer passes:
    4,096 for Whisper large-v2 and 256 for its student at 128 tokens. A checkpoint that several lanes run is drawn once.
    """
    once: dict[str, ModelInfo] = {}
    for info in models.lanes:
        once.setdefault(info.checkpoint, info)
    infos = list(once.values())
    if not infos:
        return None
    layers = [info.decoder_layers for info in infos]
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
    styled(figure, x="", y="", height=round(plot_px + 96))
    figure.update_layout(showlegend=False, margin={"t": 48, "b": 48, "l": 52, "r": 16}, bargap=0.25)
    for row, info in enumerate(infos, start=1):
        _layers(figure, row, info, tokens, tall=info.decoder_layers * layer_px > 40)
    figure.update_xaxes(range=[0, MAX_TOKENS], dtick=64)
    return figure.update_xaxes(title={"text": "Tokens written (number)"}, row=len(infos))


def _layers(figure: go.Figure, row: int, info: ModelInfo, tokens: int, *, tall: bool) -> None:
    """One model's layers in its panel."""
    figure.add_bar(
        x=[tokens] * info.decoder_layers,
        y=list(range(1, info.decoder_layers + 1)),
        orientation="h",
        marker={"color": lane_colour(info.lane_id)},
        name=_label(info.lane_id),
        hovertemplate="layer %{y}: %{x:,} passes<extra>" + _label(info.lane_id) + "</extra>",
        row=row,
        col=1,
    )
    figure.add_annotation(
        text=f"<b>{_label(info.lane_id)}: {info.decoder_layers * tokens:,} layer passes</b><br>"
        f"{info.decoder_layers:,} layers × {tokens:,} tokens",
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
        title={"text": "Layer" if tall else "", "standoff": 4},
    )


# Speed runs.


def speed_times(run: SpeedRun) -> go.Figure:
    """Seconds of one run over all clips replayed: a bar a lane, encoder and decoder stacked."""
    figure = go.Figure(layout={"barmode": "stack"})
    for lane in run.lanes:
        for part, seconds in (("encoder", lane.encoder_time_s), ("decoder", lane.decoder_time_s)):
            figure.add_bar(
                y=[_broken(lane_label(lane.lane_id))],
                x=[seconds],
                orientation="h",
                hovertemplate=f"{part} %{{x:.2f}} s<extra>{_label(lane.lane_id)}</extra>",
                **(_bar(lane.lane_id, part) | {"offsetgroup": None, "showlegend": False}),
            )
    _part_legend(figure)
    figure.update_layout(showlegend=True)
    styled(figure, x=f"Time of {run.clips} clips (seconds)", y="Model")
    return figure.update_xaxes(rangemode="tozero").update_yaxes(showgrid=False, autorange="reversed")


def speed_tokens(runs: Sequence[SpeedRun], chosen: SpeedRun | None = None) -> go.Figure | None:
    """Time per token of every run against its machine's memory bandwidth; the other runs stand back for ``chosen``.

    Diamonds are the limit that the bandwidth sets: the bytes that a token reads over the bytes a second.
    """
    rows = [row for row in speed_rows(runs) if row.lane.ms_per_token > 0 and row.run.bandwidth_bytes_per_s]
    if not rows:
        return None
    figure = go.Figure()
    _by_lane(
        figure,
        rows,
        x=lambda row: row.run.bandwidth_bytes_per_s / 1e9,
        y=lambda row: row.lane.ms_per_token,
        hover="%{y:.3g} ms a token",
        chosen=chosen,
    )
    limits = [row for row in rows if row.lane.bandwidth_fraction]
    figure.add_scatter(
        x=[row.run.bandwidth_bytes_per_s / 1e9 for row in limits],
        y=[row.lane.ms_per_token * row.lane.bandwidth_fraction for row in limits],
        mode="markers",
        marker={"symbol": "diamond-open", "size": 8, "color": INK, "line": {"width": 2}},
        name="fastest that this memory allows",
        customdata=[_hover(row) for row in limits],
        hovertemplate="%{customdata[0]}<br>limit: %{y:.3g} ms a token<extra>%{customdata[1]}</extra>",
    )
    styled(figure, x="Memory bandwidth (GB/s)", y="Time per token (ms)", height=_height(6) + 60)
    _scale(figure, (row.run.bandwidth_bytes_per_s / 1e9 for row in rows), "x")
    _scale(figure, (row.lane.ms_per_token * min(1.0, row.lane.bandwidth_fraction) for row in rows))
    return figure


def speed_ratios(runs: Sequence[SpeedRun], chosen: SpeedRun | None = None) -> go.Figure | None:
    """Speed-up over Whisper of every run: a row a run, a mark a lane."""
    rows = [row for row in speed_rows(runs) if row.lane.ratio and row.lane.lane_id != BASELINE_LANE]
    if not rows:
        return None
    figure = go.Figure()
    _by_lane(
        figure,
        rows,
        x=lambda row: row.lane.ratio,
        y=lambda row: _run_label(row.run),
        hover="%{x:.2f}×",
        chosen=chosen,
    )
    figure.add_vline(x=1, line={"color": INK, "width": 2, "dash": "dash"})
    count = len({_run_label(row.run) for row in rows})
    styled(figure, x="Speed-up (times)", y="Run", height=150 + 56 * count)
    figure.update_yaxes(title={"text": ""}, autorange="reversed", type="category")
    return figure.update_xaxes(rangemode="tozero")


def speed_batches(runs: Sequence[SpeedRun], chosen: SpeedRun | None = None) -> go.Figure | None:
    """Speed-up over Whisper at the same batch size, against the batch size; ``None`` where no run has another size.

    Lines join what differs in the batch size alone.
    """
    rows = [row for row in speed_rows(runs) if row.lane.ratio and row.lane.lane_id != BASELINE_LANE]
    alike: dict[tuple[str, ...], list[SpeedRow]] = {}
    for row in sorted(rows, key=lambda row: row.lane.batch_size):
        key = (row.lane.lane_id, row.run.pair, machine_line(row.run.machine), row.lane.dtype, row.lane.runtime)
        alike.setdefault(key, []).append(row)
    joined = [each for each in alike.values() if each[0].lane.batch_size < each[-1].lane.batch_size]
    if not joined:
        return None
    figure = go.Figure()
    named: set[str] = set()
    for each in joined:
        lane_id = each[0].lane.lane_id
        figure.add_scatter(
            x=[row.lane.batch_size for row in each],
            y=[row.lane.ratio for row in each],
            mode="lines+markers",
            marker=_marker(lane_id, 9),
            opacity=max(_opacities(each, chosen)),
            line={"color": lane_colour(lane_id), "width": 2},
            name=_label(lane_id),
            showlegend=lane_id not in named,
            customdata=[_hover(row) for row in each],
            hovertemplate="%{customdata[0]}<br>batch %{x}: %{y:.2f}×<extra>%{customdata[1]}</extra>",
        )
        named.add(lane_id)
    _line_at(figure, 1, INK, "dash", f"{lane_label(BASELINE_LANE)} (dashed)")
    styled(figure, x="Batch (clips at once)", y="Speed-up (times)", height=_height(len(named) + 1))
    sizes = sorted({row.lane.batch_size for each in joined for row in each})
    figure.update_xaxes(type="log", tickvals=sizes, ticktext=[f"{size:,}" for size in sizes])
    return figure.update_layout(showlegend=True).update_yaxes(rangemode="tozero")


def _by_lane(
    figure: go.Figure,
    rows: Sequence[SpeedRow],
    *,
    x: Callable[[SpeedRow], Any],
    y: Callable[[SpeedRow], Any],
    hover: str,
    chosen: SpeedRun | None,
) -> None:
    """A trace a lane, a mark a run."""
    lanes = list(dict.fromkeys(row.lane.lane_id for row in rows))
    for lane_id in lanes:
        own = [row for row in rows if row.lane.lane_id == lane_id]
        figure.add_scatter(
            x=[x(row) for row in own],
            y=[y(row) for row in own],
            mode="markers",
            marker=_marker(lane_id, 11) | {"opacity": _opacities(own, chosen)},
            name=_label(lane_id),
            customdata=[_hover(row) for row in own],
            hovertemplate="%{customdata[0]}<br>" + hover + "<extra>%{customdata[1]}</extra>",
        )


def _opacities(rows: Iterable[SpeedRow], chosen: SpeedRun | None) -> list[float]:
    """All runs but the chosen one are faint; none is where none is chosen."""
    return [1.0 if chosen is None or row.run == chosen else FAINT for row in rows]


def _hover(row: SpeedRow) -> list[str]:
    where = f"{row.run.pair}, {machine_line(row.run.machine)}, {row.lane.dtype}, {row.lane.runtime}"
    return [escape(where), _label(row.lane.lane_id)]


def _run_label(run: SpeedRun) -> str:
    """A run's name in lines short enough for a phone."""
    return _broken(run_name(run), 22)


# Live.

Lag = tuple[float, float, float]
"""Seconds: when a word was spoken, how late computing wrote it, and how long the commit rule held it back."""

MOST_LAGS = 300
"""Points of a line. Of a longer recording every second or third pass is drawn: the chart is sent again and again."""


def lags(points: Mapping[str, Sequence[Lag]]) -> go.Figure | None:
    """How many seconds each lane's words come after they were spoken: by computing (line) and by the rule (dotted)."""
    points = {lane_id: each for lane_id, each in points.items() if each}
    if not points:
        return None
    figure = go.Figure()
    for lane_id, every in points.items():
        each = every[:: 1 + len(every) // MOST_LAGS]
        for index, (what, dash) in enumerate((("computing", "solid"), ("waiting for certainty", "dot")), start=1):
            figure.add_scatter(
                x=[point[0] for point in each],
                y=[point[index] for point in each],
                mode="lines+markers" if len(each) < 40 else "lines",
                line={"color": lane_colour(lane_id), "width": 2, "dash": dash},
                marker={"size": 5},
                name=f"{_label(lane_id)}, {what}",
                hovertemplate=f"%{{y:.2f}} s {what}<extra>{_label(lane_id)}</extra>",
            )
    styled(figure, x="When it was said (seconds)", y="Behind the speaker (seconds)", height=_height(2 * len(points)))
    figure.update_layout(showlegend=True)
    return figure.update_xaxes(rangemode="tozero").update_yaxes(rangemode="tozero")
