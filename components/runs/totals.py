"""Rows -> totals and intervals: of a visit, a benchmark and a live run alike."""

from __future__ import annotations

from collections import defaultdict
from typing import TYPE_CHECKING, NamedTuple

import numpy as np

from components.core import scoring
from components.core.catalog import lane_label
from components.core.types import (
    BASELINE_LANE,
    ClipFigures,
    Difference,
    LaneFailure,
    LaneTotals,
    Report,
    RowsHeader,
    Summary,
    WordErrors,
)
from components.core.wording import counted
from components.runs.intervals import RESAMPLES, SEED, ratio_intervals
from components.runs.live_totals import live_totals

if TYPE_CHECKING:
    from collections.abc import Callable, Hashable, Iterable, Sequence

    from components.core.types import Comparison, Interval, LiveFigures, LiveTotals, Row

DIFFER_MOST = 10
"""How many of the clips on which the lanes differ most are listed."""


def report_of(comparisons: Sequence[Comparison]) -> Report:
    """A visit's report. Each comparison is one sample: the same clip twice is two.

    Pair and machine are those of the last comparison.

    Raises:
        IndexError: there are none.
    """
    last = comparisons[-1]
    checkpoints = {run.lane_id: run.checkpoint for comparison in comparisons for run in comparison.runs}
    totals = Totals(RowsHeader(pair=last.pair, checkpoints=checkpoints, settings={}, machine=last.machine))
    for number, comparison in enumerate(comparisons):
        rows: tuple[Row, ...] = (*comparison.runs, *comparison.failures)
        for row in rows:
            totals.add(row, sample=number)
    return totals.report()


class _Figures(NamedTuple):
    """What is kept of a run: no words."""

    audio_length_s: float
    encoder_time_s: float | None
    decoder_time_s: float | None
    generation_time_s: float | None
    measured_s: float
    generated_tokens: int
    word_errors: WordErrors | None
    repeated_5_grams: int
    warnings: tuple[str, ...]
    busy: bool
    live: LiveFigures | None


class Totals:
    """Adds up rows as they come, in any order; a row that comes again takes the place of the one before.

    Args:
        header: That of the rows: their lanes in order, and the machines that they come from.
    """

    def __init__(self, header: RowsHeader) -> None:
        self.header = header
        self._lanes = list(header.checkpoints)
        self._processes = max(machine.processes for machine in header.all_machines)
        self._samples: dict[Hashable, str] = {}  # sample -> clip id
        self._figures: dict[str, dict[Hashable, _Figures]] = defaultdict(dict)  # by lane, then sample
        self._failures: dict[str, dict[Hashable, LaneFailure]] = defaultdict(dict)
        self._differing: dict[tuple[Hashable, str], int] = {}
        self._words: dict[Hashable, dict[str, str | None]] = defaultdict(dict)  # until every lane has come

    def add(self, row: Row, *, sample: Hashable | None = None) -> None:
        """Take a row in. ``sample``: what it belongs to; the clip, unless given."""
        sample = row.clip_id if sample is None else sample
        self._samples[sample] = row.clip_id
        if isinstance(row, LaneFailure):
            self._failures[row.lane_id][sample] = row
            self._compare_words(sample, row.lane_id, None)
            return
        self._failures[row.lane_id].pop(sample, None)
        text = row.normalized_text
        if text is None:
            text = scoring.normalise(row.text, row.language)
        self._figures[row.lane_id][sample] = _Figures(
            row.audio_length_s,
            row.encoder_time_s,
            row.decoder_time_s,
            row.generation_time_s,
            sum(repeat.end_to_end_time_s for repeat in row.repeats),
            row.generated_tokens,
            row.word_errors,
            scoring.repeated_five_grams(text),
            row.warnings,
            row.busy,
            row.live and row.live.model_copy(update={"offline_text": None}),
        )
        self._compare_words(sample, row.lane_id, text)

    def _compare_words(self, sample: Hashable, lane_id: str, text: str | None) -> None:
        """Note how many words lie between a lane and the baseline, as soon as both have come."""
        words = self._words[sample]
        words[lane_id] = text
        baseline = words.get(BASELINE_LANE)
        for other in words if lane_id == BASELINE_LANE else [lane_id]:
            theirs = words[other]
            if other != BASELINE_LANE and baseline is not None and theirs is not None:
                self._differing[sample, other] = scoring.word_distance(baseline, theirs)
        if set(self._lanes) <= set(words):
            del self._words[sample]

    @property
    def done(self) -> int:
        """Samples that have a row."""
        return len(self._samples)

    @property
    def seconds_a_clip(self) -> float | None:
        """What measuring a clip took in all lanes and repeats, on average; loading and warming up left out."""
        measured = sum(each.measured_s for lane in self._figures.values() for each in lane.values())
        return measured / self.done if measured else None

    def report(self) -> Report:
        """What there is so far: totals, and the figures of every sample in the order they came."""
        return Report(
            pair=self.header.pair,
            data=self.header.data or "",
            checkpoints=self.header.checkpoints,
            settings=self.header.settings,
            machine=self.header.machine,
            summary=self.summary(),
            clips=self._clips(),
            failures=tuple(failure for failed in self._failures.values() for failure in failed.values()),
        )

    def _clips(self) -> tuple[ClipFigures, ...]:
        return tuple(
            ClipFigures(
                clip_id=clip_id,
                lane_id=lane_id,
                audio_length_s=figures.audio_length_s,
                encoder_time_s=figures.encoder_time_s,
                decoder_time_s=figures.decoder_time_s,
                generation_time_s=figures.generation_time_s,
                rtfx=figures.audio_length_s / figures.generation_time_s if figures.generation_time_s else None,
                generated_tokens=figures.generated_tokens,
                wer=_wer(figures),
                words_from_baseline=self._differing.get((sample, lane_id)),
                warnings=figures.warnings,
            )
            for sample, clip_id in self._samples.items()
            for lane_id in self._order()
            if (figures := self._figures[lane_id].get(sample)) is not None
        )

    def summary(self, *, seed: int = SEED, resamples: int = RESAMPLES) -> Summary:
        """Totals and ratios, with the percentile intervals of ``resamples`` bootstrap resamples of the clips.

        Every lane and ratio is recomputed on the same resampled clips, so that they stay paired.
        """
        lanes = self._order()
        others = [lane for lane in lanes if lane != BASELINE_LANE and BASELINE_LANE in lanes]
        times = {lane: self._columns(lane, lambda figures: figures.generation_time_s) for lane in lanes}
        errors = {lane: self._columns(lane, lambda figures: _edits(figures.word_errors)) for lane in lanes}
        words = {
            lane: self._columns(
                lane, lambda figures: figures.word_errors.reference_words if figures.word_errors else None
            )
            for lane in lanes
        }

        pairs = [(times[BASELINE_LANE], times[lane]) for lane in others] + [
            (errors[lane], words[lane]) for lane in lanes
        ]
        # A clip without a figure on either side counts on neither.
        known = [(np.isfinite(above) & np.isfinite(below)) for above, below in pairs]
        # Where every lane failed on every clip there are no columns.
        shape = len(pairs), self.done
        above = np.reshape([np.where(both, a, 0.0) for (a, _), both in zip(pairs, known, strict=True)], shape).T
        below = np.reshape([np.where(both, b, 0.0) for (_, b), both in zip(pairs, known, strict=True)], shape).T
        intervals = ratio_intervals(above, below, seed=seed, resamples=resamples)
        sums = above.sum(axis=0), below.sum(axis=0)
        ratios = {lane: float(sums[0][k] / sums[1][k]) for k, lane in enumerate(others) if sums[1][k] > 0}
        return Summary(
            clips=self.done,
            lanes={
                lane: self._totals(lane, intervals[len(others) + k], self._live(lane, seed, resamples))
                for k, lane in enumerate(lanes)
            },
            failures={lane: len(failed) for lane, failed in self._failures.items() if failed},
            speed_up=ratios,
            speed_up_interval={lane: intervals[k] for k, lane in enumerate(others) if lane in ratios},
            qoi={
                lane: float(np.mean(errors[lane][both] <= errors[BASELINE_LANE][both]))
                for lane in others
                if (both := np.isfinite(errors[lane]) & np.isfinite(errors[BASELINE_LANE])).any()
            },
            differ_most=self._differ_most(),
            warnings=tuple(self._warnings(lanes)),
            processes=self._processes,
            resamples=resamples,
            seed=seed,
        )

    def _order(self) -> list[str]:
        return [*(lane for lane in self._lanes if lane in self._figures), *(set(self._figures) - set(self._lanes))]

    def _columns(self, lane_id: str, value: Callable[[_Figures], float | None]) -> np.ndarray:
        """One figure of every clip, float64, shape ``(clips,)``; NaN where the lane has none."""
        of_lane = self._figures[lane_id]
        values = (value(of_lane[sample]) if sample in of_lane else None for sample in self._samples)
        return np.array([np.nan if each is None else each for each in values], dtype=np.float64)

    def _live(self, lane_id: str, seed: int, resamples: int) -> LiveTotals | None:
        every = self._figures[lane_id].values()
        clips = [(figures.live, figures.word_errors) for figures in every if figures.live is not None]
        return live_totals(clips, seed=seed, resamples=resamples)

    def _totals(self, lane_id: str, wer_interval: Interval | None, live: LiveTotals | None) -> LaneTotals:
        every = list(self._figures[lane_id].values())
        timed = [figures for figures in every if figures.generation_time_s is not None]
        seconds = np.array([figures.generation_time_s for figures in timed], dtype=np.float64)
        tokens = np.array([figures.generated_tokens for figures in timed], dtype=np.float64)
        audio_length_s, generation_time_s = sum(figures.audio_length_s for figures in timed), float(seconds.sum())
        errors = sum((figures.word_errors for figures in every if figures.word_errors is not None), WordErrors())
        return LaneTotals(
            clips=len(every),
            audio_length_s=audio_length_s,
            encoder_time_s=sum(figures.encoder_time_s or 0.0 for figures in timed),
            decoder_time_s=sum(figures.decoder_time_s or 0.0 for figures in timed),
            generation_time_s=generation_time_s,
            median_generation_time_s=float(np.median(seconds)) if timed else None,
            p90_generation_time_s=float(np.percentile(seconds, 90)) if timed else None,
            rtfx=audio_length_s / generation_time_s if generation_time_s else None,
            generated_tokens=sum(figures.generated_tokens for figures in every),
            ms_per_token=_slope(tokens, 1000 * seconds),
            word_errors=errors,
            wer_interval=wer_interval,
            insertion_rate=errors.insertions / errors.reference_words if errors.reference_words else None,
            repeated_5_grams=sum(figures.repeated_5_grams for figures in every),
            suspect_clips=sum(bool(figures.warnings) for figures in every),
            live=live,
        )

    def _differ_most(self) -> tuple[Difference, ...]:
        ranked = sorted(self._differing.items(), key=lambda item: -item[1])[:DIFFER_MOST]
        return tuple(
            Difference(
                clip_id=self._samples[sample],
                lane_id=lane_id,
                words=words,
                baseline_wer=_wer(self._figures[BASELINE_LANE].get(sample)),
                wer=_wer(self._figures[lane_id].get(sample)),
            )
            for (sample, lane_id), words in ranked
            if words
        )

    def _warnings(self, lanes: Sequence[str]) -> list[str]:
        return [
            *self._about_data(),
            *self._about_machines(),
            *self._about_failures(),
            *self._about_words(lanes),
            *self._about_clips(lanes),
        ]

    def _about_data(self) -> list[str]:
        said = list(self.header.data_notes)
        if len(self.header.data_states) > 1:
            said.append(
                f"{self.header.data} changed between the parts of this run; rows of clips that it no longer lists stay."
            )
        return said

    def _about_machines(self) -> list[str]:
        said, machines = [], self.header.all_machines
        if len(machines) > 1:
            names = "; ".join(
                f"{each.device_name}, {each.processes} processes, {each.threads} threads" for each in machines
            )
            said.append(f"Measured on more than one machine, or in more than one way; times do not mix: {names}.")
        if self._processes > 1:
            said.append(
                f"{self._processes} processes shared the clips. Where they share a device, each slows the others: "
                "compare times only with runs of as many."
            )
        busy = {sample for lane in self._figures.values() for sample, figures in lane.items() if figures.busy}
        if busy:
            said.append(f"The machine was busy on {counted(len(busy), 'clip')}: times there are too long.")
        return said

    def _about_failures(self) -> list[str]:
        return _once_for_all(
            (lane, f" failed on {counted(len(failed), 'clip')}. The first, {first.clip_id}: {first.message}")
            for lane, failed in self._failures.items()
            if (first := next(iter(failed.values()), None)) is not None
        )

    def _about_words(self, lanes: Sequence[str]) -> list[str]:
        errors = [figures.word_errors for figures in self._figures[lanes[0]].values()] if lanes else []
        unknown = sum(each is None for each in errors)
        empty = sum(each is not None and not each.reference_words for each in errors)
        said = []
        if unknown:
            said.append(f"Without a reference: {counted(unknown, 'clip')}. Word errors leave them out.")
        if empty:
            said.append(f"With an empty reference: {counted(empty, 'clip')}. Every word written there is an insertion.")
        return said

    def _about_clips(self, lanes: Sequence[str]) -> list[str]:
        said = []
        for lane in lanes:
            suspect = [(sample, each.warnings[0]) for sample, each in self._figures[lane].items() if each.warnings]
            if suspect:
                sample, warning = suspect[0]
                clips = counted(len(suspect), "clip")
                said.append((lane, f": {clips} with a warning. The first, {self._samples[sample]}: {warning}"))
        return _once_for_all(said)


def _once_for_all(said: Iterable[tuple[str, str]]) -> list[str]:
    """Sentences, each with the lanes that it is true of in front."""
    lanes: dict[str, list[str]] = defaultdict(list)
    for lane, sentence in said:
        lanes[sentence].append(lane_label(lane))
    return [f"{' and '.join(labels)}{sentence}" for sentence, labels in lanes.items()]


def _slope(x: np.ndarray, y: np.ndarray) -> float | None:
    """Least squares; ``None`` where all x are equal."""
    spread = x - x.mean() if len(x) else x
    square = float(spread @ spread)
    return float(spread @ y) / square if square else None


def _edits(errors: WordErrors | None) -> int | None:
    return None if errors is None else errors.edits


def _wer(figures: _Figures | None) -> float | None:
    return figures.word_errors.wer if figures is not None and figures.word_errors is not None else None
