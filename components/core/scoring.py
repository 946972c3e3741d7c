"""Words compared with words: normalising, word errors, diffs, and the signs that a speed-up is suspect."""

from __future__ import annotations

import json
import re
import zlib
from collections import Counter, defaultdict
from functools import cache
from pathlib import Path
from typing import TYPE_CHECKING, Literal, NamedTuple

from components.core.types import WordErrors

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator, Sequence

    Tag = Literal["substituted", "inserted", "deleted"]

MIN_TOKEN_SHARE = 0.8
"""A lane that wrote less than this share of the baseline's tokens was fast because it wrote less."""

MAX_COMPRESSION_RATIO = 2.4
"""Whisper's own threshold (``compression_ratio_threshold``): text that zlib shrinks further repeats itself."""

# Whisper judges one window of 30 s, about a hundred words; the whole of an hour's talk would always be suspect.
PIECE_WORDS = 100
REPEATED_NGRAM, REPEATED_TIMES, REPEATED_WITHIN_WORDS = 5, 3, 200


@cache
def _normaliser(language: str) -> Callable[[str], str]:
    """Whisper's normalisers. The spellings are OpenAI's, whose MIT licence stands beside them."""
    from transformers.models.whisper.english_normalizer import BasicTextNormalizer, EnglishTextNormalizer

    if language != "en":
        return BasicTextNormalizer()
    spellings = json.loads((Path(__file__).parent / "english_spelling.json").read_text(encoding="utf-8"))
    return EnglishTextNormalizer(spellings)


def normalise(text: str, language: str | None) -> str:
    """What word errors are counted on: lower case, no punctuation; English also in numbers, contractions and spelling.

    ``None``, an unknown language, is taken for English. From the Whisper paper (arXiv 2212.04356), appendix C.
    """
    return " ".join(_normaliser(language or "en")(text).split())


def word_errors(reference: str, text: str, language: str | None) -> tuple[str, str, WordErrors]:
    """Align the normalised text with the normalised reference.

    Returns:
        The normalised reference, the normalised text, and the edits of a shortest alignment (Levenshtein, by jiwer). An
        empty reference means that nothing was said: every word is an insertion.
    """
    import jiwer

    reference, text = normalise(reference, language), normalise(text, language)
    if not reference:
        return reference, text, WordErrors(insertions=len(text.split()))
    counts = jiwer.process_words(reference, text)
    return (
        reference,
        text,
        WordErrors(
            substitutions=counts.substitutions,
            deletions=counts.deletions,
            insertions=counts.insertions,
            reference_words=len(reference.split()),
        ),
    )


class DiffSpan(NamedTuple):
    """Neighbouring words that fared alike; ``None`` for those that are equal. What is inserted has no ``before``."""

    tag: Tag | None
    before: str
    after: str


def diff_spans(before: str, after: str) -> list[DiffSpan]:
    """How ``after`` differs from ``before``, word by word, in spans that read on.

    Case and punctuation at the edges of a word make no difference; the words are given as they were written.
    """
    import jiwer

    old, new = before.split(), after.split()
    if not old or not new:
        spans = [DiffSpan("deleted", before, ""), DiffSpan("inserted", "", after)]
        return [span for span in spans if span.before.split() or span.after.split()]
    tags: dict[str, Tag | None] = {
        "equal": None,
        "substitute": "substituted",
        "insert": "inserted",
        "delete": "deleted",
    }
    return [
        DiffSpan(
            tags[chunk.type],
            " ".join(old[chunk.ref_start_idx : chunk.ref_end_idx]),
            " ".join(new[chunk.hyp_start_idx : chunk.hyp_end_idx]),
        )
        for chunk in jiwer.process_words(" ".join(map(_key, old)), " ".join(map(_key, new))).alignments[0]
    ]


def _key(word: str) -> str:
    """The word without case and without punctuation at its edges; punctuation alone stays as it is."""
    return re.sub(r"^\W+|\W+$", "", word.casefold()) or word


def warning_signs(
    text: str, generated_tokens: int, baseline_tokens: int | None = None, ended: bool = True
) -> tuple[str, ...]:
    """Sentences on why a lane's speed may be due to what it wrote; empty where nothing is suspect.

    Args:
        text: What the lane wrote.
        generated_tokens: How many tokens that took, the end token included.
        baseline_tokens: Those of the ``whisper`` lane on the same clip; ``None`` for that lane itself.
        ended: Whether every window closed with its end token.
    """
    return tuple(_signs(text, generated_tokens, baseline_tokens, ended))


def _signs(text: str, generated_tokens: int, baseline_tokens: int | None, ended: bool) -> Iterator[str]:
    if baseline_tokens and generated_tokens < MIN_TOKEN_SHARE * baseline_tokens:
        share = generated_tokens / baseline_tokens
        yield f"It wrote only {share:.0%} of the baseline's tokens ({generated_tokens} of {baseline_tokens})."
    words = [_key(word) for word in text.split()]
    phrase = _repeated(words)
    if phrase is not None:
        yield f"It repeated itself: “{' '.join(phrase)}” occurs {REPEATED_TIMES} times or more."
    ratio = max((_compression_ratio(piece) for piece in _pieces(text.split())), default=0.0)
    if ratio > MAX_COMPRESSION_RATIO:
        yield f"Its text compresses {ratio:.1f} times; above {MAX_COMPRESSION_RATIO} it repeats itself."
    if not ended:
        yield "It ran into the token limit without writing its end token."


def _repeated(words: Sequence[str]) -> tuple[str, ...] | None:
    """The first 5-gram that occurs three times within 200 words."""
    places: dict[tuple[str, ...], list[int]] = defaultdict(list)
    for start in range(len(words) - REPEATED_NGRAM + 1):
        phrase = tuple(words[start : start + REPEATED_NGRAM])
        seen = places[phrase]
        seen.append(start)
        if len(seen) >= REPEATED_TIMES and start - seen[-REPEATED_TIMES] <= REPEATED_WITHIN_WORDS:
            return phrase
    return None


def repeated_five_grams(text: str) -> int:
    """How many of a text's runs of five words were in it before: the paper's measure of hallucination (5-Dup.)."""
    words = text.split()
    counts = Counter(tuple(words[k : k + REPEATED_NGRAM]) for k in range(len(words) - REPEATED_NGRAM + 1))
    return sum(count - 1 for count in counts.values())


def word_distance(before: str, after: str) -> int:
    """Edits from one text to another, in words (Levenshtein, by jiwer)."""
    import jiwer

    if not before or not after:
        return len(before.split()) + len(after.split())
    counts = jiwer.process_words(before, after)
    return counts.substitutions + counts.deletions + counts.insertions


def _pieces(words: Sequence[str]) -> Iterator[str]:
    for start in range(0, len(words), PIECE_WORDS):
        yield " ".join(words[start : start + PIECE_WORDS])


def _compression_ratio(text: str) -> float:
    """Bytes of UTF-8 over bytes of zlib, as in Whisper's ``utils.compression_ratio``."""
    data = text.encode()
    return len(data) / len(zlib.compress(data))
