from __future__ import annotations

import random
import time
from itertools import pairwise

import jiwer
import pytest

from components.core.errors import TextError
from components.core.scoring import diff_spans, warning_signs, word_distance, word_errors
from components.core.types import WordErrors


def test_word_errors_are_those_of_the_alignment():
    score = word_errors("The cat sat there, on the mat.", "the bat sat there on mat, all of it", "en")
    assert score.normalized_reference == "the cat sat there on the mat"
    assert score.normalized_text == "the bat sat there on mat all of it"
    assert score.errors == WordErrors(
        substitutions=3, deletions=0, insertions=2, reference_words=7, normalizer="ours-2"
    )
    assert score.errors.wer == 5 / 7
    assert word_errors("red green blue black", "red blue black white", "en").errors.wer == 0.5


def test_word_errors_are_those_of_jiwer():
    rng = random.Random(3)
    for _ in range(200):
        reference, text = (" ".join(rng.choices(["red", "green", "blue", "black"], k=rng.randint(1, 20))) for _ in "ab")
        assert word_errors(reference, text, "en").errors.wer == jiwer.wer(reference, text)


def test_texts_too_long_to_be_aligned_are_refused():
    one, other = "a b " * 200_000, "b c " * 200_000
    with pytest.raises(TextError):
        word_distance(one, other)


def test_an_empty_side_counts_every_word_of_the_other():
    def edits(reference, text):
        errors = word_errors(reference, text, "en").errors
        return errors.substitutions, errors.deletions, errors.insertions, errors.reference_words

    assert edits("", "thank you") == (0, 0, 2, 0)
    assert edits("thank you", "!?") == (0, 2, 0, 2)
    assert word_errors("[music]", "", "en").errors.wer is None


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


def test_diff_spans_compare_characters_where_no_spaces_are_written():
    assert diff_spans("我们今天去北京。", "我们明天去北京") == [
        (None, "我们", "我们"),
        ("substituted", "今", "明"),
        (None, "天去北京。"[:4], "天去北京"),
        ("deleted", "。", ""),
    ]
    assert diff_spans("สวัสดี ครับ", "สวัสดี")[0] == (None, "สวัสดี", "สวัสดี")


def test_diff_spans_read_as_both_texts():
    rng = random.Random(0)
    for _ in range(200):
        before, after = (" ".join(rng.choices(["a", "b,", "C.", "—"], k=rng.randrange(8))) for _ in range(2))
        spans = diff_spans(before, after)
        assert " ".join(span.before for span in spans if span.before) == before
        assert " ".join(span.after for span in spans if span.after) == after
        assert all(first.tag != second.tag for first, second in pairwise(spans))


@pytest.mark.parametrize("word", ["(" * 50_000, "a" + "(" * 50_000 + "a", "(a" * 25_000, "\u0301" * 50_000])
def test_long_words_take_linear_time(word):
    started = time.process_time()
    assert diff_spans(word, f"{word} b")[-1] == ("inserted", "", "b")
    assert warning_signs(word, 1) is not None
    assert time.process_time() - started < 2  # quadratic time would take ten or more


def test_no_warning_without_a_sign():
    assert warning_signs("The quick brown fox jumps over the lazy dog.", 12, 12) == ()
    assert warning_signs("", 1, None) == ()


def test_fewer_tokens_than_the_baseline():
    assert warning_signs("fine", 80, 100) == ()
    (sign,) = warning_signs("fine", 79, 100)
    assert "far less than Whisper" in sign


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


@pytest.mark.parametrize(
    "text",
    ["na " * 60, "ご視聴ありがとうございました。" * 4, "是" * 30, "or " * 224, "ขอบคุณครับ" * 5],
)
def test_a_loop_is_told_once(text):
    (sign,) = warning_signs(text, 60)
    assert "repeats itself" in sign


def test_ordinary_text_without_spaces_is_no_loop():
    assert (
        warning_signs("客観的実在の判断的知識が成立するのである。砸自己的脚。我们今天去北京看朋友。明天去上海。", 40)
        == ()
    )


def test_a_missing_end_token():
    (sign,) = warning_signs("cut", 444, ended=False)
    assert "cut off" in sign


@pytest.mark.parametrize("words", [3000])
def test_a_loop_late_in_a_long_text_is_found(words):
    rng = random.Random(2)
    talk = ["".join(rng.choices("abcdefghijklmnopqrstuvwxyz", k=6)) for _ in range(words)]
    assert warning_signs(" ".join(talk), words) == ()
    assert any("repeats" in sign for sign in warning_signs(" ".join(talk + ["thank", "you"] * 40), words))
