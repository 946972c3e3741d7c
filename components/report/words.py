"""A transcript word by word: when each word was written, and what differs from the text it is held against."""

from __future__ import annotations

from itertools import groupby
from typing import TYPE_CHECKING, NamedTuple

from components.core import scoring
from components.core.scoring import DiffSpan
from components.core.types import BASELINE_LANE

if TYPE_CHECKING:
    from collections.abc import Iterable

    from components.core.scoring import Tag
    from components.core.types import Comparison, LaneRun

MAX_DIFF_WORDS = 20_000
"""Longer transcripts, over two hours, are shown without a diff: aligning takes the product of both lengths."""


class Word(NamedTuple):
    """``space``: what stands before it. ``at_s``: seconds after the lane's start, ``None`` where nothing was timed."""

    space: str
    text: str
    at_s: float | None


class Piece(NamedTuple):
    """Neighbouring words that fared alike. ``before``: the words in their place in the other text."""

    tag: Tag | None
    before: str
    words: tuple[Word, ...]


def held_against(comparison: Comparison, run: LaneRun) -> str | None:
    """The text that a lane's is compared with: the reference, else the baseline's; ``None`` where there is neither."""
    if run.reference is not None:
        return run.reference
    baseline = comparison.run(BASELINE_LANE)
    return None if baseline is None or baseline.lane_id == run.lane_id else baseline.text


def pieces(comparison: Comparison, run: LaneRun) -> list[Piece]:
    """The words of a lane, marked where they differ."""
    against = held_against(comparison, run)
    if against is None or max(len(against.split()), len(run.text.split())) > MAX_DIFF_WORDS:
        return [Piece(None, "", tuple(_words(run, run.text, 0)[0]))] if run.text.strip() else []
    found, cursor = [], 0
    for span in scoring.diff_spans(against, run.text):
        for tag, before, after in _split_at_spellings(span, run.language):
            words, cursor = _words(run, after, cursor)
            found.append(Piece(tag, before if tag else "", tuple(words)))
    return found


def differing(found: Iterable[Piece]) -> int:
    """Words that differ, missing ones included."""
    return sum(max(len(piece.words), len(piece.before.split())) for piece in found if piece.tag)


def differing_characters(found: Iterable[Piece]) -> int:
    """Characters that differ, missing ones included: for what is written without spaces."""
    return sum(
        max(sum(len(word.text) for word in piece.words), len("".join(piece.before.split())))
        for piece in found
        if piece.tag
    )


def step_times(run: LaneRun) -> list[float]:
    """Seconds after the lane's start at which each token was written; evenly spaced where the engine does not tell."""
    if run.generation_time_s is None:
        return []
    if run.token_times_s:
        return list(run.token_times_s)
    start, step = run.encoder_time_s or 0.0, (run.decoder_time_s or 0.0) / max(1, run.generated_tokens)
    return [start + step * (number + 1) for number in range(run.generated_tokens)]


def _split_at_spellings(span: DiffSpan, language: str | None) -> list[DiffSpan]:
    """A span, cut where two spellings count as the same words, as ``20`` and ``twenty``."""
    if span.tag != "substituted":
        return [span]
    pairs = list(zip(span.before.split(), span.after.split(), strict=False))
    if len(span.before.split()) != len(span.after.split()):
        pairs = [(span.before, span.after)]
    cut = []
    for same, group in groupby(pairs, key=lambda pair: _alike(pair[0], pair[1], language)):
        before, after = (" ".join(words) for words in zip(*group, strict=True))
        cut.append(DiffSpan(None if same else "substituted", before, after))
    return cut


def _alike(before: str, after: str, language: str | None) -> bool:
    return scoring.normalise(before, language) == scoring.normalise(after, language)


def _words(run: LaneRun, part: str, cursor: int) -> tuple[list[Word], int]:
    """The words of a part of the transcript that starts at ``cursor`` or later, and where it ends."""
    times = step_times(run)
    words = []
    for word in part.split():
        start = max(cursor, run.text.find(word, cursor))
        space = run.text[cursor:start] if run.text[:cursor].strip() else ""
        words.append(Word(space, word, _at(times, (start + len(word)) / max(1, len(run.text)))))
        cursor = start + len(word)
    return words, cursor


def _at(times: list[float], share: float) -> float | None:
    """When this share of the text was written; characters are taken to fall evenly on the tokens."""
    return times[min(len(times) - 1, max(0, round(share * len(times)) - 1))] if times else None
