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
from components.runs.compare import Step
from components.ui import share, snippets, visit
from components.ui.api import MEASURING
from components.ui.parts import AT_ONCE, MAX_FILE, QUIET, chart, examples, running
from components.ui.requests import Refused, Ticket, page_url, plain_words, session_of

if TYPE_CHECKING:
    from collections.abc import Mapping

    from components.core.types import Comparison
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
        self.scored, self.shown = gr.State(""), gr.State(None)
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
        example = self.dataset.click(self._example, self.dataset, [*fill, self.scored], **AT_ONCE)
        one = [self.files, self.audio, self.shared.dropped, self.shared.tabs, self.reference]
        # Through the queue: else Gradio does not notice that the state of dropped files changed.
        dropped = self.files.upload(self._dropped, [self.files, self.reference, self.scored], one, **QUIET)
        # A recording has no step before: each would make its speaker wait for a round trip more.
        self._runs_on(self.audio.stop_recording, self._recorded)
        for clip_is_there in (example, dropped):
            self._runs_on(clip_is_there.success, self._arrived)
        self._runs_on(self.run.click, self._measure, trigger_mode="once")
        self.stop.click(self._stop, self.ticket, [self.run, self.stop, self.status], **AT_ONCE)
        self.forget.click(self._forget, None, [self.shared.visit, self.visit_box], **AT_ONCE)
        page.load(self._opened, None, [*fill, *self.shared.choices.linked], **AT_ONCE)

    def _runs_on(self, event: Any, run: Any, trigger_mode: str = "multiple") -> None:
        """Few outputs while somebody waits: Gradio makes each of them anew with every step, changed or not."""
        asked = {self.audio, self.reference, self.shared.visit, *self.shared.choices.widgets}
        inputs = {self.ticket, self.at_once, self.scored, *asked}
        states = [self.ticket, self.scored, self.shown, self.shared.visit]
        outputs = [*states, self.run, self.stop, self.status, self.result, self.share, self.reference, self.details]
        ran = event(run, inputs, outputs, trigger_mode=trigger_mode, **QUIET, **MEASURING)
        visited = [self.visit_box, self.visit_strip, *self.speed_up, *self.latency]
        more = [self.details, self.lines, self.json_download, self.python, self.curl]
        ran.success(self._more, {self.shown, *asked}, [*visited, *more], **QUIET)

    # -- callbacks

    def _example(self, index: int) -> tuple[str, str, str]:
        example = list(self.examples.values())[index]
        return str(example.path), example.text, example.text

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

    def _recorded(self, values: dict[Any, Any], request: gr.Request) -> Iterator[dict[Any, Any]]:
        """A clip that was just recorded."""
        reference = self._own_reference(values[self.reference], values[self.scored])
        for shown in self._arrived(values | {self.reference: reference}, request):
            yield {self.reference: reference} | shown

    def _arrived(self, values: dict[Any, Any], request: gr.Request) -> Iterator[dict[Any, Any]]:
        """A clip that was just chosen: it runs, or waits for Run. What was there is another clip's."""
        if values[self.at_once] and values[self.audio]:
            yield from self._measure(values, request)
            return
        if values[self.ticket] is not None:
            self.shared.cancellations.replace(session_of(request), values[self.ticket])
        said = html.message("Press Run." if values[self.audio] else "")
        yield self._cleared() | self._idle() | {self.ticket: None, self.status: said}

    def _measure(self, values: dict[Any, Any], request: gr.Request) -> Iterator[dict[Any, Any]]:
        session = session_of(request)
        ticket = self.shared.cancellations.begin(session, instead_of=values[self.ticket])
        so_far = None
        try:
            with plain_words():
                yield self._begun(values, ticket)
                for step in self._steps(values, ticket):
                    so_far = step.comparison
                    yield self._pending(step)
                if so_far is not None:
                    yield self._done(so_far, values, page_url(request))
        except Refused as refused:
            if not ticket.replaced:
                yield self._refused(refused, so_far)
        finally:
            self.shared.cancellations.end(session, ticket)

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
        return {self.result: self._empty(), self.share: "", self.shown: None, self.details: gr.Column(visible=False)}

    def _idle(self) -> dict[Any, Any]:
        return dict(zip((self.run, self.stop), running(False), strict=True))

    def _begun(self, values: Mapping[Any, Any], ticket: Ticket) -> dict[Any, Any]:
        """A card for each model before anything else: its speaker sees that it works."""
        choices = self.shared.choices
        lanes = self.lab.offer.choose(values[choices.pair], values[choices.lanes])
        run, stop = running(True)
        waiting = Step("Starting…", states={lane.lane_id: "waiting" for lane in lanes})
        begun = {self.ticket: ticket, self.run: run, self.stop: stop, self.scored: values[self.reference] or ""}
        return self._cleared() | begun | self._pending(waiting)

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
        return {self.status: html.message(step.text), self.result: shown}

    def _done(self, comparison: Comparison, values: Mapping[Any, Any], url: str) -> dict[Any, Any]:
        """The whole result, and the visit with one clip more."""
        note = self.lab.settings.get_pair(comparison.pair).note
        return self._idle() | {
            self.status: html.message("Done.", spoken_only=True),
            self.result: html.comparison(comparison, note=note),
            self.share: share.buttons(comparison, self._link(comparison, values, url)),
            self.shown: comparison,
            self.shared.visit: visit.add(values[self.shared.visit], comparison),
        }

    def _more(self, values: dict[Any, Any], request: gr.Request) -> dict[Any, Any]:
        """What stands under a whole result: the clips so far, its lines, and what repeats it."""
        comparison = values[self.shown]
        if comparison is None:
            return {self.details: gr.Column(visible=False)}
        script = (page_url(request), script_name(values[self.audio]), self._scripted(values))
        return {
            self.details: gr.Column(visible=True),
            self.lines: html.lines(comparison),
            self.json_download: html.json_download(comparison),
            self.python: snippets.python_snippet(*script),
            self.curl: snippets.curl_snippet(*script),
        } | self._visited(values[self.shared.visit], comparison.pair)

    def _visited(self, compared: list[Comparison], pair: str) -> dict[Any, Any]:
        """The strip of the clips so far; with a single clip the result says it all."""
        from components.report import figures

        report = visit.report(compared, pair) if len(compared) > 1 else None
        if report is None:
            return {self.visit_box: gr.Column(visible=False)}
        return (
            {self.visit_box: gr.Column(visible=True), self.visit_strip: html.visit(report)}
            | self.speed_up.show(figures.speed_up(report))
            | self.latency.show(figures.latency(report))
        )

    def _refused(self, refused: Refused, so_far: Comparison | None) -> dict[Any, Any]:
        """It ended without a whole result: say why, where it stays to be read; what was there at a stop stays, too."""
        shown = self._cleared() | self._idle()
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
