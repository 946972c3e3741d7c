"""English as "ours" compares it: one spelling, one way to shorten, numbers in digits."""

from __future__ import annotations

import json
import re
import tomllib
from functools import cache
from itertools import groupby, pairwise
from pathlib import Path
from typing import TYPE_CHECKING, Any

from components.core.text.characters import pattern, without_accents
from components.core.text.numbers import Numbers, ordinal

if TYPE_CHECKING:
    from collections.abc import Iterator, Sequence

_HERE = Path(__file__).parent
_DOMAINS = (
    "com|co|org|net|edu|gov|int|io|ai|dev|app|info|biz|tv|me|eu|uk|de|fr|es|it|nl|ch|ca|us|au|jp|py|js|txt|pdf|exe"
)
_MONTHS = {
    "jan": "january", "feb": "february", "mar": "march", "apr": "april", "jun": "june", "jul": "july", "aug": "august",
    "sep": "september", "sept": "september", "oct": "october", "nov": "november", "dec": "december",
}  # fmt: skip
_LENGTHS = {
    "km": "kilometers", "cm": "centimeters", "mm": "millimeters", "m": "meters", "ft": "feet", "mi": "miles",
}  # fmt: skip
_ROMAN_VALUES = {
    "ii": 2, "iii": 3, "iv": 4, "v": 5, "vi": 6, "vii": 7, "viii": 8, "ix": 9, "x": 10, "xi": 11, "xii": 12, "xiii": 13,
    "xiv": 14, "xv": 15, "xvi": 16, "xvii": 17, "xviii": 18, "xix": 19, "xx": 20, "xxi": 21,
}  # fmt: skip
_ROMAN = "|".join(_ROMAN_VALUES)
_KINGS = "|".join(roman for roman in _ROMAN_VALUES if roman not in {"v", "vi", "x", "xi"})
_COUNTED = "chapter|act|scene|part|volume|book|section|article|title|phase|type|stage|level|war|bowl|appendix|canto"

_SUBSTITUTIONS = tuple(
    (part, re.compile(found), replaced)
    for part, found, replaced in (
        (",", r"(?<=\d),(?=\d{3}(?!\d))", ""),
        ("/", r"\bw/o\b", "without"),
        ("/", r"\bw/(?!\S)", "with"),
        ("apt", r"\bapt\.", "apartment"),
        # Dollars of the US and currencies by their codes stand after the number when they are said.
        (
            "",
            r"\b(us\$|usd|eur|gbp|jpy|inr)\s?(\d[\d.]{0,20}(?:\s?(?:[kmb]|bn|thousand|[mbtr]{1,2}illion)\b)?)",
            lambda found: f"{found[2]} {found[1].replace('$', 'd')}",
        ),
        ("", r"([$£€])\s?(\d{1,9})\s?[-–]\s?\1?(?=\d)", r"\2 to \1"),
        # a.m., U.S.A., e.g.
        (".", r"(?<![a-z.])((?:[a-z]\.)++[a-z]?)(?![a-z])", lambda found: _joined(found[1])),
        ("ph", r"\bph\.\s?d\b\.?", "phd"),
        ("c", r"\b(?:et\s{1,3}cetera|et\s{1,3}c|&c)\b", "et cetera"),
        ("no", r"\bno\.\s{0,3}(?=\d)", "number "),
        ("#", r"#(?=\d)", " number "),
        ("#", r"\b([a-g])#", r"\1 sharp "),
        ("#", r"#(?=[a-z])", " hashtag "),
        ("st", r"\bst\b\.?(?=\s{1,3}[a-z])", "saint "),
        ("st", r"\bst\b\.?(?!\d)", "street "),
        # Times of day; the point is a colon before a.m. and p.m.
        (".", r"(?<!\d)(\d{1,2})\.(\d\d)(?=\s{0,3}[ap]m\b)", r"\1:\2"),
        (":00", r"(?<![\d:])(\d{1,2}):00(?=\s{0,3}[ap]m\b)", r"\1"),
        (":00", r"(?<![\d:])(\d{1,2}):00(?![\d:])", r"\1 oclock "),
        # Fractions of a few parts; 24/7 and 9/11 are none.
        ("/", r"(?<![\d/])(\d{1,4})\s{1,3}([13])/([24])(?![\d/])", lambda found: _mixed(*found.groups())),
        ("1/2", r"(?<![\d/])1/2(?=\s{1,3}an?\b)", "half"),
        (
            "/",
            r"(?<![\d/])([1-9])/(10|[2-9])(?![\d/])",
            lambda found: _fraction(found[0], int(found[1]), int(found[2])),
        ),
        # A minus is a hyphen before a number and after none.
        ("", r"(?<![^\s(\[\"])[-–](?=\.?\d|[$£€]\d)", " minus "),
        ("www.", r"\bwww\.", "www dot "),
        ("/", r"(?<=\.com|\.org|\.net|\.gov|\.edu)/(?=\w)", " slash "),
        (".", rf"(?<=[a-z0-9])\.(?=(?:{_DOMAINS})\b)", " dot "),
        ("@", r"(?<=[a-z0-9])\.(?=[\w.+-]{1,64}@)", " dot "),
        (".", r"(?<=\d)\.(?=\d)", " point "),
        (".", r"(?<![a-z0-9])\.(?=\d)", " point "),
        ("*", r"(?<=\d)\s?\*(?=\s?\d)", " times "),
        ("x", r"(?<=\d)\s?x(?=\s?\d)", " by "),
        ("x", r"(?<=\d)x\b", " times "),
        ("p", r"(?<!\d)(\d{1,2})p\b", r"\1 pence"),
        ("", rf"\b({'|'.join(_MONTHS)})\b\.?(?=\s{{0,3}}\d)", lambda found: _MONTHS[found[1]]),
        ("<", r"(?<=\s)<(?=\s)", " less than "),
        (">", r"(?<=\s)>(?=\s)", " greater than "),
        ("km/h", r"km/h\b", " kph "),
        ("^2", r"(?<=\d)\s?(km|cm|mm|m|ft|mi)\^2", lambda found: f" square {_LENGTHS[found[1]]} "),
        ("^2", r"\^2(?!\d)", " squared "),
        ("^3", r"\^3(?!\d)", " cubed "),
        ("~", r"~(?=\s?\d)", " about "),
        # A part of something is counted; a king is the eighth.
        ("", rf"\b({_COUNTED})\s({_ROMAN})\b", lambda found: f"{found[1]} {_ROMAN_VALUES[found[2]]}"),
        ("", rf"(?<=[a-z]\s)({_KINGS})\b(?!['.])", lambda found: f"the {ordinal(_ROMAN_VALUES[found[1]])}"),
        # Prefixes that some people write apart.
        ("", r"(?<![\w'])(non|anti|multi|semi|re|pre)[- ](?=[a-z])", r"\1"),
        ("co", r"(?<!and )(?<!& )(?<![\w'])co[- ](?=[a-z])", "co"),
    )
)
"""What stands in every match, what is found, what takes its place: a text without the first is not searched."""

_WORD = r"\d+(?:st|nd|rd|th|'?s)\b|\d+|'?[\p{L}\p{M}]+(?:'[\p{L}\p{M}]+)*+'?|[$£€₹¥¢]"
_MAX_ENDINGS = 3
_INITIALS, _MOST_INITIALS = frozenset("bcdefghjklmnpqrstuvwxyz"), 3


@cache
def _tables() -> dict[str, Any]:
    return tomllib.loads((_HERE / "english.toml").read_text(encoding="utf-8"))


@cache
def spellings() -> dict[str, str]:
    """British spellings to American ones: OpenAI's list, whose MIT licence stands beside it."""
    return json.loads((_HERE.parent / "english_spelling.json").read_text(encoding="utf-8"))


@cache
def _word_set(*path: str) -> frozenset[str]:
    table: Any = _tables()
    for name in path:
        table = table[name]
    return frozenset(table.split())


@cache
def _phrases() -> dict[str, list[tuple[list[str], list[str]]]]:
    """By their first word, the longest first; acronyms that were spelled out among them."""
    table: dict[str, list[tuple[list[str], list[str]]]] = {}
    acronyms = {" ".join(acronym): acronym for acronym in _word_set("acronyms")}
    for found, written in (acronyms | _tables()["phrases"]).items():
        table.setdefault(found.split()[0], []).append((found.split(), written.split()))
    return {first: sorted(each, key=lambda pair: -len(pair[0])) for first, each in table.items()}


@cache
def _signs() -> re.Pattern[str]:
    return re.compile("|".join(re.escape(sign) for sign in sorted(_tables()["signs"], key=len, reverse=True)))


def english_words(text: str) -> list[str]:
    """The words of a text in lower case, as "ours" compares them."""
    text = without_accents(text)
    for part, found, replaced in _SUBSTITUTIONS:
        if part in text:
            text = found.sub(replaced, text)
    signs = _tables()["signs"]
    text = _signs().sub(lambda sign: f" {signs[sign[0]]} ", text)
    words = list(_expanded(pattern(_WORD).findall(text)))
    fillers, spelling = _word_set("fillers"), spellings()
    words = list(_with_initials(list(_replaced([word for word in words if word not in fillers]))))
    words = Numbers(words, _tables()["units"], _tables()["currencies"]).words()
    last = {"o": "oh"}
    return [last.get(word) or spelling.get(word, word) for word in _signed(words)]


def _with_initials(words: Sequence[str]) -> Iterator[str]:
    """Two or three letters in a row as one word: ``j r r tolkien`` is ``J.R.R. Tolkien``; not ``a``, ``i`` or ``o``."""
    for is_initial, group in groupby(words, lambda word: len(word) == 1 and word in _INITIALS):
        run = list(group)
        yield from ("".join(run),) if is_initial and 1 < len(run) <= _MOST_INITIALS else run


def _signed(words: Sequence[str]) -> Iterator[str]:
    """``negative five`` is ``minus five``."""
    for word, following in pairwise((*words, "")):
        yield "minus" if word == "negative" and following[:1].isdigit() else word


def _joined(letters: str) -> str:
    return letters.replace(".", "") + ("" if letters[-1:] != "." else " ")


def _mixed(whole: str, upper: str, lower: str) -> str:
    parts = {("1", "2"): "a half", ("1", "4"): "a quarter", ("3", "4"): "three quarters"}
    part = parts.get((upper, lower))
    return f"{whole} and {part}" if part else f"{whole} {upper} {lower}"


_PARTS = {3: "third", 5: "fifth", 6: "sixth", 7: "seventh", 8: "eighth", 9: "ninth", 10: "tenth"}


def _fraction(written: str, upper: int, lower: int) -> str:
    if upper >= lower:
        return written
    if lower in {2, 4}:
        return f"{upper} {'half' if lower == 2 else 'quarter' if upper == 1 else 'quarters'}"
    ordinal = _PARTS[lower]
    return f"{upper} {ordinal}{'s' if upper > 1 else ''}"


def _expanded(tokens: Sequence[str]) -> Iterator[str]:
    """Abbreviations and contractions written out; apostrophes that only quote fall away."""
    words = _tables()["words"]
    for index, token in enumerate(tokens):
        if token in words:
            yield from words[token].split()
        elif "'" not in token:
            yield token
        elif token[0].isdigit():
            yield token.replace("'", "")
        else:
            yield from _contracted(token, tokens[index + 1] if index + 1 < len(tokens) else "")


def _contracted(token: str, following: str) -> Iterator[str]:
    words, endings = _tables()["words"], _tables()["endings"]
    if token.endswith("'") and token[:-1] in _word_set("contractions", "g"):
        yield token[:-1] + "g"
        return
    token = token.strip("'")
    tail: list[str] = []
    for _ in range(_MAX_ENDINGS):
        ending = next((each for each in ("n't", "'re", "'ve", "'ll", "'m", "'d", "'t") if token.endswith(each)), "")
        if token in words or not ending or token == ending:
            break
        last = endings[ending]
        if ending == "'d" and (tail[0] if tail else following) in _word_set("contractions", "had"):
            last = "had"
        token, tail = token.removesuffix(ending), [last, *tail]
    if token in words:
        yield from words[token].split()
    elif token.endswith("'s"):
        yield from _with_s(token.removesuffix("'s"), tail[0] if tail else following)
    else:
        yield token.replace("'", "")
    yield from tail


def _with_s(host: str, following: str) -> Iterator[str]:
    """``it's`` and ``the man's a coward`` are "is"; ``the man's hat`` is one word."""
    if following in _word_set("contractions", "has"):
        yield from (host.replace("'", ""), "has")
    elif host in _word_set("contractions", "hosts") or following in _word_set("contractions", "is"):
        yield from (host.replace("'", ""), "is")
    else:
        yield f"{host}s".replace("'", "")


def _replaced(words: Sequence[str]) -> Iterator[str]:
    """Phrases put into their one form."""
    phrases, at = _phrases(), 0
    while at < len(words):
        for found, written in phrases.get(words[at], ()):
            if words[at : at + len(found)] == found:
                yield from written
                at += len(found)
                break
        else:
            yield words[at]
            at += 1
