"""The Live tab: both models listen to one microphone, each on its own clock; or to a clip as if it were spoken now."""

from __future__ import annotations

from collections.abc import Iterator  # noqa: TC003 - Gradio reads the callbacks' annotations
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any

import gradio as gr

from components.core.audio import load_audio
from components.core.caller import Caller
from components.core.errors import AudioError
from components.core.types import Live, LivePass
from components.report import html
from components.report import live as live_report
from components.runs.live import Recording
from components.ui.api import MEASURING
from components.ui.parts import AT_ONCE, QUIET, chart, examples
from components.ui.requests import Refused, plain_words, session_of

if TYPE_CHECKING:
    from components.ui.parts import Shared
    from components.ui.requests import Ticket

STREAM_EVERY_S = 0.5
"""Seconds of audio in each piece that the browser sends."""

HOW = (
    "Press record and speak. Words turn dark once a model is sure of them. Each model is charged its own computing "
    "time alone, as if it had this machine to itself; where both together are slower than you speak, their words come "
    "later on this page than on their clocks. Press stop to see what live lost against the whole recording at once."
)
REPLAY_ONLY = "This Space lends its GPU for one call at a time, so live is for recordings only: replay a clip below."


@dataclass
class Listening:
    """One visitor's live run: what came in so far, and the ticket that is set when it is not wanted any more."""

    ticket: Ticket
    recording: Recording = field(default_factory=Recording)

    @property
    def caller(self) -> Caller:
        return Caller(cancelled=self.ticket.is_set)


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
        with gr.Row():
            self.microphone = gr.Audio(
                sources=["microphone"],
                type="filepath",
                streaming=True,
                label="Speak",
                elem_id="microphone",
                visible=not replay_only,
            )
            with gr.Column(min_width=300):
                self.clip = gr.Dropdown(
                    [(example.label, clip_id) for clip_id, example in self.examples.items() if example.text],
                    label="Or an example, as if it were spoken now",
                    elem_id="live-example",
                )
                with gr.Row():
                    self.replay = gr.Button("Replay as if live", elem_id="replay-live")
                    self.stop = gr.Button("Stop", elem_id="stop-live", interactive=False, min_width=100)
        self.status = gr.HTML(html.message(""), elem_id="live-status", padding=False)
        self.words = gr.HTML("", elem_id="live-words", padding=False)
        self.lags = chart("Seconds behind you", "lags", visible=False)
        self.result = gr.HTML("", elem_id="live-result", padding=False)

    def connect(self, page: gr.Blocks, _tab: gr.Tab) -> None:
        """The microphone's pieces go into a buffer; a generator reads it and paints."""
        inputs = {self.clip, *self.shared.choices.widgets}
        begun = self.microphone.start_recording(self._begin, None, [self.status, self.stop], **AT_ONCE)
        begun.success(self._listen, inputs, self._outputs(), trigger_mode="multiple", **QUIET, **MEASURING)
        self.microphone.stream(
            self._hear,
            self.microphone,
            None,
            stream_every=STREAM_EVERY_S,
            time_limit=self.lab.settings.max_audio_s,
            concurrency_limit=None,
            **QUIET,
        )
        self.microphone.stop_recording(self._end, self.microphone, None, **AT_ONCE)
        replayed = self.replay.click(self._begin, None, [self.status, self.stop], **AT_ONCE)
        replayed.success(self._replay, inputs, self._outputs(), trigger_mode="multiple", **QUIET, **MEASURING)
        self.stop.click(self._stop_listening, None, [self.status, self.stop], **AT_ONCE)
        page.unload(self._leave)

    def _outputs(self) -> list[Any]:
        return [self.status, self.stop, self.words, *self.lags, self.result]

    # -- callbacks

    def _begin(self, request: gr.Request) -> tuple[Any, ...]:
        session = session_of(request)
        before = self.listening.get(session)
        ticket = self.shared.cancellations.begin(session, instead_of=before.ticket if before else None)
        self.listening[session] = Listening(ticket)
        return html.message("Getting the models ready…"), gr.Button(interactive=True)

    def _hear(self, piece: str | None, request: gr.Request) -> None:
        listening = self.listening.get(session_of(request))
        if listening is None or not piece or listening.recording.ended:
            return
        listening.recording.append(load_audio(piece).samples)
        listening.recording.ended = listening.recording.length_s >= self.lab.settings.max_audio_s

    def _end(self, whole: str | None, request: gr.Request) -> None:
        """The recording has ended. What the last pieces lacked is taken from the whole of it, where that is longer."""
        listening = self.listening.get(session_of(request))
        if listening is None:
            return
        if whole is not None:
            listening.recording.append(load_audio(whole).samples[len(listening.recording) :])
        listening.recording.ended = True

    def _listen(self, values: dict[Any, Any], request: gr.Request) -> Iterator[dict[Any, Any]]:
        listening = self.listening[session_of(request)]
        yield from self._painted(self._heard(values, listening), values, listening, request)

    def _replay(self, values: dict[Any, Any], request: gr.Request) -> Iterator[dict[Any, Any]]:
        listening = self.listening[session_of(request)]
        yield from self._painted(self._replayed(values, listening), values, listening, request)

    def _stop_listening(self, request: gr.Request) -> tuple[Any, ...]:
        if listening := self.listening.pop(session_of(request), None):
            self.shared.cancellations.stop(session_of(request), listening.ticket)
        return html.message("Stopped."), gr.Button(interactive=False)

    def _leave(self, request: gr.Request) -> None:
        self.listening.pop(session_of(request), None)

    # -- how

    def _heard(self, values: dict[Any, Any], listening: Listening) -> Iterator[LivePass | Live]:
        steps = self.lab.listen(listening.recording, caller=listening.caller, **self._choices(values))
        yield from steps.steps()

    def _replayed(self, values: dict[Any, Any], listening: Listening) -> Iterator[LivePass | Live]:
        example = self.examples.get(values[self.clip] or "")
        if example is None:
            raise AudioError("Choose an example first.")
        choices = self._choices(values) | {"reference": example.text, "clip_id": example.clip_id}
        yield from self.lab.live(example.path, caller=listening.caller, **choices)

    def _choices(self, values: dict[Any, Any]) -> dict[str, Any]:
        chosen = self.shared.choices.settings(values)
        return {name: chosen[name] for name in ("pair", "lanes", "language") if name in chosen}

    def _painted(
        self, events: Iterator[LivePass | Live], values: dict[Any, Any], listening: Listening, request: gr.Request
    ) -> Iterator[dict[Any, Any]]:
        """What each pass changes on the page, and at last the verdict."""
        passes: list[LivePass] = []
        chosen = (values[self.shared.choices.pair], values[self.shared.choices.lanes])
        lanes = [lane.lane_id for lane in self.lab.offer.choose(*chosen)]
        try:
            with plain_words():
                yield self._so_far(passes, lanes)
                for event in events:
                    if isinstance(event, Live):
                        yield self._done(event)
                        break
                    passes.append(event)
                    yield self._so_far(passes, lanes)
        except Refused as refused:
            status = html.message(refused.message, problem=not refused.cancelled)
            yield {self.status: status, self.stop: gr.Button(interactive=False)}
        finally:
            self.shared.cancellations.end(session_of(request), listening.ticket)

    def _so_far(self, passes: list[LivePass], lanes: list[str]) -> dict[Any, Any]:
        from components.report import figures

        return {
            self.status: html.message("" if passes else "Getting the models ready…"),
            self.words: live_report.words_so_far(passes, lanes),
            self.result: "",
            **self.lags.show(figures.lags(live_report.lag_points(passes))),
        }

    def _done(self, live: Live) -> dict[Any, Any]:
        return {
            self.status: html.message("Done.", spoken_only=True),
            self.stop: gr.Button(interactive=False),
            self.result: live_report.result(live),
        }
