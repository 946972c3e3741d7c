"""A comparison as it goes on: what is being done, each model's state, and what there is so far."""

from __future__ import annotations

from concurrent.futures import ThreadPoolExecutor
from contextvars import copy_context
from dataclasses import dataclass, field
from queue import SimpleQueue
from typing import TYPE_CHECKING, Any

from components.core.catalog import lane_label

if TYPE_CHECKING:
    from collections.abc import Iterator

    from components.core.types import Comparison
    from components.report.html import State
    from components.runs.lab import Lab
    from components.ui.requests import Ticket


@dataclass(frozen=True)
class Step:
    """``text``: what is being done, for a person. ``states``: the models without a result yet, in their order."""

    text: str
    states: dict[str, State] = field(default_factory=dict)
    comparison: Comparison | None = None


def compare(lab: Lab, audio: str | None, ticket: Ticket, **settings: Any) -> Iterator[Step]:
    """Run a comparison and tell how it goes; the last step has the whole ``Comparison``.

    Raises:
        WhisperSpaceError: what ``Lab.compare`` raises.
        Cancelled: the ticket was set.
    """
    lanes = [lane.lane_id for lane in lab.choose_lanes(settings["pair"], settings["lanes"])]
    told: SimpleQueue[str | None] = SimpleQueue()
    with ThreadPoolExecutor(1) as thread:
        work = thread.submit(
            copy_context().run,
            lambda: lab.compare(audio, **settings, progress=lambda _, text: told.put(text), cancelled=ticket.is_set),
        )
        work.add_done_callback(lambda _: told.put(None))
        yield Step("Starting…", dict.fromkeys(lanes, "waiting"))
        while (text := told.get()) is not None:
            yield Step(text, {lane: _state(lane, text) for lane in lanes})
    yield Step("Done.", comparison=work.result())


def _state(lane_id: str, text: str) -> State:
    if not text.split(",", maxsplit=1)[0].endswith(f" {lane_label(lane_id)}"):
        return "waiting"
    return "running" if text.startswith("Running") else "loading"
