from __future__ import annotations

import random

import pytest

from components.core.speech import WARNINGS
from components.report.headline import clip_warnings, headline, lane_warnings, report_headline
from tests.report.nouns import make_clip, make_comparison, make_report, make_run


def compare(whisper, distil, **changes):
    texts = {key: changes.pop(key) for key in ("text",) if key in changes}
    return headline(
        make_comparison(make_run("whisper", *whisper, **texts), make_run("distil", *distil, **changes, **texts))
    )


def test_a_range_over_paired_rounds():
    found = compare([(0.1, 0.9), (0.1, 1.1)], [(0.1, 0.4), (0.1, 0.4)])
    assert (found.verdict, found.figure, found.word) == ("faster", "2.0×", "faster")
    assert found.spread == "2.0 to 2.4× in 2 rounds"


def test_one_round_is_said_to_be_one():
    found = compare([(0.1, 0.9)], [(0.1, 0.4)])
    assert (found.figure, found.spread) == ("2.0×", "measured once")


def test_slower_is_told_by_both_times():
    found = compare([(0.1, 0.9)], [(0.1, 7.3)])
    assert (found.verdict, found.figure) == ("slower", "7.4×")
    assert "1.00 s" in found.claim
    assert "7.40 s" in found.claim


@pytest.mark.parametrize(
    ("whisper", "distil"),
    [([(0.1, 0.5), (0.1, 0.3)], [(0.1, 0.4), (0.1, 0.4)]), ([(0.1, 0.4)], [(0.1, 0.39)])],
    ids=["the range holds 1", "once, and nearly the same"],
)
def test_no_figure_without_a_clear_difference(whisper, distil):
    found = compare(whisper, distil)
    assert (found.verdict, found.figure) == ("alike", "")


def test_no_figure_where_the_lanes_differ_no_more_than_their_own_rounds_do():
    """As the same checkpoint in both lanes came out beside a busy process."""
    whisper, distil = [(0.1, 0.9), (0.1, 1.1), (0.1, 1.0)], [(0.1, 0.8), (0.1, 0.95), (0.1, 0.85)]
    assert compare(whisper, distil).verdict == "busy"
    assert compare(distil, whisper).verdict == "busy"


def test_no_figure_on_a_busy_machine():
    assert compare([(0.1, 0.9)], [(0.2, 0.4)], busy=True).verdict == "busy"


def test_no_figure_where_the_rounds_do_not_agree():
    assert compare([(0.1, 0.9), (0.1, 3.0)], [(0.1, 0.4), (0.1, 0.4)]).verdict == "busy"


def figures_of_the_same_model(noise, count=200):
    """How often two lanes of one model are said to differ, where times vary by up to this share."""
    rng = random.Random(0)

    def timed():
        return [(0.4 * (1 + noise * rng.random()), 0.5 * (1 + noise * rng.random())) for _ in range(3)]

    return sum(bool(compare(timed(), timed()).figure) for _ in range(count))


def test_the_same_model_twice_gives_no_figure():
    assert figures_of_the_same_model(noise=0.02) == figures_of_the_same_model(noise=0.1) == 0
    assert figures_of_the_same_model(noise=1.0) < 30  # the check of the encoders, before this one, takes most of these


def test_no_figure_where_a_lane_is_suspect():
    found = compare([(0.1, 0.9)], [(0.1, 0.4)], warnings=("It repeated itself.",))
    assert (found.verdict, found.figure) == ("suspect", "")
    assert "It repeated itself." in found.claim


def test_no_figure_where_one_lane_wrote_nothing():
    runs = make_run("whisper", (0.1, 0.9)), make_run("distil", (0.1, 0.1), text=" ")
    assert headline(make_comparison(*runs)).verdict == "suspect"


def test_no_figure_where_nothing_was_said():
    assert compare([(0.1, 0.9)], [(0.1, 0.4)], text="").verdict == "empty"


@pytest.mark.parametrize("kind", ["silent", "short", "noise"])
def test_a_clip_without_speech_is_told_of_once(kind):
    runs = [make_run(lane, text="", warnings=(WARNINGS[kind],)) for lane in ("whisper", "distil")]
    found = headline(make_comparison(*runs))
    assert (found.verdict, found.figure) == ("silent", "")
    assert ("microphone" in found.claim) == (kind == "silent")
    assert clip_warnings(make_comparison(*runs)) == (WARNINGS[kind],)
    assert lane_warnings(runs[0]) == ()


def test_quiet_speech_still_counts():
    quiet = {"warnings": (WARNINGS["quiet"],)}
    runs = make_run("whisper", (0.1, 0.9), **quiet), make_run("distil", (0.1, 0.4), **quiet)
    assert headline(make_comparison(*runs)).verdict == "faster"


@pytest.mark.parametrize("lane", ["whisper", "distil"])
def test_a_lane_that_was_not_timed_for_its_loops_gives_no_figure(lane):
    stuck = make_run(lane, text="a a a", warnings=("It repeats itself.",))
    other = make_run("distil" if lane == "whisper" else "whisper", (0.1, 0.4))
    found = headline(make_comparison(stuck, other))
    assert found.verdict == "suspect"
    assert "It repeats itself." in found.claim


def test_no_figure_without_the_baseline_or_without_another():
    assert headline(make_comparison(make_run("distil", (0.1, 0.1)))).verdict == "alone"
    assert headline(make_comparison(make_run("whisper", (0.1, 0.1)))).verdict == "alone"
    assert headline(make_comparison()).verdict == "alone"


def test_the_student_is_the_one_that_is_told_of():
    lanes = ("whisper", 0.9), ("speculative", 0.6), ("distil", 0.4)
    assert headline(make_comparison(*(make_run(lane, (0.1, s)) for lane, s in lanes))).figure == "2.0×"


def test_many_clips_have_an_interval(report):
    found = report_headline(report)
    assert (found.verdict, found.figure) == ("faster", "3.0×")
    assert "2.7 to 3.3×" in found.spread
    assert "2 clips" in found.claim
    assert "3.0× faster" in found.sentence


def test_many_clips_without_a_clear_difference():
    clips = [make_clip(str(number), lane, 0.1, 0.2) for number in range(3) for lane in ("whisper", "distil")]
    assert report_headline(make_report(clips)).verdict == "alike"


def test_many_silent_clips():
    assert report_headline(make_report([make_clip("a", "whisper", None)])).verdict == "silent"
