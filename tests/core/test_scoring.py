from __future__ import annotations

import random
from itertools import pairwise

import pytest

from components.core.scoring import diff_spans, normalise, warning_signs, word_errors
from components.core.types import WordErrors


def test_english_is_normalised_as_whisper_does():
    assert normalise("  Mr. Brown won't pay $21.50 -- uh, for the COLOUR!", "en") == (
        "mister brown will not pay $21.50 for the color"
    )
    assert normalise("twenty-one", None) == "21"
    assert normalise("", "en") == ""


def test_other_languages_keep_their_words():
    assert normalise("Fünf Straßen, ja!", "de") == "fünf straßen ja"


def test_word_errors_are_those_of_the_alignment():
    reference, text, errors = word_errors("The cat sat there, on the mat.", "the bat sat there on mat, all of it", "en")
    assert (reference, text) == ("the cat sat there on the mat", "the bat sat there on mat all of it")
    assert errors == WordErrors(substitutions=3, deletions=0, insertions=2, reference_words=7)
    assert errors.wer == 5 / 7
    assert word_errors("red green blue black", "red blue black white", "en")[2].wer == 0.5


def test_punctuation_case_and_spelling_are_no_errors():
    assert word_errors("Hello, I've two colours.", "hello i have 2 colors", "en")[2].wer == 0


def test_an_empty_side_counts_every_word_of_the_other():
    assert word_errors("", "thank you", "en")[2] == WordErrors(insertions=2)
    assert word_errors("thank you", "!?", "en")[2] == WordErrors(deletions=2, reference_words=2)
    assert word_errors("", "", "en")[2].wer is None


def test_diff_spans_tag_what_differs():
    assert diff_spans("The cat sat down.", "the big cat stood down") == [
        (None, "The", "the"),
        ("inserted", "", "big"),
        (None, "cat", "cat"),
        ("substituted", "sat", "stood"),
        (None, "down.", "down"),
    ]
    assert diff_spans("one two three", "one three") == [
        (None, "one", "one"),
        ("deleted", "two", ""),
        (None, "three", "three"),
    ]
    assert diff_spans("", "new words") == [("inserted", "", "new words")]
    assert diff_spans("old words", " ") == [("deleted", "old words", "")]
    assert diff_spans("", "") == []


def test_diff_spans_read_as_both_texts():
    rng = random.Random(0)
    for _ in range(200):
        before, after = (" ".join(rng.choices(["a", "b,", "C.", "—"], k=rng.randrange(8))) for _ in range(2))
        spans = diff_spans(before, after)
        assert " ".join(span.before for span in spans if span.before) == before
        assert " ".join(span.after for span in spans if span.after) == after
        assert all(first.tag != second.tag for first, second in pairwise(spans))


def test_no_warning_without_a_sign():
    assert warning_signs("The quick brown fox jumps over the lazy dog.", 12, 12) == ()
    assert warning_signs("", 1, None) == ()


def test_fewer_tokens_than_the_baseline():
    assert warning_signs("fine", 80, 100) == ()
    (sign,) = warning_signs("fine", 79, 100)
    assert "79%" in sign
    assert "79 of 100" in sign


def test_a_phrase_three_times_is_a_repetition():
    phrase = "and so it went on, "
    assert warning_signs(phrase * 2, 12) == ()
    (sign,) = warning_signs(phrase * 3, 18)
    assert "and so it went on" in sign


def test_a_phrase_that_comes_back_in_a_long_talk_is_none():
    rng = random.Random(1)
    filler = [["".join(rng.choices("abcdefghijklmnopqrstuvwxyz", k=6)) for _ in range(150)] for _ in range(3)]
    talk = " ".join("at the end of the day " + " ".join(words) for words in filler)
    assert warning_signs(talk, 2000) == ()


def test_text_that_compresses_too_well():
    signs = warning_signs("na " * 60, 60)
    assert any("compresses" in sign for sign in signs)


def test_a_missing_end_token():
    (sign,) = warning_signs("cut", 444, ended=False)
    assert "end token" in sign


@pytest.mark.parametrize("words", [3000])
def test_a_loop_late_in_a_long_text_is_found(words):
    rng = random.Random(2)
    talk = ["".join(rng.choices("abcdefghijklmnopqrstuvwxyz", k=6)) for _ in range(words)]
    assert warning_signs(" ".join(talk), words) == ()
    assert any("repeated" in sign for sign in warning_signs(" ".join(talk + ["thank", "you"] * 40), words))
