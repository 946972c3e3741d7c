"""Languages other than English as "ours" compares them: words, or characters where no spaces are written."""

from __future__ import annotations

import re
import tomllib
import unicodedata
from collections import Counter
from functools import cache, lru_cache
from pathlib import Path
from typing import Any

from components.core.text.characters import graphemes, pattern, with_few_marks

UNSPACED = r"\p{Han}\p{Hiragana}\p{Katakana}\p{Thai}\p{Lao}\p{Myanmar}\p{Khmer}"
"""Scripts of the languages that are written without spaces, for a character class of ``regex``."""

SPELLED_UP_TO = 2999
"""Longer numbers stay digits: num2words takes some 0.2 ms each, and there are few below."""

_SIGNS = "%&+@€$£¥°="
_NAMES = {"chinese": "zh", "cmn": "zh", "mandarin": "zh", "cantonese": "yue", "japanese": "ja", "thai": "th"}
_NAMES |= {"lao": "lo", "burmese": "my", "myanmar": "my", "khmer": "km", "english": "en"}


@cache
def _tables() -> dict[str, Any]:
    return tomllib.loads((Path(__file__).parent / "languages.toml").read_text(encoding="utf-8"))


def _listed(name: str, language: str) -> bool:
    return language in _tables()[name].split()


def language_code(language: str | None, text: str = "") -> str:
    """Whisper's code of a language: of ``en-GB``, ``<|en|>`` and ``English`` it is ``en``.

    Where none is given, the script of the text tells languages without spaces; all else is taken for English.
    """
    name = re.split(r"[-_]", (language or "").strip("<|> ").lower())[0]
    if name and name not in {"auto", "none"}:
        return _NAMES.get(name, name)
    text = unicodedata.normalize("NFC", with_few_marks(text))
    scripts = Counter({code: len(pattern(found).findall(text)) for code, found in _SCRIPTS.items()})
    code, count = scripts.most_common(1)[0]
    return code if 2 * count > len(pattern(r"\p{L}").findall(text)) else "en"


_SCRIPTS = {"ja": r"[\p{Hiragana}\p{Katakana}]", "zh": r"\p{Han}", "th": r"\p{Thai}", "lo": r"\p{Lao}"}
_SCRIPTS |= {"my": r"\p{Myanmar}", "km": r"\p{Khmer}"}


def is_unspaced(language: str) -> bool:
    """Whether a language is counted in characters."""
    return _listed("characters", language)


def words_of(text: str, language: str) -> list[str]:
    """The words of a text in lower case; characters for languages written without spaces."""
    text = _folded(text, language)
    text = _numbers(text, language)
    signs = _tables()["signs"].get(language, {})
    text = re.sub(f"[{re.escape(_SIGNS)}]", lambda sign: f" {signs.get(sign[0], sign[0])} ", text)
    text = re.sub("'", " " if _listed("elision", language) else "", text)
    # Marks are part of their letters. What is left of signs, the minus before a number too, is a word.
    text = pattern(rf"[^\p{{L}}\p{{M}}\p{{N}}\s{re.escape(_SIGNS)}−]+").sub(" ", text)
    if is_unspaced(language):
        return graphemes(_simplified(text) if language in {"zh", "yue"} else text)
    fillers = _tables()["fillers"].get(language, "").split()
    text = f" {' '.join(word for word in text.split() if word not in fillers)} "
    for short, written in _tables()["phrases"].get(language, {}).items():
        text = text.replace(f" {short} ", f" {written} ")
    return text.split()


def _folded(text: str, language: str) -> str:
    """Points of Arabic and Hebrew left out, letters that are written in two ways as one."""
    text = pattern(r"[\u0591-\u05c7--[\u05be\u05c0\u05c3\u05c6]]").sub("", text)
    text = pattern(r"[\u0610-\u061a\u064b-\u065f\u0670\u06d6-\u06dc\u06df-\u06e8\u06ea-\u06ed\u0640]+").sub("", text)
    text = pattern(r"(?<=\p{Hebrew})[\"'״׳](?=\p{Hebrew})").sub("", text)
    if language in {"hi", "mr", "ne"}:
        text = _NASALS.sub("ं", text)
    if language == "de":
        text = re.sub(r"\bein(?=hundert|tausend)", "", text)
    folds = _tables()["folds"]["all"] | _tables()["folds"].get(language, {})
    return text.translate(str.maketrans(folds))


_NASALS = re.compile("ङ्(?=[क-घ])|ञ्(?=[च-झ])|ण्(?=[ट-ढ])|न्(?=[त-ध])|म्(?=[प-भ])")
"""A nasal before a consonant of its own row, which Devanagari also writes as a dot."""


def _numbers(text: str, language: str) -> str:
    """Whole numbers in words where they can be had, without the separators of thousands; the minus sign kept."""
    comma = _listed("decimal_comma", language)
    text = re.sub(r"([$€£¥])[ ]?(\d[\d.,]{0,20}(?<=\d))", r"\2 \1", text)  # as it is said
    text = re.sub(r"(?<=\d)[.](?=\d{3}(?!\d))" if comma else r"(?<=\d),(?=\d{3}(?!\d))", "", text)
    if language in {"fr", "sv", "no", "fi", "pl", "cs", "ru", "uk"}:
        text = re.sub(r"(?<=\d) (?=\d{3}(?!\d))", "", text)
    if comma:
        text = re.sub(r"(?<=\d),(?=\d)", f" {_tables()['signs'].get(language, {}).get(',', ' ')} ", text)
    text = re.sub(r"(?<![^\s(])[-–](?=\d)", "−", text)
    if language in _CHINESE_NUMBERS:
        text = re.sub(r"(?<=\d)\.(\d+)", lambda part: "点" + _digit_by_digit(part[1]), text)
    if language in {"zh", "yue"}:
        text = re.sub(r"(?<!\d)(\d{1,15}(?:点[零一二三四五六七八九]{1,15})?)[ ]?%", r"百分之\1", text)
        text = re.sub(r"(?<!\d)\d{4}(?=年)", lambda year: _digit_by_digit(year[0]), text)
    return re.sub(r"−?\d+", lambda number: _spelled_out(number[0], language), text)


def _spelled_out(written: str, language: str) -> str:
    digits = written.lstrip("−")
    if len(digits) > _CHINESE_DIGITS or (len(digits) > 1 and digits[0] == "0"):
        return written.replace("−", "− ")
    if language in _CHINESE_NUMBERS:
        said = _chinese(int(digits))
        minus = "负" if written[0] == "−" else ""
        return minus + (re.sub("零|(?<!万)一(?=[十百千])", "", said) or "零" if language == "ja" else said)
    if int(digits) > SPELLED_UP_TO or not _listed("spelled", language):
        return written.replace("−", "− ")
    return _words_of_number(int(digits) * (-1 if written[0] == "−" else 1), language)


@lru_cache(maxsize=8192)
def _words_of_number(number: int, language: str) -> str:
    from num2words import num2words

    as_year = language == "de" and 1100 <= number < 2000
    said = num2words(number, lang=language, to="year" if as_year else "cardinal")
    if language == "de":
        said = re.sub(r"\bein(?=hundert|tausend)", "", said)
    return f" {said.replace('-', ' ').casefold()} "


_CHINESE = "零一二三四五六七八九"
_CHINESE_NUMBERS = {"zh", "yue", "ja"}
_CHINESE_DIGITS = 8


def _digit_by_digit(digits: str) -> str:
    return "".join(_CHINESE[int(digit)] for digit in digits)


def _chinese(number: int) -> str:
    """A number below a hundred million: 一百零五."""
    if number >= 10_000:
        high, low = divmod(number, 10_000)
        return f"{_chinese(high)}万{'零' if 0 < low < 1_000 else ''}{_chinese(low) if low else ''}"
    if number < 10:
        return _CHINESE[number]
    out, zero = "", False
    for unit, name in ((1000, "千"), (100, "百"), (10, "十"), (1, "")):
        digit = number // unit % 10
        if digit:
            out += ("零" if zero and out else "") + ("" if out == "" and unit == 10 and digit == 1 else _CHINESE[digit])
            out += name
        zero = not digit
    return out


@cache
def _converter() -> Any:
    import opencc

    return opencc.OpenCC("t2s")


def _simplified(text: str) -> str:
    """Traditional characters as simplified ones, and the few ways to write zero and two."""
    text = _converter().convert(text).replace("〇", "零")
    return re.sub("两(?=[百千万亿])", "二", text)
