"""The Compare tab: a clip in; transcripts, times and charts out."""

from __future__ import annotations

import json
import threading  # noqa: TC003 - Gradio reads the callbacks' annotations
from html import escape
from pathlib import Path
from textwrap import shorten
from typing import TYPE_CHECKING, Any
from urllib.parse import urlsplit

import gradio as gr

from components.core.catalog import EXAMPLES, LANES, ROOT
from components.core.manifests import read_manifest
from components.ui import markup, snippets
from components.ui.api import MEASURING
from components.ui.requests import Refused, plain_words

if TYPE_CHECKING:
    from collections.abc import Sequence

    from components.core.types import Comparison, LaneRun
    from components.runs.lab import Lab
    from components.ui.requests import Cancellations

MAX_REPEATS = 9
MAX_SAMPLES = 100
"""Samples of a visit that are kept for the charts; the oldest go first."""
LABEL_LENGTH = 64
"""Characters of a sentence on an example's button."""
LONG_FORMS = [("Sequential", "sequential"), ("Chunked", "chunked")]


def visit_rows(visit: Sequence[Comparison], pair_id: str) -> list[LaneRun]:
    """The rows of a visit's samples with one pair, numbered, so that the same clip twice is two samples."""
    same_pair = [comparison for comparison in visit if comparison.pair == pair_id]
    return [
        run.model_copy(update={"clip_id": f"{number}. {run.clip_id}"})
        for number, comparison in enumerate(same_pair, start=1)
        for run in comparison.runs
    ]


def example_clips() -> tuple[list[tuple[str, str]], list[str]]:
    """Path and reference of every shipped clip, and its label; empty where none are shipped."""
    if not EXAMPLES.is_file():
        return [], []
    rows = [row for row in read_manifest(EXAMPLES) if row.audio.is_file()]
    labels = [shorten(row.text, LABEL_LENGTH, placeholder="…") if row.text else row.clip_id for row in rows]
    return [(str(row.audio), row.text or "") for row in rows], labels


def pair_choices(lab: Lab) -> list[tuple[str, str]]:
    """The pairs on offer, each by its name with what a visitor must know before choosing it, and its id."""
    notes = {pair_id: lab.settings.get_pair(pair_id).note.rstrip(".") for pair_id in lab.offered_pairs}
    return [(f"{pair_id} ({note})" if note else pair_id, pair_id) for pair_id, note in notes.items()]


def chart(title: str, elem_id: str) -> gr.Plot:
    """A column of its own, with a heading above the figure: beside others on a desktop, alone on a phone."""
    with gr.Column(min_width=290, elem_classes="chart"):
        gr.HTML(markup.heading(title), padding=False)
        return gr.Plot(label=title, show_label=False, container=False, elem_id=elem_id)


class CompareTab:
    """Builds its components where it is created; ``connect`` wires them."""

    def __init__(self, lab: Lab) -> None:
        self.lab = lab
        self.visit = gr.State([])
        clips, labels = example_clips()
        with gr.Row():
            with gr.Column(scale=3, min_width=300):
                self.audio = gr.Audio(
                    sources=["microphone", "upload"],
                    type="filepath",
                    label="Your clip: record or upload speech",
                    elem_id="clip",
                    editable=False,
                    buttons=["download"],
                )
                with gr.Row():
                    self.run = gr.Button("Run comparison", variant="primary", elem_id="run", scale=3)
                    self.cancel = gr.Button("Cancel", elem_id="cancel", interactive=False, scale=1, min_width=100)
                self.status = gr.HTML(markup.message(""), elem_id="status", padding=False)
                self._options()
            if clips:
                with gr.Column(scale=2, min_width=300):
                    examples = gr.Dataset(
                        components=["textbox"],
                        samples=[[label] for label in labels],
                        type="index",
                        samples_per_page=6,
                        label="Example clips",
                        elem_id="examples",
                    )
        if clips:
            fill = [self.audio, self.reference]
            examples.click(lambda index: clips[index], examples, fill, api_visibility="private", queue=False)
            self._forget_reference({reference for _, reference in clips if reference})
        self.result = gr.HTML(markup.empty_state(), elem_id="result", padding=False)
        self._charts()
        self._details()

    def _forget_reference(self, shipped: set[str]) -> None:
        """An example's reference goes with it: another clip must not be scored against it. One's own stays."""
        gr.on(
            [self.audio.clear, self.audio.upload, self.audio.stop_recording],
            lambda reference: "" if reference in shipped else gr.skip(),
            self.reference,
            self.reference,
            api_visibility="private",
            queue=False,
        )

    @staticmethod
    def _file_name(path: str) -> str:
        """What a script calls a clip's file: a shipped one by its place in the repository."""
        shipped = EXAMPLES.parent / Path(path).name
        return shipped.relative_to(ROOT).as_posix() if shipped.is_file() else shipped.name

    def _options(self) -> None:
        lanes = self.lab.offered_lanes()
        explained = "; ".join(f"{lane.label}: {LANES[lane.lane_id].what}" for lane in lanes)
        with gr.Accordion("Options and reference text", open=False, elem_id="options"):
            self.reference = gr.Textbox(
                label="Reference text (optional)",
                info="What is really said: word errors are counted against it.",
                lines=2,
                elem_id="reference",
            )
            self.pair = gr.Dropdown(
                pair_choices(self.lab),
                value=self.lab.default_pair,
                label="Pair",
                info="A teacher and the student distilled from it.",
                elem_id="pair",
            )
            self.lanes = gr.CheckboxGroup(
                [(lane.label, lane.lane_id) for lane in lanes],
                value=[lane.lane_id for lane in self.lab.default_lanes()],
                label="Lanes",
                info=f"They run one after another. {explained}.",
                elem_id="lanes",
            )
            with gr.Row():
                self.repeats = gr.Slider(
                    1,
                    MAX_REPEATS,
                    value=1,
                    step=1,
                    label="Repeats",
                    info="The lanes alternate; the median counts.",
                    elem_id="repeats",
                    min_width=260,
                )
                self.long_form = gr.Radio(
                    LONG_FORMS,
                    value="sequential",
                    label="Audio over 30 seconds",
                    info="How it is cut, the same for all lanes.",
                    elem_id="long-form",
                    min_width=260,
                )

    def _charts(self) -> None:
        with gr.Row(visible=False, elem_classes="charts", elem_id="charts") as self.charts:
            self.latency = chart("Latency of this visit's samples", "latency")
            self.speed_up = chart("Speed-up of this visit's samples", "speed-up")
            self.parameters = chart("Parameters", "parameters")

    def _details(self) -> None:
        with gr.Column(visible=False, elem_id="details") as self.details:
            with gr.Accordion("Timestamps and subtitles", open=False):
                self.segments = gr.HTML(elem_id="segments", padding=False)
            with gr.Accordion("Result as JSON", open=False):
                self.json_download = gr.HTML(padding=False)
                self.json = gr.JSON(show_label=False, elem_id="json", max_height=420)
            with gr.Accordion("Repeat this run from a script", open=False):
                look: dict[str, Any] = {"interactive": False, "wrap_lines": True, "show_line_numbers": False}
                self.python = gr.Code(language="python", label="Python", elem_id="python", **look)
                self.curl = gr.Code(language="shell", label="curl", elem_id="curl", **look)
            self.forget = gr.Button("Forget this visit's samples", size="sm", elem_id="forget", scale=0)

    def connect(self, cancellations: Cancellations) -> tuple[Any, Any]:
        """Wire Run, Cancel and Forget; returns the two events after which the other tabs refresh."""
        ticket = gr.State(None)
        buttons = [self.run, self.cancel]
        choices = [self.audio, self.reference, self.pair, self.lanes, self.repeats, self.long_form]
        private: dict[str, Any] = {"api_visibility": "private"}

        def start(request: gr.Request) -> tuple[Any, ...]:
            # The ticket is drawn before the queue, so that a run can be cancelled while it waits.
            event = cancellations.begin(session_of(request))
            return event, *running(True), markup.message("Waiting for the device…")

        def measure(  # noqa: PLR0917 - Gradio passes values by position
            event: threading.Event,
            visit: list,
            audio: str | None,
            reference: str | None,
            pair: str,
            lanes: list[str],
            repeats: int,
            long_form: str,
            request: gr.Request,
            progress: Any = gr.Progress(),  # noqa: B008 - how Gradio finds it
        ) -> dict[Any, Any]:

            def tell(fraction: float, text: str) -> None:
                progress(fraction, desc=text)

            settings: dict[str, Any] = {
                "reference": reference or "",  # Gradio gives None for a box that nobody touched
                "pair": pair,
                "lanes": lanes,
                "repeats": repeats,
                "long_form": long_form,
            }
            try:
                with plain_words():
                    comparison = self.lab.compare(audio, **settings, progress=tell, cancelled=event.is_set)
                    script = (page_url(request), self._file_name(audio or ""), settings)
                    return self._show(comparison, visit, script)
            except Refused as refused:
                return self._refuse(refused, visit)
            finally:
                cancellations.end(session_of(request), event)

        def stop(event: threading.Event, request: gr.Request) -> tuple[Any, ...]:
            cancellations.stop(session_of(request), event)
            return *running(False), markup.message("Cancelled. Nothing of that run was kept.")

        started = self.run.click(start, None, [ticket, *buttons, self.status], queue=False, **private)
        measured = started.then(
            measure,
            [ticket, self.visit, *choices],
            self._outputs(),
            show_progress_on=self.status,
            **MEASURING,
            **private,
        )
        finished = measured.then(lambda: running(False), None, buttons, queue=False, **private)
        # `cancels` takes a waiting run out of the queue; the event stops one that has begun.
        self.cancel.click(stop, ticket, [*buttons, self.status], queue=False, cancels=[measured], **private)
        forgotten = self.forget.click(self._forget, self.visit, self._outputs(), queue=False, **private)
        return finished, forgotten

    def _outputs(self) -> list[Any]:
        details = [self.segments, self.json_download, self.json, self.python, self.curl]
        charts = [self.charts, self.latency, self.speed_up, self.parameters]
        return [self.visit, self.status, self.result, *charts, self.details, *details]

    def _show(self, comparison: Comparison, visit: list, script: tuple[str, str, dict[str, Any]]) -> dict[Any, Any]:
        """What one comparison changes on the page; ``script`` is what repeats it: address, file, settings."""
        from components.report import figures_old as figures

        visit = [*visit, comparison][-MAX_SAMPLES:]
        rows = visit_rows(visit, comparison.pair)
        note = self.lab.settings.get_pair(comparison.pair).note
        lanes = {run.lane_id for run in comparison.runs}
        infos = [info for info in self.lab.models(comparison.pair).lanes if info.lane_id in lanes]
        as_json = comparison.model_dump(mode="json")
        return {
            self.visit: visit,
            self.status: markup.message("Done.", spoken_only=True),
            self.result: markup.result(comparison, rows, note),
            self.charts: gr.Row(visible=bool(rows)),
            self.latency: figures.latency_figure(rows),
            self.speed_up: figures.speed_up_figure(rows),
            self.parameters: figures.parameters_figure(infos),
            self.details: gr.Column(visible=True),
            self.segments: markup.segments(comparison),
            self.json_download: markup.json_download(comparison.clip_id, json.dumps(as_json, indent=2)),
            self.json: as_json,
            self.python: snippets.python_snippet(*script),
            self.curl: snippets.curl_snippet(*script),
        }

    def _refuse(self, refused: Refused, visit: list) -> dict[Any, Any]:
        """Say it where it stays to be read, and once more in a corner for whoever has scrolled away."""
        if not refused.cancelled:
            gr.Warning(escape(refused.message), title="That did not work")
        below = f" The result below is still that of “{visit[-1].clip_id}”." if visit else ""
        return {self.status: markup.message(refused.message + below, problem=not refused.cancelled)}

    def _forget(self, visit: list) -> dict[Any, Any]:
        visit.clear()  # a comparison that runs now holds the same list
        return {
            self.visit: visit,
            self.status: markup.message("This visit's samples are forgotten."),
            self.result: markup.empty_state(),
            self.charts: gr.Row(visible=False),
            self.details: gr.Column(visible=False),
        }


def running(yes: bool) -> tuple[gr.Button, gr.Button]:
    """Run and Cancel: exactly one of them can be pressed."""
    return gr.Button(interactive=not yes), gr.Button(interactive=yes)


def session_of(request: gr.Request) -> str:
    return request.session_hash or ""


def page_url(request: gr.Request) -> str:
    """Address of this page as the visitor's browser has it, without its query."""
    headers = request.headers
    parts = urlsplit(headers.get("referer") or headers.get("origin") or f"http://{headers.get('host')}/")
    return f"{parts.scheme}://{parts.netloc}{parts.path}".rstrip("/") + "/"
