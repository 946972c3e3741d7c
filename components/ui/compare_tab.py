"""The Compare tab: a clip in; transcripts, times and charts out."""

from __future__ import annotations

import json
import threading  # noqa: TC003 - Gradio reads the callbacks' annotations
from dataclasses import replace
from html import escape
from pathlib import Path
from typing import TYPE_CHECKING, Any
from urllib.parse import urlsplit

import gradio as gr

from components.core import records
from components.ui import markup, snippets
from components.ui.api import MEASURE
from components.ui.requests import Refused, plain_words

if TYPE_CHECKING:
    from collections.abc import Sequence

    from components.core.types import Comparison, LaneRun
    from components.runs.lab import Lab
    from components.ui.requests import Cancellations

EXAMPLES = Path(__file__).resolve().parents[2] / "examples" / "audio" / "manifest.jsonl"
MAX_REPEATS = 9
MAX_SAMPLES = 100
"""Samples of a visit that are kept for the charts; the oldest go first."""
LABEL_LENGTH = 64
"""Characters of a sentence on an example's button."""
LONG_FORMS = [("Sequential: window after window", "sequential"), ("Chunked: overlapping windows", "chunked")]


def visit_rows(visit: Sequence[Comparison], pair_id: str) -> list[LaneRun]:
    """The rows of a visit's samples with one pair, numbered, so that the same clip twice is two samples."""
    same_pair = [comparison for comparison in visit if comparison.pair_id == pair_id]
    return [
        replace(run, clip_id=f"{number}. {run.clip_id}")
        for number, comparison in enumerate(same_pair, start=1)
        for run in comparison.runs
    ]


def example_clips() -> tuple[list[list[str]], list[str]]:
    """Path and reference of every shipped clip, and its label; empty where none are shipped."""
    if not EXAMPLES.is_file():
        return [], []
    rows = list(records.read_manifest(EXAMPLES))
    labels = [
        (row.text if len(row.text) <= LABEL_LENGTH else f"{row.text[:LABEL_LENGTH]}…") or row.clip_id for row in rows
    ]
    return [[str(row.audio), row.text] for row in rows], labels


class CompareTab:
    """Builds its components where it is created; ``connect`` wires them."""

    def __init__(self, lab: Lab) -> None:
        self.lab = lab
        self.visit = gr.State([])
        with gr.Row(elem_classes="inputs"):
            with gr.Column(scale=3, min_width=300):
                self.audio = gr.Audio(
                    sources=["microphone", "upload"],
                    type="filepath",
                    label="Your clip: record or upload speech",
                    elem_id="clip",
                    editable=False,
                )
                with gr.Row():
                    self.run = gr.Button("Run both models", variant="primary", elem_id="run", scale=3)
                    self.cancel = gr.Button("Cancel", elem_id="cancel", interactive=False, scale=1, min_width=100)
            with gr.Column(scale=2, min_width=300):
                self._examples_and_settings()
        self.status = gr.HTML(markup.message(""), elem_id="status")
        self.result = gr.HTML(markup.empty_state(), elem_id="result")
        self._charts()
        self._details()

    def _examples_and_settings(self) -> None:
        lanes = self.lab.offered_lanes()
        self.reference = gr.Textbox(
            label="Reference text (optional)",
            info="What is really said: word errors are counted against it.",
            lines=2,
            elem_id="reference",
            render=False,
        )
        clips, labels = example_clips()
        if clips:
            gr.Examples(
                clips,
                [self.audio, self.reference],
                example_labels=labels,
                examples_per_page=6,
                label="Example clips",
                elem_id="examples",
                cache_examples=False,
                preload=False,
                api_visibility="private",
            )
        with gr.Accordion("Settings", open=False, elem_id="settings"):
            self.reference.render()
            self.pair = gr.Dropdown(
                [(self._pair_label(pair_id), pair_id) for pair_id in self.lab.offered_pairs],
                value=self.lab.default_pair,
                label="Pair",
                info="A teacher and the student distilled from it.",
                elem_id="pair",
            )
            self.lanes = gr.CheckboxGroup(
                [(lane.label, lane.lane_id) for lane in lanes],
                value=[lane.lane_id for lane in lanes],
                label="Lanes",
                elem_id="lanes",
            )
            self.repeats = gr.Slider(
                1,
                MAX_REPEATS,
                value=1,
                step=1,
                label="Repeats",
                info="The lanes alternate; the median counts.",
                elem_id="repeats",
            )
            self.long_form = gr.Radio(
                LONG_FORMS, value="sequential", label="Audio over 30 seconds", elem_id="long-form"
            )

    def _pair_label(self, pair_id: str) -> str:
        """A pair's name in the list, with what a visitor must know before choosing it."""
        note = self.lab.settings.get_pair(pair_id).note
        return f"{pair_id} ({note.rstrip('.')})" if note else pair_id

    def _charts(self) -> None:
        with gr.Row(visible=False, elem_classes="charts", elem_id="charts") as self.charts:
            options: dict[str, Any] = {"min_width": 290, "scale": 1}
            self.latency = gr.Plot(label="Latency of this visit's samples", elem_id="latency", **options)
            self.speed_up = gr.Plot(label="Speed-up of this visit's samples", elem_id="speed-up", **options)
            self.parameters = gr.Plot(label="Parameters", elem_id="parameters", **options)

    def _details(self) -> None:
        with gr.Column(visible=False, elem_id="details") as self.details:
            with gr.Accordion("Timestamps and subtitles", open=False):
                self.segments = gr.HTML(elem_id="segments")
            with gr.Accordion("Result as JSON", open=False):
                self.json_download = gr.HTML()
                self.json = gr.JSON(show_label=False, elem_id="json", max_height=420)
            with gr.Accordion("Repeat this run from a script", open=False):
                self.python = gr.Code(language="python", label="Python", elem_id="python", interactive=False)
                self.curl = gr.Code(language="shell", label="curl", elem_id="curl", interactive=False)
            self.forget = gr.Button("Forget this visit's samples", size="sm", elem_id="forget")

    def connect(self, cancellations: Cancellations) -> Any:
        """Wire Run, Cancel and Forget; returns the event after which the other tabs refresh."""
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
            reference: str,
            pair: str,
            lanes: list[str],
            repeats: int,
            long_form: str,
            request: gr.Request,
            progress: Any = gr.Progress(),  # noqa: B008 - how Gradio finds it
        ) -> dict[Any, Any]:
            settings = {
                "reference": reference,
                "pair": pair,
                "lanes": lanes,
                "repeats": repeats,
                "long_form": long_form,
            }
            try:
                with plain_words():
                    hooks = {"progress": lambda part, text: progress(part, desc=text), "cancelled": event.is_set}
                    comparison = self.lab.compare(audio, **settings, **hooks)
                    return self._show(comparison, visit, settings, page_url(request))
            except Refused as refused:
                return self._refuse(refused)
            finally:
                cancellations.end(session_of(request), event)

        def stop(request: gr.Request) -> tuple[Any, ...]:
            cancellations.stop(session_of(request))
            return *running(False), markup.message("Cancelled. Nothing of that run was kept.")

        started = self.run.click(start, None, [ticket, *buttons, self.status], queue=False, **private)
        measured = started.then(
            measure,
            [ticket, self.visit, *choices],
            self._outputs(),
            concurrency_id=MEASURE,
            concurrency_limit=1,
            show_progress_on=self.status,
            **private,
        )
        finished = measured.then(lambda: running(False), None, buttons, queue=False, **private)
        # `cancels` takes a waiting run out of the queue; the event stops one that has begun.
        self.cancel.click(stop, None, [*buttons, self.status], queue=False, cancels=[measured], **private)
        self.forget.click(self._forget, None, self._outputs(), queue=False, **private)
        return finished

    def _outputs(self) -> list[Any]:
        details = [self.segments, self.json_download, self.json, self.python, self.curl]
        charts = [self.charts, self.latency, self.speed_up, self.parameters]
        return [self.visit, self.status, self.result, *charts, self.details, *details]

    def _show(self, comparison: Comparison, visit: list, settings: dict[str, Any], url: str) -> dict[Any, Any]:
        """Everything that one comparison changes on the page."""
        from components.report import figures

        visit = [*visit, comparison][-MAX_SAMPLES:]
        rows = visit_rows(visit, comparison.pair_id)
        note = self.lab.settings.get_pair(comparison.pair_id).note
        lanes = {run.lane_id for run in comparison.runs}
        infos = [info for info in self.lab.models(comparison.pair_id) if info.lane_id in lanes]
        as_json = records.comparison_to_json(comparison)
        return {
            self.visit: visit,
            self.status: markup.message("Done."),
            self.result: markup.result(comparison, rows, self.lab.stamp(comparison.pair_id), note),
            self.charts: gr.Row(visible=bool(rows)),
            self.latency: figures.latency_figure(rows),
            self.speed_up: figures.speed_up_figure(rows),
            self.parameters: figures.parameters_figure(infos),
            self.details: gr.Column(visible=True),
            self.segments: markup.segments(comparison),
            self.json_download: markup.json_download(comparison.clip_id, json.dumps(as_json, indent=2)),
            self.json: as_json,
            self.python: snippets.python_snippet(url, comparison.clip_id, settings),
            self.curl: snippets.curl_snippet(url, comparison.clip_id, settings),
        }

    def _refuse(self, refused: Refused) -> dict[Any, Any]:
        """Say it where it stays to be read, and once more in a corner for whoever has scrolled away."""
        if not refused.cancelled:
            gr.Warning(escape(refused.message), title="That did not work")
        return {self.status: markup.message(refused.message, problem=not refused.cancelled)}

    def _forget(self) -> dict[Any, Any]:
        return {
            self.visit: [],
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
    parts = urlsplit(request.headers.get("referer") or request.headers.get("origin") or str(request.request.base_url))
    return f"{parts.scheme}://{parts.netloc}{parts.path}".rstrip("/") + "/"
