"""The one figure of a result, in words: how much faster, how sure that is, or why there is no figure.

HTML, Markdown, the terminal and the picture all say it from here.
"""

from __future__ import annotations

from dataclasses import dataclass
from statistics import median
from typing import TYPE_CHECKING, Literal

from components.core.catalog import lane_label
from components.core.speech import WARNINGS
from components.core.types import BASELINE_LANE, STUDENT_LANE
from components.core.wording import counted
from components.report.columns import between, is_live, samples, seconds, times

if TYPE_CHECKING:
    from collections.abc import Iterable, Sequence

    from components.core.types import Comparison, Interval, LaneRun, Report

BASELINE = lane_label(BASELINE_LANE)

Verdict = Literal["faster", "slower", "alike", "suspect", "silent", "empty", "busy", "alone", "measuring"]

CLIP_WARNINGS = frozenset(WARNINGS.values())

BUSY = "No speed-up: this machine was busy. Measure again."

SILENCE = "We heard only silence. Check your microphone and record again."

ALIKE = 0.05
"""A speed-up of one clip counts as a difference from this distance to 1."""

UNSTEADY = 1.5
"""Rounds of one clip whose speed-ups lie further apart than this, highest over lowest, tell of a busy machine."""

_PAPER = "Distil-Whisper's paper measured 5.8× for large-v2 on an A100 GPU."
PUBLISHED = {
    "large-v2": "Distil-Whisper's paper measured 5.8× for this pair on an A100 GPU.",
    "large-v3": "The student's model card says 6.3× for this pair on a GPU.",
    "medium.en": "The student's model card says 6.8× over Whisper large-v2 on a GPU.",
    "small.en": "The student's model card says 5.6× over Whisper large-v2 on a GPU.",
}
"""What was published for a pair's student (arXiv 2311.00430; cards of distil-whisper/* on the hub)."""


def published(pair_id: str) -> str:
    """The published speed-up to stand beside the measured one, as a sentence."""
    return PUBLISHED.get(pair_id, _PAPER)


@dataclass(frozen=True)
class Headline:
    """``figure`` and ``word`` belong together: ``2.1×`` ``faster``; both empty where no figure is given.

    ``claim``: the sentence under it. ``spread``: how sure the figure is, ``2.0 to 2.3 in 4 rounds``.
    """

    verdict: Verdict
    figure: str = ""
    word: str = ""
    claim: str = ""
    spread: str = ""

    @property
    def withheld(self) -> bool:
        """Whether a speed-up would mislead, or there is none."""
        return self.verdict not in {"faster", "slower", "alike"}

    @property
    def sentence(self) -> str:
        """All of it, to be read without the page around it."""
        figure = f"{self.figure} {self.word}".strip()
        spread = f" ({self.spread})" if self.spread else ""
        return f"{figure}{spread}. {self.claim}" if figure else self.claim


def clip_warnings(comparison: Comparison) -> tuple[str, ...]:
    """What was found of the clip itself, such as silence; every lane's row says so, a person is told once."""
    said = dict.fromkeys(text for run in comparison.runs for text in run.warnings)
    return tuple(text for text in said if text in CLIP_WARNINGS)


def lane_warnings(run: LaneRun) -> tuple[str, ...]:
    """What makes a lane's own words or speed suspect."""
    return tuple(text for text in run.warnings if text not in CLIP_WARNINGS)


def headline(comparison: Comparison, *, running: bool = False) -> Headline:
    """What is said first of one clip; ``running`` while lanes are still to come."""
    if running:
        return Headline("measuring", claim="Measuring…")
    about_clip = clip_warnings(comparison)
    if about_clip and all(run.generation_time_s is None for run in comparison.runs):
        silent = WARNINGS["silent"] in about_clip
        return Headline("silent", claim=SILENCE if silent else about_clip[0])
    ran = [run.lane_id for run in comparison.runs]
    lane_id = _compared_lane(ran)
    baseline, lane = comparison.run(BASELINE_LANE), comparison.run(lane_id or "")
    if baseline is None or lane is None:
        return Headline("alone", claim=_no_pair(ran))
    return _withheld(comparison, (baseline, lane)) or _measured(baseline, lane, comparison.speed_up_range(lane.lane_id))


def _withheld(comparison: Comparison, runs: Sequence[LaneRun]) -> Headline | None:
    """Why a figure of two lanes would mislead, where it would."""
    if not any(run.text.strip() for run in runs):
        return Headline("empty", claim="No model heard any words, so there is no speed to compare.")
    suspects = [run for run in runs if lane_warnings(run) or run.generation_time_s is None or not run.text.strip()]
    if suspects:
        return Headline("suspect", claim=_suspect(suspects))
    if comparison.busy:
        return Headline("busy", claim=BUSY)
    return None


def _measured(baseline: LaneRun, lane: LaneRun, spread: tuple[float, float, int] | None) -> Headline:
    """The figure of two lanes that were timed, with its range over paired rounds."""
    first_s, own_s = baseline.generation_time_s or 0.0, lane.generation_time_s or 0.0
    claim = f"{lane_label(lane.lane_id)} took {seconds(own_s)}, {BASELINE} {seconds(first_s)}."
    low, high, rounds = spread or (first_s / own_s, first_s / own_s, 1)
    apart = low > 1 + ALIKE or high < 1 - ALIKE
    if high > UNSTEADY * low or (apart and not _beyond_noise(baseline, lane)):
        return Headline("busy", claim=BUSY)
    sure = f"in {rounds} rounds" if rounds > 1 else "measured once"
    return _figure(first_s / own_s, (low, high) if rounds > 1 else None, claim, sure, alike=ALIKE)


def _beyond_noise(baseline: LaneRun, lane: LaneRun) -> bool:
    """Whether two lanes differ by more than the rounds of either do among themselves, and none of those overlap."""
    rounds = [[timing.generation_time_s for timing in run.repeats] for run in (baseline, lane)]
    if min(map(len, rounds)) < 2:
        return True
    faster, slower = sorted(rounds, key=median)
    noise = max(max(times) / min(times) for times in rounds)
    return min(slower) > (1 + ALIKE) * max(faster) and median(slower) > noise * median(faster)


def report_headline(report: Report) -> Headline:
    """What is said first of many clips: total over total, with its 95 % interval."""
    summary = report.summary
    if is_live(report):
        return Headline("alone", claim="As if live: no speed-up, but how late each model's words come.")
    timed = [lane for lane, totals in summary.lanes.items() if totals.generation_time_s]
    if summary.lanes and not timed:
        return Headline("silent", claim="Nothing was timed: the clips are silent.")
    lane_id = _compared_lane(summary.speed_up)
    if lane_id is None:
        return Headline("alone", claim=_no_pair(timed))
    pairs = timed_pairs(report, lane_id)
    first_s, own_s = (sum(pair[k] for pair in pairs) for k in (0, 1))
    claim = (
        f"{lane_label(lane_id)} took {seconds(own_s)} for {counted(len(pairs), 'clip')}, {BASELINE} {seconds(first_s)}."
    )
    interval = summary.speed_up_interval.get(lane_id)
    return _figure(summary.speed_up[lane_id], interval, claim, "(95 % interval)" if interval else "measured once")


def _figure(ratio: float, interval: Interval | None, claim: str, sure: str, *, alike: float = 0.0) -> Headline:
    """``faster``, ``slower`` or ``alike`` by a ratio and the range around it; ``sure`` says what range that is.

    ``alike``: how near to 1 the range may come and still be no difference.
    """
    low, high = interval or (ratio, ratio)
    if low <= 1 + alike and high >= 1 - alike:
        spread = f"{between((low, high), times)} as fast {sure}" if interval else sure
        return Headline("alike", claim=f"No clear difference. {claim}", spread=spread)
    if ratio > 1:
        return Headline("faster", times(ratio), "faster", claim, f"{between(interval, times)} {sure}".strip())
    spread = f"{between((1 / high, 1 / low) if interval else None, times)} {sure}".strip()
    return Headline("slower", times(1 / ratio), f"as long as {BASELINE}", claim, spread)


def timed_pairs(report: Report, lane_id: str) -> list[tuple[float, float]]:
    """Seconds of the baseline and of a lane on every sample that both have timed."""
    pairs = []
    for sample in samples(report):
        first, own = sample.get(BASELINE_LANE), sample.get(lane_id)
        if first and own and first.generation_time_s and own.generation_time_s:
            pairs.append((first.generation_time_s, own.generation_time_s))
    return pairs


def _compared_lane(lanes: Iterable[str]) -> str | None:
    """The lane that the figure is about: the student where it ran, else the first beside the baseline."""
    others = [lane_id for lane_id in lanes if lane_id != BASELINE_LANE]
    return STUDENT_LANE if STUDENT_LANE in others else next(iter(others), None)


def _no_pair(timed: Sequence[str]) -> str:
    """Why there is no figure where these lanes were timed."""
    if not timed:
        return "No model could run on this clip."
    if BASELINE_LANE not in timed:
        return f"No speed-up: it is measured against {BASELINE}, which did not run."
    return f"No speed-up: only {BASELINE} ran."


def _suspect(runs: Iterable[LaneRun]) -> str:
    """Why a speed-up of these runs would mislead."""
    reasons = []
    for run in runs:
        name = lane_label(run.lane_id)
        if lane_warnings(run):
            reasons.append(f"{name}: {lane_warnings(run)[0]}")
        else:
            reasons.append(f"{name} was not timed." if run.text.strip() else f"{name} wrote nothing.")
    return f"No speed-up for this clip. {' '.join(reasons)}"
