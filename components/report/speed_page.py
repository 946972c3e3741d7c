"""The speed of an architecture as charts and a page: times, ratios, what a token takes, and what they hold for."""

from __future__ import annotations

from html import escape
from pathlib import Path
from typing import TYPE_CHECKING

import plotly.graph_objects as go

from components.core.catalog import lane_label
from components.core.types import BASELINE_LANE
from components.report.figures_old import ENCODER_PATTERN, broken_label, styled
from components.report.theme import INK, lane_colour

if TYPE_CHECKING:
    from components.core.types import SpeedLane, SpeedRun

COLUMNS = (
    "Lane",
    "Encoder (s)",
    "Decoder (s)",
    "Total (s)",
    "A token (ms)",
    "Ratio (times)",
    "Of the memory bandwidth (%)",
    "Memory (GB)",
    "How",
)

TICK_LENGTH = 8
"""Characters of a lane's name before it is broken: five stand side by side."""


def speed_figure(result: SpeedRun) -> go.Figure:
    """Seconds over all clips replayed: a bar a lane, encoder and decoder stacked."""
    figure = go.Figure()
    for lane in result.lanes:
        label = escape(lane_label(lane.lane_id))
        parts = (("encoder", lane.encoder_time_s), ("decoder", lane.decoder_time_s))
        for part, seconds in parts:
            marker: dict[str, object] = {"color": lane_colour(lane.lane_id)}
            if part == "encoder":
                marker["pattern"] = ENCODER_PATTERN
            hover = f"{part} %{{y:.2f}} s<extra>{label}</extra>"
            figure.add_bar(
                x=[_tick(lane)],
                y=[seconds],
                name=f"{label}, {part}",
                marker=marker,
                hovertemplate=hover,
            )
    figure.update_layout(barmode="stack")
    return _layout(figure, y="Time (seconds), encoder hatched")


def speed_ratio_figure(result: SpeedRun) -> go.Figure:
    """Times as fast as the baseline lane, with a line at 1; empty without that lane."""
    figure = go.Figure()
    for lane in result.lanes:
        if lane.ratio is None or lane.lane_id == BASELINE_LANE:
            continue
        label = escape(lane_label(lane.lane_id))
        figure.add_bar(
            x=[_tick(lane)],
            y=[lane.ratio],
            name=label,
            marker={"color": lane_colour(lane.lane_id)},
            text=[f"{lane.ratio:.2f}×"],
            textposition="outside",
            cliponaxis=False,
            hovertemplate="%{y:.2f}×<extra>" + label + "</extra>",
        )
    figure.add_hline(y=1, line={"color": INK, "width": 2, "dash": "dash"})
    return _layout(figure, y=f"As fast as {lane_label(BASELINE_LANE)} (times)")


def speed_token_figure(result: SpeedRun) -> go.Figure:
    """Milliseconds a token, and a mark on each bar: what reading weights and caches once a token would take."""
    figure = go.Figure()
    for lane in result.lanes:
        label = escape(lane_label(lane.lane_id))
        limit_ms = lane.ms_per_token * lane.bandwidth_fraction
        share = f"{lane.bandwidth_fraction:.0%}"
        figure.add_bar(
            x=[_tick(lane)],
            y=[lane.ms_per_token],
            name=label,
            marker={"color": lane_colour(lane.lane_id)},
            text=[f"{lane.ms_per_token:.2f}"],
            textposition="outside",
            cliponaxis=False,
            hovertemplate=f"%{{y:.3f}} ms a token, {share} of the memory bandwidth<extra>{label}</extra>",
        )
        figure.add_scatter(
            x=[_tick(lane)],
            y=[limit_ms],
            name=f"{label}, limit",
            mode="markers",
            marker={"symbol": "diamond", "size": 11, "color": "white", "line": {"width": 2, "color": INK}},
            hovertemplate=f"limit of the memory bandwidth: %{{y:.3f}} ms a token<extra>{label}</extra>",
        )
    return _layout(figure, y="A token; ◇ the limit (milliseconds)")


def write_speed_page(result: SpeedRun, path: str | Path) -> None:
    """Write one HTML file that needs nothing else.

    Raises:
        OSError: the file cannot be written.
    """
    machine, notebook = result.machine, result.notebook
    charts = [
        figure.to_html(full_html=False, include_plotlyjs=number == 0, config={"displaylogo": False})
        for number, figure in enumerate((speed_figure(result), speed_ratio_figure(result), speed_token_figure(result)))
    ]
    failures = "".join(
        f"<li>{escape(lane_label(failure.lane_id))}: {escape(failure.message)}</li>" for failure in result.failures
    )
    libraries = ", ".join(f"{name} {version}" for name, version in machine.libraries.items())
    title = f"Speed of the {result.pair} shapes"
    Path(path).write_text(
        f"""<!doctype html>
<html lang="en"><meta charset="utf-8"><meta name="viewport" content="width=device-width"><title>{escape(title)}</title>
<style>body {{ font: 16px system-ui, sans-serif; max-width: 60rem; margin: 2rem auto; padding: 0 1rem; }}
table {{ border-collapse: collapse; display: block; overflow-x: auto; }}
td, th {{ padding: .3rem .6rem; border-bottom: 1px solid #ccc; text-align: left; }}</style>
<h1>{escape(title)}</h1>
<p>{result.clips} clips of the Distil-Whisper notebook, replayed by their token counts with random weights, batch 1,
the lanes alternating. The notebook printed {notebook["whisper"]:.1f} s and {notebook["distil"]:.2f} s,
{notebook["whisper"] / notebook["distil"]:.2f} times, for all 73 with large-v2 on an A100.</p>
<p>{escape(machine.device_name)} ({escape(machine.device)}), {machine.threads} threads, memory bandwidth
{result.bandwidth_bytes_per_s / 1e9:.1f} GB/s; {escape(libraries)}.</p>
{"".join(charts)}
{speed_table(result)}
{f"<p>These could not run:</p><ul>{failures}</ul>" if failures else ""}
</html>
""",
        encoding="utf-8",
    )


def speed_table(result: SpeedRun) -> str:
    """Every figure of every lane, as an HTML table."""
    rows = [
        (
            lane_label(lane.lane_id),
            f"{lane.encoder_time_s:.3f}",
            f"{lane.decoder_time_s:.3f}",
            f"{lane.generation_time_s:.3f}",
            f"{lane.ms_per_token:.3f}",
            "" if lane.ratio is None else f"{lane.ratio:.2f}",
            f"{100 * lane.bandwidth_fraction:.0f}",
            "" if lane.peak_memory_bytes is None else f"{lane.peak_memory_bytes / 1e9:.2f}",
            ", ".join(filter(None, (lane.dtype, lane.attention, lane.runtime, lane.note))),
        )
        for lane in result.lanes
    ]
    head = "".join(f"<th scope='col'>{column}</th>" for column in COLUMNS)
    body = "".join(
        f"<tr><th scope='row'>{escape(row[0])}</th>{''.join(f'<td>{escape(cell)}</td>' for cell in row[1:])}</tr>"
        for row in rows
    )
    return f"<table><thead><tr>{head}</tr></thead><tbody>{body}</tbody></table>"


def _tick(lane: SpeedLane) -> str:
    return broken_label(lane.lane_id, TICK_LENGTH)


def _layout(figure: go.Figure, *, y: str) -> go.Figure:
    figure = styled(figure, x="Lane", y=y).update_layout(showlegend=False)
    return figure.update_yaxes(rangemode="tozero")
