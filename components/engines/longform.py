"""How a clip is cut into windows, and how what was written for each becomes one transcript. Pure: no model, no torch.

Each way of cutting is a generator. It yields the span of the next window and is sent the tokens written for it, so one
clip can be decoded alone or beside others in a batch; it returns the whole.
"""

from __future__ import annotations

from collections.abc import Callable, Generator, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING

import numpy as np

from components.core.types import Segment
from components.engines.prompt import FRAME_S, TIMESTAMP_S

if TYPE_CHECKING:
    from components.engines.prompt import SpecialTokens

CHUNK_S = 15.0
"""Seconds of a chunk in chunked long-form: of 15 and 30 the length that suits the student (arXiv 2311.00430, 5.3)."""

STRIDE_S = CHUNK_S / 6
"""Seconds that a chunk shares with each neighbour; Transformers' own default."""

REST_FRAMES = 100
"""Of speech that goes on past the end of a window, less than this is part of the last word there."""

WORD_FRAMES = 20
"""Speech shorter than this holds no word."""

MIN_COVERED = 0.8
"""Of the speech in a clip, the part that its segments have to cover; below it a person is warned."""

MIN_TOKENS_PER_S = 1.0
"""Tokens that a second of speech takes at least, in whatever language; slow English takes two and a half."""

LOOP_REPEATS, LOOP_CHARACTERS, LOOP_UNIT = 5, 40, 120
"""A loop: a unit of at most so many characters, so often in a row, and so long in all."""

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


def sequential(  # noqa: PLR0917
    frames: int,
    content_frames: int,
    window_frames: int,
    speech: Sequence[Span],
    special: SpecialTokens,
    text: Detokenize,
) -> Windows:
    """Sequential long-form (Whisper paper, 3.8): each window starts where the last timestamp of the one before is.

    The same windows as Transformers' ``generate`` makes, but only where there is something to hear: none starts at or
    after ``content_frames``, in the silence that a short clip was padded with, and none is asked that holds no speech,
    since models invent words there. ``frames``: those of the clip, padding included; ``window_frames``: those of one
    window; ``speech``: where speech was found, empty where that is not known.
    """
    pieces: list[Piece] = []
    seek = 0
    while (seek := next_start(seek, content_frames, window_frames, speech)) < content_frames:
        span = Span(seek, min(seek + window_frames, frames))
        tokens = yield span
        found, step = split(tokens, span, special)
        pieces += found
        seek += max(step, 1)
    whole = [token for piece in pieces for token in piece.tokens]
    return text(whole), [Segment(start_s=piece.start_s, end_s=piece.end_s, text=text(piece.tokens)) for piece in pieces]


def next_start(seek: int, content_frames: int, window_frames: int, speech: Sequence[Span]) -> int:
    """Where the next window starts: at ``seek``, or at the next speech where the window from there holds none.

    Speech that began before ``seek`` and goes on for less than a second was heard by the window before: asked again,
    a model writes half a word.
    """
    if not speech:
        return seek
    for span in speech:
        ended = span.stop <= seek
        heard = seek > 0 and span.start < seek and span.stop - seek < REST_FRAMES
        if not ended and not heard:
            return span.start if span.start >= seek + window_frames else seek
    return content_frames


def chunked(
    frames: int,
    speech: Sequence[Span],
    special: SpecialTokens,
    merge: Callable[[list[tuple[list[int], Shared]]], Written],
) -> Windows:
    """Chunked long-form: chunks with overlaps, each decoded by itself, merged at the end.

    A chunk without speech is not asked; one with a word of it in an overlap is, for the detector of speech misses some.
    ``speech`` is empty where it is not known.
    """
    written: list[tuple[list[int], Shared]] = []
    for span, shared in chunks(frames):
        asked = not speech or overlap(span, speech) >= WORD_FRAMES
        tokens = (yield from _chunk(span, speech, special)) if asked else []
        written.append((tokens, shared))
    return merge(written)


def _chunk(span: Span, speech: Sequence[Span], special: SpecialTokens) -> Generator[Span, list[int], list[int]]:
    """The tokens of a chunk. Where they end at a timestamp with speech after it, as at a pause, the rest is asked too.

    The timestamps of the rest are moved, so that all count from the start of the chunk.
    """
    tokens: list[int] = []
    rest, moved = span, 0
    while True:
        more = yield rest
        tokens += [token + moved if special.is_timestamp(token) else token for token in more]
        written = [token for token in tokens if token != special.end]
        stopped = written[-1] - special.first_timestamp if written and special.is_timestamp(written[-1]) else 0
        rest = Span(span.start + FRAMES_PER_TIMESTAMP * stopped, span.stop)
        if stopped <= moved or overlap(rest, speech) < REST_FRAMES:
            return tokens
        tokens, moved = written, stopped


def overlap(span: Span, others: Sequence[Span]) -> int:
    """Frames that a span has in common with others, which do not overlap each other."""
    return sum(max(0, min(span.stop, other.stop) - max(span.start, other.start)) for other in others)


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


def repeats_itself(text: str) -> bool:
    """Whether a stretch of text is one phrase over and over, in words or in characters."""
    characters = np.frombuffer((" ".join(text.casefold().split()) + " ").encode("utf-32-le"), dtype=np.uint32)
    return any(_longest_run(characters, unit) for unit in range(1, min(LOOP_UNIT, len(characters) // 2) + 1))


def _longest_run(characters: np.ndarray, unit: int) -> bool:
    """Whether the text repeats with this period for long enough."""
    differs = np.flatnonzero(characters[unit:] != characters[:-unit])
    edges = np.concatenate([[-1], differs, [len(characters) - unit]])
    repeated = int(np.diff(edges).max()) - 1 + unit  # characters of the longest stretch, its first unit included
    return repeated >= max(LOOP_CHARACTERS, LOOP_REPEATS * unit)


def uncovered_s(segments: Sequence[Segment], speech: Sequence[Span]) -> float:
    """Seconds of speech outside all segments."""
    covered = [Span(round(each.start_s / FRAME_S), round(each.end_s / FRAME_S)) for each in _joined(segments)]
    return sum(span.stop - span.start - overlap(span, covered) for span in speech) * FRAME_S


def _joined(segments: Sequence[Segment]) -> list[Segment]:
    """Segments in order, those that overlap made one."""
    found: list[Segment] = []
    for each in sorted(segments, key=lambda segment: segment.start_s):
        last = found.pop() if found and each.start_s <= found[-1].end_s else each
        found.append(Segment(start_s=last.start_s, end_s=max(last.end_s, each.end_s), text=""))
    return found
