"""The Benchmark tab: a data set in; totals, intervals and charts out, while it runs."""

from __future__ import annotations

import logging
import shutil
import tempfile
import zipfile
from collections.abc import Iterator  # noqa: TC003 - Gradio reads the callbacks' annotations
from contextlib import contextmanager
from dataclasses import dataclass, field
from html import escape
from pathlib import Path
from typing import TYPE_CHECKING, Any

import gradio as gr

from components.core.caller import Caller
from components.core.catalog import EXAMPLES
from components.core.errors import Cancelled, ManifestError
from components.core.wording import counted, duration
from components.report import html
from components.runs.sources import Manifest
from components.ui import benchmarking
from components.ui.api import BENCHMARKING
from components.ui.benchmarking import SOURCES, chosen_source, open_report, watch
from components.ui.parts import AT_ONCE, QUIET, chart, in_twos, running
from components.ui.requests import Refused, Ticket, plain_words, session_of
from components.ui.storage import runs_parent

if TYPE_CHECKING:
    from collections.abc import Mapping

    from components.core.types import Comparison, Report
    from components.runs.sources import Source
    from components.ui.benchmarking import Watched
    from components.ui.parts import Chart, Shared

log = logging.getLogger(__name__)

STOPPED = "Stopped. What is done is kept; Resume goes on with the rest."
OPENING = "Opening the data set and the models. What is not here yet is fetched first, which can take minutes."
WAITING = "Another benchmark is running. Yours is next; Stop leaves the queue."
FAILED = "That did not work"
FIRST_STEPS = (
    "Choose a data set: the examples of this page, the 73 clips of the Distil-Whisper notebook, or your own files.",
    "Press Run benchmark. The charts grow with every clip; Stop keeps what is done, and Resume goes on from there.",
    "Read how much faster the smaller model is over all clips, and where its words differ.",
)
REDRAWS = 40
"""How often the charts grow in a run: each time costs the browser more than the clip."""


@dataclass
class Run:
    """A benchmark on the page: its folder, and what resuming it needs. An opened report has neither source nor options.

    ``audio``: the file of each clip, by its name, where it can be listened to.
    """

    folder: Path
    source: Source | None = None
    options: dict[str, Any] = field(default_factory=dict)
    report: Report | None = None
    unfinished: bool = False
    audio: dict[str, str] = field(default_factory=dict)

    @property
    def rows(self) -> Path:
        return self.folder / "runs.jsonl"

    @property
    def resumable(self) -> bool:
        """Whether there is something to go on with."""
        return self.unfinished and self.rows.exists()


def new_run(**values: Any) -> Run:
    return Run(Path(tempfile.mkdtemp(prefix="benchmark-", dir=runs_parent())), **values)


def forget(run: Run | None) -> None:
    """Delete what is kept of a run."""
    if run is not None:
        shutil.rmtree(run.folder, ignore_errors=True)


class BenchmarkTab:
    """Builds its widgets where it is created; ``connect`` wires them."""

    label = "Benchmark"
    tab_id = "benchmark"

    def __init__(self, shared: Shared) -> None:
        self.shared = shared
        self.lab = shared.lab
        self.ticket = gr.State(None)
        self.kept = gr.State(None, delete_callback=forget)
        with gr.Row():
            with gr.Column(scale=3, min_width=300):
                self._inputs()
            with gr.Column(scale=2, min_width=300):
                self._reports()
        self.result = gr.HTML(self._empty(), elem_id="benchmark-result", padding=False)
        self._charts()
        self._details()

    def _inputs(self) -> None:
        self.source = gr.Radio(
            [(label, name) for name, label in SOURCES.items()],
            value="examples",
            label="Data set",
            elem_id="benchmark-source",
        )
        with gr.Column(visible=False) as self.uploads:
            with gr.Row():
                self.files = gr.File(
                    label="Audio or video",
                    file_count="multiple",
                    file_types=["audio", "video"],
                    elem_id="benchmark-files",
                    height=160,
                    min_width=260,
                )
                self.table = gr.File(
                    label="What is said (optional)",
                    file_types=[".csv", ".tsv", ".txt", ".jsonl"],
                    elem_id="benchmark-references",
                    height=160,
                    min_width=260,
                )
            gr.Markdown("To count word errors: a table of file name and text, as CSV, TSV or JSON lines.")
        most = benchmarking.most_clips("examples")
        self.limit = gr.Slider(1, most, value=most, step=1, label="Number of clips", elem_id="benchmark-limit")
        with gr.Row():
            self.run = gr.Button("Run benchmark", variant="primary", elem_id="benchmark-run", scale=3, min_width=200)
            self.resume = gr.Button("Resume", elem_id="benchmark-resume", interactive=False, min_width=90)
            self.stop = gr.Button("Stop", elem_id="benchmark-stop", interactive=False, min_width=90)
        self.status = gr.HTML(html.message(""), elem_id="benchmark-status", padding=False)

    def _reports(self) -> None:
        with gr.Accordion("Open a report made elsewhere", open=False, elem_id="benchmark-reports") as self.reports:
            self.opened = gr.File(
                label="report.json or runs.jsonl", file_types=[".json", ".jsonl"], elem_id="benchmark-open", height=160
            )
            gr.Markdown("A file of rows (runs.jsonl) has the words of every clip; report.json has the figures alone.")

    def _charts(self) -> None:
        self.charts: dict[str, Chart] = {}
        for two in in_twos(list(benchmarking.CHARTS.items())):
            with gr.Row(elem_classes="charts"):
                self.charts |= {name: chart(title, name, visible=False) for name, title in two}

    def _details(self) -> None:
        with gr.Column(visible=False, elem_id="benchmark-details") as self.details:
            self.tables = gr.HTML(elem_id="benchmark-tables", padding=False)
            self.download = gr.DownloadButton(
                "Download everything: rows, JSON, CSV and HTML page", elem_id="benchmark-download"
            )
            with gr.Accordion("Clip by clip", open=True):
                self.clip = gr.Dropdown([], label="Clip", elem_id="benchmark-clip", interactive=True)
                self.player = gr.Audio(
                    label="Listen", interactive=False, visible=False, elem_id="benchmark-player", buttons=[]
                )
                self.words = gr.HTML(elem_id="benchmark-words", padding=False)

    @staticmethod
    def _empty() -> str:
        return html.steps("Nothing measured yet", FIRST_STEPS)

    def connect(self, _page: gr.Blocks, _tab: gr.Tab) -> None:
        """Run, also for files dropped on another tab; Resume; Stop; opened reports; the choice of a clip to read."""
        self.source.change(self._chosen, self.source, [self.uploads, self.limit], **AT_ONCE)
        dropped = self.shared.dropped.change(self._take, self.shared.dropped, [self.source, self.files], **AT_ONCE)
        choices = {self.source, self.files, self.table, self.limit, *self.shared.choices.widgets}
        self._runs_on(dropped.success, self._begin, {self.ticket, self.kept, self.shared.visit, *choices})
        self._runs_on(self.run.click, self._begin, {self.ticket, self.kept, self.shared.visit, *choices})
        self._runs_on(self.resume.click, self._resume, {self.ticket, self.kept})
        self.stop.click(self._stop, self.ticket, self.status, **AT_ONCE)
        self.opened.upload(self._open, [self.opened, self.kept], self._outputs(), **QUIET)
        self.clip.change(self._browse, [self.clip, self.kept], [self.player, self.words], **QUIET)

    def _runs_on(self, event: Any, run: Any, inputs: set[Any]) -> None:
        buttons = [self.run, self.stop, self.resume, self.reports]
        started = event(self._start, None, [self.ticket, *buttons, self.status], **AT_ONCE)
        ran = started.success(run, inputs, self._outputs(), **QUIET, **BENCHMARKING)
        # Where the run could not even begin: the queue is full, or the disk.
        ran.failure(self._idle, None, buttons, **AT_ONCE)

    def _outputs(self) -> list[Any]:
        buttons = [self.run, self.stop, self.resume, self.reports]
        charts = [part for parts in self.charts.values() for part in parts]
        details = [self.details, self.tables, self.download, self.clip, self.player, self.words]
        return [self.kept, *buttons, self.status, self.result, *charts, *details]

    # -- callbacks

    @staticmethod
    def _chosen(source: str) -> tuple[gr.Column, gr.Slider]:
        most = benchmarking.most_clips(source)
        return gr.Column(visible=source == "files"), gr.Slider(maximum=most, value=most)

    @staticmethod
    def _take(dropped: tuple[str, list[str]]) -> tuple[str, list[str]]:
        return "files", dropped[1]

    def _start(self, request: gr.Request) -> tuple[Any, ...]:
        ticket = self.shared.cancellations.begin(session_of(request))
        busy = gr.Button(interactive=False), gr.Accordion(visible=False)
        return ticket, *running(True), *busy, html.message("Starting")

    def _begin(self, values: dict[Any, Any], request: gr.Request) -> Iterator[dict[Any, Any]]:
        run = new_run()
        try:
            with plain_words():
                files, table = values[self.files] or [], values[self.table]
                run.source = chosen_source(values[self.source], files, table, run.folder)
                run.options = self._options(values)
                estimate = self._estimate(run, values[self.shared.visit])
        except Refused as refused:
            forget(run)
            self.shared.cancellations.end(session_of(request), values[self.ticket])
            yield self._refused(refused.message, values[self.kept])
            return
        forget(values[self.kept])
        cleared: dict[Any, Any] = {self.result: ""}
        cleared |= {column: gr.Column(visible=False) for column, _ in self.charts.values()}
        yield from self._measure(run, values[self.ticket], session_of(request), cleared, estimate)

    def _resume(self, values: dict[Any, Any], request: gr.Request) -> Iterator[dict[Any, Any]]:
        run, ticket = values[self.kept], values[self.ticket]
        if run is not None and run.source is not None:
            yield from self._measure(run, ticket, session_of(request), {})
            return
        self.shared.cancellations.end(session_of(request), ticket)
        said = html.message("This run is not kept any more. Run it anew.", problem=True)
        yield self._idle() | {self.kept: None, self.status: said}

    def _stop(self, ticket: Ticket, request: gr.Request) -> str:
        self.shared.cancellations.stop(session_of(request), ticket)
        return html.message("Stopping…")

    def _open(self, file: str | None, before: Run | None) -> dict[Any, Any]:
        """Show a report that was made elsewhere."""
        run = new_run()
        try:
            with plain_words():
                if file is None:
                    raise ManifestError("No report was chosen.")
                benchmarking.check_size(Path(file))
                run.report = open_report(Path(file))
                if Path(file).suffix.lower() == ".jsonl":
                    shutil.copy(file, run.rows)
        except Refused as refused:
            forget(run)
            return {self.status: html.message(refused.message, problem=True)}
        if run.report.data == Manifest(EXAMPLES).name:
            run.audio = {item.clip_id: str(item.audio) for item in Manifest(EXAMPLES).items()}
        forget(before)
        return self._ended(run, done=f"Opened {Path(file or '').name}.")

    def _browse(self, clip_id: str | None, run: Run | None) -> tuple[Any, Any]:
        """One clip's sound, where it is here, and what each model wrote."""
        if clip_id is None or run is None or run.report is None:
            return gr.Audio(visible=False), ""
        comparison = benchmarking.comparison(run.rows, run.report, clip_id)
        if comparison is None:
            words = html.message("This report came without the words. Open its file of rows to read them.")
        else:
            words = html.comparison(comparison)
        return self._player(run.audio.get(clip_id)), words

    # -- a run

    def _estimate(self, run: Run, compared: list[Comparison]) -> str:
        if run.source is None:
            return ""
        return benchmarking.estimate(run.source, run.options["limit"], compared, run.options["pair"])

    def _options(self, values: Mapping[Any, Any]) -> dict[str, Any]:
        choices = self.shared.choices.settings(values)
        repeats = values[self.shared.choices.repeats] or 1
        return {
            "pair": choices["pair"],
            "lanes": choices["lanes"],
            "repeats": repeats,
            "limit": int(values[self.limit]),
        }

    def _measure(
        self, run: Run, ticket: Ticket, session: str, cleared: dict[Any, Any], estimate: str = ""
    ) -> Iterator[dict[Any, Any]]:
        """Run or resume, clip by clip; what is done is kept whatever happens."""
        said = html.message(WAITING if len(self.lab.benchmarks) else f"{OPENING} {estimate}")
        yield {self.kept: run, self.details: gr.Column(visible=False), self.status: said} | cleared
        problem = ""
        try:
            with _rows_are_kept():
                for watched in watch(
                    self.lab,
                    _Listening(run),
                    run.rows,
                    **run.options,
                    resume=True,
                    caller=Caller(cancelled=ticket.is_set),
                ):
                    yield self._progress(watched)
        except Refused as refused:
            problem = refused.message
        finally:
            self.shared.cancellations.end(session, ticket)
        yield self._ended(run, problem)

    def _progress(self, watched: Watched) -> dict[Any, Any]:
        shown: dict[Any, Any] = {self.status: f"{html.message(progress_text(watched))}{_bar(watched)}"}
        if watched.done % max(1, (watched.total or 100) // REDRAWS) == 0:
            shown |= self._draw(watched.report())
        return shown

    def _draw(self, report: Report) -> dict[Any, Any]:
        from components.report import figures

        shown: dict[Any, Any] = {self.result: html.benchmark_summary(report)}
        for name, drawing in self.charts.items():
            shown |= drawing.show(figures.BENCHMARK[name][1](report))
        return shown

    def _idle(self, *, resumable: bool = False) -> dict[Any, Any]:
        """What can be pressed while nothing runs."""
        run, stop = running(False)
        resume, reports = gr.Button(interactive=resumable), gr.Accordion(visible=True)
        return {self.run: run, self.stop: stop, self.resume: resume, self.reports: reports}

    def _refused(self, problem: str, before: Run | None) -> dict[Any, Any]:
        """The page where a choice cannot be run: what was there stays."""
        gr.Warning(escape(problem), title=FAILED)
        return self._idle(resumable=before is not None and before.resumable) | {
            self.status: html.message(problem, problem=True)
        }

    def _ended(self, run: Run, problem: str = "", done: str = "") -> dict[Any, Any]:
        """The page after a run, whole or not, or after a report was opened; ``done`` is said where all is well.

        All of it at once: of two updates that come close together the browser may lose what only the first one says.
        """
        run.unfinished = bool(problem) and run.source is not None
        shown: dict[Any, Any] = {self.kept: run} | self._idle(resumable=run.resumable)
        try:
            with plain_words():
                if run.rows.exists():
                    run.report = open_report(run.rows)
                if run.report is None:
                    raise ManifestError(problem or "Nothing was measured.")
                shown |= self._draw(run.report) | self._tables(run, run.report)
        except Refused as refused:
            return shown | {self.status: html.message(problem or refused.message, problem=True)}
        if problem not in {"", STOPPED}:
            gr.Warning(escape(problem), title=FAILED)
        text = problem or done or f"Done: {counted(run.report.summary.clips, 'clip')}."
        return shown | {self.status: html.message(text, problem=problem not in {"", STOPPED})}

    def _tables(self, run: Run, report: Report) -> dict[Any, Any]:
        done = [clip.clip_id for clip in report.clips]
        names = list(dict.fromkeys(done + [failure.clip_id for failure in report.failures]))
        first = names[0] if names else None
        player, words = self._browse(first, run)
        return {
            self.details: gr.Column(visible=True),
            self.tables: html.totals_table(report) + html.differences_table(report),
            self.download: self._archive(run, report),
            self.clip: gr.Dropdown(names, value=first),
            self.player: player,
            self.words: words,
        }

    def _archive(self, run: Run, report: Report) -> gr.DownloadButton:
        """Everything in one file; none where the disk has no room for it, and the figures are shown all the same."""
        from components.report.files import contents

        path = run.folder / "benchmark.zip"
        try:
            with zipfile.ZipFile(path, "w", zipfile.ZIP_DEFLATED, compresslevel=1) as archive:
                for name, text in contents(report).items():
                    archive.writestr(name, text)
                if run.rows.exists():
                    archive.write(run.rows, "runs.jsonl")
        except OSError:
            log.exception("the report cannot be packed")
            path.unlink(missing_ok=True)
            return gr.DownloadButton(value=None, interactive=False)
        return gr.DownloadButton(value=str(path), interactive=True)

    @staticmethod
    def _player(sound: str | None) -> gr.Audio:
        try:
            return gr.Audio(value=sound, visible=sound is not None)  # copies the file
        except OSError:
            log.exception("the clip cannot be offered to listen to")
            return gr.Audio(visible=False)


def progress_text(watched: Watched) -> str:
    """Which clip is done, and in round figures how long the others take."""
    of = f" of {watched.total:,}" if watched.total else ""
    left = f" About {duration(watched.time_left_s)} left." if watched.time_left_s else ""
    return f"Clip {watched.done:,}{of} is done: {watched.clip_id}.{left}"


def _bar(watched: Watched) -> str:
    if not watched.total:
        return ""
    return f"<progress class='bar' aria-label='Clips done' value='{watched.done}' max='{watched.total}'></progress>"


@dataclass(frozen=True)
class _Listening:
    """The data set of a run, noting where each clip's sound is."""

    run: Run

    @property
    def _source(self) -> Source:
        if self.run.source is None:
            raise ManifestError("There is nothing to run. Choose a data set.")
        return self.run.source

    @property
    def name(self) -> str:
        return self._source.name

    def count(self) -> int | None:
        return self._source.count()

    def items(self, seed: int | None = None) -> Iterator[Any]:
        for item in self._source.items(seed):
            if isinstance(item.audio, Path):
                self.run.audio[item.clip_id] = str(item.audio)
            yield item


@contextmanager
def _rows_are_kept() -> Iterator[None]:
    """``plain_words`` for a run whose rows stay: a stop says so.

    Raises:
        Refused: in place of any error.
    """
    with plain_words():
        try:
            yield
        except Cancelled:
            raise ManifestError(STOPPED) from None
