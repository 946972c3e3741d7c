"""Reports and speed runs as one HTML file that needs no network: plotly.js, charts, tables and JSON are in it."""

from __future__ import annotations

import json
from typing import TYPE_CHECKING

from components.core.wording import counted
from components.report import columns, figures, html

if TYPE_CHECKING:
    from collections.abc import Iterable, Sequence

    import plotly.graph_objects as go

    from components.core.types import Machine, Report, SpeedRun

SPEED_NOTE = (
    "Speed only: untrained models of the real size, made to write as many tokens as the real ones wrote for the clips "
    "of the Distil-Whisper notebook, which printed 21.7 s and 5.5 s (4.0×) for large-v2 and its student on an A100."
)


def report_page(report: Report) -> str:
    """A benchmark's page, as text in UTF-8; about 5 MB, nearly all of it plotly.js."""
    drawn = [(name, title, draw(report)) for name, (title, draw) in figures.BENCHMARK.items()]
    return _page(
        f"Whisper and Distil-Whisper: {report.data or report.pair}",
        [html.benchmark_summary(report)],
        drawn,
        [html.totals_table(report), html.differences_table(report)],
        facts=_conditions(report),
        data=("report.json", json.dumps(report.model_dump(mode="json"), ensure_ascii=False)),
    )


def speed_page(runs: Sequence[SpeedRun]) -> str:
    """The page of speed runs; the seconds of each lane where it is one run."""
    drawn = [
        ("speed-tokens", "Time per token", figures.speed_tokens(runs)),
        ("speed-ratios", "Speed-up", figures.speed_ratios(runs)),
        ("speed-batches", "Speed-up by batch", figures.speed_batches(runs)),
    ]
    if len(runs) == 1:
        drawn.insert(0, ("speed-times", "Time", figures.speed_times(runs[0])))
    facts = {columns.run_name(run): _speed_conditions(run) for run in runs}
    facts |= {
        f"{failure.lane_id}, {run.pair}": f"could not run: {failure.message}"
        for run in runs
        for failure in run.failures
    }
    data = json.dumps([run.model_dump(mode="json") for run in runs], ensure_ascii=False)
    return _page(
        "Speed of Whisper and Distil-Whisper",
        [html.note(SPEED_NOTE)],
        drawn,
        [html.speed_table(runs)],
        facts=facts,
        data=("speed.json", data),
    )


def _page(
    title: str,
    above: Sequence[str],
    drawn: Iterable[tuple[str, str, go.Figure | None]],
    below: Sequence[str],
    *,
    facts: dict[str, str],
    data: tuple[str, str],
) -> str:
    """Lay out a page; ``drawn`` holds id, title and chart, ``data`` name and text of the file that it carries."""
    from plotly.offline import get_plotlyjs

    return html.render(
        "page.html",
        title=title,
        plotlyjs=get_plotlyjs(),
        above=above,
        charts=[(name, heading, _chart(name, figure)) for name, heading, figure in drawn if figure is not None],
        below=below,
        facts=facts,
        name=data[0],
        link=html.data_link("application/json", data[1]),
    )


def _chart(name: str, figure: go.Figure) -> str:
    config = {"displayModeBar": False, "responsive": True}
    return figure.to_html(full_html=False, include_plotlyjs=False, div_id=name, config=config)


def _speed_conditions(run: SpeedRun) -> str:
    machine = run.machine
    return (
        f"memory bandwidth {run.bandwidth_bytes_per_s / 1e9:,.0f} GB/s, {machine.platform}, Python {machine.python}, "
        f"{_libraries(machine)}"
    )


def _libraries(machine: Machine) -> str:
    return ", ".join(f"{name} {version}" for name, version in machine.libraries.items())


def _conditions(report: Report) -> dict[str, str]:
    machine, summary = report.machine, report.summary
    return {
        "Device": f"{machine.device_name} ({machine.device})",
        "System": f"{machine.platform}, Python {machine.python}, {counted(machine.threads, 'thread')}",
        "Processes": str(summary.processes),
        "Libraries": _libraries(machine),
        "Settings": ", ".join(f"{name} {value}" for name, value in report.settings.items()),
        "Intervals": f"95 %, {summary.resamples:,} resamples of the clips (seed {summary.seed}), paired over models",
        "Time": "encoder and decoder, on a warm and synchronised device, of the median repeat",
    }
