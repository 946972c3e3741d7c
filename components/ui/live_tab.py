"""The Live tab: both models listen to one microphone, each on its own clock; or to a clip as if it were spoken now."""

from __future__ import annotations

from collections.abc import Iterator  # noqa: TC003 - Gradio reads the callbacks' annotations
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import gradio as gr

from components.core.caller import Caller
from components.core.errors import AudioError
from components.core.types import Live, LivePass
from components.report import html
from components.report import live as live_report
from components.ui.api import MEASURING
from components.ui.gate import client_of
from components.ui.parts import AT_ONCE, QUIET, chart, examples
from components.ui.requests import Refused, plain_words, session_of

if TYPE_CHECKING:
    from components.runs.microphone import Microphone
    from components.ui.parts import Shared
    from components.ui.requests import Ticket

HOW = (
    "Press Record and speak. Words turn dark once a model is sure of them. Each model is charged its own computing "
    "time alone, as if it had this machine to itself; where both together are slower than you speak, their words come "
    "later on this page than on their clocks. Press Stop to see what live lost against the whole recording at once."
)
REPLAY_ONLY = "This Space lends its GPU for one call at a time, so live is for recordings only: replay a clip below."

PROBLEMS = {
    "refused": "Your browser did not let this page use the microphone. Allow it in the address bar, then press Record.",
    "none": "No microphone was found. Plug one in, or replay an example.",
    "taken": "The microphone could not be opened. Close other programs that use it, then press Record.",
    "insecure": "Your browser gives its microphone only to pages opened by https. Replay an example instead.",
    "other": "The microphone could not be opened. Reload the page and press Record again.",
}
"""What hinders a recording, by the word that ``microphone.js`` has for it."""

GETTING_READY = "Getting the models ready… You can speak already: nothing is lost."
LISTENING = "Listening."
REPLAYING = "Replaying as fast as this machine can; the clocks are those of a live run."
WORKING_OFF = "The recording has ended. Working off what is left of it, then the whole at once…"


@dataclass
class Listening:
    """One visitor's live run, and the ticket that is set when it is not wanted any more.

    ``microphone``: what they speak into; ``None`` for a replay. ``missing_s``: seconds of it that never arrived.
    """

    ticket: Ticket
    microphone: Microphone | None = None
    stopping: bool = False
    missing_s: float = 0.0

    def unwanted(self) -> bool:
        """Asked again and again while it runs, so that a microphone that fell silent is noticed too."""
        if self.microphone is not None:
            self.microphone.end_if_silent()
        return self.ticket.is_set()

    @property
    def caller(self) -> Caller:
        return Caller(cancelled=self.unwanted)

    def says(self, processed_s: float) -> str:
        """The state of things, for a person. ``processed_s``: seconds of the recording that all lanes have heard."""
        if self.microphone is None:
            return REPLAYING
        if not self.microphone.ended:
            return LISTENING
        return f"{WORKING_OFF} {processed_s:.0f} of {self.microphone.recording.length_s:.0f} s are done."


class LiveTab:
    """Builds its widgets where it is created; ``connect`` wires them."""

    label = "Live"
    tab_id = "live"

    def __init__(self, shared: Shared) -> None:
        self.shared = shared
        self.lab = shared.lab
        self.listening: dict[str, Listening] = {}
        self.examples = examples()
        replay_only = self.lab.loads_before_launch
        gr.HTML(html.note(REPLAY_ONLY if replay_only else HOW), padding=False)
        with gr.Row(equal_height=True):
            self.record = gr.Button(
                "Record", variant="primary", elem_id="record-live", visible=not replay_only, min_width=120
            )
            self.stop = gr.Button("Stop", elem_id="stop-live", interactive=False, min_width=120)
            self.clip = gr.Dropdown(
                [(example.label, clip_id) for clip_id, example in self.examples.items() if example.text],
                label="Or an example, as if it were spoken now",
                elem_id="live-example",
                min_width=260,
                scale=3,
            )
            self.replay = gr.Button("Replay as if live", elem_id="replay-live", min_width=160)
        gr.HTML('<p id="live-clock" class="where"></p>', padding=False)
        self.status = gr.HTML(html.message(""), elem_id="live-status", padding=False)
        self.words = gr.HTML("", elem_id="live-words", padding=False)
        self.lags = chart("Seconds behind you", "lags", visible=False)
        self.result = gr.HTML("", elem_id="live-result", padding=False)
        # What the page's script answers: a recording's name and rate, what hinders it, and how much was recorded.
        self.name = gr.Textbox(label="Name of the recording", visible=False)
        self.problem = gr.Textbox(label="What hinders it", visible=False)
        self.rate = gr.Number(0, label="Sampling rate", visible=False)
        self.captured = gr.Number(0, label="Samples recorded", visible=False)

    def connect(self, page: gr.Blocks, _tab: gr.Tab) -> None:
        """The browser sends what it records by a route of its own; a generator reads it and paints."""
        inputs = {self.clip, *self.shared.choices.widgets}
        buttons = [self.status, self.record, self.stop]
        painted: dict[str, Any] = {"trigger_mode": "multiple", **QUIET, **MEASURING}
        begun = self.record.click(
            self._record,
            [self.name, self.rate, self.problem],
            [*buttons, self.name],
            js="() => window.liveMicrophone.start()",
            **AT_ONCE,
        )
        begun.success(None, self.name, None, js="(name) => window.liveMicrophone.admit(name)", **AT_ONCE)
        begun.success(self._listen, {self.name, *inputs}, self._outputs(), **painted)
        replayed = self.replay.click(self._begin_replay, None, buttons, **AT_ONCE)
        replayed.success(self._replay, inputs, self._outputs(), **painted)
        self.stop.click(self._end_or_cancel, self.captured, buttons, js="() => window.liveMicrophone.stop()", **AT_ONCE)
        page.unload(self._leave)

    def _outputs(self) -> list[Any]:
        return [self.status, self.record, self.stop, self.words, *self.lags, self.result]

    # -- callbacks

    def _record(self, name: str, rate: float, problem: str, request: gr.Request) -> tuple[Any, ...]:
        """Begin a recording that the browser has begun; without a name, so that it is dropped there, if not."""
        try:
            with plain_words():
                if problem:
                    raise AudioError(PROBLEMS.get(problem, PROBLEMS["other"]))
                microphone = self.shared.microphones.open(name, round(rate), _client(request))
        except Refused as refused:
            return html.message(refused.message, problem=True), gr.skip(), gr.skip(), ""
        return *self._begin(session_of(request), microphone), name

    def _begin_replay(self, request: gr.Request) -> tuple[Any, ...]:
        return self._begin(session_of(request), None)

    def _begin(self, session: str, microphone: Microphone | None) -> tuple[Any, ...]:
        self._end(self.listening.get(session))
        before = self.listening.get(session)
        ticket = self.shared.cancellations.begin(session, instead_of=before.ticket if before else None)
        self.listening[session] = Listening(ticket, microphone)
        return html.message(GETTING_READY), gr.Button(interactive=False), gr.Button("Stop", interactive=True)

    def _listen(self, values: dict[Any, Any], request: gr.Request) -> Iterator[dict[Any, Any]]:
        listening = self.listening.get(session_of(request))
        if listening is None or listening.microphone is None or not values[self.name]:
            yield {}
            return
        yield from self._painted(self._heard(values, listening, listening.microphone), values, listening, request)

    def _replay(self, values: dict[Any, Any], request: gr.Request) -> Iterator[dict[Any, Any]]:
        listening = self.listening[session_of(request)]
        yield from self._painted(self._replayed(values, listening), values, listening, request)

    def _end_or_cancel(self, captured: float, request: gr.Request) -> tuple[Any, ...]:
        """The first time, end the recording, all of which has arrived by now; else stop working on it."""
        listening = self.listening.get(session_of(request))
        microphone = listening.microphone if listening is not None else None
        if listening is not None and microphone is not None and not listening.stopping:
            listening.stopping = True
            listening.missing_s = max(0.0, (captured - microphone.received) / microphone.rate)
            microphone.end()
            return html.message(WORKING_OFF), gr.skip(), gr.Button("Cancel")
        if listening is not None:
            self.shared.cancellations.stop(session_of(request), listening.ticket)
        return html.message("Stopped."), *self._idle()

    def _leave(self, request: gr.Request) -> None:
        self._end(self.listening.pop(session_of(request), None))

    def _end(self, listening: Listening | None) -> None:
        if listening is not None and listening.microphone is not None:
            self.shared.microphones.close(listening.microphone)

    # -- how

    def _heard(
        self, values: dict[Any, Any], listening: Listening, microphone: Microphone
    ) -> Iterator[LivePass | Live | None]:
        steps = self.lab.listen(microphone.recording, caller=listening.caller, **self._choices(values))
        steps.prepare()
        yield None
        yield from steps.steps()

    def _replayed(self, values: dict[Any, Any], listening: Listening) -> Iterator[LivePass | Live | None]:
        example = self.examples.get(values[self.clip] or "")
        if example is None:
            raise AudioError("Choose an example first.")
        choices = self._choices(values) | {"reference": example.text, "clip_id": example.clip_id}
        yield from self.lab.live(example.path, caller=listening.caller, **choices)

    def _choices(self, values: dict[Any, Any]) -> dict[str, Any]:
        chosen = self.shared.choices.settings(values)
        return {name: chosen[name] for name in ("pair", "lanes", "language") if name in chosen}

    def _painted(
        self,
        events: Iterator[LivePass | Live | None],
        values: dict[Any, Any],
        listening: Listening,
        request: gr.Request,
    ) -> Iterator[dict[Any, Any]]:
        """What each pass changes on the page, and at last the verdict."""
        passes: list[LivePass] = []
        page_lags_s: dict[str, float] = {}
        processed_s: dict[str, float] = {}
        chosen = (values[self.shared.choices.pair], values[self.shared.choices.lanes])
        lanes = [lane.lane_id for lane in self.lab.offer.choose(*chosen)]
        try:
            with plain_words():
                yield self._so_far(passes, lanes, page_lags_s) | {self.status: html.message(GETTING_READY)}
                for event in events:
                    if isinstance(event, Live):
                        yield self._done(event, listening)
                        break
                    if event is not None:
                        passes.append(event)
                        processed_s[event.lane_id] = event.audio_end_s
                        self._note_page_lag(page_lags_s, event, listening)
                    says = listening.says(min(processed_s.values(), default=0.0))
                    yield self._so_far(passes, lanes, page_lags_s) | {self.status: html.message(says)}
        except Refused as refused:
            status = html.message(refused.message, problem=not refused.cancelled)
            if not listening.ticket.replaced:
                yield {self.status: status, **dict(zip((self.record, self.stop), self._idle(), strict=True))}
        finally:
            self._end(listening)
            self.shared.cancellations.end(session_of(request), listening.ticket)

    def _note_page_lag(self, page_lags_s: dict[str, float], done: LivePass, listening: Listening) -> None:
        """How far the page lies behind the speaker, by the wall's clock: only while somebody speaks."""
        if listening.microphone is not None and listening.microphone.ended:
            page_lags_s.clear()
        elif listening.microphone is not None:
            page_lags_s[done.lane_id] = listening.microphone.recording.length_s - done.audio_end_s + done.policy_lag_s

    def _so_far(self, passes: list[LivePass], lanes: list[str], page_lags_s: dict[str, float]) -> dict[Any, Any]:
        from components.report import figures

        return {
            self.words: live_report.words_so_far(passes, lanes, page_lags_s),
            self.result: "",
            **self.lags.show(figures.lags(live_report.lag_points(passes))),
        }

    def _done(self, live: Live, listening: Listening) -> dict[Any, Any]:
        record, stop = self._idle()
        missing = f"{listening.missing_s:.1f} s of what you said did not reach the server."
        lost = listening.missing_s > 0.05
        return {
            self.status: html.message(missing, problem=True) if lost else html.message("Done.", spoken_only=True),
            self.record: record,
            self.stop: stop,
            self.result: live_report.result(live),
        }

    @staticmethod
    def _idle() -> tuple[gr.Button, gr.Button]:
        """Record and Stop while nothing runs."""
        return gr.Button(interactive=True), gr.Button("Stop", interactive=False)


def _client(request: gr.Request) -> str | None:
    """Whose rates and shares a request counts for."""
    return client_of(request.request.scope, request.request.headers) if request.request is not None else None
