"""Texts compared: word and character errors, differences, and the signs that a speed-up is suspect."""

from __future__ import annotations

import zlib
from collections import Counter, defaultdict
from typing import TYPE_CHECKING, Literal, NamedTuple

from components.core import normalizers
from components.core.errors import TextError
from components.core.text.characters import pattern
from components.core.text.languages import UNSPACED, is_unspaced, language_code
from components.core.types import WordErrors

if TYPE_CHECKING:
    from collections.abc import Iterator, Sequence

    Tag = Literal["substituted", "inserted", "deleted"]

MIN_TOKEN_SHARE = 0.8
"""A lane that wrote less than this share of the baseline's tokens was fast because it wrote less."""

MAX_COMPRESSION_RATIO = 2.4
"""Whisper's own threshold (``compression_ratio_threshold``): text that zlib shrinks further repeats itself."""

PIECE_UNITS = 100
"""Words or characters that are compressed together: Whisper judges one window of 30 s, about a hundred words."""

REPEATED_NGRAM = 5
REPEATED_CHARACTERS = 10
"""Length of a repeated phrase, in words and, where none are spaced, in characters."""

REPEATED_TIMES, REPEATED_WITHIN = 3, 200
"""Times it occurs, and within how many words or characters."""


MAX_PAIRS = 5 * 10**10
"""Most pairs of units that are aligned: some seconds."""


class Score(NamedTuple):
    """A text held against its reference: what was compared, its errors, and how many notes the reference lost."""

    normalized_reference: str
    normalized_text: str
    errors: WordErrors
    dropped: int


def normalise(text: str, language: str | None, normalizer: str = normalizers.DEFAULT) -> str:
    """What errors are counted on: words, or single characters, with a space between them.

    Args:
        text: As written.
        language: Whisper's code; ``None`` where it is not known: told from the script, else English.
        normalizer: One of ``normalizers.NORMALIZERS``.

    Raises:
        TextError: the text is too long, or there is no such normaliser.
    """
    normalizers.check_text(text)
    return normalizers.normalizer(normalizer).apply(text, language_code(language, text)).text


def word_errors(reference: str, text: str, language: str | None, normalizer: str = normalizers.DEFAULT) -> Score:
    """Align a text with its reference, both normalised alike.

    The edits are those of a shortest alignment (Levenshtein, by rapidfuzz): of words, or of characters in languages
    written without spaces. An empty reference means that nothing was said: every word is an insertion.

    Raises:
        TextError: the reference or the text is too long, or there is no such normaliser.
    """
    chosen = normalizers.normalizer(normalizer)
    normalizers.check_reference(reference)
    normalizers.check_text(text)
    code = language_code(language, reference or text)
    (ours, dropped), (theirs, _) = chosen.apply(reference, code), chosen.apply(text, code)
    edits = _edits(ours.split(), theirs.split())
    errors = WordErrors(
        substitutions=edits["replace"],
        deletions=edits["delete"],
        insertions=edits["insert"],
        reference_words=len(ours.split()),
        unit="character" if is_unspaced(code) else "word",
        normalizer=chosen.version,
    )
    return Score(ours, theirs, errors, dropped)


def _edits(before: Sequence[str], after: Sequence[str]) -> Counter[str]:
    """How often each edit occurs in a shortest alignment.

    Raises:
        TextError: the two are so long that aligning them would take many seconds (time is quadratic in them).
    """
    from rapidfuzz.distance import Levenshtein

    if len(before) * len(after) > MAX_PAIRS:
        raise TextError("The texts are too long to be compared word by word.")
    return Counter(edit.tag for edit in Levenshtein.editops(before, after))


def word_distance(before: str, after: str) -> int:
    """Edits from one normalised text to another, in its words or characters (Levenshtein)."""
    return _edits(before.split(), after.split()).total()


class DiffSpan(NamedTuple):
    """Neighbouring words that fared alike; ``None`` for those that are equal. What is inserted has no ``before``."""

    tag: Tag | None
    before: str
    after: str


def diff_spans(before: str, after: str) -> list[DiffSpan]:
    """How ``after`` differs from ``before``, word by word, in spans that read on.

    Case and punctuation at the edges of a word make no difference; the words are given as they were written. Scripts
    without spaces are compared character by character.
    """
    from rapidfuzz.distance import Levenshtein

    old, new = _Units(before), _Units(after)
    tags: dict[str, Tag | None] = {
        "equal": None,
        "replace": "substituted",
        "insert": "inserted",
        "delete": "deleted",
    }
    return [
        DiffSpan(tags[each.tag], old.written(each.src_start, each.src_end), new.written(each.dest_start, each.dest_end))
        for each in Levenshtein.opcodes(old.keys, new.keys)
    ]


class _Units:
    """The words of a text, and the characters of what is written without spaces, with where they stand."""

    def __init__(self, text: str) -> None:
        self._text = text
        self._spans = [found.span() for found in pattern(rf"[{UNSPACED}]\p{{M}}*|[^\s{UNSPACED}]+").finditer(text)]
        self.keys = [_key(text[start:end]) for start, end in self._spans]

    def written(self, start: int, end: int) -> str:
        """The text from one unit to another, as it stands there."""
        return self._text[self._spans[start][0] : self._spans[end - 1][1]] if start < end else ""


_EDGE = r"[^\p{L}\p{M}\p{N}]+"


def _key(word: str) -> str:
    """The word without case and without punctuation at its edges; punctuation alone stays as it is."""
    return pattern(rf"^{_EDGE}|(?<![^\p{{L}}\p{{M}}\p{{N}}]){_EDGE}$").sub("", word.casefold()) or word


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
        yield "It wrote far less than Whisper, so it had less to do."
    loop = repeated(text)
    if loop:
        yield f"It repeats itself: {loop}."
    if not ended:
        yield "It never stopped by itself and was cut off."


def repeated(text: str) -> str:
    """What a text repeats, in words for a person; empty where it does not.

    The same five words three times within two hundred, or ten characters where no spaces are written; or text that
    zlib shrinks as Whisper takes for a loop.
    """
    keys = _Units(text).keys
    unspaced = 2 * len(pattern(f"[{UNSPACED}]").findall(text)) > len(text)
    phrase = _repeated(keys, REPEATED_CHARACTERS if unspaced else REPEATED_NGRAM)
    if phrase is not None:
        return f"“{('' if unspaced else ' ').join(phrase)}”, {REPEATED_TIMES} times or more"
    join = "" if unspaced else " "
    pieces = (join.join(keys[start : start + PIECE_UNITS]) for start in range(0, len(keys), PIECE_UNITS))
    ratio = max(map(_compression_ratio, pieces), default=0.0)
    return f"it compresses {ratio:.1f} times" if ratio > MAX_COMPRESSION_RATIO else ""


def _repeated(units: Sequence[str], length: int) -> tuple[str, ...] | None:
    """The first phrase of this length that occurs three times close together."""
    starts: dict[tuple[str, ...], list[int]] = defaultdict(list)
    for start in range(len(units) - length + 1):
        phrase = tuple(units[start : start + length])
        seen = starts[phrase]
        seen.append(start)
        if len(seen) >= REPEATED_TIMES and start - seen[-REPEATED_TIMES] <= REPEATED_WITHIN:
            return phrase
    return None


def repeated_five_grams(text: str) -> int:
    """How many of a text's runs of five words were in it before: the paper's measure of hallucination (5-Dup.)."""
    words = text.split()
    counts = Counter(tuple(words[k : k + REPEATED_NGRAM]) for k in range(len(words) - REPEATED_NGRAM + 1))
    return sum(count - 1 for count in counts.values())


def _compression_ratio(text: str) -> float:
    """Bytes of UTF-8 over bytes of zlib, as in Whisper's ``utils.compression_ratio``."""
    data = text.encode(errors="replace")
    return len(data) / len(zlib.compress(data))
