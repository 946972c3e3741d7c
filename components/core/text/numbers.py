"""English numbers, however written, as digits: ``twenty five``, ``25`` and ``2 5`` are ``2 5``.

Every digit is a word of its own, three zeros in a row are one: so the same digits are the same words whether they were
said one by one, in pairs or as one number, and a wrong digit is one error. Money, fractions, ordinals and decades keep
the words and endings that tell them apart.
"""

from __future__ import annotations

import re
from decimal import Decimal
from typing import TYPE_CHECKING, NamedTuple

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence

_ONES = {
    word: value
    for value, word in enumerate(
        "one two three four five six seven eight nine ten eleven twelve thirteen fourteen fifteen sixteen seventeen "
        "eighteen nineteen".split(),
        start=1,
    )
}
_TENS = {
    word: value * 10
    for value, word in enumerate("twenty thirty forty fifty sixty seventy eighty ninety".split(), start=2)
} | {"fourty": 40}
_HUNDREDS = {"hundred": "", "hundreds": "s", "hundredth": "th"}
_SCALES = {"thousand": 10**3, "million": 10**6, "billion": 10**9, "trillion": 10**12}
_SHORT_SCALES = {"k": "thousand", "m": "million", "mn": "million", "bn": "billion", "b": "billion", "tn": "trillion"}
_ZEROS = {"zero", "nought", "naught"}
_LETTER_ZEROS = {"oh", "o"}
_IRREGULAR = {"zeroth": 0, "first": 1, "second": 2, "third": 3, "fifth": 5, "eighth": 8, "ninth": 9, "twelfth": 12}
_ORDINALS = _IRREGULAR | {f"{word}th": value for word, value in _ONES.items() if value not in _IRREGULAR.values()}
_TENS_ORDINALS = {f"{word[:-1]}ieth": value for word, value in _TENS.items()}
_SCALE_ORDINALS = {f"{word}th": value for word, value in _SCALES.items()}
_PLURALS = {f"{word}es" if word == "six" else f"{word}s": value for word, value in _ONES.items() if value > 1}
_TENS_PLURALS = {f"{word[:-1]}ies": value for word, value in _TENS.items()}
_MONTHS = frozenset("january february march april may june july august september october november december".split())
_REPEATS = {"double": 2, "triple": 3}
_PARTS = {"half": "5", "quarter": "25"}
_MAX_DIGITS = 15
"""Longer digits are never multiplied or added to."""

_MAX_AHEAD = 8
"""Tokens that are looked at beyond a number, or before the first one; they are empty there."""

_ENDINGS = {word: (value, "th") for word, value in (_ORDINALS | _TENS_ORDINALS).items()} | {
    word: (value, "s") for word, value in (_PLURALS | _TENS_PLURALS).items()
}
NUMBER_WORDS = frozenset({*_ONES, *_TENS, *_SCALES, *_ZEROS, *_ENDINGS, *_HUNDREDS, *_SCALE_ORDINALS})

_FIRST_WORDS = NUMBER_WORDS | _LETTER_ZEROS | {*_REPEATS, "point", "a", "an", "half"}
"""Words that a number may begin with."""


class _Number(NamedTuple):
    """Digits before and after the point, an ending (``th``, ``s`` or none), and the index after the number."""

    digits: str
    end: int
    fraction: str = ""
    ending: str = ""

    def words(self) -> list[str]:
        digits = list(self.digits)
        if self.fraction:
            return [*(digits if self.digits.strip("0") else []), "point", *self.fraction]
        if self.ending and digits:
            digits[-1] += self.ending if self.ending == "s" else _ending(self.digits)
        return digits


class Numbers:
    """The numbers among the words of a text, from left to right; each word is looked at a few times at most.

    Args:
        tokens: Words, digits (``21``, ``21st``, ``1960s``) and signs of currencies, in lower case.
        units: What is written for a unit after a number.
        currencies: What is written for a currency before or after a number, and for its hundredth.
    """

    def __init__(
        self, tokens: Sequence[str], units: Mapping[str, str], currencies: Mapping[str, Sequence[str]]
    ) -> None:
        self._tokens = tokens
        self._at = [*tokens, *[""] * _MAX_AHEAD].__getitem__
        self._units = units
        self._currencies = currencies

    def words(self) -> list[str]:
        """The words, their numbers in digits."""
        out: list[str] = []
        at, after_number = 0, False
        while at < len(self._tokens):
            if (token := self._tokens[at]).isalpha() and token not in _FIRST_WORDS:
                out.append(token)
                at, after_number = at + 1, False
                continue
            money = self._money_before(at)
            number = None if money else self._number(at, after_number)
            after_number = bool(money or number)
            written, at = money or (self._with_unit(at, number) if number else ([self._at(at)], at + 1))
            out += written
        return re.sub(r"(?<!\S)0 0 0(?!\S)", "000", " ".join(out)).split()

    # Money and units

    def _money_before(self, at: int) -> tuple[list[str], int] | None:
        """``$5``, ``$5.30``, ``$2 million``, ``$5bn``."""
        sign = self._at(at)
        if sign.isalnum() or sign not in self._currencies:
            return None
        number = self._number(at + 1, False)
        if number is None:
            return None
        scale = _SHORT_SCALES.get(self._at(number.end))
        if scale is not None:
            number = _scaled(number, _SCALES[scale])._replace(end=number.end + 1)
        return self._money(number, sign), number.end

    def _with_unit(self, start: int, number: _Number) -> tuple[list[str], int]:
        unit = self._at(number.end)
        if number.ending:
            return self._dated(start, number)
        if unit in self._currencies and (unit.isalpha() or not self._is_digit(number.end + 1)):
            end = number.end + 1
            written = self._money(number, unit)
            return self._with_hundredths(written, end, self._currencies[unit][1])
        said = self._units.get(unit, "")
        if unit in {"fourth", "fourths"} and number.digits in {"1", "3"}:
            said = "quarter" if number.digits == "1" else "quarters"
        if unit == "second" and not self._is_ordinal_second(number.end):
            said = "second"
        return [*number.words(), *said.split()], number.end + 1 if said else number.end

    def _dated(self, start: int, number: _Number) -> tuple[list[str], int]:
        """``November 27th`` and ``27th November`` are ``November 27``."""
        if number.ending == "th" and (self._at(start - 1) in _MONTHS or self._at(number.end) in _MONTHS):
            number = number._replace(ending="")
        return number.words(), number.end

    def _money(self, number: _Number, unit: str) -> list[str]:
        name, hundredth = self._currencies[unit]
        if not hundredth or not 0 < len(number.fraction) <= 2:
            return [*number.words(), name]
        hundredths = int(number.fraction.ljust(2, "0"))
        whole = [*number.digits.lstrip("0"), name] if number.digits.strip("0") else []
        if not hundredths:
            return whole or ["0", name]
        return [*whole, *str(hundredths), *([] if whole else [hundredth])]

    def _with_hundredths(self, written: list[str], end: int, hundredth: str) -> tuple[list[str], int]:
        """``five dollars and thirty cents`` is ``5 dollars 30``, as ``$5.30`` is."""
        start = end + 1 if self._at(end) == "and" else end
        number = self._number(start, False) if hundredth else None
        if number is None or self._currencies.get(self._at(number.end), ("",))[0] != hundredth:
            return written, end
        return [*written, *number.words()], number.end + 1

    # Numbers

    def _number(self, at: int, after_number: bool) -> _Number | None:
        token = self._at(at)
        if token.isdigit() or token in NUMBER_WORDS:
            return self._with_fraction(self._cardinal(at))
        if token[:1].isdigit():
            return _Number(token.rstrip("stndrh'"), at + 1, ending="s" if token.endswith("s") else "th")
        if token in _LETTER_ZEROS and after_number and self._is_digit(at + 1):
            return _Number("0", at + 1)
        return self._opened(at, token)

    def _opened(self, at: int, word: str) -> _Number | None:
        """A number that begins with another word: ``point five``, ``a hundred``, ``double five``."""
        following = self._at(at + 1)
        if word == "point" and self._is_digit(at + 1):
            return self._with_fraction(_Number("", at))
        if word in {"a", "an"} and (following in _SCALES or following == "hundred"):
            return self._with_fraction(self._cardinal(at + 1))
        if word == "half" and following == "a" and self._at(at + 2) in _SCALES:
            return _scaled(_Number("", at + 3, "5"), _SCALES[self._at(at + 2)])
        return self._repeated(at, _REPEATS[word]) if word in _REPEATS else None

    def _is_digit(self, at: int) -> bool:
        token = self._at(at)
        return token.isdigit() or token in _ONES or token in _TENS or token in _ZEROS or token in _LETTER_ZEROS

    def _repeated(self, at: int, times: int) -> _Number | None:
        """``double five``."""
        token = self._at(at + 1)
        digit = token if token.isdigit() and len(token) == 1 else "0" if token in _ZEROS | _LETTER_ZEROS else ""
        if 0 < _ONES.get(token, 0) < 10:
            digit = str(_ONES[token])
        return _Number(digit * times, at + 2) if digit else None

    def _with_fraction(self, number: _Number | None) -> _Number | None:
        """``three point one four``, ``two and a half``, and what multiplies them: ``2.5 million``."""
        if number is None or number.ending:
            return number
        at = number.end
        if self._at(at) == "point" and self._is_digit(at + 1):
            digits, at = self._decimals(at + 1)
            number = number._replace(fraction=digits, end=at)
        elif self._at(at) == "and" and number.digits:
            part = self._at(at + 2)
            if self._at(at + 1) in {"a", "one", "1"} and part in _PARTS:
                number = number._replace(fraction=_PARTS[part], end=at + 3)
            elif self._at(at + 1) in {"three", "3"} and part == "quarters":
                number = number._replace(fraction="75", end=at + 3)
        scale = self._at(number.end)
        if number.fraction and scale in _SCALES:
            return _scaled(number._replace(end=number.end + 1), _SCALES[scale])
        return number

    def _decimals(self, at: int) -> tuple[str, int]:
        """Digits after the point: one by one, or written or said as one number."""
        if self._at(at).isdigit() and len(self._at(at)) > 1:
            return self._at(at), at + 1
        digits = ""
        while True:
            token = self._at(at)
            if token in _ZEROS or token in _LETTER_ZEROS:
                digits += "0"
            elif token in _ONES and _ONES[token] < 10:
                digits += str(_ONES[token])
            elif token.isdigit() and len(token) == 1:
                digits += token
            else:
                break
            at += 1
        if digits:
            return digits, at
        small = self._small(at)
        return (small.digits, small.end) if small else ("", at)

    def _cardinal(self, at: int) -> _Number | None:
        """``two million three hundred thousand and five``; digits are multiplied, never added to."""
        token = self._at(at)
        if token in _ZEROS or (token.isdigit() and not self._multiplies(at)):
            return _Number("0" if token in _ZEROS else token, at + 1)
        total, last = 0, 10**15
        while chunk := self._chunk(at):
            value, scale = int(chunk.digits), self._at(chunk.end)
            factor = 0 if chunk.ending else _SCALES.get(scale) or _SCALE_ORDINALS.get(scale, 0)
            if not 1 < factor < last:
                return chunk._replace(digits=str(total + value))
            total, last, at = total + value * factor, factor, chunk.end + 1
            following = at + 1 if self._at(at) == "and" else at
            if scale not in _SCALES or not self._goes_on(following, last):
                return _Number(str(total), at, ending="" if scale in _SCALES else "th")
            at = following
        return None

    def _goes_on(self, at: int, last: int) -> bool:
        """Whether a smaller part of the same number starts here: not in "one thousand and two thousand"."""
        token = self._at(at)
        if token.isdigit() and not self._multiplies(at):
            return False
        chunk = self._chunk(at)
        if chunk is None or int(chunk.digits) >= last:
            return False
        return _SCALES.get(self._at(chunk.end), 1) < last

    def _multiplies(self, at: int) -> bool:
        """Whether the digits here stand before a hundred or a thousand."""
        token, following = self._at(at), self._at(at + 1)
        return len(token) <= _MAX_DIGITS and (following == "hundred" or following in _SCALES)

    def _chunk(self, at: int) -> _Number | None:
        """A number below a thousand, or tens of hundreds: ``nineteen hundred and one``."""
        alone = {*_HUNDREDS, *_SCALES, *_SCALE_ORDINALS}
        small = _Number("1", at) if self._at(at) in alone else self._small(at)
        hundred = self._at(small.end) if small else ""
        if small is None or small.ending or hundred not in _HUNDREDS:
            return small
        value, end = int(small.digits) * 100, small.end + 1
        whole = _Number(str(value), end, ending=_HUNDREDS[hundred])
        rest = None if whole.ending else self._small(end + 1 if self._at(end) == "and" else end)
        if rest is None or self._tokens[rest.end - 1].isdigit() or rest.ending == "s":
            return whole
        one_by_one = rest.end == end + 1 and len(rest.digits) == 1 and not rest.ending and self._is_digit(rest.end)
        if one_by_one or self._at(rest.end) in _HUNDREDS:
            return whole  # eight hundred five five five; one hundred two hundred
        return rest._replace(digits=str(value + int(rest.digits)))

    def _small(self, at: int) -> _Number | None:
        """1 to 99 in words, cardinal, ordinal or plural; or digits as they are."""
        token = self._at(at)
        if (token.isdigit() and len(token) <= _MAX_DIGITS) or token in _ONES:
            return _Number(str(_ONES.get(token, token)), at + 1)
        if token in _ENDINGS:
            value, ending = _ENDINGS[token]
            return _Number(str(value), at + 1, ending=ending)
        if token not in _TENS:
            return None
        following = self._at(at + 1)
        if 0 < _ONES.get(following, 0) < 10:
            return _Number(str(_TENS[token] + _ONES[following]), at + 2)
        if 0 < _ORDINALS.get(following, 0) < 10 and (following != "second" or self._is_ordinal_second(at + 1)):
            return _Number(str(_TENS[token] + _ORDINALS[following]), at + 2, ending="th")
        return _Number(str(_TENS[token]), at + 1)

    def _is_ordinal_second(self, at: int) -> bool:
        """Whether the ``second`` here ends an ordinal: "the twenty second of May", not "a twenty second delay"."""
        before = self._at(at - 2)
        return self._at(at - 1) in _TENS and (
            before in {"the", "his", "her", "my", "our", "their", "your"}
            or before in _MONTHS
            or self._at(at + 1) in {"", "of", "century", "street", "avenue", "birthday", "time", *_MONTHS}
        )


def _scaled(number: _Number, scale: int) -> _Number:
    if len(number.digits) + len(number.fraction) > _MAX_DIGITS:
        return number
    value = Decimal(f"{number.digits or 0}.{number.fraction or 0}") * scale
    whole, _, fraction = f"{value:f}".partition(".")
    return number._replace(digits=whole, fraction=fraction.rstrip("0"))


def ordinal(number: int) -> str:
    """``8th``."""
    return f"{number}{_ending(str(number))}"


def _ending(digits: str) -> str:
    if digits[-2:] in {"11", "12", "13"}:
        return "th"
    return {"1": "st", "2": "nd", "3": "rd"}.get(digits[-1], "th")
