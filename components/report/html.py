"""Results as HTML: nouns in, markup out. The templates escape whatever they are given."""

from __future__ import annotations

import base64
import json
from functools import cache
from typing import TYPE_CHECKING, Any

from jinja2 import Environment, PackageLoader, StrictUndefined

from components.core.catalog import checkpoint_name, lane_label
from components.core.languages import language_name
from components.core.wording import counted
from components.report import cards, columns
from components.report.headline import clip_warnings, headline, published, report_headline
from components.report.race import race
from components.report.subtitles import clock, to_srt, to_vtt
from components.report.theme import lane_colour

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence

    from components.core.types import Comparison, LaneRun, Models, Report, SpeedRun
    from components.report.cards import State
    from components.report.columns import Table

PUBLISHED_DECODER_SHARE = "over 90 %"
"""What the Distil-Whisper notebook says of Whisper large-v2 on an A100."""

RTFX_NOTE = "RTFx is how many seconds of audio a second of computing transcribes: at RTFx 6 an hour takes ten minutes."


def comparison(
    comparison: Comparison, *, states: Mapping[str, State] | None = None, running: bool = False, note: str = ""
) -> str:
    """The whole result of one clip.

    Args:
        comparison: The runs so far.
        states: Lanes still to come, in the order in which they run; no figure is given before they are done.
        running: Whether further rounds are still to come; no figure is given before they are over.
        note: What a visitor must know of the pair.
    """
    done = [run.lane_id for run in comparison.runs] + [failure.lane_id for failure in comparison.failures]
    first = headline(comparison, running=running or bool(states))
    # Of silence there is nothing to show, and the headline has said so.
    unheard = first.verdict == "silent" and not any(run.text.strip() for run in comparison.runs)
    return render(
        "comparison.html",
        comparison=comparison,
        headline=first,
        unheard=unheard,
        warnings=[text for text in clip_warnings(comparison) if first.verdict != "silent"],
        models=columns.models_line(comparison),
        race=race(comparison, states or ()),
        cards=[cards.lane_card(comparison, lane_id) for lane_id in done]
        + [cards.pending_card(lane_id, state) for lane_id, state in (states or {}).items()],
        where=columns.machine_line(comparison.machine),
        published=published(comparison.pair),
        notes=[*comparison.notes, *columns.left_out(comparison)],
        note=note,
        rtfx_note=RTFX_NOTE,
    )


def lane_card(comparison: Comparison, lane_id: str, **options: str) -> str:
    """One lane's transcript and figures, or why it failed; see ``cards.lane_card``."""
    return render("card.html", card=cards.lane_card(comparison, lane_id, **options))


def pending(states: Mapping[str, State]) -> str:
    """Cards of lanes that have no result yet."""
    return "".join(render("card.html", card=cards.pending_card(lane_id, state)) for lane_id, state in states.items())


def lines(comparison: Comparison) -> str:
    """What was said when: the timed lines of each lane, with its files to download."""
    lanes = [
        {
            "run": run,
            "lines": [(clock(part.start_s).removeprefix("00:"), part) for part in run.segments if part.text.strip()],
            "files": _files(comparison, run),
        }
        for run in comparison.runs
    ]
    return render("lines.html", lanes=lanes)


def _files(comparison: Comparison, run: LaneRun) -> list[tuple[str, str, str]]:
    """File name, label and data link of every form of a transcript."""
    stem = f"{comparison.clip_id or 'clip'}.{run.lane_id}"
    forms = [
        ("txt", "text/plain", run.text.strip() + "\n"),
        ("srt", "application/x-subrip", to_srt(run.segments)),
        ("vtt", "text/vtt", to_vtt(run.segments)),
    ]
    return [(f"{stem}.{form}", form.upper(), data_link(mime, text)) for form, mime, text in forms]


def data_link(mime: str, text: str) -> str:
    """A link that holds the file itself, so that nothing of a visitor's is left on the server."""
    return f"data:{mime};charset=utf-8;base64,{base64.b64encode(text.encode()).decode()}"


def json_download(comparison: Comparison) -> str:
    text = json.dumps(comparison.model_dump(mode="json"), ensure_ascii=False, allow_nan=False, indent=1)
    name = f"{comparison.clip_id or 'clip'}.json"
    return _parts().download(name, "Download the JSON", data_link("application/json", text))


def visit(report: Report) -> str:
    """What the clips of a visit add up to; nothing below two of them."""
    count = len(columns.samples(report))
    return render("visit.html", headline=report_headline(report), count=count) if count > 1 else ""


def benchmark_summary(report: Report, note: str = "") -> str:
    """What is read first of a benchmark: the figure, its interval, and what to beware of."""
    intervals = report.summary.speed_up_interval
    speed_ups = [
        (columns.lane_cell(lane), columns.times(ratio), columns.between(intervals.get(lane), columns.times))
        for lane, ratio in report.summary.speed_up.items()
    ]
    return render(
        "benchmark.html",
        report=report,
        headline=report_headline(report),
        clips=counted(report.summary.clips, "clip"),
        speed_ups=speed_ups if len(speed_ups) > 1 else [],
        where=columns.machine_line(report.machine),
        published=published(report.pair),
        note=note,
    )


def totals_table(report: Report) -> str:
    """A column a lane: times, words, and what makes them suspect."""
    return table(columns.totals_table(report).turned(), note=RTFX_NOTE) if report.summary.lanes else ""


def differences_table(report: Report) -> str:
    """The clips on which a lane wrote other words than the baseline, most edits first."""
    return table(columns.differences_table(report)) if report.summary.differ_most else ""


def models_table(models: Models, note: str = "") -> str:
    """A column a lane: layers, parameters, and how large they are beside Whisper's."""
    return table(columns.models_table(models).turned(), note=note) if models.lanes else ""


def speed_table(runs: Sequence[SpeedRun]) -> str:
    """A row for each lane of the runs."""
    return table(columns.speed_table(runs)) if runs else ""


def decoder_shares(report: Report | None) -> str:
    """How much of each lane's time the decoder took, beside the published figure."""
    lanes = report.summary.lanes if report else {}
    shares = [
        (columns.lane_cell(lane), totals.decoder_time_s / totals.generation_time_s)
        for lane, totals in lanes.items()
        if totals.generation_time_s
    ]
    return render("shares.html", shares=shares, published=PUBLISHED_DECODER_SHARE)


def table(table: Table, note: str = "") -> str:
    """Any table of ``columns``, in a region that scrolls sideways on a phone."""
    return _parts().table(table, note)


def message(text: str, *, problem: bool = False, spoken_only: bool = False) -> str:
    """A line of status, read out by a screen reader when it changes."""
    return _parts().message(text, problem, spoken_only)


def note(text: str) -> str:
    return _parts().note(text)


def masthead(title: str, tagline: str) -> str:
    return _parts().masthead(title, tagline)


def steps(title: str, items: Sequence[str]) -> str:
    """What to do where there is nothing to show yet."""
    return _parts().steps(title, items)


@cache
def _environment() -> Environment:
    environment = Environment(
        loader=PackageLoader("components.report"),
        autoescape=True,
        trim_blocks=True,
        lstrip_blocks=True,
        undefined=StrictUndefined,
    )
    environment.globals |= {
        "lane_label": lane_label,
        "language_name": language_name,
        "lane_colour": lane_colour,
        "checkpoint_name": checkpoint_name,
        "seconds": columns.seconds,
        "length": columns.length,
    }
    return environment


def render(template: str, **values: Any) -> str:
    """A template with these values; charts and other markup of ours are marked as such there, never values."""
    return _environment().get_template(template).render(values)


@cache
def _parts() -> Any:
    """The macros that templates share, callable from here."""
    return _environment().get_template("parts.html").module
