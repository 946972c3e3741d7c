"""What two texts are compared as: the normalisers, by name.

``ours`` treats spellings, numbers, abbreviations and invisible characters alike and keeps what tells words apart;
``whisper`` is that of the Whisper paper (arXiv 2212.04356, appendix C), for comparing with published figures;
``none`` compares what was written.
"""

from __future__ import annotations

import re
from functools import cache, lru_cache
from types import MappingProxyType
from typing import TYPE_CHECKING, NamedTuple

from components.core.errors import TextError, no_such
from components.core.text.characters import folded, graphemes, pattern, visible, with_few_marks
from components.core.text.english import english_words, spellings
from components.core.text.languages import is_unspaced, words_of
from components.core.text.markup import without_notes

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping

MAX_CHARACTERS = 100_000
"""Longest reference: more than an hour of fast speech, with the times of its subtitles."""

MAX_TEXT_CHARACTERS = 1_000_000
"""Longest transcript: more than an hour of 448 tokens a window."""


class Normalized(NamedTuple):
    """Words or characters with one space between them, and how many notes and labels were left out."""

    text: str
    dropped: int = 0


class Normalizer(NamedTuple):
    """One way to compare texts. ``version`` stands in every row: another version may count other errors."""

    name: str
    version: str
    apply: Callable[[str, str], Normalized]
    """Text and Whisper's code of its language."""


def normalizer(name: str) -> Normalizer:
    """The normaliser of a name.

    Raises:
        TextError: there is none of that name.
    """
    if name not in NORMALIZERS:
        raise TextError(no_such("normalizer", name, NORMALIZERS))
    return NORMALIZERS[name]


def check_reference(text: str) -> None:
    """Refuse a reference that is too long, before anything is done with it.

    Raises:
        TextError: it has more than ``MAX_CHARACTERS``.
    """
    _check_length("reference", text, MAX_CHARACTERS)


def check_text(text: str) -> None:
    """Refuse a transcript that no model can have written.

    Raises:
        TextError: it has more than ``MAX_TEXT_CHARACTERS``.
    """
    _check_length("transcript", text, MAX_TEXT_CHARACTERS)


def _check_length(what: str, text: str, most: int) -> None:
    if len(text) > most:
        raise TextError(f"The {what} has {len(text):,} characters; {most:,} is the most. Shorten it.")


def _ours(text: str, language: str) -> Normalized:
    text, dropped = without_notes(visible(text))
    text = folded(text, language)
    words = english_words(text) if language == "en" else words_of(text, language)
    return Normalized(" ".join(words), dropped)


def _none(text: str, language: str) -> Normalized:
    return Normalized(" ".join(graphemes(text) if is_unspaced(language) else text.split()))


def _whisper(text: str, language: str) -> Normalized:
    text = " ".join(_without_brackets(with_few_marks(text)).split())
    text = pattern(r"[\p{N},]{4000}").sub(r"\g<0> ", text)  # Python makes no number of more digits
    return Normalized(" ".join(_transformers_own(language)(text).split()))


@cache
def _transformers_own(language: str) -> Callable[[str], str]:
    from transformers.models.whisper.english_normalizer import BasicTextNormalizer, EnglishTextNormalizer

    if language == "en":
        return EnglishTextNormalizer(spellings())
    return BasicTextNormalizer(split_letters=is_unspaced(language))


def _without_brackets(text: str) -> str:
    """What Transformers leaves out first, in linear time; its own patterns are quadratic where no bracket closes.

    From an opening ``<`` or ``[`` to the next closing one; from a ``(`` to the next ``)``, unless nothing is between.
    """
    kept, at = [], 0
    while (opening := _OPENING.search(text, at)) and (closing := _CLOSING.search(text, opening.end())):
        kept.append(text[at : opening.start()])
        at = closing.end()
    text = "".join((*kept, text[at:].translate(_NO_OPENING)))
    kept, at, opening_at = [], 0, text.find("(")
    while opening_at >= 0 and (closing_at := text.find(")", opening_at)) >= 0:
        if closing_at > opening_at + 1:
            kept.append(text[at:opening_at])
            at = closing_at + 1
        opening_at = text.find("(", max(at, opening_at + 1))
    rest = text[at:]
    end = rest.rfind(")") + 1
    return "".join((*kept, rest[:end], rest[end:].replace("(", " ")))


_OPENING, _CLOSING = re.compile(r"[<\[]"), re.compile(r"[>\]]")
_NO_OPENING = str.maketrans("<[", "  ")

NORMALIZERS: Mapping[str, Normalizer] = MappingProxyType(
    {
        each.name: each
        for each in (
            # A reference is normalised once for all lanes of its clip.
            Normalizer("ours", "ours-2", lru_cache(maxsize=4)(_ours)),
            Normalizer("whisper", "whisper-1", lru_cache(maxsize=4)(_whisper)),
            Normalizer("none", "none-1", lru_cache(maxsize=4)(_none)),
        )
    }
)
DEFAULT = "ours"
