"""A report as one HTML page that needs no network: plotly.js, charts, tables and the JSON are all in it."""

from __future__ import annotations

import base64
import json
from html import escape
from typing import TYPE_CHECKING

from components.core.wording import counted
from components.report.benchmark_figures import FIGURES
from components.report.tables import differences_table, headline, lanes_table

if TYPE_CHECKING:
    from components.core.types import Report

STYLE = """
:root { color-scheme: light dark; --ink: light-dark(#1b1f24, #e8eaed); --line: light-dark(#d0d4da, #444a52); }
body { margin: 0 auto; max-width: 76rem; padding: 1rem; font: 16px/1.5 system-ui, sans-serif; color: var(--ink);
  background: light-dark(#fff, #16181c); }
h1 { font-size: 1.6rem; margin: 0; } h3 { margin: 1.5rem 0 0.25rem; }
.hero { display: flex; flex-wrap: wrap; align-items: center; gap: 0.5rem 2rem; padding: 1rem 0; }
.figure { margin: 0; font-size: clamp(3rem, 10vw, 5.5rem); font-weight: 700; line-height: 1; }
.times { font-weight: 400; }
.claim { margin: 0; font-weight: 600; } .hero-words { flex: 1 1 18rem; } .where { margin: 0; opacity: 0.85; }
.warnings { margin: 0.5rem 0 0; padding: 0.4rem 0.75rem; list-style: none; border-left: 3px solid #b58900; }
.charts { display: grid; grid-template-columns: repeat(auto-fill, minmax(min(100%, 30rem), 1fr)); gap: 1rem; }
.charts > section { min-width: 0; }
.scroll { overflow-x: auto; } table { border-collapse: collapse; font-size: 0.9rem; width: 100%; }
th, td { padding: 0.4rem 0.6rem; text-align: left; vertical-align: top; border-bottom: 1px solid var(--line); }
td { white-space: nowrap; }
th small { display: block; font-weight: 400; opacity: 0.85; overflow-wrap: anywhere; } tbody th { font-weight: 400; }
thead th { border-top: 5px solid var(--lane, transparent); }
dl { display: grid; grid-template-columns: max-content 1fr; gap: 0.1rem 1rem; } dd { margin: 0; }
.js-plotly-plot text { fill: var(--ink) !important; } .js-plotly-plot .hoverlayer text { fill: #fff !important; }
"""


def report_page(report: Report) -> str:
    """The page, as text in UTF-8; about 5 MB, nearly all of it plotly.js."""
    from plotly.offline import get_plotlyjs

    charts = "".join(
        f"<section><h3>{title}</h3>"
        + draw(report).to_html(
            full_html=False, include_plotlyjs=False, div_id=name, config={"displayModeBar": False, "responsive": True}
        )
        + "</section>"
        for name, (title, draw) in FIGURES.items()
    )
    title = escape(f"Whisper and Distil-Whisper: {report.data or report.pair}")
    # In base64 nothing in the data can end the script that holds it, or the link.
    data = base64.b64encode(
        json.dumps(report.model_dump(mode="json"), ensure_ascii=False, allow_nan=False).encode()
    ).decode()
    return (
        "<!doctype html><html lang='en'><head><meta charset='utf-8'>"
        f"<meta name='viewport' content='width=device-width, initial-scale=1'><title>{title}</title>"
        f"<style>{STYLE}</style><script>{get_plotlyjs()}</script></head><body><h1>{title}</h1>"
        f"{headline(report)}<div class='charts'>{charts}</div>{lanes_table(report)}{differences_table(report)}"
        f"{_conditions(report)}<p><a download='report.json' href='data:application/json;base64,{data}'>"
        "This report as JSON</a></p></body></html>"
    )


def _conditions(report: Report) -> str:
    machine, summary = report.machine, report.summary
    facts = {
        "Device": f"{machine.device_name} ({machine.device})",
        "Platform": f"{machine.platform}, Python {machine.python}, {counted(machine.threads, 'thread')}",
        "Processes": str(summary.processes),
        "Libraries": ", ".join(f"{name} {version}" for name, version in machine.libraries.items()),
        "Settings": ", ".join(f"{name} {value}" for name, value in report.settings.items()),
        "Intervals": f"95 %, {summary.resamples:,} resamples of clips (seed {summary.seed}), paired over lanes",
        "Latency": "encoder and decoder, on a warm and synchronised device, of the median repeat",
    }
    items = "".join(f"<dt>{name}</dt><dd>{escape(value)}</dd>" for name, value in facts.items())
    return f"<section><h3>How it was measured</h3><dl>{items}</dl></section>"
