"""A report's figures as HTML, for the page and for the file. Whatever came from outside is escaped."""

from __future__ import annotations

from html import escape
from typing import TYPE_CHECKING

from components.core.catalog import lane_label
from components.core.types import BASELINE_LANE
from components.core.wording import counted
from components.report.theme import lane_colour

if TYPE_CHECKING:
    from collections.abc import Callable, Sequence

    from components.core.types import LaneTotals, Report

BASELINE = lane_label(BASELINE_LANE)

NOTES = (
    f"Latency is encoder plus decoder. Speed-up is {BASELINE}'s total over the lane's, on the clips that both have "
    "timed. In brackets: 95 % intervals by resampling the clips. QoI is the share of clips on which the lane's word "
    f"error rate is no worse than {BASELINE}'s; insertions are counted against the words of the references."
)


def headline(report: Report, note: str = "") -> str:
    """The first lane's total speed-up with its interval, the others', where they hold, and what to beware of.

    ``note``: what a visitor must know of the pair.
    """
    summary, machine = report.summary, report.machine
    speed_ups = [
        f"{escape(lane_label(lane))} {ratio:.2f}×{_between(summary.speed_up_interval.get(lane))}"
        for lane, ratio in summary.speed_up.items()
    ]
    first = next(iter(summary.speed_up), None)
    timed = [lane for lane, totals in summary.lanes.items() if totals.generation_time_s]
    figure, claim = "–", no_speed_up(timed)
    if first is not None:
        ratio = summary.speed_up[first]
        figure = f"{ratio:.2f}<span class='times'>×</span>"
        claim = f"{escape(lane_label(first))} was {ratio:.2f} times as fast as {BASELINE} "
        claim += f"over {counted(_timed_by_both(report, first), 'clip')}"
    where = " · ".join(
        escape(part)
        for part in (
            counted(summary.clips, "clip"),
            report.data,
            f"pair {report.pair}",
            machine.device_name,
            counted(machine.threads, "thread") if machine.device == "cpu" else "",
            counted(summary.processes, "process", "processes"),
        )
        if part
    )
    warnings = "".join(f"<li><span aria-hidden='true'>⚠</span> {escape(text)}</li>" for text in summary.warnings)
    return (
        f"<section class='hero' aria-label='Total speed-up'><p class='figure'>{figure}</p>"
        f"<div class='hero-words'><p class='claim'>{claim}</p>"
        + (f"<p class='where'>Total over total (95 % interval): {'; '.join(speed_ups)}</p>" if speed_ups else "")
        + f"<p class='where'>Holds for: {where}</p>"
        + (f"<ul class='warnings' aria-label='Warnings'>{warnings}</ul>" if warnings else "")
        + (f"<p class='where'>The pair {escape(report.pair)}: {escape(note)}</p>" if note else "")
        + "</div></section>"
    )


def no_speed_up(timed: Sequence[str]) -> str:
    """Why there is none, as HTML, where these lanes were timed."""
    if not timed:
        return "No speed-up: nothing was timed to compare."
    if BASELINE_LANE not in timed:
        return f"No speed-up: it is measured against {escape(BASELINE)}, which was not timed."
    return "No speed-up: no other lane was timed."


def lanes_table(report: Report) -> str:
    """A column a lane: times, words, and what makes them suspect."""
    summary, lanes = report.summary, report.summary.lanes
    rows: dict[str, Callable[[str, LaneTotals], str]] = {
        "Clips": lambda _, totals: f"{totals.clips:,}",
        "Audio": lambda _, totals: f"{totals.audio_length_s:,.1f} s",
        "Latency, total": lambda _, totals: f"{totals.generation_time_s:.2f} s",
        "of the encoder": lambda _, totals: f"{totals.encoder_time_s:.2f} s",
        "of the decoder": lambda _, totals: f"{totals.decoder_time_s:.2f} s",
        "Latency of a clip, median": lambda _, totals: _number(totals.median_generation_time_s, ".3f", " s"),
        "90th percentile": lambda _, totals: _number(totals.p90_generation_time_s, ".3f", " s"),
        "Speed-up": lambda lane, _: (
            _number(summary.speed_up.get(lane), ".2f", "×") + _below(summary.speed_up_interval.get(lane))
        ),
        "RTFx, times real time": lambda _, totals: _number(totals.rtfx, ".1f", "×"),
        "Tokens": lambda _, totals: f"{totals.generated_tokens:,}",
        "Latency a token (slope)": lambda _, totals: _number(totals.ms_per_token, ".2f", " ms"),
        "Word error rate": lambda _, totals: _percent(totals.word_errors.wer) + _below(totals.wer_interval, 100),
        "QoI": lambda lane, _: _percent(summary.qoi.get(lane)),
        "Insertions": lambda _, totals: _percent(totals.insertion_rate),
        "Repeated 5-grams": lambda _, totals: f"{totals.repeated_5_grams:,}",
        "Suspect clips": lambda _, totals: f"{totals.suspect_clips:,}",
        "Failed clips": lambda lane, _: f"{summary.failures.get(lane, 0):,}",
    }
    head = "".join(
        f"<th scope='col' style='--lane:{lane_colour(lane)}' data-lane='{escape(lane)}'>{escape(lane_label(lane))}"
        f"<small>{escape(report.checkpoints.get(lane, ''))}</small></th>"
        for lane in lanes
    )
    body = "".join(
        f"<tr><th scope='row'>{name}</th>{''.join(f'<td>{cell(lane, totals)}</td>' for lane, totals in lanes.items())}"
        "</tr>"
        for name, cell in rows.items()
    )
    return _table("Totals of each lane", f"<td></td>{head}", body) + f"<p class='where'>{NOTES}</p>" if lanes else ""


def differences_table(report: Report) -> str:
    """The clips on which a lane wrote other words than the baseline, most edits first."""
    rows = "".join(
        f"<tr><th scope='row'>{escape(each.clip_id)}</th><td>{escape(lane_label(each.lane_id))}</td>"
        f"<td>{each.words}</td><td>{_percent(each.baseline_wer)}</td><td>{_percent(each.wer)}</td></tr>"
        for each in report.summary.differ_most
    )
    if not rows:
        return ""
    names = ("Clip", "Lane", "Words that differ", f"WER of {BASELINE}", "WER of the lane")
    head = "".join(f"<th scope='col'>{name}</th>" for name in names)
    return _table("Clips where the lanes differ most", head, rows)


def _table(title: str, head: str, rows: str) -> str:
    return (
        f"<section><h3>{title}</h3><div class='scroll' style='max-height:none' tabindex='0' role='region' "
        f"aria-label='{title}'><table class='models'><thead><tr>{head}</tr></thead><tbody>{rows}</tbody></table></div>"
        "</section>"
    )


def _number(value: float | None, form: str, unit: str = "") -> str:
    return "–" if value is None else f"{value:{form}}{unit}"


def _percent(fraction: float | None) -> str:
    return "–" if fraction is None else f"{100 * fraction:.2f} %"


def _timed_by_both(report: Report, lane_id: str) -> int:
    timed = {(clip.clip_id, clip.lane_id) for clip in report.clips if clip.generation_time_s is not None}
    return sum(lane == lane_id and (clip, BASELINE_LANE) in timed for clip, lane in timed)


def _between(low_high: Sequence[float] | None, times: float = 1) -> str:
    return "" if low_high is None else f" ({times * low_high[0]:.2f} to {times * low_high[1]:.2f})"


def _below(low_high: Sequence[float] | None, times: float = 1) -> str:
    """On a line of its own: columns stay narrow enough for a phone."""
    return "" if low_high is None else f"<br><small>{_between(low_high, times).strip()}</small>"
