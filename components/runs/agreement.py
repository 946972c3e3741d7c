"""Which words of a growing recording are settled: LocalAgreement-2.

A live recognizer transcribes the same stretch of audio again and again, a little longer each time. What two passes in a
row agree on is committed and never changes again; the rest is tentative. Liu, Spanakis, Niehues, "Low-Latency
Sequence-to-Sequence Speech Recognition and Translation by Partial Hypothesis Selection" (Interspeech 2020); Macháček,
Dabre, Bojar, "Turning Whisper into Real-Time Transcription System" (arXiv 2307.14743).
"""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from collections.abc import Sequence

ALIGNMENT_REACH = 8
"""Tokens that a new hypothesis may be longer or shorter than what it repeats of the committed text."""


@dataclass(frozen=True)
class TimedToken:
    """A token of text and when it was spoken, in seconds from the start of the recording."""

    token: int
    end_s: float


@dataclass
class Agreement:
    """The hypotheses of one lane over the audio in its buffer.

    ``committed``: tokens that lie in the buffer and are settled. ``tentative``: what the last pass wrote after them.
    """

    committed: list[TimedToken] = field(default_factory=list)
    tentative: list[TimedToken] = field(default_factory=list)

    def update(self, hypothesis: Sequence[TimedToken]) -> list[TimedToken]:
        """Take the next hypothesis for the whole buffer; returns the tokens that it settles."""
        rest = list(hypothesis[repeated(self.committed, hypothesis) :])
        agreed = common_prefix(self.tentative, rest)
        settled = rest[:agreed]
        self.committed += settled
        self.tentative = rest[agreed:]
        return settled

    def settle(self) -> list[TimedToken]:
        """Commit what is tentative: nothing more will be heard."""
        settled, self.tentative = self.tentative, []
        self.committed += settled
        return settled

    def trim(self, cut_s: float) -> None:
        """Forget what was spoken before ``cut_s``: that audio leaves the buffer."""
        self.committed = [each for each in self.committed if each.end_s > cut_s]
        self.tentative = [each for each in self.tentative if each.end_s > cut_s]


def common_prefix(first: Sequence[TimedToken], second: Sequence[TimedToken]) -> int:
    """How many tokens two hypotheses share from their start."""
    pairs = zip(first, second, strict=False)
    return next(
        (index for index, (one, other) in enumerate(pairs) if one.token != other.token), min(len(first), len(second))
    )


def repeated(committed: Sequence[TimedToken], hypothesis: Sequence[TimedToken]) -> int:
    """How many tokens at the start of a hypothesis stand for the committed text.

    A later pass may write settled words differently. The cut is where the hypothesis so far is nearest to the committed
    text by edit distance; of equal cuts the one nearest in length.
    """
    from rapidfuzz.distance import Levenshtein

    settled = [each.token for each in committed]
    written = [each.token for each in hypothesis]
    if written[: len(settled)] == settled:
        return len(settled)
    lengths = range(max(0, len(settled) - ALIGNMENT_REACH), min(len(written), len(settled) + ALIGNMENT_REACH) + 1)
    return min(
        lengths,
        key=lambda length: (Levenshtein.distance(written[:length], settled), abs(length - len(settled))),
        default=0,
    )
