"""Texts as long as a reference may be, of every kind of character, through all that compares texts."""

from __future__ import annotations

import random
import sys
import time
import unicodedata
from collections import defaultdict

import pytest

from components.core.normalizers import MAX_CHARACTERS
from components.core.scoring import diff_spans, normalise, warning_signs, word_errors

CATEGORIES: dict[str, list[str]] = defaultdict(list)
for code in range(sys.maxunicode + 1):
    CATEGORIES[unicodedata.category(chr(code))].append(chr(code))


@pytest.mark.parametrize("category", sorted(CATEGORIES))
def test_a_long_text_of_one_category_is_compared(category):
    rng = random.Random(category)
    text = "".join(rng.choices(CATEGORIES[category], k=MAX_CHARACTERS))
    score = word_errors(text, text, rng.choice(["en", "de", "zh", "th"]))
    assert score.errors.edits == 0
    assert "".join(span.before for span in diff_spans(text, text)) in text
    assert isinstance(warning_signs(text, 100), tuple)


def test_a_long_text_of_all_categories_is_compared():
    rng = random.Random(0)
    text = "".join(rng.choice(CATEGORIES[rng.choice(sorted(CATEGORIES))]) for _ in range(MAX_CHARACTERS))
    assert word_errors(text, text, None).errors.edits == 0


def seconds(text: str) -> float:
    started = time.process_time()
    normalise(text, "en")
    return time.process_time() - started


@pytest.mark.parametrize("sign", "½ 1 $ 日 ' . one£ $5 1/2 hundred| a| ½|".split(" "))
def test_ten_times_as_many_signs_take_no_more_than_ten_times_as_long(sign):
    text = sign.replace("|", " ") * MAX_CHARACTERS
    seconds(text[:1000])
    short = min(seconds(text[: MAX_CHARACTERS // 10]) for _ in range(3))
    long = min(seconds(text[:MAX_CHARACTERS]) for _ in range(2))
    assert long < 30 * short  # ten, and room for a busy machine; quadratic time would take a hundred
