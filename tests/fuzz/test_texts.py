"""Texts of every kind of character, some as long as a reference may be, through all that compares texts.

FUZZ_TEXTS is how many short ones.
"""

from __future__ import annotations

import os
import random
import sys
import time
import unicodedata
from collections import defaultdict

import pytest

from components.core.normalizers import MAX_CHARACTERS
from components.core.scoring import diff_spans, normalise, warning_signs, word_errors

COUNT = int(os.environ.get("FUZZ_TEXTS", "300"))
ALPHABETS = "az АЯ ΑΩ את ءي अह অহ அஹ กฮ ກຮ ကအ កអ 가힣 ぁん ァン 一龥 აჰ աֆ ሀፐ ཀཨ ਅਹ అహ".split()
LANGUAGES = ("en", "de", "fr", "tr", "hi", "ar", "he", "th", "zh", "ja", "ko", "ru", "ro", "ca", None)

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


def random_text(rng: random.Random, alphabet: str, words: int) -> str:
    first, last = map(ord, alphabet)
    others = ["é", "12", "1.5", "it's", "ḱ", "Å", "…", "(a)", "-3", "$5", "20%", "J.", "xiv", "²"]
    return " ".join(
        "".join(chr(rng.randint(first, last)) for _ in range(rng.randint(1, 7)))
        if rng.random() < 0.8
        else rng.choice(others)
        for _ in range(words)
    )


def test_the_same_text_has_no_errors_and_what_nobody_sees_changes_none():
    for seed in range(COUNT):
        rng = random.Random(seed)
        one, other = (random_text(rng, rng.choice(ALPHABETS), rng.randrange(12)) for _ in range(2))
        language = rng.choice(LANGUAGES)
        errors = word_errors(one, other, language).errors
        assert word_errors(one, one, language).errors.edits == 0, seed
        for form in ("NFC", "NFD"):
            assert word_errors(unicodedata.normalize(form, one), other, language).errors == errors, seed
            assert word_errors(one, unicodedata.normalize(form, other), language).errors == errors, seed
        unseen = "".join(rng.choice(["", "", "\u200b", "\u00ad", "\ufeff", "\u200e", "\u2060"]) + each for each in one)
        assert word_errors(unseen, other, language).errors == errors, seed


@pytest.mark.parametrize("alphabet", ALPHABETS)
def test_the_longest_reference_is_normalised_within_a_second(alphabet):
    text = random_text(random.Random(alphabet), alphabet, 30_000)[:MAX_CHARACTERS]
    for language in ("en", "de", "zh"):
        normalise(text[:100], language)
        started = time.process_time()
        normalise(text, language)
        assert time.process_time() - started < 1, language
