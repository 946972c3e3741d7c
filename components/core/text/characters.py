"""What a text's characters are, whatever editor, keyboard or encoding they come from."""

from __future__ import annotations

import html
import re
import unicodedata
from functools import cache
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from collections.abc import Mapping

MAX_MARKS = 30
"""Combining marks kept after one letter (Unicode's Stream-Safe Text Format, UAX #15): sorting more is quadratic."""

_BEFORE_NFKC: Mapping[int, str] = str.maketrans(
    # Each kind of apostrophe is the one of the keyboard; NFKC would make a space and a mark of some.
    dict.fromkeys("’‘ʼʹʻ`´′＇‛ꞌ՚᾽᾿῍῎῏´", "'")
    # Hyphens and the minus sign; dashes between words stay dashes.
    | dict.fromkeys("‐‑−﹣－", "-")
    # NFKC would glue these to the number or the word before them.
    | {"½": " 1/2", "¼": " 1/4", "¾": " 3/4", "⅓": " 1/3", "⅔": " 2/3", "⅛": " 1/8", "⅜": " 3/8", "⅝": " 5/8"}
    | {"⅞": " 7/8", "²": "^2", "³": "^3", "™": " ", "℠": " ", "…": " ", "٪": "%", "ﷺ": " ", "ﷻ": " "}
)
_MOJIBAKE = re.compile("[\u00c2-\u00f4][\u0080-\u00ac\u00ae-\u00bf€‚ƒ„…†‡ˆ‰Š‹ŒŽ‘’“”•–—˜™š›œžŸ]")


@cache
def pattern(text: str) -> Any:
    """A compiled pattern of ``regex``, which knows Unicode's properties; imported when first asked for."""
    import regex

    return regex.compile(text, regex.V1)


def visible(text: str) -> str:
    r"""The text without what nobody sees, in one Unicode form (NFC), with one apostrophe; line breaks are kept.

    Left out: default ignorable code points (zero-width, soft hyphens, direction marks, variation selectors), lone
    surrogates, and controls. Text whose UTF-8 was read as Latin-1 is mended (by ftfy), ``&amp;`` is ``&``.
    """
    text = unicodedata.normalize("NFC", with_few_marks(text))
    if "&" in text and ";" in text:
        text = html.unescape(text)
    if _MOJIBAKE.search(text):
        import ftfy

        text = ftfy.fix_encoding(text)
    text = pattern(r"[\p{DI}\p{Cs}\uFFF9-\uFFFB]+").sub("", text)
    text = unicodedata.normalize("NFC", with_few_marks(text).translate(_BEFORE_NFKC)).replace(" \u0301", "'")
    return pattern(r"[\p{Cc}\p{Co}\p{Cn}\uFFFD--\s]+").sub("", text)


def with_few_marks(text: str) -> str:
    """Without the combining marks that no letter has, since normal forms sort them in quadratic time."""
    return pattern(rf"(\p{{M}}{{{MAX_MARKS}}})\p{{M}}+").sub(r"\1", text)


def folded(text: str, language: str) -> str:
    """Lower case, in compatible forms: full-width, ligature and superscript as plain ones, every digit one of 0 to 9.

    Case folded: ``ß`` is ``ss``, a final sigma a sigma; Turkish and Azeri keep their two kinds of i apart.
    """
    text = unicodedata.normalize("NFKC", text.replace("№", _NUMBER_SIGN.get(language, "No. ")))
    if language in {"tr", "az"}:
        text = text.replace("I", "ı").replace("İ", "i")
    text = unicodedata.normalize("NFKC", text.casefold().replace("i\u0307", "i"))
    # Thai and Lao AM, which NFKC takes apart, as they are typed; Thai AE that was typed as two E.
    text = (
        text.replace("\u0e40\u0e40", "\u0e41")
        .replace("\u0e4d\u0e32", "\u0e33")
        .replace("\u0ecd\u0eb2", "\u0eb3")
        .replace("\u2044", "/")
    )
    return pattern(r"[\p{Nd}--[0-9]]").sub(lambda digit: str(unicodedata.digit(digit[0], digit[0])), text)


_NUMBER_SIGN = {"ru": "номер ", "uk": "номер ", "bg": "номер "}


def without_accents(text: str) -> str:
    """Latin letters as English has them: ``café`` is ``cafe``, ``ø`` is ``o``. Marks of other scripts stay."""
    parts = re.sub("[\u0300-\u036f]", "", unicodedata.normalize("NFD", text))
    return unicodedata.normalize("NFC", parts.translate(_LATIN))


_LATIN = str.maketrans({"ø": "o", "đ": "d", "ð": "d", "þ": "th", "ł": "l", "ı": "i", "œ": "oe", "æ": "ae", "ħ": "h"})


def graphemes(text: str) -> list[str]:
    """What a reader takes for one character, marks and all (extended grapheme clusters); spaces left out."""
    return [each for each in pattern(r"\X").findall(text) if not each.isspace()]
