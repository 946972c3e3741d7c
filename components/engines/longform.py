"""How a clip is cut into windows, and how what was written for each becomes one transcript. Pure: no torch, no model.

Each way of cutting is a generator. It yields the span of the next window and is sent the tokens written for it, so one
clip can be decoded alone or beside others in a batch; it returns the whole.
"""

from __future__ import annotations

from collections.abc import Callable, Generator, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING

from components.core.types import Segment
from components.engines.prompt import FRAME_S, TIMESTAMP_S

if TYPE_CHECKING:
    from components.engines.prompt import SpecialTokens

CHUNK_S = 15.0
"""Seconds of a chunk in chunked long-form: of 15 and 30 the length that suits the student (arXiv 2311.00430, 5.3)."""

STRIDE_S = CHUNK_S / 6
"""Seconds that a chunk shares with each neighbour; Transformers' own default."""

FRAMES_PER_TIMESTAMP = round(TIMESTAMP_S / FRAME_S)


@dataclass(frozen=True)
class Span:
    """A stretch of a clip, in feature frames of 10 ms; ``stop`` is the first frame after it."""

    start: int
    stop: int

    @property
    def start_s(self) -> float:
        return self.start * FRAME_S

    @property
    def end_s(self) -> float:
        return self.stop * FRAME_S


@dataclass(frozen=True)
class Piece:
    """Tokens of one segment, timestamps included; times in seconds from the start of the clip."""

    start_s: float
    end_s: float
    tokens: list[int]


Written = tuple[str, list[Segment]]
"""The text of a clip, and its segments where there are timestamps."""

Windows = Generator[Span, list[int], Written]
"""Yields windows, takes the tokens of each (end token included), returns what was written."""

Shared = tuple[float, float, float]
"""Seconds of a chunk: its length, and what it shares with the chunk before and with the one after."""

Detokenize = Callable[[Sequence[int]], str]
"""Tokens to text, special tokens and timestamps left out."""


def single(frames: int, text: Detokenize) -> Windows:
    """One window over all ``frames`` of a short clip, written without timestamps."""
    tokens = yield Span(0, frames)
    return text(tokens), []


def sequential(
    frames: int, content_frames: int, window_frames: int, special: SpecialTokens, text: Detokenize
) -> Windows:
    """Sequential long-form (Whisper paper, 3.8): each window starts where the last timestamp of the one before is.

    The same windows as Transformers' ``generate`` makes, except that none starts at or after ``content_frames``: in
    the silence that a short clip was padded with, models invent words. ``frames``: those of the clip, padding
    included; ``window_frames``: those of one window.
    """
    pieces: list[Piece] = []
    seek = 0
    while seek < content_frames:
        span = Span(seek, min(seek + window_frames, frames))
        tokens = yield span
        found, step = split(tokens, span, special)
        pieces += found
        seek += max(step, 1)
    whole = [token for piece in pieces for token in piece.tokens]
    return text(whole), [Segment(piece.start_s, piece.end_s, text(piece.tokens)) for piece in pieces]


def chunked(frames: int, merge: Callable[[list[tuple[list[int], Shared]]], Written]) -> Windows:
    """Chunked long-form: chunks with overlaps, each decoded by itself, merged at the end."""
    written = []
    for span, shared in chunks(frames):
        tokens = yield span
        written.append((tokens, shared))
    return merge(written)


def split(tokens: list[int], span: Span, special: SpecialTokens) -> tuple[list[Piece], int]:
    """Cut a window's tokens at their timestamps; the segments, and the frames by which to move on.

    The rule of OpenAI's code, and of Transformers': two timestamps in a row end one segment and start the next; what
    stands after the last such pair is unfinished and is dropped, for the next window starts there, unless a single
    timestamp closes it. Without a pair the whole window is one segment.
    """
    if tokens and tokens[-1] == special.end:
        tokens = tokens[:-1]
    is_time = [special.is_timestamp(token) for token in tokens]
    cuts = [index for index in range(1, len(tokens)) if is_time[index - 1] and is_time[index]]
    length = span.stop - span.start
    if not cuts:
        last = next((token for token in reversed(tokens) if special.is_timestamp(token)), special.first_timestamp)
        end = special.seconds(last) or length // FRAMES_PER_TIMESTAMP * TIMESTAMP_S
        return [Piece(span.start_s, span.start_s + end, tokens)], length
    closed = is_time[-2:] == [False, True]  # no speech after the last timestamp
    step = length if closed else (tokens[cuts[-1] - 1] - special.first_timestamp) * FRAMES_PER_TIMESTAMP
    pieces, start = [], 0
    for stop in [*cuts, len(tokens)] if closed else cuts:
        part = tokens[start:stop]
        start_s, end_s = (span.start_s + special.seconds(token) for token in (part[0], part[-1]))
        pieces.append(Piece(start_s, end_s, part))
        start = stop
    return pieces, step


def chunks(frames: int) -> list[tuple[Span, Shared]]:
    """Overlapping chunks of a clip of ``frames``, as Transformers' pipeline cuts them."""
    length, stride = round(CHUNK_S / FRAME_S), round(STRIDE_S / FRAME_S)
    found = []
    for start in range(0, frames, length - 2 * stride):
        stop = min(start + length, frames)
        left = stride if start else 0
        right = stride if start + length < frames else 0
        if stop - start > left:
            found.append((Span(start, stop), ((stop - start) * FRAME_S, left * FRAME_S, right * FRAME_S)))
        if not right:
            break
    return found
