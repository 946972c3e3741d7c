"""A report's figures as HTML tables, for the page and for the file. Whatever came from outside is escaped."""

from __future__ import annotations

from html import escape
from typing import TYPE_CHECKING

from components.report.theme import lane_colour, lane_label

if TYPE_CHECKING:
    from collections.abc import Sequence

    from components.core.reports import LaneTotalsJSON, ReportJSON

LANES_HEAD = (
    "Lane",
    "Clips",
    "Latency, total (s)",
    "Median (s)",
    "90th percentile (s)",
    "Real-time factor",
    "Speed-up (95 %)",
    "ms a token",
    "WER (95 %)",
    "QoI",
    "Insertions",
    "Repeated 5-grams",
    "Suspect clips",
    "Failures",
)


def headline(report: ReportJSON) -> str:
    """Each lane's total speed-up with its interval, where it holds, and what there is to beware of."""
    summary, machine = report["summary"], report["machine"]
    figures = "".join(
        f"<p class='figure' data-lane='{escape(lane)}'>{ratio:.2f}<span class='times'>×</span></p>"
        f"<p class='claim'>{escape(lane_label(lane))}, total over total"
        f"{_between(summary['speed_up_interval'].get(lane))}</p>"
        for lane, ratio in summary["speed_up"].items()
    )
    where = " · ".join(
        escape(part)
        for part in (
            f"{summary['clips']:,} clips",
            report["data"],
            f"pair {report['pair']}",
            machine["device_name"],
            f"{machine['threads']} threads" if machine["device"] == "cpu" else "",
            f"{summary['processes']} process{'es' if summary['processes'] > 1 else ''}",
        )
        if part
    )
    warnings = "".join(f"<li><span aria-hidden='true'>⚠</span> {escape(text)}</li>" for text in summary["warnings"])
    return (
        "<section class='hero' aria-label='Total speed-up'>"
        f"{figures or '<p class=claim>No speed-up: nothing was timed to compare.</p>'}"
        f"<div class='hero-words'><p class='where'>{where}</p>"
        + (f"<ul class='warnings' aria-label='Warnings'>{warnings}</ul>" if warnings else "")
        + "</div></section>"
    )


def lanes_table(report: ReportJSON) -> str:
    """One row a lane: times, words, and what makes them suspect."""
    rows = "".join(_lane_row(report, lane, totals) for lane, totals in report["summary"]["lanes"].items())
    return _table("Totals of each lane", LANES_HEAD, rows)


def differences_table(report: ReportJSON) -> str:
    """The clips on which a lane wrote other words than the baseline, most edits first."""
    rows = "".join(
        f"<tr><td>{escape(each['clip_id'])}</td><td>{escape(lane_label(each['lane_id']))}</td><td>{each['words']}</td>"
        f"<td>{_percent(each['baseline_wer'])}</td><td>{_percent(each['wer'])}</td></tr>"
        for each in report["summary"]["differ_most"]
    )
    head = ("Clip", "Lane", "Words that differ", "WER of the baseline", "WER of the lane")
    return _table("Clips where the lanes differ most", head, rows or "<tr><td colspan=5>None: the same words</td></tr>")


def _lane_row(report: ReportJSON, lane: str, totals: LaneTotalsJSON) -> str:
    summary = report["summary"]
    speed_up, wer = summary["speed_up"].get(lane), totals["word_errors"]["wer"]
    low_high = totals["wer_interval"]
    cells = (
        f"{totals['clips']:,}",
        f"{totals['generation_time_s']:.2f}",
        _number(totals["median_generation_time_s"], ".3f"),
        _number(totals["p90_generation_time_s"], ".3f"),
        _number(totals["rtfx"], ".1f"),
        _number(speed_up, ".2f", "×") + _between(summary["speed_up_interval"].get(lane)),
        _number(totals["ms_per_token"], ".2f"),
        _percent(wer) + _between([100 * each for each in low_high] if low_high else None),
        _percent(summary["qoi"].get(lane)),
        _percent(totals["insertion_rate"]),
        f"{totals['repeated_5_grams']:,}",
        f"{totals['suspect_clips']:,}",
        f"{summary['failures'].get(lane, 0):,}",
    )
    return (
        f"<tr style='--lane:{lane_colour(lane)}' data-lane='{escape(lane)}'><th scope='row'>{escape(lane_label(lane))}"
        f"<small>{escape(report['checkpoints'].get(lane, ''))}</small></th>"
        + "".join(f"<td>{cell}</td>" for cell in cells)
        + "</tr>"
    )


def _table(title: str, head: Sequence[str], rows: str) -> str:
    cells = "".join(f"<th scope='col'>{name}</th>" for name in head)
    return (
        f"<section><h3>{title}</h3><div class='scroll' tabindex='0' role='region' aria-label='{title}'>"
        f"<table class='models'><thead><tr>{cells}</tr></thead><tbody>{rows}</tbody></table></div></section>"
    )


def _number(value: float | None, form: str, unit: str = "") -> str:
    return "–" if value is None else f"{value:{form}}{unit}"


def _percent(fraction: float | None) -> str:
    return "–" if fraction is None else f"{100 * fraction:.2f} %"


def _between(low_high: Sequence[float] | None) -> str:
    return "" if low_high is None else f" ({low_high[0]:.2f} to {low_high[1]:.2f})"
