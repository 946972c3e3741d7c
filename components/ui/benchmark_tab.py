"""The Benchmark tab: a data set in; totals, intervals and charts out, while it runs."""

from __future__ import annotations

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

from components.core import records
from components.core.errors import Cancelled, ManifestError
from components.core.types import Comparison, LaneFailure, LaneRun
from components.ui import markup
from components.ui.benchmarking import MAX_CLIPS, SOURCES, chosen_source, open_report, watch
from components.ui.compare_tab import chart, running, session_of
from components.ui.requests import Refused, plain_words

if TYPE_CHECKING:
    from components.core.reports import ReportJSON
    from components.runs.lab import Lab
    from components.runs.sources import Source
    from components.ui.requests import Cancellations

BENCHMARK = "benchmark"
"""Gradio's queue runs one event of this group at a time. Single comparisons come between two of its clips."""

KEEP_S = 3600
"""Seconds that a visit's clips and rows are kept after its page was closed."""

STOPPED = "Stopped. What is done is kept; Resume goes on with the rest."

REDRAWS = 40
"""How often the charts grow in a run: each time costs the browser more than the clip."""


@dataclass
class Visit:
    """A run on the page: its folder, and what resuming it needs. An opened report has neither source nor options."""

    folder: Path
    source: Source | None = None
    options: dict[str, Any] = field(default_factory=dict)
    report: ReportJSON | None = None
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
        self.visit = gr.State(None, time_to_live=KEEP_S, delete_callback=forget)
        with gr.Row():
            with gr.Column(scale=3, min_width=300):
                self.source = gr.Radio(
                    [(label, name) for name, label in SOURCES.items()],
                    value="examples",
                    label="Data set",
                    elem_id="benchmark-source",
                )
                with gr.Row(visible=False) as self.uploads:
                    self.files = gr.File(
                        label="Audio files", file_count="multiple", elem_id="benchmark-files", height=160, min_width=260
                    )
                    self.table = gr.File(
                        label="References (optional): a table of file name and text",
                        file_types=[".csv", ".tsv", ".txt", ".jsonl"],
                        elem_id="benchmark-references",
                        height=160,
                        min_width=260,
                    )
                with gr.Row():
                    self.run = gr.Button("Run benchmark", variant="primary", elem_id="benchmark-run", scale=3)
                    self.resume = gr.Button("Resume", elem_id="benchmark-resume", interactive=False, min_width=100)
                    self.cancel = gr.Button("Stop", elem_id="benchmark-cancel", interactive=False, min_width=100)
            with gr.Column(scale=2, min_width=300):
                self._options()
        self.status = gr.HTML(markup.message(""), elem_id="benchmark-status", padding=False)
        self.result = gr.HTML(elem_id="benchmark-result", padding=False)
        self._charts()
        self._details()

    def _options(self) -> None:
        with gr.Accordion(
            "Options: pair, lanes, clips, repeats; open a report", open=False, elem_id="benchmark-options"
        ):
            self.pair = gr.Dropdown(
                list(self.lab.offered_pairs), value=self.lab.default_pair, label="Pair", elem_id="benchmark-pair"
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
            self.opened = gr.File(
                label="Open a report made on the command line: report.json, or its file of rows",
                file_types=[".json", ".jsonl"],
                elem_id="benchmark-open",
                height=130,
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
                "Download everything: rows, JSON, CSV and page", elem_id="benchmark-download", size="sm"
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
        buttons = [self.run, self.cancel, self.resume]
        choices = [self.source, self.files, self.table, self.pair, self.lanes, self.repeats, self.limit]
        private: dict[str, Any] = {"api_visibility": "private"}
        at_once: dict[str, Any] = {"queue": False, "show_progress": "hidden", **private}
        measured: dict[str, Any] = {"concurrency_id": BENCHMARK, "concurrency_limit": 1, "show_progress": "hidden"}

        def start(request: gr.Request) -> tuple[Any, ...]:
            event = cancellations.begin(session_of(request))
            return event, *running(True), gr.Button(interactive=False), markup.message("Waiting for the device…")

        def begin(  # noqa: PLR0917 - Gradio passes values by position
            event: threading.Event,
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
            yield from self._run(visit, event, session_of(request), cancellations, (source, files or [], table))

        def go_on(event: threading.Event, visit: Visit | None, request: gr.Request) -> Iterator[dict[Any, Any]]:
            if visit is not None and visit.source is not None:
                yield from self._run(visit, event, session_of(request), cancellations)

        def stop(request: gr.Request) -> Any:
            cancellations.stop(session_of(request))
            return markup.message("Stopping…")

        self.source.change(lambda name: gr.Row(visible=name == "files"), self.source, self.uploads, **at_once)
        outputs = self._outputs()
        for button, run, inputs in (
            (self.run, begin, [ticket, *choices]),
            (self.resume, go_on, [ticket, self.visit]),
        ):
            button.click(start, None, [ticket, *buttons, self.status], **at_once).then(
                run, inputs, outputs, **measured, **private
            )
        self.cancel.click(stop, None, self.status, **at_once)
        self.opened.upload(self._open, self.opened, outputs, show_progress="hidden", **private)
        self.clip.change(
            self._browse, [self.clip, self.visit], [self.player, self.words], show_progress="hidden", **private
        )

    def _outputs(self) -> list[Any]:
        buttons = [self.run, self.cancel, self.resume]
        details = [self.details, self.tables, self.download, self.clip, self.player, self.words]
        return [self.visit, *buttons, self.status, self.result, *self.charts, *details]

    def _run(
        self,
        visit: Visit,
        event: threading.Event,
        session: str,
        cancellations: Cancellations,
        chosen: tuple[str, list[str], str | None] | None = None,
    ) -> Iterator[dict[Any, Any]]:
        """Run or resume, clip by clip; what is done is kept whatever happens."""
        yield {self.visit: visit, self.details: gr.Column(visible=False)}
        problem = ""
        try:
            with _what_is_done_is_kept():
                if chosen is not None:
                    visit.source = chosen_source(*chosen, visit.folder)
                for watched in watch(
                    self.lab, _Listening(visit), visit.rows, **visit.options, resume=True, cancelled=event.is_set
                ):
                    yield self._progress(watched)
        except Refused as refused:
            problem = refused.message
        finally:
            cancellations.end(session, event)
        yield self._end(visit, problem)

    def _progress(self, watched: Any) -> dict[Any, Any]:
        left = watched.time_left_s
        of = f" of {watched.total}" if watched.total else ""
        text = f"Clip {watched.done}{of}: {watched.clip_id}" + (f", {markup.seconds(left)} left" if left else "")
        shown: dict[Any, Any] = {self.status: markup.message(text)}
        if watched.done % max(1, (watched.total or 100) // REDRAWS) == 0:
            shown |= self._draw(watched.report())
        return shown

    def _draw(self, report: ReportJSON) -> dict[Any, Any]:
        from components.report.benchmark_figures import FIGURES
        from components.report.tables import headline

        plots = [part for part in self.charts if isinstance(part, gr.Plot)]
        rows = [part for part in self.charts if not isinstance(part, gr.Plot)]
        figures = [draw(report) for _, draw in FIGURES.values()]
        return {
            self.result: headline(report),
            **dict(zip(plots, figures, strict=True)),
            **{row: gr.Row(visible=bool(report["clips"])) for row in rows},
        }

    def _end(self, visit: Visit, problem: str = "") -> dict[Any, Any]:
        """The page after a run, whole or not, or after a report was opened."""
        run, cancel = running(False)
        unfinished = bool(problem) and visit.source is not None
        shown: dict[Any, Any] = {self.run: run, self.cancel: cancel, self.resume: gr.Button(interactive=unfinished)}
        try:
            with plain_words():
                if visit.rows.exists():
                    visit.report = open_report(visit.rows)
                if visit.report is None:
                    raise ManifestError(problem or "Nothing was measured.")
                shown |= self._draw(visit.report) | self._keepsakes(visit, visit.report)
        except Refused as refused:
            return shown | {self.visit: visit, self.status: markup.message(problem or refused.message, problem=True)}
        if problem not in {"", STOPPED}:
            gr.Warning(escape(problem), title="That did not work")
        text = problem or f"Done: {visit.report['summary']['clips']} clips."
        return shown | {self.visit: visit, self.status: markup.message(text, problem=problem not in {"", STOPPED})}

    def _keepsakes(self, visit: Visit, report: ReportJSON) -> dict[Any, Any]:
        from components.report.files import contents
        from components.report.tables import differences_table, lanes_table

        path = visit.folder / "benchmark.zip"
        with zipfile.ZipFile(path, "w", zipfile.ZIP_DEFLATED, compresslevel=1) as archive:
            for name, text in contents(report).items():
                archive.writestr(name, text)
            if visit.rows.exists():
                archive.write(visit.rows, "runs.jsonl")
        names = list(dict.fromkeys(clip["clip_id"] for clip in report["clips"]))
        return {
            self.details: gr.Column(visible=True),
            self.tables: lanes_table(report) + differences_table(report),
            self.download: gr.DownloadButton(value=str(path)),
            self.clip: gr.Dropdown(names, value=None),
            self.player: gr.Audio(visible=False),
            self.words: "",
        }

    def _open(self, file: str | None) -> dict[Any, Any]:
        """Show a report that was made elsewhere."""
        visit = Visit(Path(tempfile.mkdtemp(prefix="benchmark-")))
        try:
            with plain_words():
                if file is None:
                    raise ManifestError("No report was chosen.")
                visit.report = open_report(Path(file))
                if Path(file).suffix.lower() == ".jsonl":
                    shutil.copy(file, visit.rows)
                return self._end(visit) | {self.status: markup.message(f"Opened {Path(file).name}.")}
        except Refused as refused:
            forget(visit)
            return {self.status: markup.message(refused.message, problem=True)}

    def _browse(self, clip_id: str | None, visit: Visit | None) -> tuple[Any, Any]:
        """One clip's sound, where it is here, and what each lane wrote."""
        if clip_id is None or visit is None or visit.report is None:
            return gr.Audio(visible=False), ""
        sound = visit.audio.get(clip_id)
        audio = gr.Audio(value=sound, visible=sound is not None)
        if not visit.rows.exists():
            return audio, markup.message("This report came without the words. Open its file of rows to read them.")
        rows = [row for row in records.read_rows(visit.rows)[1] if row.clip_id == clip_id]
        runs = tuple(row for row in rows if isinstance(row, LaneRun))
        failures = tuple(row for row in rows if isinstance(row, LaneFailure))
        length_s = runs[0].audio_length_s if runs else 0.0
        machine = records.machine_from_json(visit.report["machine"])
        comparison = Comparison(clip_id, length_s, visit.report["pair"], runs, failures, machine)
        return audio, markup.cards(comparison) + markup.word_diff(comparison)


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
        except Cancelled as error:
            raise ManifestError(STOPPED) from error
