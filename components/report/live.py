"""A live run as people look at it: two columns of words, a verdict, the lags, and what live lost."""

from __future__ import annotations

from collections import defaultdict
from typing import TYPE_CHECKING

from components.core import scoring
from components.core.catalog import lane_label
from components.core.wording import counted
from components.report.columns import lags_table
from components.report.html import lane_card, render
from components.report.html import table as html_table

if TYPE_CHECKING:
    from collections.abc import Iterable, Mapping, Sequence

    from components.core.types import LaneRun, Live, LivePass
    from components.report.figures import Lag


def words_so_far(passes: Iterable[LivePass], lanes: Sequence[str], page_lags_s: Mapping[str, float]) -> str:
    """A column a lane, as HTML: committed words dark, tentative ones pale; how late they are, by the lane's clock.

    ``page_lags_s``: lane -> how late they were on the page, where somebody speaks to it.
    """
    committed: dict[str, str] = defaultdict(str)
    last: dict[str, LivePass] = {}
    for each in passes:
        committed[each.lane_id] += each.committed
        last[each.lane_id] = each
    shown = [
        {
            "lane_id": lane_id,
            "committed": committed[lane_id].strip(),
            "tentative": last[lane_id].tentative if lane_id in last else "",
            "lag_s": last[lane_id].compute_lag_s + last[lane_id].policy_lag_s if lane_id in last else None,
            "page_lag_s": page_lags_s.get(lane_id),
        }
        for lane_id in lanes
    ]
    return render("live.html", lanes=shown)


def lag_points(passes: Iterable[LivePass]) -> dict[str, list[Lag]]:
    """Lane -> for each pass: the audio that it had processed, its compute lag and its policy lag, in seconds."""
    points: dict[str, list[Lag]] = defaultdict(list)
    for each in passes:
        points[each.lane_id].append((each.audio_end_s, each.compute_lag_s, each.policy_lag_s))
    return points


def verdict(live: Live) -> list[str]:
    """A sentence or two a lane: how late its words came, how often, and what live wrote otherwise."""
    return [_verdict(live, run) for run in live.live.runs]


def _verdict(live: Live, run: LaneRun) -> str:
    label, lags = lane_label(run.lane_id), run.lags
    if lags is None or lags.word_median_s is None:
        return f"{label} heard no words."
    if lags.cannot_keep_up_from_s is not None:
        said = (
            f"{label} cannot keep up on this machine: from {lags.cannot_keep_up_from_s:.0f} s on, more audio waited "
            "than it can take in at once."
        )
    else:
        said = (
            f"{label} showed your words {lags.word_median_s:.1f} s after you said them, "
            f"every {lags.pass_interval_s:.1f} s."
        )
    return f"{said} {lost(live, run)}"


def lost(live: Live, run: LaneRun) -> str:
    """How the live words of a lane differ from those of the whole recording at once."""
    whole = live.offline.run(run.lane_id) if live.offline is not None else None
    if whole is None:
        return ""
    words = scoring.word_errors(whole.text, run.text, run.language).errors
    if not words.edits:
        return "Live it wrote the same words as over the whole recording at once."
    edits = counted(words.edits, "word")
    return f"{edits} of {words.reference_words} came out otherwise than over the whole recording at once."


def result(live: Live) -> str:
    """The end of a live run, as HTML: the verdict, each lane's words against those of the whole at once, the lags."""
    whole = live.offline or live.live
    cards = []
    for run in live.live.runs:
        offline = whole.run(run.lane_id)
        against = run.model_copy(update={"reference": offline.text if offline else run.reference, "word_errors": None})
        alone = live.live.model_copy(update={"runs": (against,)})
        cards.append(lane_card(alone, run.lane_id, reference="the whole recording at once"))
    sentences = verdict(live) or ["We heard no speech. Check your microphone and record again."]
    return render(
        "live_result.html",
        verdict=sentences,
        cards=cards,
        table=html_table(lags_table(live).turned()),
        notes=live.live.notes,
    )
