"""One clip through several lanes."""

from __future__ import annotations

from dataclasses import replace
from functools import partial

import numpy as np
import pytest
import torch

from components.core.caller import Caller
from components.core.errors import Cancelled
from components.core.languages import language_name
from components.core.speech import WARNINGS
from components.core.types import AudioClip
from components.engines.base import DecodingOptions
from components.engines.pool import _key
from components.runs import compare as module
from components.runs.compare import Session, compare
from components.runs.measure import warm_up
from tests.runs.delayed import DelayedEngine

OPTIONS = DecodingOptions()


def run(clip, lanes, pool, **arguments):
    return compare(clip, lanes, pool, **{"options": OPTIONS, "pair_id": "custom", "repeats": 1} | arguments)


def test_lanes_are_warmed_up_and_then_alternate(pool, lanes, speechlike_clip, watch):
    order = []
    watch(pool, lanes, lambda lane, _: order.append(lane.lane_id))
    comparison = run(speechlike_clip, lanes, pool, repeats=3)
    assert order == ["whisper", "distil", *["whisper", "distil"], *["distil", "whisper"], *["whisper", "distil"]]
    assert [lane_run.lane_id for lane_run in comparison.runs] == ["whisper", "distil"]
    for lane_run in comparison.runs:
        assert len(lane_run.repeats) == 3
        times = sorted(timing.generation_time_s for timing in lane_run.repeats)
        assert lane_run.timing.generation_time_s == times[1]
        assert lane_run.text
        assert lane_run.rtfx == pytest.approx(3.0 / times[1])
    order.clear()
    run(speechlike_clip, lanes, pool, repeats=2)
    assert order == ["whisper", "distil", "distil", "whisper"]  # warm already


def test_loading_a_lane_warms_the_others_again(pool, lanes, speechlike_clip, watch):
    """It takes from them what they keep of memory, which their first timed run would have to fetch anew."""
    first = lanes[0]
    run(speechlike_clip, [first], pool)
    order = []
    watch(pool, [first], lambda lane, _: order.append(lane.lane_id))
    run(speechlike_clip, lanes, pool)
    assert order == ["whisper", "whisper"]
    run(speechlike_clip, lanes, pool)
    assert order == ["whisper"] * 3


def test_the_same_checkpoint_in_both_lanes(pool, lanes, speechlike_clip):
    twins = (lanes[0], replace(lanes[1], checkpoint=lanes[0].checkpoint))
    comparison = run(speechlike_clip, twins, pool)
    teacher, twin = comparison.runs
    assert (teacher.text, teacher.segments) == (twin.text, twin.segments)
    assert teacher.generated_tokens == twin.generated_tokens
    assert list(comparison.speed_up) == ["distil"]


def test_a_lane_that_cannot_be_loaded_is_a_failure(pool, lanes, speechlike_clip):
    comparison = run(speechlike_clip, (replace(lanes[0], checkpoint="/nowhere"), lanes[1]), pool)
    assert [(failure.lane_id, failure.clip_id) for failure in comparison.failures] == [("whisper", "speechlike")]
    assert comparison.failures[0].message == "There is no folder nowhere on this machine. Check the path."
    assert [lane_run.lane_id for lane_run in comparison.runs] == ["distil"]
    assert comparison.runs[0].timing is not None
    assert comparison.speed_up == {}


@pytest.mark.parametrize(
    "fault_at",
    [
        (RuntimeError("/secret/path"), "Whisper failed on this clip (RuntimeError). The log says more.", 1),
        (torch.OutOfMemoryError(), "Memory ran out while Whisper was running.", 2),
        (MemoryError(), "Memory ran out while Whisper was running.", 3),
    ],
)
def test_a_lane_that_fails_leaves_the_others_alone(pool, lanes, speechlike_clip, watch, fault_at):
    error, sentence, call = fault_at
    calls = []

    def fail(*_: object) -> None:
        calls.append(None)
        if len(calls) == call:
            raise error

    watch(pool, lanes[:1], fail)
    comparison = run(speechlike_clip, lanes, pool, repeats=2)
    assert len(calls) == call  # not asked again after it failed
    assert comparison.failures[0].message.startswith(sentence)
    assert [(lane_run.lane_id, len(lane_run.repeats)) for lane_run in comparison.runs] == [("distil", 2)]


def test_silence_is_answered_before_the_engines(pool, lanes):
    clip = AudioClip("hush", np.full(16_000, 0.0009, dtype=np.float32))
    comparison = run(clip, lanes, pool, reference="two words")
    assert all(pool.loaded(lane) is None for lane in lanes)
    for lane_run in comparison.runs:
        assert lane_run.timing is None
        assert lane_run.repeats == ()
        assert lane_run.text == ""
        assert lane_run.warnings == (WARNINGS["silent"],)
        assert lane_run.word_errors.deletions == 2
        assert lane_run.dtype == "float32"
    assert comparison.speed_up == {}


def test_a_quiet_clip_is_not_silence(pool, lanes, speechlike_clip):
    quiet = speechlike_clip.samples * (0.0011 / np.abs(speechlike_clip.samples).max())
    assert run(AudioClip("quiet", quiet), lanes[:1], pool).runs[0].timing is not None


def test_scores_need_a_reference(pool, lanes, speechlike_clip):
    without = run(speechlike_clip, lanes[:1], pool).runs[0]
    assert (without.reference, without.normalized_text, without.word_errors) == (None, None, None)
    text = without.text
    exact = run(speechlike_clip, lanes[:1], pool, reference=text.upper() + ".").runs[0]
    assert exact.word_errors.wer == 0
    assert exact.normalized_reference == exact.normalized_text != ""
    nothing_said = run(speechlike_clip, lanes[:1], pool, reference="").runs[0]
    assert nothing_said.word_errors.insertions == len(nothing_said.normalized_text.split())
    assert nothing_said.word_errors.wer is None


def test_a_lane_that_writes_far_less_is_suspect(pool, lanes, speechlike_clip):
    options = replace(OPTIONS, timestamps=False)
    (alone,) = run(speechlike_clip, lanes[1:], pool, options=options).runs
    assert alone.warnings == ()
    tenfold = 10 * alone.generated_tokens
    (suspect,) = run(speechlike_clip, lanes[1:], pool, options=options, baseline_tokens=tenfold).runs
    assert "far less than Whisper" in suspect.warnings[0]
    (cut,) = run(speechlike_clip, lanes[:1], pool, options=replace(options, max_new_tokens=3)).runs
    assert ["cut off" in warning for warning in cut.warnings] == [True]


def test_progress_runs_from_nothing_to_done(pool, lanes, speechlike_clip):
    told = []
    run(speechlike_clip, lanes, pool, repeats=2, caller=Caller(lambda fraction, what: told.append((fraction, what))))
    fractions = [fraction for fraction, _ in told]
    assert fractions == sorted(fractions)
    assert (fractions[0], fractions[-1]) == (0.0, 1.0)
    assert [what for _, what in told] == [
        "Loading Whisper",
        "Loading Distil-Whisper",
        "Warming up Whisper",
        "Warming up Distil-Whisper",
        "Running Whisper, 1 of 2",
        "Running Distil-Whisper, 1 of 2",
        "Running Distil-Whisper, 2 of 2",
        "Running Whisper, 2 of 2",
        "Done",
    ]


def test_each_lanes_result_is_told_as_it_is_done(pool, lanes, speechlike_clip):
    broken = replace(lanes[1], lane_id="broken", checkpoint="/nowhere")
    session = Session(speechlike_clip, (*lanes, broken), pool, Caller(), OPTIONS, "custom", repeats=2)
    steps = list(session.steps())
    running = [step for step in steps if step.text.startswith("Running")]
    assert [step.states for step in running] == [
        {"whisper": "running", "distil": "waiting"},
        {"distil": "running"},
        {},
        {},
    ]
    assert [len(step.comparison.runs) for step in running] == [0, 1, 2, 2]
    assert {failure.lane_id for failure in running[0].comparison.failures} == {"broken"}
    last = steps[-1]
    assert (last.states, last.fraction, last.text) == ({}, 1.0, "Done")
    assert [len(lane_run.repeats) for lane_run in last.comparison.runs] == [2, 2]


@pytest.mark.parametrize(
    ("limits", "rounds"),
    [({}, 5), ({"ENOUGH_S": 0.0}, 3), ({"SLOW_S": 0.0}, 1), ({"SLOW_S": 0.0, "ENOUGH_S": 0.0}, 1)],
)
def test_rounds_where_the_caller_does_not_say_how_many(lab, speechlike_clip, monkeypatch, limits, rounds):
    """The tiny models take milliseconds: never two seconds, always over none."""
    for name, value in limits.items():
        monkeypatch.setattr(module, name, value)
    comparison = run(speechlike_clip, lab.default_lanes(), lab.pool, repeats=None)
    assert [len(lane_run.repeats) for lane_run in comparison.runs] == [rounds, rounds]
    assert comparison.speed_up_range("distil")[2] == rounds


def test_the_language_is_detected_once_for_all(pool, lanes, speechlike_clip, monkeypatch):
    monkeypatch.setattr(module, "SURE", 0.0)
    asked = []
    for lane in lanes:
        engine = pool.get(lane)
        monkeypatch.setattr(engine, "detect_language", partial(_counted, engine.detect_language, asked))
    heard, _ = pool.get(lanes[0]).detect_language(speechlike_clip)
    asked.clear()
    comparison = run(speechlike_clip, lanes, pool, options=replace(OPTIONS, language=None))
    assert len(asked) == 1
    assert comparison.language == heard
    assert {lane_run.language for lane_run in comparison.runs} == {heard}
    assert comparison.notes == ()
    told = "de" if heard != "de" else "fr"
    comparison = run(speechlike_clip, lanes, pool, options=replace(OPTIONS, language=told), hear_language=True)
    assert comparison.language == told
    assert language_name(heard) in comparison.notes[0]
    assert language_name(told) in comparison.notes[0]
    assert comparison.runs[0].notes == comparison.notes


def test_the_first_words_do_not_wait_for_the_language_to_be_checked(pool, lanes, speechlike_clip):
    heard, _ = pool.get(lanes[0]).detect_language(speechlike_clip)
    options = replace(OPTIONS, language="de" if heard != "de" else "fr")
    how = {"options": options, "pair_id": "custom", "repeats": 1, "hear_language": True}
    steps = list(Session(speechlike_clip, lanes, pool, Caller(), **how).steps())
    number = next(number for number, step in enumerate(steps) if step.comparison is not None)
    assert steps[number].text == "Detecting the language"
    assert [run.lane_id for run in steps[number].comparison.runs] == ["whisper"]
    assert steps[number].comparison.notes == ()
    following = steps[number + 1].comparison
    assert language_name(heard) in following.notes[0], "it is told before the second model has written"
    assert [run.lane_id for run in following.runs] == ["whisper"]


def test_a_language_that_the_student_does_not_know_is_noted(pool, lanes, speechlike_clip):
    options = replace(OPTIONS, language="de")
    (note,) = run(speechlike_clip, lanes[:1], pool, options=options, student_languages=("en",)).notes
    assert "German" in note
    assert "English" in note
    assert run(speechlike_clip, lanes[:1], pool, options=options).notes == ()
    assert run(speechlike_clip, lanes[:1], pool, student_languages=("en",)).notes == ()


def _counted(function, calls, *arguments):
    calls.append(arguments)
    return function(*arguments)


def test_a_busy_machine_is_marked(pool, lanes, speechlike_clip):
    twins = (lanes[0], replace(lanes[1], backend="whisper", checkpoint=lanes[0].checkpoint, revision="main"))
    slow = DelayedEngine(pool.get(twins[1]), 0.2, "encoder")
    pool._engines[_key(twins[1])] = slow
    assert run(speechlike_clip, twins, pool).busy
    assert {lane_run.busy for lane_run in run(speechlike_clip, twins, pool).runs} == {True}
    assert not run(speechlike_clip, lanes[:1], pool).busy


def test_cancel_is_no_failure(pool, lanes, speechlike_clip):
    warm_up(pool.get(lanes[0]), speechlike_clip, OPTIONS)
    asked = []

    def cancelled() -> bool:
        asked.append(None)
        return len(asked) > 12

    with pytest.raises(Cancelled):
        run(speechlike_clip, lanes[:1], pool, caller=Caller(cancelled=cancelled))
    assert len(asked) == 13
    assert run(speechlike_clip, lanes[:1], pool).failures == ()
