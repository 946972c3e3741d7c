"""The nouns of the project, each once. No torch, no Gradio.

The pydantic classes are also their JSON: ``model_dump(mode="json")`` writes what scripts and files see, and
``model_validate`` reads it back, today's rows and those of older versions. Every key is always there; ``None`` means
that a field does not apply, never that it is zero. Seconds end in ``_s``.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Annotated, Any, Final, Literal

from pydantic import BaseModel, ConfigDict, Field, computed_field

if TYPE_CHECKING:
    import numpy as np

SAMPLING_RATE = 16_000
"""Hertz; the only rate Whisper's feature extractor accepts."""

WINDOW_S = 30.0
"""Seconds of audio in one encoder pass; longer clips are long-form."""

MAX_TOKENS = 448
"""Whisper's longest decoder sequence, prompt included."""

BASELINE_LANE = "whisper"
"""Speed-ups are relative to this lane."""

STUDENT_LANE = "distil"
"""The lane whose parameters are compared with the baseline's."""

ROWS_FORMAT: Final = "whisper-vs-distil-whisper/1"
"""Names the format of a file of rows in its header line."""

REPORT_FORMAT: Final = "whisper-vs-distil-whisper/report/1"

SPEED_FORMAT: Final = "whisper-vs-distil-whisper/speed/1"

LongForm = Literal["sequential", "chunked"]

# Bounds keep a damaged or hostile file from reaching a chart: finite numbers, texts of a length that a page can hold.
Name = Annotated[str, Field(max_length=4096)]
Text = Annotated[str, Field(max_length=10_000_000)]
Seconds = Annotated[float, Field(ge=0, le=1e9, allow_inf_nan=False)]
Count = Annotated[int, Field(ge=0, le=10**15)]
Ratio = Annotated[float, Field(ge=0, le=1e15, allow_inf_nan=False)]
Number = Annotated[float, Field(ge=-1e15, le=1e15, allow_inf_nan=False)]
Interval = tuple[Number, Number]
"""A 95 % interval: low, high."""


@dataclass(frozen=True, eq=False)
class AudioClip:
    """One clip to transcribe.

    ``samples``: float32, shape ``(n,)``, mono, 16 kHz, in [-1, 1]; read-only. ``notes``: what was mended or left out
    when it was read, each a sentence for a person.
    """

    clip_id: str
    samples: np.ndarray
    sampling_rate: int = SAMPLING_RATE
    notes: tuple[str, ...] = ()

    @property
    def audio_length_s(self) -> float:
        return len(self.samples) / self.sampling_rate


@dataclass(frozen=True)
class LaneSpec:
    """One contestant. ``checkpoint`` is a hub id or a folder; ``assistant`` a second one, for speculative decoding."""

    lane_id: str
    label: str
    backend: str
    checkpoint: str
    revision: str | None = None
    assistant: str | None = None


@dataclass(frozen=True)
class Pair:
    """A teacher and the student distilled from it; each a hub id, ``id@revision`` or a folder.

    ``note``: what a person must know before choosing it. ``long_form``: how audio over 30 s is cut for both lanes
    unless the caller says so: the way that suits the student. ``student_languages``: Whisper's codes of the languages
    that the student was trained on; empty where that is not known.
    """

    pair_id: str
    teacher: str
    student: str
    note: str = ""
    long_form: LongForm = "sequential"
    student_languages: tuple[str, ...] = ()


class _Noun(BaseModel):
    model_config = ConfigDict(frozen=True)


class ModelInfo(_Noun):
    """What is known of a lane's model; device, dtype and attention are ``None`` until it is loaded."""

    lane_id: Name
    checkpoint: Name
    num_parameters: Count
    encoder_parameters: Count
    decoder_parameters: Count
    encoder_layers: Count
    decoder_layers: Count
    dtype: Name | None = None
    device: Name | None = None
    attention: Name | None = None


class Models(_Noun):
    """The answer of ``/models``; the ratios are fractions, student over teacher, ``None`` where one is missing."""

    pair: Name
    lanes: tuple[ModelInfo, ...]

    @computed_field  # type: ignore[prop-decorator]
    @property
    def parameter_ratio(self) -> float | None:
        return self._ratio("num_parameters")

    @computed_field  # type: ignore[prop-decorator]
    @property
    def decoder_parameter_ratio(self) -> float | None:
        return self._ratio("decoder_parameters")

    def _ratio(self, field: str) -> float | None:
        counts = {info.lane_id: getattr(info, field) for info in self.lanes}
        teacher, student = counts.get(BASELINE_LANE), counts.get(STUDENT_LANE)
        return student / teacher if teacher and student is not None else None


class Segment(_Noun):
    """A stretch of speech; times in seconds from the start of the clip."""

    start_s: Number
    end_s: Number
    text: Text


@dataclass(frozen=True)
class Transcript:
    """What an engine wrote for one clip; ``language`` is Whisper's code, as told to the model or detected."""

    text: str
    segments: tuple[Segment, ...] = ()
    language: str | None = None


class Timing(_Noun):
    """Wall-clock seconds of one repeat on a warm, synchronised device.

    ``generation_time_s`` is encoder plus decoder, what the Distil-Whisper notebook measured; ``decoder_time_s`` is
    generation minus encoder, so that nothing synchronises per token; ``end_to_end_time_s`` is clip in, text out,
    features included.
    """

    feature_time_s: Seconds
    encoder_time_s: Seconds
    decoder_time_s: Seconds
    generation_time_s: Seconds
    end_to_end_time_s: Seconds


class WordErrors(_Noun):
    """Edits against a reference; ``+`` sums, ``wer`` divides, once, at the end.

    ``unit``: what is counted, characters for languages written without spaces. ``normalizer``: name and version of
    the text normaliser that both sides went through; empty in rows older than the field. A sum over both units, or
    over two normalisers, says ``mixed``.
    """

    substitutions: Count = 0
    deletions: Count = 0
    insertions: Count = 0
    reference_words: Count = 0
    unit: Literal["word", "character", "mixed"] = "word"
    normalizer: Name = ""

    @computed_field  # type: ignore[prop-decorator]
    @property
    def wer(self) -> float | None:
        """Error rate as a fraction, or ``None`` without reference words."""
        return self.edits / self.reference_words if self.reference_words else None

    @property
    def edits(self) -> int:
        return self.substitutions + self.deletions + self.insertions

    def __add__(self, other: WordErrors) -> WordErrors:
        if not self.edits and not self.reference_words:
            return other
        if not other.edits and not other.reference_words:
            return self
        return WordErrors(
            substitutions=self.substitutions + other.substitutions,
            deletions=self.deletions + other.deletions,
            insertions=self.insertions + other.insertions,
            reference_words=self.reference_words + other.reference_words,
            unit=self.unit if self.unit == other.unit else "mixed",
            normalizer=self.normalizer if self.normalizer == other.normalizer else "mixed",
        )


class Machine(_Noun):
    """Where figures were measured; every report and every file of rows carries it."""

    device: Name
    device_name: Name
    platform: Name
    python: Name
    libraries: dict[Name, Name]
    threads: Count
    processes: Count = 1


class LivePass(_Noun):
    """One pass of a lane over live speech. Times in seconds on the lane's own clock, which starts with the recording.

    ``committed``: the text that it settled; ``tentative``: what it wrote after that. ``start_s``, ``end_s``: when it
    began, and when its text was there. ``audio_end_s``: the audio that it had processed, of which ``buffer_s`` were
    transcribed. ``compute_lag_s``: audio received when the pass ended, less the audio processed. ``policy_lag_s``:
    audio processed, less the audio whose words are committed. ``word_lags_s``: for each word settled, how long after
    it was spoken it was there.
    """

    lane_id: Name
    number: Count
    start_s: Seconds
    end_s: Seconds
    audio_end_s: Seconds
    buffer_s: Seconds
    committed: Text
    tentative: Text
    compute_lag_s: Seconds
    policy_lag_s: Seconds
    word_lags_s: tuple[Seconds, ...] = ()


class Lags(_Noun):
    """How far a lane lay behind live speech, over its passes, in seconds; see ``LivePass``.

    ``first_commit_s``: when the first words were committed; ``None`` where none were. ``pass_interval_s``: median time
    between the ends of two passes. ``word_median_s``: median time from a word being spoken to its being committed.
    ``cannot_keep_up_from_s``: since when more audio waited than a pass can take; ``None`` for a lane that kept up.
    """

    compute_median_s: Seconds
    compute_p95_s: Seconds
    compute_max_s: Seconds
    policy_median_s: Seconds
    policy_p95_s: Seconds
    policy_max_s: Seconds
    first_commit_s: Seconds | None = None
    pass_interval_s: Seconds
    word_median_s: Seconds | None = None
    cannot_keep_up_from_s: Seconds | None = None


class LiveFigures(_Noun):
    """What a live row has beside its lags. ``pass_lags_s``: compute and policy lag of each pass, see ``LivePass``.

    ``offline_text``, ``offline_errors``: what the lane wrote over the whole recording at once.
    """

    pass_lags_s: tuple[tuple[Seconds, Seconds], ...] = ()
    offline_text: Text | None = None
    offline_errors: WordErrors | None = None


class LaneRun(_Noun):
    """One row: one clip through one lane.

    The times are those of the median repeat (the lower one of two), ``None`` where nothing was timed.

    ``dropped``: notes and labels that were left out of the reference before scoring. ``notes``: what was mended when
    the clip was read. ``long_form``: how the clip was cut, ``None`` for clips of one window and in older rows.
    ``batch_size``: how many clips shared the pass; their times are shared out by audio length. ``busy``: the machine
    was doing something else while this was timed. ``token_times_s``: seconds after the start of generation at which
    each token was written, where the engine tells.
    """

    clip_id: Name
    lane_id: Name
    checkpoint: Name
    text: Text
    segments: tuple[Segment, ...] = ()
    language: Name | None = None
    audio_length_s: Seconds
    generated_tokens: Count
    feature_time_s: Seconds | None = None
    encoder_time_s: Seconds | None = None
    decoder_time_s: Seconds | None = None
    generation_time_s: Seconds | None = None
    end_to_end_time_s: Seconds | None = None
    repeats: tuple[Timing, ...] = ()
    dtype: Name
    attention: Name
    runtime: Name
    reference: Text | None = None
    normalized_reference: Text | None = None
    normalized_text: Text | None = None
    word_errors: WordErrors | None = None
    warnings: tuple[Text, ...] = ()
    acceptance_rate: Ratio | None = None
    tokens_per_pass: Ratio | None = None
    peak_memory_bytes: Count | None = None
    normalizer: Name = ""
    dropped: Count = 0
    notes: tuple[Text, ...] = ()
    long_form: LongForm | None = None
    batch_size: Count = 1
    busy: bool = False
    lags: Lags | None = None
    live: LiveFigures | None = None
    token_times_s: tuple[Seconds, ...] | None = None

    @computed_field  # type: ignore[prop-decorator]
    @property
    def rtfx(self) -> float | None:
        """Inverse real-time factor: seconds of audio per second of generation; ``None`` when nothing was timed."""
        return self.audio_length_s / self.generation_time_s if self.generation_time_s else None

    @property
    def timing(self) -> Timing | None:
        """The times of the median repeat, or ``None`` when nothing was timed."""
        if self.generation_time_s is None:
            return None
        return Timing.model_validate({name: getattr(self, name) for name in Timing.model_fields})


class LaneFailure(_Noun):
    """A lane that failed on a clip: a row, not a crash. ``message`` is for a person."""

    clip_id: Name
    lane_id: Name
    message: Text


Row = LaneRun | LaneFailure
"""A line of a file of rows."""


class Comparison(_Noun):
    """One clip through several lanes, in the order they were asked for; the answer of ``/compare``.

    ``language``: Whisper's code of the language that all lanes were told, ``None`` where each found out by itself.
    ``notes``: what was mended when the clip was read.
    """

    clip_id: Name
    audio_length_s: Seconds
    pair: Name
    language: Name | None = None
    notes: tuple[Text, ...] = ()
    runs: tuple[LaneRun, ...]
    failures: tuple[LaneFailure, ...] = ()
    machine: Machine

    @computed_field  # type: ignore[prop-decorator]
    @property
    def speed_up(self) -> dict[str, float]:
        """Generation time of the ``whisper`` lane over that of each other lane; empty without it."""
        baseline = self.run(BASELINE_LANE)
        if baseline is None or baseline.generation_time_s is None:
            return {}
        return {
            run.lane_id: baseline.generation_time_s / run.generation_time_s
            for run in self.runs
            if run.lane_id != BASELINE_LANE and run.generation_time_s
        }

    def run(self, lane_id: str) -> LaneRun | None:
        """The run of a lane, or ``None`` where it failed or was not asked for."""
        return next((run for run in self.runs if run.lane_id == lane_id), None)

    def speed_up_range(self, lane_id: str) -> tuple[float, float, int] | None:
        """Lowest and highest speed-up over paired rounds, and how many rounds there were.

        Round ``k`` pairs the ``k``-th timed repeat of both lanes, which ran one right after the other. ``None`` where
        one of the lanes was not timed.
        """
        baseline, lane = self.run(BASELINE_LANE), self.run(lane_id)
        if baseline is None or lane is None or lane is baseline:
            return None
        rounds = zip(baseline.repeats, lane.repeats, strict=False)
        ratios = [a.generation_time_s / b.generation_time_s for a, b in rounds if b.generation_time_s]
        return (min(ratios), max(ratios), len(ratios)) if ratios else None

    @property
    def busy(self) -> bool:
        """Whether the machine was busy with something else: encoders that are alike took times too far apart."""
        return any(run.busy for run in self.runs)


class Live(_Noun):
    """A recording transcribed as if live, and once more as a whole; the answer of ``/live``.

    ``live``: a row for each lane, with its lags and the words that it had committed at the end. ``offline``: the same
    lanes over the whole recording at once; ``None`` until that is done.
    """

    live: Comparison
    passes: tuple[LivePass, ...]
    offline: Comparison | None = None


class SpeedLane(_Noun):
    """A lane's totals over the clips replayed. ``ratio``: the baseline's generation time over this lane's.

    ``bandwidth_fraction``: the time that reading weights and caches once a token would take at the memory bandwidth
    measured, over the decoder's time; above 1 where a pass writes several tokens.
    """

    lane_id: Name
    encoder_time_s: Seconds
    decoder_time_s: Seconds
    generation_time_s: Seconds
    generated_tokens: Count
    ms_per_token: Number
    peak_memory_bytes: Count | None
    ratio: Ratio | None
    bandwidth_fraction: Ratio
    tokens_per_pass: Ratio | None
    dtype: Name
    attention: Name
    runtime: Name
    note: Text
    batch_size: Count = 1


class SpeedRun(_Noun):
    """The answer of ``speed``: an architecture's latency with random weights. ``notebook``: the seconds it printed."""

    pair: Name
    clips: Count
    lanes: tuple[SpeedLane, ...]
    failures: tuple[LaneFailure, ...]
    bandwidth_bytes_per_s: Ratio
    notebook: dict[Name, Seconds]
    machine: Machine
    format: Literal["whisper-vs-distil-whisper/speed/1"] = SPEED_FORMAT


class RowsHeader(_Noun):
    """First line of a file of rows. ``checkpoints`` maps a lane to its checkpoint, ``id@revision`` where pinned.

    ``settings``: what a resumed run must share. ``data`` names the data set; ``None`` in older files. ``machines``:
    every machine that wrote rows, where a resumed run was on another one. ``data_states``: digests of what the data set
    listed, each time that it ran. ``data_notes``: what is to be said of it, as sentences.
    """

    format: Literal["whisper-vs-distil-whisper/1"] = ROWS_FORMAT
    pair: Name
    checkpoints: dict[Name, Name]
    settings: dict[str, Any]
    machine: Machine
    data: Name | None = None
    machines: tuple[Machine, ...] = ()
    data_states: tuple[Name, ...] = ()
    data_notes: tuple[Text, ...] = ()

    @property
    def all_machines(self) -> tuple[Machine, ...]:
        return self.machines or (self.machine,)

    def to_json(self) -> dict[str, Any]:
        """The header line; those that may be empty only where they say something."""
        row = self.model_dump(mode="json")
        return {
            key: value
            for key, value in row.items()
            if value or key not in {"data", "machines", "data_states", "data_notes"}
        }


class LiveTotals(_Noun):
    """A lane's live runs: lags over all their passes, see ``LivePass``; ``None`` where no pass was made.

    ``word_errors``, ``offline_errors``: live, and over the whole recordings at once, of the clips that have both.
    ``wer_difference``: live minus at once, as a fraction; its interval is drawn over the same clips for both.
    """

    passes: Count
    compute_median_s: Seconds | None
    compute_p95_s: Seconds | None
    compute_max_s: Seconds | None
    policy_median_s: Seconds | None
    policy_p95_s: Seconds | None
    policy_max_s: Seconds | None
    word_errors: WordErrors
    offline_errors: WordErrors
    wer_difference: Number | None
    wer_difference_interval: Interval | None


class LaneTotals(_Noun):
    """One lane over all its clips; times in seconds, summed; shares and rates as fractions.

    ``ms_per_token``: slope of generation time over tokens generated, least squares. ``insertion_rate``: inserted over
    reference words. ``repeated_5_grams``: runs of five words that a transcript writes again. ``suspect_clips``: clips
    with a warning. ``live``: of a live benchmark.
    """

    clips: Count
    audio_length_s: Seconds
    encoder_time_s: Seconds
    decoder_time_s: Seconds
    generation_time_s: Seconds
    median_generation_time_s: Seconds | None
    p90_generation_time_s: Seconds | None
    rtfx: Ratio | None
    generated_tokens: Count
    ms_per_token: Number | None
    word_errors: WordErrors
    wer_interval: Interval | None
    insertion_rate: Ratio | None
    repeated_5_grams: Count
    suspect_clips: Count
    live: LiveTotals | None = None


class Difference(_Noun):
    """A clip on which a lane wrote other words than the baseline: how many edits lie between the two."""

    clip_id: Name
    lane_id: Name
    words: Count
    baseline_wer: Ratio | None
    wer: Ratio | None


class Summary(_Noun):
    """All of a run. ``speed_up``: the baseline's total generation time over the lane's, over clips both have timed.

    ``qoi``: by lane, the share of clips on which its WER is no worse than the baseline's. ``processes``: how many
    worked at once. Intervals come from ``resamples`` bootstrap resamples of the clips, drawn with ``seed``.
    """

    clips: Count
    lanes: dict[Name, LaneTotals]
    failures: dict[Name, Count]
    speed_up: dict[Name, Ratio]
    speed_up_interval: dict[Name, Interval | None]
    qoi: dict[Name, Ratio]
    differ_most: tuple[Difference, ...]
    warnings: tuple[Text, ...]
    processes: Count
    resamples: Count
    seed: int


class ClipFigures(_Noun):
    """One clip through one lane, without its words; ``None`` where it does not apply."""

    clip_id: Name
    lane_id: Name
    audio_length_s: Seconds
    encoder_time_s: Seconds | None
    decoder_time_s: Seconds | None
    generation_time_s: Seconds | None
    rtfx: Ratio | None
    generated_tokens: Count
    wer: Ratio | None
    words_from_baseline: Count | None
    warnings: tuple[Text, ...]


class Report(_Noun):
    """What rows add up to, and the figures of each clip that the charts are drawn from."""

    format: Literal["whisper-vs-distil-whisper/report/1"] = REPORT_FORMAT
    pair: Name
    data: Name
    checkpoints: dict[Name, Name]
    settings: dict[str, Any]
    machine: Machine
    summary: Summary
    clips: tuple[ClipFigures, ...]
    failures: tuple[LaneFailure, ...] = ()


class BenchmarkProgress(_Noun):
    """A line of the stream that ``/benchmark`` answers with; ``report`` is ``None`` until the last one.

    ``total`` is ``None`` where a data set does not say how many clips it has. ``time_left_s`` counts measuring alone.
    """

    done: Count
    total: Count | None
    clip_id: Name
    time_left_s: Seconds | None
    report: Report | None = None
