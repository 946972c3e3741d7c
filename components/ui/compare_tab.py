"""The Compare tab: a clip in; what each model wrote, and how long it took, out."""

from __future__ import annotations

import uuid
from collections.abc import Iterator  # noqa: TC003 - Gradio reads the callbacks' annotations
from pathlib import Path
from typing import TYPE_CHECKING, Any

import gradio as gr

from components.core.caller import Caller
from components.core.catalog import EXAMPLES, ROOT
from components.report import html
from components.ui import share, snippets, visit
from components.ui.api import MEASURING
from components.ui.parts import AT_ONCE, MAX_FILE, QUIET, chart, examples, running
from components.ui.requests import Refused, Ticket, page_url, plain_words, session_of

if TYPE_CHECKING:
    from collections.abc import Mapping

    from components.core.types import Comparison
    from components.runs.compare import Step
    from components.ui.parts import Shared

PRIVACY = (
    f"Recordings and files (up to {MAX_FILE}) go to this server, are used for nothing else, and are deleted within two "
    "hours. Several files at once make a small benchmark."
)
FIRST_STEPS = (
    "Record a sentence, drop a file, or pick an example.",
    "Both models write it down, one after the other.",
    "See what each wrote, and how many times faster the smaller one was.",
)


class CompareTab:
    """Builds its widgets where it is created; ``connect`` wires them."""

    label = "Compare"
    tab_id = "compare"

    def __init__(self, shared: Shared) -> None:
        self.shared = shared
        self.lab = shared.lab
        self.examples = examples()
        self.ticket = gr.State(None)
        self.scored = gr.State("")
        with gr.Row():
            with gr.Column(scale=3, min_width=300):
                self._inputs()
            with gr.Column(scale=2, min_width=300):
                self._choices()
        self.status = gr.HTML(html.message(""), elem_id="status", padding=False)
        self.result = gr.HTML(self._empty(), elem_id="result", padding=False)
        self.share = gr.HTML("", elem_id="share", padding=False)
        self._visit()
        self._details()

    def _inputs(self) -> None:
        self.audio = gr.Audio(
            sources=["microphone"],
            type="filepath",
            label="Record",
            elem_id="clip",
            editable=False,
            buttons=["download"],
        )
        self.files = gr.File(
            label="Or a file, audio or video",
            file_count="multiple",
            file_types=["audio", "video"],
            elem_id="files",
            height=130,
        )
        with gr.Row():
            self.run = gr.Button("Run", variant="primary", elem_id="run", scale=2, min_width=120)
            self.stop = gr.Button("Stop", elem_id="stop", interactive=False, scale=1, min_width=100)
        self.at_once = gr.Checkbox(True, label="Run automatically", elem_id="at-once", container=False)
        gr.HTML(html.note(PRIVACY), padding=False)

    def _choices(self) -> None:
        self.dataset = gr.Dataset(
            components=["textbox"],
            samples=[[example.label] for example in self.examples.values()],
            type="index",
            samples_per_page=8,
            label="Examples",
            elem_id="examples",
            visible=bool(self.examples),
        )
        self.reference = gr.Textbox(
            label="What is said (optional)",
            info="To count word errors against. It goes with the clip.",
            lines=2,
            elem_id="reference",
        )

    def _visit(self) -> None:
        with gr.Column(visible=False, elem_id="visit") as self.visit_box:
            self.visit_strip = gr.HTML("", elem_id="visit-strip", padding=False)
            with gr.Row(elem_classes="charts"):
                self.speed_up = chart("Your clips, one by one", "speed-up")
                self.latency = chart("Seconds each model took", "latency")
            self.forget = gr.Button("Clear my clips", size="sm", elem_id="forget", scale=0)

    def _details(self) -> None:
        with gr.Column(visible=False, elem_id="details") as self.details:
            with gr.Accordion("Lines and subtitles", open=False):
                self.lines = gr.HTML(elem_id="lines", padding=False)
            with gr.Accordion("For a script", open=False):
                self.json_download = gr.HTML(padding=False)
                look: dict[str, Any] = {"interactive": False, "wrap_lines": True, "show_line_numbers": False}
                self.python = gr.Code(language="python", label="Python", elem_id="python", **look)
                self.curl = gr.Code(language="shell", label="curl", elem_id="curl", **look)

    def connect(self, page: gr.Blocks, _tab: gr.Tab) -> None:
        """A clip that arrives runs; Run runs it again; Stop ends it."""
        fill = [self.audio, self.reference]
        example = self.dataset.click(self._example, self.dataset, fill, **AT_ONCE)
        said = [self.reference, self.scored]
        recorded = self.audio.stop_recording(self._own_reference, said, self.reference, **AT_ONCE)
        one = [self.files, self.audio, self.shared.dropped, self.shared.tabs, self.reference]
        # Through the queue: else Gradio does not notice that the state of dropped files changed.
        dropped = self.files.upload(self._dropped, [self.files, *said], one, **QUIET)
        for clip_is_there in (example, recorded, dropped):
            self._runs_on(clip_is_there.success, self._start_at_once)
        self._runs_on(self.run.click, self._start)
        self.stop.click(self._stop, self.ticket, [self.run, self.stop, self.status], **AT_ONCE)
        self.forget.click(self._forget, None, [self.shared.visit, self.visit_box], **AT_ONCE)
        page.load(self._opened, None, [*fill, *self.shared.choices.linked], **AT_ONCE)

    def _runs_on(self, event: Any, start: Any) -> None:
        outputs = [self.ticket, self.run, self.stop, self.status]
        begun = event(start, [self.ticket, self.at_once, self.audio], outputs, **AT_ONCE)
        inputs = {self.ticket, self.shared.visit, self.audio, self.reference, *self.shared.choices.widgets}
        begun.success(self._measure, inputs, self._outputs(), trigger_mode="multiple", **QUIET, **MEASURING)

    def _outputs(self) -> list[Any]:
        visited = [self.shared.visit, self.visit_box, self.visit_strip, *self.speed_up, *self.latency]
        details = [self.details, self.lines, self.json_download, self.python, self.curl]
        return [self.run, self.stop, self.status, self.result, self.share, self.scored, *visited, *details]

    # -- callbacks

    def _example(self, index: int) -> tuple[str, str]:
        example = list(self.examples.values())[index]
        return str(example.path), example.text

    @staticmethod
    def _own_reference(reference: str | None, scored: str) -> str:
        """What is written for the clip to come stays; what belonged to the clip before goes with it."""
        return "" if (reference or "") == scored else reference or ""

    def _dropped(self, files: list[str], reference: str | None, scored: str) -> tuple[Any, ...]:
        """One file is the clip; several become a small benchmark, on its own tab."""
        if len(files) == 1:
            return None, files[0], gr.skip(), gr.skip(), self._own_reference(reference, scored)
        return None, None, (uuid.uuid4().hex, files), gr.Tabs(selected="benchmark"), gr.skip()

    def _opened(self, request: gr.Request) -> dict[Any, Any]:
        """The page as its link asks for it."""
        link = dict(request.query_params)
        shown = {self.audio: gr.skip(), **self.shared.choices.opened(link)}
        if example := self.examples.get(link.get("example", "")):
            shown |= {self.audio: str(example.path), self.reference: example.text}
        return shown

    def _start_at_once(
        self, before: Ticket | None, at_once: bool, audio: str | None, request: gr.Request
    ) -> tuple[Any, ...]:
        if at_once and audio:
            return self._start(before, at_once, audio, request)
        if before is not None:
            self.shared.cancellations.replace(session_of(request), before)
        return None, *running(False), html.message("Press Run." if audio else "")

    def _start(self, before: Ticket | None, _at_once: bool, _audio: str | None, request: gr.Request) -> tuple[Any, ...]:
        """Begin a request before it waits in the queue, so that it can be stopped there; it replaces the one before."""
        ticket = self.shared.cancellations.begin(session_of(request), instead_of=before)
        return ticket, *running(True), html.message("Starting…")

    def _measure(self, values: dict[Any, Any], request: gr.Request) -> Iterator[dict[Any, Any]]:
        ticket = values[self.ticket]
        if ticket is None:  # the clip is there, and waits for Run
            yield self._cleared()
            return
        so_far = None
        try:
            with plain_words():
                for step in self._steps(values, ticket):
                    so_far = step.comparison
                    yield self._pending(step)
                if so_far is not None:
                    yield self._done(so_far, values, page_url(request))
        except Refused as refused:
            if not ticket.replaced:
                yield self._refused(refused, so_far)
        finally:
            self.shared.cancellations.end(session_of(request), ticket)

    def _stop(self, ticket: Ticket | None, request: gr.Request) -> tuple[Any, ...]:
        if ticket is not None:
            self.shared.cancellations.stop(session_of(request), ticket)
        return *running(False), html.message("Stopping…")

    def _forget(self) -> tuple[Any, Any]:
        return [], gr.Column(visible=False)

    # -- what is shown

    def _empty(self) -> str:
        return html.steps("Nothing measured yet", FIRST_STEPS)

    def _cleared(self) -> dict[Any, Any]:
        """No result: what was there is another clip's."""
        return {self.result: self._empty(), self.share: "", self.details: gr.Column(visible=False)}

    def _steps(self, values: Mapping[Any, Any], ticket: Ticket) -> Iterator[Step]:
        settings = self.shared.choices.settings(values) | {"reference": values[self.reference] or ""}
        name = visit.recording_name(values[self.shared.visit], values[self.audio])
        caller = Caller(cancelled=ticket.is_set)
        yield from self.lab.compare_steps(values[self.audio], clip_id=name, **settings, caller=caller)

    def _pending(self, step: Step) -> dict[Any, Any]:
        """The clip so far: a card for each model, with its state or what it wrote."""
        if step.comparison is None:
            shown = f"<section class='cards'>{html.pending(step.states)}</section>"
        else:
            shown = html.comparison(step.comparison, states=step.states, running=True)
        cleared = {self.share: "", self.details: gr.Column(visible=False)}
        return {self.status: html.message(step.text), self.result: shown} | cleared

    def _done(self, comparison: Comparison, values: Mapping[Any, Any], url: str) -> dict[Any, Any]:
        """The whole result, what repeats it, and the visit with one clip more."""
        run, stop = running(False)
        compared = visit.add(values[self.shared.visit], comparison)
        note = self.lab.settings.get_pair(comparison.pair).note
        script = (url, script_name(values[self.audio]), self._scripted(values))
        return {
            self.run: run,
            self.stop: stop,
            self.status: html.message("Done.", spoken_only=True),
            self.result: html.comparison(comparison, note=note),
            self.share: share.buttons(comparison, self._link(comparison, values, url)),
            self.scored: values[self.reference] or "",
            self.details: gr.Column(visible=True),
            self.lines: html.lines(comparison),
            self.json_download: html.json_download(comparison),
            self.python: snippets.python_snippet(*script),
            self.curl: snippets.curl_snippet(*script),
        } | self._visited(compared, comparison.pair)

    def _visited(self, compared: list[Comparison], pair: str) -> dict[Any, Any]:
        """The strip of the clips so far; with a single clip the result says it all."""
        from components.report import figures

        report = visit.report(compared, pair)
        shown = {self.shared.visit: compared, self.visit_box: gr.Column(visible=len(compared) > 1)}
        if report is None or len(compared) < 2:
            return shown
        return (
            shown
            | {self.visit_strip: html.visit(report)}
            | self.speed_up.show(figures.speed_up(report))
            | self.latency.show(figures.latency(report))
        )

    def _refused(self, refused: Refused, so_far: Comparison | None) -> dict[Any, Any]:
        """It ended without a whole result: say why, where it stays to be read; what was there at a stop stays, too."""
        run, stop = running(False)
        shown = self._cleared() | {self.run: run, self.stop: stop}
        shown[self.status] = html.message(refused.message, problem=not refused.cancelled)
        if refused.cancelled and so_far is not None:
            shown[self.result] = html.comparison(so_far)
        return shown

    def _scripted(self, values: Mapping[Any, Any]) -> dict[str, Any]:
        """The choices as a script writes them, defaults left out."""
        settings = self.shared.choices.settings(values) | {"reference": values[self.reference] or ""}
        return {name: value for name, value in settings.items() if value and value != "auto"}

    def _link(self, comparison: Comparison, values: Mapping[Any, Any], url: str) -> str:
        file = Path(values[self.audio]).name
        example = next((each.clip_id for each in self.examples.values() if each.path.name == file), None)
        return share.link(url, comparison.pair, values[self.shared.choices.lanes], example)


def script_name(path: str) -> str:
    """What a script calls a clip's file: a shipped one by its path in the repository."""
    shipped = EXAMPLES.parent / Path(path).name
    return shipped.relative_to(ROOT).as_posix() if shipped.is_file() else shipped.name
