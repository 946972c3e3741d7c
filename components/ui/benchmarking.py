"""What the Benchmark tab and ``/benchmark`` share: the data sets that visitors may choose, and watching one run."""

from __future__ import annotations

import io
import shutil
from dataclasses import dataclass, replace
from itertools import islice
from pathlib import Path
from typing import TYPE_CHECKING, Any

from components.core.caller import NOBODY
from components.core.catalog import EXAMPLES
from components.core.errors import ManifestError, no_such
from components.core.files import read_rows
from components.core.types import BenchmarkProgress, Comparison, LaneFailure, LaneRun, Report
from components.core.wording import counted, duration
from components.runs.benchmark import read_report
from components.runs.sources import PRESETS, Files, Item, Manifest, Source, read_references
from components.runs.totals import Totals
from components.ui.visit import seconds_for

if TYPE_CHECKING:
    from collections.abc import Iterator, Mapping, Sequence

    from components.runs.lab import Lab

MAX_CLIPS = 200
"""Clips that a visitor may run at once; the command line has no limit."""

MAX_OPENED_MB = {".json": 5, ".jsonl": 20}
"""Megabytes of a report, and of rows, that a visitor may open: some 16,000 rows of each, a few seconds of drawing."""

LIBRISPEECH_CLIPS = 73
SOURCES = {
    "examples": "The examples of this page",
    "librispeech": f"LibriSpeech, {LIBRISPEECH_CLIPS} clips (from the hub)",
    "files": "My files",
}

CHARTS = {
    "clip-latency": "Seconds a clip",
    "clip-speed-up": "Times as fast as Whisper, clip by clip",
    "token-latency": "Time against tokens written",
    "wer-rtfx": "Error rate against speed",
}
"""The figures of the Benchmark tab and their headings, in order; the keys are those of ``report.figures.BENCHMARK``."""


@dataclass(frozen=True)
class Kept:
    """Another data set, whose clips are also written to a folder, so that they can be listened to."""

    source: Source
    folder: Path

    @property
    def name(self) -> str:
        return self.source.name

    def count(self) -> int | None:
        return self.source.count()

    def items(self, seed: int | None = None) -> Iterator[Item]:
        for number, item in enumerate(self.source.items(seed)):
            if isinstance(item.audio, bytes):
                path = self.folder / f"{number}.audio"
                path.write_bytes(item.audio)
                yield replace(item, audio=path)
            else:
                yield item


def chosen_source(
    name: str, files: Sequence[str | Path], references: str | Path | Mapping[str, str] | None, folder: Path
) -> Source:
    """The data set that a visitor chose. Uploads are copied to ``folder``: theirs are deleted after a while.

    Raises:
        ManifestError: there is no such data set, or the files or their references cannot be used.
    """
    if name == "files":
        if len(files) > MAX_CLIPS:
            raise ManifestError(
                f"These are {len(files)} files. Up to {MAX_CLIPS} run here; the command line has no limit."
            )
        table = read_references(Path(references)) if isinstance(references, str | Path) else dict(references or {})
        Files([Path(file) for file in files], table)  # looked at before anything is copied
        try:
            return Files([Path(shutil.copy(file, folder)) for file in files], table)
        except OSError as error:
            raise ManifestError(
                "The files cannot be kept here, or are not there any more. Upload them again."
            ) from error
    if name in PRESETS:
        return Kept(PRESETS[name], folder)
    if name != "examples":
        raise ManifestError(no_such("data set", name, SOURCES))
    return Manifest(EXAMPLES)


def most_clips(source: str) -> int:
    """How many clips of a data set may run here."""
    sizes = {"examples": Manifest(EXAMPLES).count() if EXAMPLES.is_file() else 1, "librispeech": LIBRISPEECH_CLIPS}
    return min(MAX_CLIPS, sizes.get(source, MAX_CLIPS))


def allowed(limit: int | None) -> int:
    """How many clips run.

    Raises:
        ManifestError: that is none, or too many.
    """
    if limit is not None and not 1 <= limit <= MAX_CLIPS:
        raise ManifestError(f"The limit must be a whole number from 1 to {MAX_CLIPS}.")
    return limit or MAX_CLIPS


@dataclass(frozen=True)
class Watched:
    """Where a run stands after a clip."""

    done: int
    total: int | None
    clip_id: str
    totals: Totals

    @property
    def time_left_s(self) -> float | None:
        """Clips that are left, by what one took on average; loading and warming up left out."""
        each = self.totals.seconds_a_clip
        return None if each is None or self.total is None else each * (self.total - self.done)

    def report(self) -> Report:
        return self.totals.report()


def watch(lab: Lab, source: Source, output: Path, **options: Any) -> Iterator[Watched]:
    """Run a benchmark (``Lab.benchmark_steps``) and add it up as it goes; what was there already counts too.

    Waits until those that came before have ended.
    """
    totals: Totals | None = None
    with lab.benchmarks.turn(options.get("caller", NOBODY)):
        for step in lab.benchmark_steps(source, output, **options):
            rows = iter(step.rows)
            if totals is None:
                header, rows = read_rows(output)
                totals = Totals(header)
            for row in rows:
                totals.add(row)
            yield Watched(step.number, step.total, step.clip_id, totals)


def estimate(source: Source, limit: int, visit: Sequence[Comparison], pair: str) -> str:
    """What a run is going to take, for a person: clips, length of their audio, and time where the visit can tell."""
    clips = list(islice(source.items(), limit)) if not isinstance(source, Kept) else []
    lengths = [length for item in clips if (length := audio_length(item.audio)) is not None]
    if not clips or len(lengths) < len(clips):
        return ""
    took_s = seconds_for(visit, pair, sum(lengths))
    said = f"{counted(len(clips), 'clip')}, {duration(sum(lengths))} of audio"
    return f"{said}: about {duration(took_s)} here." if took_s else f"{said}."


def audio_length(audio: object) -> float | None:
    """Seconds of audio by a file's header alone; ``None`` where that does not tell."""
    import soundfile

    if not isinstance(audio, Path | bytes):
        return None
    try:
        return float(soundfile.info(io.BytesIO(audio) if isinstance(audio, bytes) else audio).duration)
    except (OSError, soundfile.SoundFileError):
        return None


def comparison(rows: Path, report: Report, clip_id: str) -> Comparison | None:
    """One clip of a run, from its file of rows; ``None`` where there is no such file, or no such clip in it."""
    if not rows.exists():
        return None
    found = [row for row in read_rows(rows)[1] if row.clip_id == clip_id]
    runs = tuple(row for row in found if isinstance(row, LaneRun))
    return Comparison(
        clip_id=clip_id,
        audio_length_s=runs[0].audio_length_s if runs else 0.0,
        pair=report.pair,
        language=runs[0].language if runs else None,
        runs=runs,
        failures=tuple(row for row in found if isinstance(row, LaneFailure)),
        machine=report.machine,
    )


def progress_json(watched: Watched, *, last: bool) -> BenchmarkProgress:
    """A line of the stream of ``/benchmark``."""
    return BenchmarkProgress(
        done=watched.done,
        total=watched.total,
        clip_id=watched.clip_id,
        time_left_s=watched.time_left_s,
        report=watched.report() if last else None,
    )


def open_report(path: Path) -> Report:
    """A report from what the command line wrote: a file of rows, or ``report.json``.

    Raises:
        ManifestError: it is neither.
    """
    from components.report import files

    return files.open_report(path) if path.suffix.lower() == ".json" else read_report(path)


def check_size(path: Path) -> None:
    """Raises ``ManifestError`` where a report is too large to be shown to somebody while others are measured."""
    most = MAX_OPENED_MB.get(path.suffix.lower(), min(MAX_OPENED_MB.values()))
    if path.stat().st_size > 1_000_000 * most:
        raise ManifestError(f"{path.name} is too large to be opened here: at most {most} MB. Open its report.html.")
