"""Results as plain text: tables for a terminal, and Markdown to paste into a message."""

from __future__ import annotations

import json
import re
from typing import TYPE_CHECKING

from components.core.catalog import lane_label
from components.core.types import BASELINE_LANE
from components.core.wording import counted
from components.report import columns
from components.report import live as live_report
from components.report.headline import clip_warnings, headline, lane_warnings, published, report_headline

if TYPE_CHECKING:
    from collections.abc import Sequence

    from components.core.types import Comparison, Live, Models, Report, SpeedRun
    from components.report.columns import Table

PLAIN = str.maketrans({"×": "x", columns.NONE: "-"})
"""A terminal need not have more than ASCII."""


def terminal_table(table: Table) -> str:
    """Columns side by side, two spaces between."""
    lines = [[_flat(cell) for cell in row] for row in (table.head, *table.rows)]
    widths = [max(map(len, column)) for column in zip(*lines, strict=True)]
    return "\n".join(
        "  ".join(cell.ljust(width) for cell, width in zip(line, widths, strict=True)).rstrip() for line in lines
    )


def _flat(cell: columns.Cell) -> str:
    """A cell on one line; lanes by the id that the command line takes."""
    text = cell.lane_id or cell.text
    detail = f" ({cell.detail})" if cell.detail and not cell.lane_id else ""
    return " ".join(f"{text}{detail}".translate(PLAIN).split())


def comparison(comparison: Comparison) -> str:
    """A comparison for the terminal: the figure, a table, then what each lane wrote."""
    first = headline(comparison)
    notes = [*comparison.notes, *columns.left_out(comparison)]
    said = [*notes, *(f"warning: {warning}" for warning in clip_warnings(comparison)), first.sentence]
    shown = terminal_table(columns.comparison_table(comparison, speed_up=not first.withheld)) if comparison.runs else ""
    return _result(comparison, "", said, shown)


def live(result: Live) -> str:
    """A live run for the terminal: a verdict a lane, the lags, then the words that were committed."""
    table = terminal_table(columns.lags_table(result).turned())
    return _result(result.live, ", as if live", live_report.verdict(result), table)


def _result(rows: Comparison, how: str, said: Sequence[str], table: str) -> str:
    lines = [
        f"{rows.clip_id}, {columns.length(rows.audio_length_s)}{how}: {columns.models_line(rows)}",
        f"Measured on {columns.machine_line(rows.machine)}",
        *(sentence.translate(PLAIN) for sentence in said),
        "",
        table,
    ]
    for run in rows.runs:
        lines += ["", f"{run.lane_id}: {run.text.strip()}"]
        lines += [f"  warning: {warning}" for warning in lane_warnings(run)]
    lines += [f"\n{failure.lane_id} failed: {failure.message}" for failure in rows.failures]
    return "\n".join(lines)


def benchmark(report: Report) -> str:
    """A benchmark for the terminal."""
    summary = report.summary
    lines = [
        f"{counted(summary.clips, 'clip')} of {report.data or report.pair}, pair {report.pair}",
        f"Measured on {columns.machine_line(report.machine)}",
        report_headline(report).sentence.translate(PLAIN),
        "",
        terminal_table(columns.totals_table(report).turned()) if summary.lanes else "",
    ]
    return "\n".join([*lines, *(f"warning: {text}" for text in summary.warnings)])


def models(models: Models) -> str:
    """Parameters and layers for the terminal."""
    lines = [f"pair {models.pair}"]
    if models.lanes:
        lines.append(terminal_table(columns.models_table(models).turned()))
    lines += [f"{info.lane_id}: {info.checkpoint}" for info in models.lanes]
    if models.parameter_ratio is not None and models.decoder_parameter_ratio is not None:
        lines.append(
            f"The student has {models.parameter_ratio:.6%} of the teacher's parameters, "
            f"and {models.decoder_parameter_ratio:.6%} of its decoder's."
        )
    return "\n".join(lines)


def speed(runs: Sequence[SpeedRun]) -> str:
    """Speed runs for the terminal."""
    lines = [speed_line(run) for run in runs]
    lines.append(terminal_table(columns.speed_table(runs)))
    lines += [f"{failure.lane_id} failed: {failure.message}" for run in runs for failure in run.failures]
    return "\n".join(lines)


def speed_line(run: SpeedRun) -> str:
    """What a speed run is: ``small.en, 73 clips, NVIDIA L4, memory bandwidth 270 GB/s``."""
    what = f"{run.pair}, {counted(run.clips, 'clip')}, {columns.machine_line(run.machine)}"
    return f"{what}, memory bandwidth {run.bandwidth_bytes_per_s / 1e9:,.0f} GB/s"


def markdown_table(table: Table) -> str:
    """A table of GitHub's Markdown; whatever could be markup there is escaped."""
    rows = [
        [escaped(cell.text) + (f" ({escaped(cell.detail)})" if cell.detail else "") for cell in row]
        for row in (table.head, *table.rows)
    ]
    lines = [f"| {' | '.join(row)} |" for row in rows]
    return "\n".join([lines[0], f"|{'---|' * len(rows[0])}", *lines[1:]])


def escaped(text: str) -> str:
    """Text that Markdown shows as it is, on one line."""
    return re.sub(r"([\\`*_\[\]<>|#~!&])", r"\\\1", " ".join(text.split()))


def comparison_markdown(comparison: Comparison, url: str = "") -> str:
    """A result to paste: clip, models, figure, what each lane wrote, machine, and the address of the page."""
    first = headline(comparison)
    clip = f"{escaped(comparison.clip_id)} ({columns.length(comparison.audio_length_s)})"
    lines = [
        f"**{escaped(columns.models_line(comparison))}** on {clip}",
        "",
        escaped(first.sentence),
        "",
        markdown_table(columns.comparison_table(comparison, speed_up=not first.withheld)) if comparison.runs else "",
        "",
        *(f"- {escaped(lane_label(run.lane_id))}: {escaped(run.text)}" for run in comparison.runs),
        *(
            f"- {escaped(lane_label(each.lane_id))} did not run: {escaped(each.message)}"
            for each in comparison.failures
        ),
        "",
        escaped(f"Measured on {columns.machine_line(comparison.machine)}. {published(comparison.pair)}"),
    ]
    return "\n".join([*lines, *([f"\n<{url}>"] if url else [])])


def speed_share(run: SpeedRun) -> str:
    """A speed run to post: a link, its table, and, folded, the JSON that the Models tab opens."""
    name = file_name(run)
    ratios = [
        f"{lane_label(lane.lane_id)} {columns.times(lane.ratio)}"
        for lane in run.lanes
        if lane.ratio is not None and lane.lane_id != BASELINE_LANE
    ]
    figure = f": {', '.join(ratios)} as fast as {lane_label(BASELINE_LANE)}" if ratios else ""
    title = f"{run.pair} on {columns.machine_line(run.machine)}{figure}"
    data = json.dumps(run.model_dump(mode="json")).replace("`", "\\u0060")
    return "\n".join(
        [
            f"[{escaped(title)}](tests/benchmarks/results/{name})",
            "",
            markdown_table(columns.speed_table([run])),
            "",
            f"<details><summary>The run as JSON, {name}</summary>",
            "",
            f"```json\n{data}\n```",
            "</details>",
        ]
    )


def file_name(run: SpeedRun) -> str:
    """What a shared run is called among the saved ones: ``speed_large-v2_compiled_nvidia-h100-80gb-hbm3.json``."""
    runtime = run.lanes[0].runtime if run.lanes else ""
    sizes = {lane.batch_size for lane in run.lanes} - {1}
    parts = [run.pair, runtime, *(f"batch{size}" for size in sorted(sizes)), columns.machine_line(run.machine)]
    plain = [re.sub(r"[^a-z0-9.]+", "-", part.lower()).strip("-.") for part in parts if part]
    return f"{'_'.join(['speed', *plain])}.json"
