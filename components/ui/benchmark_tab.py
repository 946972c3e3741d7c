"""The Benchmark tab: a data set in; totals, intervals and charts out, while it runs."""

from __future__ import annotations

import logging
import shutil
import tempfile
import threading  # noqa: TC003 - Gradio reads the callbacks' annotations
import zipfile
from collections.abc import Iterator  # noqa: TC003 - Gradio reads the callbacks' annotations
from contextlib import contextmanager
from dataclasses import dataclass, field
from html import escape
from pathlib import Path
from typing import TYPE_CHECKING, Any

import gradio as gr

from components.core.catalog import EXAMPLES
from components.core.errors import Cancelled, ManifestError
from components.core.files import read_rows
from components.core.types import Comparison, LaneFailure, LaneRun
from components.core.wording import counted
from components.runs.sources import Manifest
from components.ui import markup
from components.ui.api import BENCHMARKING
from components.ui.benchmarking import MAX_CLIPS, SOURCES, chosen_source, open_report, watch
from components.ui.compare_tab import chart, pair_choices, running, session_of
from components.ui.requests import Refused, plain_words

if TYPE_CHECKING:
    from components.core.types import Report
    from components.runs.lab import Lab
    from components.runs.sources import Source
    from components.ui.benchmarking import Watched
    from components.ui.requests import Cancellations

log = logging.getLogger(__name__)

STOPPED = "Stopped. What is done is kept; Resume goes on with the rest."

OPENING = "Opening the data set and the models. Those of the hub are fetched first, which can take minutes."

WAITING = "One benchmark runs at a time, and somebody else's does. Yours starts when it ends; Stop takes it back."

EMPTY = (
    "<section class='empty'><h2>Nothing measured yet</h2><ol>"
    "<li>Choose a data set: the examples that come with this page, the 73 clips of the Distil-Whisper notebook, or "
    "files of your own.</li>"
    "<li>Press <strong>Run benchmark</strong>. The charts grow with every clip; <strong>Stop</strong> keeps what is "
    "done, and <strong>Resume</strong> goes on from there.</li>"
    "<li>Read the speed-up and its interval, see which words changed, listen to the clips, and download everything."
    "</li></ol></section>"
)

REDRAWS = 40
"""How often the charts grow in a run: each time costs the browser more than the clip."""


@dataclass
class Visit:
    """A run on the page: its folder, and what resuming it needs. An opened report has neither source nor options."""

    folder: Path
    source: Source | None = None
    options: dict[str, Any] = field(default_factory=dict)
    report: Report | None = None
    unfinished: bool = False
    audio: dict[str, str] = field(default_factory=dict)

    @property
    def rows(self) -> Path:
        return self.folder / "runs.jsonl"


def forget(visit: Visit | None) -> None:
    """Delete what is kept of a visit."""
    if visit is not None:
        shutil.rmtree(visit.folder, ignore_errors=True)


class BenchmarkTab:
    """Builds its components where it is created; ``connect`` wires them."""

    def __init__(self, lab: Lab) -> None:
        self.lab = lab
        self.visit = gr.State(None, delete_callback=forget)
        with gr.Row():
            with gr.Column(scale=3, min_width=300):
                self.source = gr.Radio(
                    [(label, name) for name, label in SOURCES.items()],
                    value="examples",
                    label="Data set",
                    elem_id="benchmark-source",
                )
                with gr.Column(visible=False) as self.uploads:
                    with gr.Row():
                        self.files = gr.File(
                            label="Audio", file_count="multiple", elem_id="benchmark-files", height=160, min_width=260
                        )
                        self.table = gr.File(
                            label="References (optional)",
                            file_types=[".csv", ".tsv", ".txt", ".jsonl"],
                            elem_id="benchmark-references",
                            height=160,
                            min_width=260,
                        )
                    gr.HTML(
                        "<p class='where'>References are what is really said, to count word errors against: a table of "
                        "two columns, file name and text, as CSV, TSV or JSON lines.</p>",
                        padding=False,
                    )
                with gr.Row():
                    self.run = gr.Button(
                        "Run benchmark", variant="primary", elem_id="benchmark-run", scale=3, min_width=260
                    )
                    self.resume = gr.Button("Resume", elem_id="benchmark-resume", interactive=False, min_width=100)
                    self.cancel = gr.Button("Stop", elem_id="benchmark-cancel", interactive=False, min_width=100)
                self.status = gr.HTML(markup.message(""), elem_id="benchmark-status", padding=False)
            with gr.Column(scale=2, min_width=300):
                self._options()
        self.result = gr.HTML(EMPTY, elem_id="benchmark-result", padding=False)
        self._charts()
        self._details()

    def _options(self) -> None:
        with gr.Accordion("Options: pair, lanes, clips, repeats", open=False, elem_id="benchmark-options"):
            self.pair = gr.Dropdown(
                pair_choices(self.lab), value=self.lab.default_pair, label="Pair", elem_id="benchmark-pair"
            )
            self.lanes = gr.CheckboxGroup(
                [(lane.label, lane.lane_id) for lane in self.lab.offered_lanes()],
                value=[lane.lane_id for lane in self.lab.default_lanes()],
                label="Lanes",
                elem_id="benchmark-lanes",
            )
            self.limit = gr.Slider(
                1, MAX_CLIPS, value=MAX_CLIPS, step=1, label="Clips, at most", elem_id="benchmark-limit"
            )
            self.repeats = gr.Slider(1, 9, value=1, step=1, label="Repeats", elem_id="benchmark-repeats")
        with gr.Accordion("Open a report made elsewhere", open=False, elem_id="benchmark-reports") as self.reports:
            self.opened = gr.File(
                label="report.json or runs.jsonl", file_types=[".json", ".jsonl"], elem_id="benchmark-open", height=160
            )
            gr.HTML(
                "<p class='where'>A file of rows, as the command line and Download write it, has the words of every "
                "clip; a report.json has the figures alone.</p>",
                padding=False,
            )

    def _charts(self) -> None:
        from components.report.benchmark_figures import FIGURES

        self.charts: list[Any] = []
        names = list(FIGURES)
        for first in range(0, len(names), 2):
            with gr.Row(visible=False, elem_classes="charts") as row:
                plots = [chart(FIGURES[name][0], name) for name in names[first : first + 2]]
            self.charts += [row, *plots]

    def _details(self) -> None:
        with gr.Column(visible=False, elem_id="benchmark-details") as self.details:
            self.tables = gr.HTML(elem_id="benchmark-tables", padding=False)
            self.download = gr.DownloadButton(
                "Download everything: rows, JSON, CSV and HTML page", elem_id="benchmark-download"
            )
            with gr.Accordion("Browse the clips", open=True):
                self.clip = gr.Dropdown([], label="Clip", elem_id="benchmark-clip", interactive=True)
                self.player = gr.Audio(
                    label="Listen", interactive=False, visible=False, elem_id="benchmark-player", buttons=[]
                )
                self.words = gr.HTML(elem_id="benchmark-words", padding=False)

    def connect(self, cancellations: Cancellations) -> None:
        """Wire everything."""
        ticket = gr.State(None)
        buttons = [self.run, self.cancel, self.resume, self.reports]
        choices = [self.source, self.files, self.table, self.pair, self.lanes, self.repeats, self.limit]
        private: dict[str, Any] = {"api_visibility": "private"}
        at_once: dict[str, Any] = {"queue": False, "show_progress": "hidden", **private}
        measured: dict[str, Any] = {"show_progress": "hidden", **BENCHMARKING}

        def start(request: gr.Request) -> tuple[Any, ...]:
            event = cancellations.begin(session_of(request))
            waiting = markup.message("Waiting for the device…")
            return event, *running(True), gr.Button(interactive=False), gr.Accordion(visible=False), waiting

        def begin(  # noqa: PLR0917 - Gradio passes values by position
            event: threading.Event,
            before: Visit | None,
            source: str,
            files: list[str] | None,
            table: str | None,
            pair: str,
            lanes: list[str],
            repeats: int,
            limit: int,
            request: gr.Request,
        ) -> Iterator[dict[Any, Any]]:
            folder = Path(tempfile.mkdtemp(prefix="benchmark-"))
            options = {"pair": pair, "lanes": lanes, "repeats": repeats, "limit": limit}
            visit = Visit(folder, options=options)
            try:
                with plain_words():
                    visit.source = chosen_source(source, files or [], table, folder)
            except Refused as refused:
                forget(visit)
                cancellations.end(session_of(request), event)
                yield self._refused(refused.message, before)
                return
            forget(before)
            yield from self._run(visit, event, session_of(request), cancellations, fresh=True)

        def go_on(event: threading.Event, visit: Visit | None, request: gr.Request) -> Iterator[dict[Any, Any]]:
            if visit is not None and visit.source is not None:
                yield from self._run(visit, event, session_of(request), cancellations)
            else:
                cancellations.end(session_of(request), event)
                yield self._gone()

        def stop(event: threading.Event, request: gr.Request) -> Any:
            cancellations.stop(session_of(request), event)
            return markup.message("Stopping…")

        self.source.change(lambda name: gr.Column(visible=name == "files"), self.source, self.uploads, **at_once)
        outputs = self._outputs()
        for button, run, inputs in (
            (self.run, begin, [ticket, self.visit, *choices]),
            (self.resume, go_on, [ticket, self.visit]),
        ):
            ran = button.click(start, None, [ticket, *buttons, self.status], **at_once).then(
                run, inputs, outputs, **measured, **private
            )
            # Where the run could not even begin: the queue is full, or the disk.
            ran.failure(
                lambda: (*running(False), gr.Accordion(visible=True)),
                None,
                [self.run, self.cancel, self.reports],
                **at_once,
            )
        self.cancel.click(stop, ticket, self.status, **at_once)
        self.opened.upload(self._open, [self.opened, self.visit], outputs, show_progress="hidden", **private)
        self.clip.change(
            self._browse, [self.clip, self.visit], [self.player, self.words], show_progress="hidden", **private
        )

    def _outputs(self) -> list[Any]:
        buttons = [self.run, self.cancel, self.resume, self.reports]
        details = [self.details, self.tables, self.download, self.clip, self.player, self.words]
        return [self.visit, *buttons, self.status, self.result, *self.charts, *details]

    def _run(
        self,
        visit: Visit,
        event: threading.Event,
        session: str,
        cancellations: Cancellations,
        *,
        fresh: bool = False,
    ) -> Iterator[dict[Any, Any]]:
        """Run or resume, clip by clip; what is done is kept whatever happens."""
        said = markup.message(WAITING if len(self.lab.benchmarks) else OPENING)
        yield {self.visit: visit, self.details: gr.Column(visible=False), self.status: said} | (
            self._cleared() if fresh else {}
        )
        problem = ""
        try:
            with _what_is_done_is_kept():
                for watched in watch(
                    self.lab, _Listening(visit), visit.rows, **visit.options, resume=True, cancelled=event.is_set
                ):
                    yield self._progress(watched)
        except Refused as refused:
            problem = refused.message
        finally:
            cancellations.end(session, event)
        yield self._end(visit, problem)

    def _progress(self, watched: Watched) -> dict[Any, Any]:
        shown: dict[Any, Any] = {self.status: markup.message(progress_text(watched)) + _bar(watched)}
        if watched.done % max(1, (watched.total or 100) // REDRAWS) == 0:
            shown |= self._draw(watched.report())
        return shown

    def _cleared(self) -> dict[Any, Any]:
        """Nothing of the run before."""
        return {self.result: "", **{row: gr.Row(visible=False) for row in self._chart_rows()}}

    def _chart_rows(self) -> list[Any]:
        return [part for part in self.charts if not isinstance(part, gr.Plot)]

    def _draw(self, report: Report) -> dict[Any, Any]:
        from components.report.benchmark_figures import FIGURES
        from components.report.tables import headline

        plots = [part for part in self.charts if isinstance(part, gr.Plot)]
        figures = [draw(report) for _, draw in FIGURES.values()]
        offered = report.pair in self.lab.offered_pairs
        note = self.lab.settings.get_pair(report.pair).note if offered else ""
        return {
            self.result: headline(report, note),
            **dict(zip(plots, figures, strict=True)),
            **{row: gr.Row(visible=bool(report.clips)) for row in self._chart_rows()},
        }

    def _idle(self, *, resumable: bool = False) -> dict[Any, Any]:
        """What can be pressed while nothing runs."""
        run, cancel = running(False)
        resume, reports = gr.Button(interactive=resumable), gr.Accordion(visible=True)
        return {self.run: run, self.cancel: cancel, self.resume: resume, self.reports: reports}

    def _refused(self, problem: str, before: Visit | None) -> dict[Any, Any]:
        """The page where a choice cannot be run: what was there stays."""
        gr.Warning(escape(problem), title="That did not work")
        buttons = self._idle(resumable=before is not None and before.unfinished)
        return buttons | {self.status: markup.message(problem, problem=True)}

    def _gone(self) -> dict[Any, Any]:
        """The page where a run that was to be resumed is not kept any more."""
        said = markup.message("This run is not kept any more. Run it anew.", problem=True)
        return self._idle() | {self.visit: None, self.status: said}

    def _end(self, visit: Visit, problem: str = "", done: str = "") -> dict[Any, Any]:
        """The page after a run, whole or not, or after a report was opened; ``done`` is said where all is well.

        All of it at once: of two updates that come close together the browser may lose what only the first one says.
        """
        visit.unfinished = bool(problem) and visit.source is not None
        shown: dict[Any, Any] = {self.visit: visit} | self._idle(resumable=visit.unfinished)
        try:
            with plain_words():
                if visit.rows.exists():
                    visit.report = open_report(visit.rows)
                if visit.report is None:
                    raise ManifestError(problem or "Nothing was measured.")
                shown |= self._draw(visit.report) | self._tables(visit, visit.report)
        except Refused as refused:
            return shown | {self.status: markup.message(problem or refused.message, problem=True)}
        if problem not in {"", STOPPED}:
            gr.Warning(escape(problem), title="That did not work")
        text = problem or done or f"Done: {counted(visit.report.summary.clips, 'clip')}."
        return shown | {self.status: markup.message(text, problem=problem not in {"", STOPPED})}

    def _tables(self, visit: Visit, report: Report) -> dict[Any, Any]:
        from components.report.tables import differences_table, lanes_table

        rows = read_rows(visit.rows)[1] if visit.rows.exists() else ()
        names = list(dict.fromkeys(row.clip_id for row in rows) or dict.fromkeys(c.clip_id for c in report.clips))
        first = names[0] if names else None
        player, words = self._browse(first, visit)
        return {
            self.details: gr.Column(visible=True),
            self.tables: lanes_table(report) + differences_table(report),
            self.download: self._keepsake(visit, report),
            self.clip: gr.Dropdown(names, value=first),
            self.player: player,
            self.words: words,
        }

    def _keepsake(self, visit: Visit, report: Report) -> gr.DownloadButton:
        """Everything in one file; nothing where the disk has no room for it, and the figures are shown all the same."""
        from components.report.files import contents

        path = visit.folder / "benchmark.zip"
        try:
            with zipfile.ZipFile(path, "w", zipfile.ZIP_DEFLATED, compresslevel=1) as archive:
                for name, text in contents(report).items():
                    archive.writestr(name, text)
                if visit.rows.exists():
                    archive.write(visit.rows, "runs.jsonl")
        except OSError:
            log.exception("the report cannot be packed")
            path.unlink(missing_ok=True)
            return gr.DownloadButton(value=None, interactive=False)
        return gr.DownloadButton(value=str(path), interactive=True)

    def _open(self, file: str | None, before: Visit | None) -> dict[Any, Any]:
        """Show a report that was made elsewhere."""
        visit = Visit(Path(tempfile.mkdtemp(prefix="benchmark-")))
        try:
            with plain_words():
                if file is None:
                    raise ManifestError("No report was chosen.")
                visit.report = open_report(Path(file))
                if Path(file).suffix.lower() == ".jsonl":
                    shutil.copy(file, visit.rows)
                if visit.report.data == Manifest(EXAMPLES).name:
                    visit.audio = {item.clip_id: str(item.audio) for item in Manifest(EXAMPLES).items()}
        except Refused as refused:
            forget(visit)
            return {self.status: markup.message(refused.message, problem=True)}
        forget(before)
        return self._end(visit, done=f"Opened {Path(file or '').name}.")

    def _browse(self, clip_id: str | None, visit: Visit | None) -> tuple[Any, Any]:
        """One clip's sound, where it is here, and what each lane wrote."""
        if clip_id is None or visit is None or visit.report is None:
            return gr.Audio(visible=False), ""
        sound = visit.audio.get(clip_id)
        try:
            audio = gr.Audio(value=sound, visible=sound is not None)  # copies the file
        except OSError:
            log.exception("the clip cannot be offered to listen to")
            audio = gr.Audio(visible=False)
        if not visit.rows.exists():
            return audio, markup.message("This report came without the words. Open its file of rows to read them.")
        rows = [row for row in read_rows(visit.rows)[1] if row.clip_id == clip_id]
        runs = tuple(row for row in rows if isinstance(row, LaneRun))
        failures = tuple(row for row in rows if isinstance(row, LaneFailure))
        length_s = runs[0].audio_length_s if runs else 0.0
        comparison = Comparison(
            clip_id=clip_id,
            audio_length_s=length_s,
            pair=visit.report.pair,
            runs=runs,
            failures=failures,
            machine=visit.report.machine,
        )
        return audio, markup.cards(comparison) + markup.word_diff(comparison)


def progress_text(watched: Watched) -> str:
    """Which clip is done, and in round figures how long the others take."""
    of = f" of {watched.total:,}" if watched.total else ""
    text = f"Clip {watched.done:,}{of} is done: {watched.clip_id}."
    if not watched.time_left_s:
        return text
    seconds = max(1, round(watched.time_left_s))
    if seconds < 60:
        return f"{text} About {seconds} s left."
    minutes = round(seconds / 60)
    if minutes < 60:
        return f"{text} About {minutes} min left."
    return f"{text} About {minutes // 60} h {minutes % 60} min left."


def _bar(watched: Watched) -> str:
    """Gradio takes the looks of a ``progress`` away, so that it is drawn with two boxes."""
    if not watched.total:
        return ""
    share = 100 * watched.done / watched.total
    return (
        f"<div role='progressbar' aria-label='Clips done' aria-valuemin='0' aria-valuemax='{watched.total}' "
        f"aria-valuenow='{watched.done}' style='height:0.5rem;margin-top:0.5rem;border-radius:999px;overflow:hidden;"
        "background:var(--border-color-primary)'>"
        f"<div style='height:100%;width:{share:.1f}%;background:var(--button-primary-background-fill)'></div></div>"
    )


@dataclass(frozen=True)
class _Listening:
    """A visit's data set, noting where each clip's sound is."""

    visit: Visit

    @property
    def _source(self) -> Source:
        if self.visit.source is None:
            raise ManifestError("There is nothing to run. Choose a data set.")
        return self.visit.source

    @property
    def name(self) -> str:
        return self._source.name

    def count(self) -> int | None:
        return self._source.count()

    def items(self, seed: int | None = None) -> Iterator[Any]:
        for item in self._source.items(seed):
            if isinstance(item.audio, Path):
                self.visit.audio[item.clip_id] = str(item.audio)
            yield item


@contextmanager
def _what_is_done_is_kept() -> Iterator[None]:
    """``plain_words``, but a stop keeps the rows.

    Raises:
        Refused: in place of any error.
    """
    with plain_words():
        try:
            yield
        except Cancelled:
            raise ManifestError(STOPPED) from None
