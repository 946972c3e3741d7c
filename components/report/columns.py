"""Every figure that a table shows: what it is called and how it is written, once for HTML, Markdown, terminal and CSV.

A list of ``Column`` says what is shown of a kind of row; ``Table`` is the outcome, texts in cells, which each view
lays out in its own way.
"""

from __future__ import annotations

from dataclasses import dataclass
from operator import attrgetter
from typing import TYPE_CHECKING, Any, Generic, NamedTuple, TypeVar

from components.core.catalog import checkpoint_name, lane_label
from components.core.types import BASELINE_LANE
from components.core.wording import counted

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable, Mapping, Sequence

    from components.core.types import (
        ClipFigures,
        Comparison,
        Difference,
        Interval,
        LaneFailure,
        LaneRun,
        LaneTotals,
        Live,
        LiveTotals,
        Machine,
        ModelInfo,
        Models,
        Report,
        SpeedLane,
        SpeedRun,
        WordErrors,
    )

Row = TypeVar("Row")

NONE = "–"
"""Written where a figure does not apply."""

MIN_CLIPS_FOR_SLOPE = 8
"""Clips from which a time per token is read off the slope; fewer give nonsense such as -100 ms."""


class Cell(NamedTuple):
    """A text of a table, with a smaller second line. ``lane_id`` gives a heading its lane's colour."""

    text: str
    detail: str = ""
    lane_id: str = ""


@dataclass(frozen=True)
class Table:
    """Texts in rows; the first cell of a row is its heading."""

    title: str
    head: tuple[Cell, ...]
    rows: tuple[tuple[Cell, ...], ...]

    def turned(self) -> Table:
        """Rows as columns: for few rows with many figures, such as lanes."""
        head, *rows = zip(self.head, *self.rows, strict=True)
        return Table(self.title, head, tuple(rows))


@dataclass(frozen=True)
class Column(Generic[Row]):
    """``name``: in JSON and CSV. ``heading``: in plain words. ``value`` may give ``None``; ``write`` never sees it."""

    name: str
    heading: str
    value: Callable[[Row], Any]
    write: Callable[[Any], str | Cell] = str

    def cell(self, row: Row) -> Cell:
        value = self.value(row)
        written = NONE if value is None else self.write(value)
        return written if isinstance(written, Cell) else Cell(written)


def table(title: str, columns: Sequence[Column[Row]], rows: Iterable[Row]) -> Table:
    """What the columns show of the rows."""
    head = tuple(Cell(column.heading) for column in columns)
    return Table(title, head, tuple(tuple(column.cell(row) for column in columns) for row in rows))


# How figures are written.


def seconds(value: float | None) -> str:
    """Milliseconds below a tenth of a second, else hundredths of one, and tenths from a hundred."""
    if value is None:
        return NONE
    if value < 0.1:
        return f"{1000 * value:.0f} ms" if value >= 0.01 else f"{1000 * value:.1f} ms"
    return f"{value:.2f} s" if value < 100 else f"{value:,.1f} s"


def length(value: float | None) -> str:
    """How long audio is: ``11.0 s``, ``12 min 5 s``."""
    if value is None:
        return NONE
    if value < 60:
        return f"{value:.1f} s"
    minutes, rest = divmod(round(value), 60)
    return f"{minutes:,} min {rest} s" if minutes < 60 else f"{minutes // 60:,} h {minutes % 60} min"


def times(value: float | None) -> str:
    """A ratio: ``2.1×``, ``0.87×``, ``14×``."""
    if value is None:
        return NONE
    return f"{value:.2f}×" if value < 1 else f"{value:.1f}×" if value < 10 else f"{value:,.0f}×"


def percent(value: float | None) -> str:
    return NONE if value is None else f"{100 * value:.1f} %"


def points(value: float) -> str:
    """A difference of two rates, in percentage points."""
    return f"{100 * value:.1f} points"


def whole(value: int | None) -> str:
    return NONE if value is None else f"{value:,}"


def milliseconds(value: float | None) -> str:
    return NONE if value is None else f"{value:.2f} ms"


def gigabytes(value: int | None) -> str:
    return NONE if value is None else f"{value / 1e9:.2f} GB"


def between(interval: Interval | None, write: Callable[[float], str]) -> str:
    """``2.0 to 2.3``, the unit once at its end."""
    if interval is None:
        return ""
    low, high = (write(end) for end in interval)
    unit = high.lstrip("0123456789.,-")
    return high if low == high else f"{low.removesuffix(unit)} to {high}"


def error_rate(errors: Iterable[WordErrors | None]) -> str:
    """What an error rate is called: of words, of characters where a language is written without spaces, or of both."""
    units = {each.unit for each in errors if each is not None}
    if units == {"character"}:
        return "Character error rate"
    return "Word error rate" if units <= {"word"} else "Error rate, words and characters"


def lane_cell(lane_id: str, checkpoint: str = "") -> Cell:
    return Cell(lane_label(lane_id), checkpoint_name(checkpoint) if checkpoint else "", lane_id)


def model_name(checkpoint: str) -> str:
    """A checkpoint as one speaks of it: ``Whisper base`` for ``openai/whisper-base``, ``distil-base`` for a folder."""
    name = checkpoint_name(checkpoint).rstrip("/").rsplit("/", 1)[-1].split("@", 1)[0]
    return name.replace("whisper-", "Whisper ", 1) if name.startswith("whisper-") else name


def models_line(comparison: Comparison) -> str:
    """``Whisper base vs distil-base``, each checkpoint once; the pair where nothing ran."""
    return " vs ".join(dict.fromkeys(model_name(run.checkpoint) for run in comparison.runs)) or comparison.pair


def machine_line(machine: Machine) -> str:
    """``AMD EPYC, 2 threads``; threads count on a CPU only."""
    parts = [machine.device_name]
    if machine.device == "cpu":
        parts.append(counted(machine.threads, "thread"))
    if machine.processes > 1:
        parts.append(counted(machine.processes, "process", "processes"))
    return ", ".join(parts)


RUNTIMES = {
    "eager": "Transformers' own loop",
    "loop": "our decoding loop",
    "compiled": "our decoding loop as CUDA graphs",
    "ctranslate2": "CTranslate2",
}
"""What runs the decoder, for a person."""


def where_it_runs(stamp: Mapping[str, str]) -> str:
    """``Runs on AMD EPYC in float32, with our decoding loop.`` from a stamp of ``runs.lab``."""
    number = f" in {stamp['dtype']}" if "dtype" in stamp else ""
    runtime = stamp.get("runtime", "")
    loop = f", with {RUNTIMES[runtime]}" if runtime in RUNTIMES else ""
    return f"Runs on {stamp['device_name']}{number}{loop}. {stamp.get('note', '')}".strip()


# One clip through some lanes.


def lane_columns(comparison: Comparison) -> list[Column[LaneRun]]:
    speed_up = comparison.speed_up
    return [
        Column("lane_id", "Model", lambda run: lane_cell(run.lane_id, run.checkpoint), lambda cell: cell),
        Column("generation_time_s", "Time", lambda run: run.generation_time_s, seconds),
        Column("encoder_time_s", "Encoder", lambda run: run.encoder_time_s, seconds),
        Column("decoder_time_s", "Decoder", lambda run: run.decoder_time_s, seconds),
        Column("end_to_end_time_s", "Clip in, text out", lambda run: run.end_to_end_time_s, seconds),
        Column("speed_up", "Speed-up", lambda run: speed_up.get(run.lane_id), times),
        Column("rtfx", "RTFx", lambda run: run.rtfx, times),
        Column("generated_tokens", "Tokens", lambda run: run.generated_tokens, whole),
        Column(
            "wer",
            error_rate(run.word_errors for run in comparison.runs),
            lambda run: run.word_errors and run.word_errors.wer,
            percent,
        ),
        Column("how", "Ran with", lambda run: ", ".join(filter(None, (run.dtype, run.attention, run.runtime)))),
    ]


def left_out(comparison: Comparison) -> tuple[str, ...]:
    """What of the reference was not scored, as sentences: the lanes have one reference, so it is said once."""
    count = max((run.dropped for run in comparison.runs), default=0)
    return (f"Left out of what is said before scoring: {counted(count, 'note or label', 'notes or labels')}.",) * (
        count > 0
    )


def comparison_table(comparison: Comparison, *, speed_up: bool = True) -> Table:
    """A row a lane; what applies to none of them, such as an error rate without a reference, is left out.

    ``speed_up``: false where such a figure would mislead.
    """
    columns = [column for column in lane_columns(comparison) if speed_up or column.name != "speed_up"]
    known = [column for column in columns if any(column.value(run) is not None for run in comparison.runs)]
    return table("Times", known, comparison.runs)


# Many clips.


def totals_columns(report: Report) -> list[Column[str]]:
    """Of the lanes of a report, by lane id."""
    summary = report.summary
    totals = summary.lanes

    def of(field: str) -> Callable[[str], Any]:
        return lambda lane: getattr(totals[lane], field)

    def errors(lane: str) -> Cell | None:
        wer, interval = totals[lane].word_errors.wer, totals[lane].wer_interval
        return None if wer is None else Cell(percent(wer), between(interval, percent))

    def speed_up(lane: str) -> Cell | None:
        ratio, interval = summary.speed_up.get(lane), summary.speed_up_interval.get(lane)
        return None if ratio is None else Cell(times(ratio), between(interval, times))

    return [
        Column("lane_id", "Model", lambda lane: lane_cell(lane, report.checkpoints.get(lane, "")), lambda cell: cell),
        Column("clips", "Clips", of("clips"), whole),
        Column("audio_length_s", "Audio", of("audio_length_s"), length),
        Column("generation_time_s", "Time", of("generation_time_s"), seconds),
        Column("encoder_time_s", "Encoder", of("encoder_time_s"), seconds),
        Column("decoder_time_s", "Decoder", of("decoder_time_s"), seconds),
        Column("median_generation_time_s", "Half of the clips under", of("median_generation_time_s"), seconds),
        Column("p90_generation_time_s", "Slowest tenth from", of("p90_generation_time_s"), seconds),
        Column("speed_up", "Speed-up", speed_up, lambda cell: cell),
        Column("rtfx", "RTFx", of("rtfx"), times),
        Column("generated_tokens", "Tokens", of("generated_tokens"), whole),
        Column("ms_per_token", "Time per token", lambda lane: time_per_token(totals[lane]), milliseconds),
        Column("wer", error_rate_of(report), errors, lambda cell: cell),
        Column(
            "qoi", f"As good as {lane_label(BASELINE_LANE)} on", summary.qoi.get, lambda x: f"{percent(x)} of clips"
        ),
        Column("insertion_rate", "Words added", of("insertion_rate"), percent),
        Column("repeated_5_grams", "Repeated five-word phrases", of("repeated_5_grams"), whole),
        Column("suspect_clips", "Clips with a warning", of("suspect_clips"), whole),
        Column("failures", "Clips that failed", lambda lane: summary.failures.get(lane, 0), whole),
    ]


def error_rate_of(report: Report) -> str:
    """What the error rate of a report is called, see ``error_rate``."""
    return error_rate(totals.word_errors for totals in report.summary.lanes.values())


def time_per_token(totals: LaneTotals) -> float | None:
    """Milliseconds per token from the slope over clips, where there are enough of them for one."""
    slope = totals.ms_per_token
    return slope if slope is not None and slope > 0 and totals.clips >= MIN_CLIPS_FOR_SLOPE else None


def totals_table(report: Report) -> Table:
    """A row a lane: times and words, or the lags of a live benchmark."""
    columns = live_totals_columns(report) if is_live(report) else totals_columns(report)
    return table("Summary", columns, report.summary.lanes)


def is_live(report: Report) -> bool:
    return any(totals.live is not None for totals in report.summary.lanes.values())


def difference_columns(report: Report) -> list[Column[Difference]]:
    """Of the clips on which a lane wrote other words than the baseline; no error rates where there is no reference."""
    baseline, rate = lane_label(BASELINE_LANE), error_rate_of(report)
    columns: list[Column[Difference]] = [
        Column("clip_id", "Clip", lambda row: row.clip_id),
        Column("lane_id", "Model", lambda row: lane_cell(row.lane_id), lambda cell: cell),
        Column("words", f"Words unlike {baseline}'s", lambda row: row.words, whole),
        Column("baseline_wer", f"{rate} of {baseline}", lambda row: row.baseline_wer, percent),
        Column("wer", f"Its {rate[0].lower()}{rate[1:]}", lambda row: row.wer, percent),
    ]
    return [column for column in columns if any(column.value(row) is not None for row in report.summary.differ_most)]


def differences_table(report: Report) -> Table:
    return table("Clips on which the models differ most", difference_columns(report), report.summary.differ_most)


def samples(report: Report) -> list[dict[str, ClipFigures]]:
    """A report's clips by lane id, in order; a clip that ran twice is two samples."""
    found: list[dict[str, ClipFigures]] = []
    clip_id = None
    for row in report.clips:
        if row.clip_id != clip_id or row.lane_id in found[-1]:
            found.append({})
            clip_id = row.clip_id
        found[-1][row.lane_id] = row
    return found


def lanes_of(report: Report) -> list[str]:
    """Lane ids in the order in which they first appear."""
    return list(dict.fromkeys(row.lane_id for row in report.clips))


CLIP_FIELDS = (
    "clip_id",
    "lane_id",
    "audio_length_s",
    "encoder_time_s",
    "decoder_time_s",
    "generation_time_s",
    "rtfx",
    "generated_tokens",
    "wer",
    "words_from_baseline",
    "warnings",
    "message",
)
"""Columns of the CSV of a report: those of ``ClipFigures``, and what was said where a lane failed."""


def clip_values(row: ClipFigures | LaneFailure) -> list[Any]:
    """A line of the CSV: plain values, warnings joined by semicolons."""
    values = (getattr(row, name, None) for name in CLIP_FIELDS)
    return ["; ".join(value) if isinstance(value, tuple) else value for value in values]


# Live.


def lags_table(live: Live) -> Table:
    """A row a lane: lags, and the word errors of both ways where there is a reference."""

    def lag(name: str, heading: str) -> Column[LaneRun]:
        return Column(name, heading, lambda run: getattr(run.lags, name) if run.lags else None, seconds)

    def offline_wer(run: LaneRun) -> float | None:
        errors = run.live.offline_errors if run.live else None
        return errors.wer if errors else None

    lags = [lag(name, heading) for name, heading in LAG_HEADINGS.items()]
    columns: list[Column[LaneRun]] = [
        Column("lane_id", "Model", lambda run: lane_cell(run.lane_id), lambda cell: cell),
        lag("first_commit_s", "First words at"),
        lag("word_median_s", "A word to its being certain"),
        lag("pass_interval_s", "New text every"),
        *lags,
        lag("cannot_keep_up_from_s", "Cannot keep up from"),
        Column("wer", "Word errors, live", lambda run: run.word_errors and run.word_errors.wer, percent),
        Column("offline_wer", "Word errors, at once", offline_wer, percent),
    ]
    return table("Lags", columns, live.live.runs)


LAG_HEADINGS = {
    "compute_median_s": "Compute lag, median",
    "compute_p95_s": "Compute lag, 95th percentile",
    "compute_max_s": "Compute lag, maximum",
    "policy_median_s": "Waiting for certainty, median",
    "policy_p95_s": "Waiting for certainty, 95th percentile",
    "policy_max_s": "Waiting for certainty, maximum",
}


def live_totals_columns(report: Report) -> list[Column[str]]:
    """Of the lanes of a live benchmark: lags over all passes, and what live costs in words."""
    totals = {lane: totals.live for lane, totals in report.summary.lanes.items() if totals.live is not None}

    def of(value: Callable[[LiveTotals], Any]) -> Callable[[str], Any]:
        return lambda lane: value(totals[lane]) if lane in totals else None

    def difference(live: LiveTotals) -> Cell | None:
        more, interval = live.wer_difference, live.wer_difference_interval
        return None if more is None else Cell(points(more), between(interval, points))

    return [
        Column("lane_id", "Model", lambda lane: lane_cell(lane, report.checkpoints.get(lane, "")), lambda cell: cell),
        Column("passes", "Passes", of(lambda live: live.passes), whole),
        *(Column(name, heading, of(attrgetter(name)), seconds) for name, heading in LAG_HEADINGS.items()),
        Column("wer", "Word errors, live", of(lambda live: live.word_errors.wer), percent),
        Column("offline_wer", "Word errors, at once", of(lambda live: live.offline_errors.wer), percent),
        Column("wer_difference", "Live more than at once", of(difference), lambda cell: cell),
    ]


# Models.


def _share(part: int, whole_: int) -> str | None:
    return f"{100 * part / whole_:.1f} %" if whole_ else None


def model_columns(models: Models) -> list[Column[ModelInfo]]:
    """Sizes are relative to the ``whisper`` lane, or to the first where that one is not there."""
    first = next((info for info in models.lanes if info.lane_id == BASELINE_LANE), models.lanes[0])
    loaded = [
        Column[Any]("device", "Device", lambda info: info.device),
        Column[Any]("dtype", "Number format", lambda info: info.dtype),
        Column[Any]("attention", "Attention", lambda info: info.attention),
    ]
    return [
        Column("lane_id", "Model", lambda info: lane_cell(info.lane_id, info.checkpoint), lambda cell: cell),
        Column("num_parameters", "Parameters", lambda info: info.num_parameters, whole),
        Column("encoder_parameters", "Parameters of the encoder", lambda info: info.encoder_parameters, whole),
        Column("decoder_parameters", "Parameters of the decoder", lambda info: info.decoder_parameters, whole),
        Column("size", "Size", lambda info: _share(info.num_parameters, first.num_parameters)),
        Column(
            "decoder_size",
            "Size of the decoder",
            lambda info: _share(info.decoder_parameters, first.decoder_parameters),
        ),
        Column("encoder_layers", "Encoder layers", lambda info: info.encoder_layers, whole),
        Column("decoder_layers", "Decoder layers", lambda info: info.decoder_layers, whole),
        *(column for column in loaded if any(column.value(info) for info in models.lanes)),
    ]


def models_table(models: Models) -> Table:
    """A row a lane; device, number format and attention only once a model is loaded."""
    return table("Models", model_columns(models) if models.lanes else [], models.lanes)


# Speed runs.


class SpeedRow(NamedTuple):
    """A lane of a saved speed run, with the run."""

    run: SpeedRun
    lane: SpeedLane


def run_name(run: SpeedRun) -> str:
    """``large-v2, 73 clips, NVIDIA H100 80GB HBM3, compiled``: what tells one run from another."""
    sizes = sorted({lane.batch_size for lane in run.lanes})
    batch = f", batch {sizes[0]}" if sizes[-1:] > [1] else ""
    runtime = run.lanes[0].runtime if run.lanes else ""
    return f"{run.pair}, {run.clips} clips, {machine_line(run.machine)}, {runtime}{batch}"


def speed_columns(runs: Sequence[SpeedRun]) -> list[Column[SpeedRow]]:
    """Of all lanes of the runs; columns without any figure, such as the memory on a CPU, are left out."""
    columns: list[Column[SpeedRow]] = [
        Column(
            "lane_id",
            "Model",
            lambda row: Cell(lane_label(row.lane.lane_id), row.run.pair, row.lane.lane_id),
            lambda cell: cell,
        ),
        Column("machine", "Machine", lambda row: machine_line(row.run.machine)),
        Column("batch_size", "Batch", lambda row: row.lane.batch_size, whole),
        Column("encoder_time_s", "Encoder", lambda row: row.lane.encoder_time_s, seconds),
        Column("decoder_time_s", "Decoder", lambda row: row.lane.decoder_time_s, seconds),
        Column("generation_time_s", "Time", lambda row: row.lane.generation_time_s, seconds),
        Column("ms_per_token", "Time per token", lambda row: row.lane.ms_per_token, milliseconds),
        Column("ratio", "Speed-up", lambda row: row.lane.ratio, times),
        Column(
            "bandwidth_fraction", "Of the memory's speed", lambda row: row.lane.bandwidth_fraction, lambda x: f"{x:.0%}"
        ),
        Column("peak_memory_bytes", "Memory used", lambda row: row.lane.peak_memory_bytes, gigabytes),
        Column("how", "Ran with", _ran_with),
    ]
    rows = speed_rows(runs)
    one_machine = len({machine_line(run.machine) for run in runs}) < 2
    one_batch = {row.lane.batch_size for row in rows} <= {1}
    left_out = {"machine"} if one_machine else set()
    left_out |= {"batch_size"} if one_batch else set()
    return [
        column
        for column in columns
        if column.name not in left_out and any(column.value(row) is not None for row in rows)
    ]


def _ran_with(row: SpeedRow) -> str:
    lane = row.lane
    return ", ".join(filter(None, (lane.dtype, lane.attention, lane.runtime, lane.note)))


def speed_rows(runs: Iterable[SpeedRun]) -> list[SpeedRow]:
    return [SpeedRow(run, lane) for run in runs for lane in run.lanes]


def speed_table(runs: Sequence[SpeedRun]) -> Table:
    return table("Speed", speed_columns(runs), speed_rows(runs))
