"""The JSON of a report: what a benchmark's rows add up to, and the figures of each clip that the charts are drawn from.

Written by ``runs.summary``, drawn by ``report``, answered by ``/benchmark``. Intervals are 95 %, ``[low, high]``.
"""

from __future__ import annotations

from typing import Any

from typing_extensions import TypedDict

from components.core.records import MachineJSON, WordErrorsJSON  # noqa: TC001 - schemas are made of them

REPORT_FORMAT = "whisper-vs-distil-whisper/report/1"


class LaneTotalsJSON(TypedDict):
    """One lane over all its clips; times in seconds, summed; shares and rates as fractions.

    ``ms_per_token``: slope of generation time over tokens generated, least squares. ``insertion_rate``: inserted over
    reference words. ``repeated_5_grams``: runs of five words that a transcript writes again. ``suspect_clips``: clips
    with a warning.
    """

    clips: int
    audio_length_s: float
    encoder_time_s: float
    decoder_time_s: float
    generation_time_s: float
    median_generation_time_s: float | None
    p90_generation_time_s: float | None
    rtfx: float | None
    generated_tokens: int
    ms_per_token: float | None
    word_errors: WordErrorsJSON
    wer_interval: list[float] | None
    insertion_rate: float | None
    repeated_5_grams: int
    suspect_clips: int


class DifferenceJSON(TypedDict):
    """A clip on which a lane wrote other words than the baseline: how many edits lie between the two."""

    clip_id: str
    lane_id: str
    words: int
    baseline_wer: float | None
    wer: float | None


class SummaryJSON(TypedDict):
    """All of a run. ``speed_up``: the baseline's total generation time over the lane's, over clips both have timed.

    ``qoi``: by lane, the share of clips on which its WER is no worse than the baseline's. ``processes``: how many
    worked at once.
    """

    clips: int
    lanes: dict[str, LaneTotalsJSON]
    failures: dict[str, int]
    speed_up: dict[str, float]
    speed_up_interval: dict[str, list[float] | None]
    qoi: dict[str, float]
    differ_most: list[DifferenceJSON]
    warnings: list[str]
    processes: int
    resamples: int
    seed: int


class ClipJSON(TypedDict):
    """One clip through one lane, without its words; null where it does not apply."""

    clip_id: str
    lane_id: str
    audio_length_s: float
    encoder_time_s: float | None
    decoder_time_s: float | None
    generation_time_s: float | None
    rtfx: float | None
    generated_tokens: int
    wer: float | None
    words_from_baseline: int | None
    warnings: list[str]


class ReportJSON(TypedDict):
    format: str
    pair: str
    data: str
    checkpoints: dict[str, str]
    settings: dict[str, Any]
    machine: MachineJSON
    summary: SummaryJSON
    clips: list[ClipJSON]


class BenchmarkJSON(TypedDict):
    """A line of the stream that ``/benchmark`` answers with; ``report`` is null until the last one.

    ``total`` is null where a data set does not say how many clips it has. ``time_left_s`` counts measuring alone.
    """

    done: int
    total: int | None
    clip_id: str
    time_left_s: float | None
    report: ReportJSON | None
