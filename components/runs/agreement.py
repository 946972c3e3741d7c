"""Which words of a growing recording are settled: LocalAgreement-2.

A live recognizer transcribes the same stretch of audio again and again, a little longer each time. What two passes in a
row agree on is committed and never changes again; the rest is tentative. Liu, Spanakis, Niehues, "Low-Latency
Sequence-to-Sequence Speech Recognition and Translation by Partial Hypothesis Selection" (Interspeech 2020); Macháček,
Dabre, Bojar, "Turning Whisper into Real-Time Transcription System" (arXiv 2307.14743).
"""

from __future__ import annotations

from dataclasses import dataclass, field
from itertools import takewhile
from typing import TYPE_CHECKING

from components.core.text.characters import pattern
from components.core.text.languages import UNSPACED
from components.engines.longform import Span, split
from components.engines.prompt import FRAME_S

if TYPE_CHECKING:
    from collections.abc import Iterator, Sequence

    from components.engines.base import Engine, EngineOutput

ALIGNMENT_REACH = 8
"""Words that a new hypothesis may be longer or shorter than what it repeats of the committed text."""

_SIGNS = r"[^\p{L}\p{M}\p{N}]+"
_BEGINS = rf"\s|[{UNSPACED}]|{_SIGNS}$"
"""What a token says that begins a word: a space, a character of a script without spaces, or nothing but signs."""

_CUT_CHARACTER = "\ufffd"
"""What a character is decoded as of which a token is missing."""


@dataclass(frozen=True)
class TimedWord:
    """A word of a hypothesis; in scripts without spaces, what one token says.

    ``tokens``: with the signs before it. Those after it go with the next word: models end with a full stop wherever
    the audio does. ``key``: what is compared, without case and signs; empty for signs at the end of a segment.
    ``end_s``: when it was spoken, in seconds from the start of the recording.
    """

    tokens: tuple[int, ...]
    key: str
    end_s: float


@dataclass
class Agreement:
    """The hypotheses of one lane over the audio in its buffer.

    ``committed``: words that lie in the buffer and are settled. ``tentative``: what the last pass wrote after them.
    """

    committed: list[TimedWord] = field(default_factory=list)
    tentative: list[TimedWord] = field(default_factory=list)
    _hypothesis: list[TimedWord] = field(default_factory=list)

    def update(self, hypothesis: Sequence[TimedWord]) -> list[TimedWord]:
        """Take the next hypothesis for the whole buffer; returns the words that it settles, as it writes them."""
        self._hypothesis = list(hypothesis)
        rest = self._hypothesis[repeated(self.committed, hypothesis) :]
        agreed = common_prefix(self.tentative, rest)
        settled = rest[:agreed]
        self.committed += settled
        self.tentative = rest[agreed:]
        return settled

    def settle(self) -> list[TimedWord]:
        """Commit what is tentative: nothing more will be heard."""
        settled, self.tentative = self.tentative, []
        self.committed += settled
        return settled

    def covers(self, count: int) -> bool:
        """Whether the first words of the last hypothesis, so many of them, are all settled."""
        return not any(word.key for word in self._hypothesis[self._settled : count])

    def forget(self, count: int) -> list[TimedWord]:
        """Forget so many words of the last hypothesis: they are settled, and their audio leaves the buffer.

        Returns the signs among them that were not committed yet.
        """
        settled = self._settled
        signs = self._hypothesis[settled:count]
        self.committed, self.tentative = self._hypothesis[count:settled], self._hypothesis[max(settled, count) :]
        self._hypothesis = self._hypothesis[count:]
        return signs

    @property
    def _settled(self) -> int:
        """Words of the last hypothesis that are settled."""
        return len(self._hypothesis) - len(self.tentative)


def common_prefix(first: Sequence[TimedWord], second: Sequence[TimedWord]) -> int:
    """How many words of the second hypothesis the first begins with too. Signs alone count with the word after them."""
    spoken = [(word.key, count) for count, word in enumerate(second, 1) if word.key]
    pairs = zip((word.key for word in first if word.key), spoken, strict=False)
    return max((count for _, (_, count) in takewhile(lambda pair: pair[0] == pair[1][0], pairs)), default=0)


def repeated(committed: Sequence[TimedWord], hypothesis: Sequence[TimedWord]) -> int:
    """How many words at the start of a hypothesis stand for the committed text.

    A later pass may write settled words differently. The cut is where the hypothesis so far is nearest to the committed
    text by edit distance; of equal cuts the one nearest in length.
    """
    from rapidfuzz.distance import Levenshtein

    settled = [each.key for each in committed]
    written = [each.key for each in hypothesis]
    if written[: len(settled)] == settled:
        return len(settled)
    lengths = range(max(0, len(settled) - ALIGNMENT_REACH), min(len(written), len(settled) + ALIGNMENT_REACH) + 1)
    return min(
        lengths,
        key=lambda length: (Levenshtein.distance(written[:length], settled), abs(length - len(settled))),
        default=0,
    )


def timed_segments(engine: Engine, output: EngineOutput, start_s: float) -> list[list[TimedWord]]:
    """The words of each segment, their tokens spread evenly over it; ``start_s``: where the audio began, in seconds."""
    segments = []
    for window in output.windows:
        span = Span(round(window.start_s / FRAME_S), round(window.end_s / FRAME_S))
        for piece in split(list(window.tokens), span, engine.special)[0]:
            tokens, words, count = engine.special.words(piece.tokens), [], 0
            step_s = (piece.end_s - piece.start_s) / max(1, len(tokens))
            for own, key in _words(engine, tokens):
                count += len(own)
                words.append(TimedWord(tuple(own), key, start_s + piece.start_s + step_s * count))
            segments.append(words)
    return segments


def _words(engine: Engine, tokens: Sequence[int]) -> Iterator[tuple[Sequence[int], str]]:
    """The tokens of each word, and its key."""
    begins, key, written, first, whole = pattern(_BEGINS), "", "", 0, 0
    for count in range(1, len(tokens) + 1):
        text = engine.text(tokens[:count]).rstrip(_CUT_CHARACTER)
        piece, written = text[len(written) :], text
        if not piece:
            continue
        if key and begins.match(piece):
            yield tokens[first:whole], key
            key, first = "", whole
        key, whole = key + pattern(_SIGNS).sub("", piece.casefold()), count
    if first < len(tokens):
        yield tokens[first:], key
