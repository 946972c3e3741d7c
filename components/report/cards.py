"""A lane's card: what it wrote and how long it took, where it stands, or why it failed."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Literal

from components.core.catalog import lane_label
from components.core.types import BASELINE_LANE
from components.core.wording import counted
from components.report import columns, words
from components.report.headline import lane_warnings

if TYPE_CHECKING:
    from components.core.types import Comparison, LaneRun

State = Literal["waiting", "loading", "running", "done", "failed"]

FACTS = ("encoder_time_s", "decoder_time_s", "rtfx", "generated_tokens", "wer")
"""What a card shows of the columns."""

DOING = {"waiting": "Waiting for its turn", "loading": "Loading…", "running": "Transcribing…"}


@dataclass(frozen=True)
class Card:
    """``text``: what stands in place of a transcript. ``even``: the times of the words are not the engine's own."""

    lane_id: str
    state: State
    text: str = ""
    run: LaneRun | None = None
    pieces: tuple[words.Piece, ...] = ()
    differs: str = ""
    facts: tuple[tuple[str, str], ...] = ()
    warnings: tuple[str, ...] = ()
    even: bool = False


def pending_card(lane_id: str, state: State) -> Card:
    """A lane that has no result yet."""
    return Card(lane_id, state, DOING[state])


def lane_card(comparison: Comparison, lane_id: str, reference: str = "what was said") -> Card:
    """A lane that is done or has failed. ``reference``: what the reference is.

    Raises:
        StopIteration: the comparison has neither a run nor a failure of this lane.
    """
    run = comparison.run(lane_id)
    if run is None:
        failure = next(failure for failure in comparison.failures if failure.lane_id == lane_id)
        return Card(lane_id, "failed", f"This model did not run. {failure.message}")
    pieces = tuple(words.pieces(comparison, run))
    facts = tuple(
        (column.heading, column.cell(run).text)
        for column in columns.lane_columns(comparison)
        if column.name in FACTS and column.value(run) is not None
    )
    return Card(
        lane_id,
        "done",
        "" if run.text.strip() else "No words",
        run,
        pieces,
        _differs(comparison, run, pieces, reference),
        facts,
        lane_warnings(run),
        even=run.generation_time_s is not None and not run.token_times_s,
    )


def _differs(comparison: Comparison, run: LaneRun, pieces: tuple[words.Piece, ...], reference: str) -> str:
    """How many words differ, and from what."""
    if words.held_against(comparison, run) is None:
        return ""
    against = reference if run.reference is not None else lane_label(BASELINE_LANE)
    if run.word_errors is not None and run.word_errors.unit == "character":
        count, unit = words.differing_characters(pieces), "character"
    else:
        count, unit = words.differing(pieces), "word"
    told = counted(count, f"{unit} differs", f"{unit}s differ")
    return f"{told} from {against}" if count else f"Same words as {against}"
