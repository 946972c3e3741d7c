"""What the tabs share: choices, links, names, and the visit."""

from __future__ import annotations

import gradio as gr
import pytest

from components.core.types import Comparison, LaneRun, Machine, Timing
from components.ui import share, visit
from components.ui.parts import Choices, examples, model_name

MACHINE = Machine(device="cpu", device_name="CPU", platform="Linux", python="3.11", libraries={}, threads=1)


@pytest.fixture
def choices(lab):
    with gr.Blocks():
        return Choices(lab)


def run(lane_id, seconds):
    timing = Timing(
        feature_time_s=0.0,
        encoder_time_s=0.0,
        decoder_time_s=seconds,
        generation_time_s=seconds,
        end_to_end_time_s=seconds,
    )
    return LaneRun(
        clip_id="a",
        lane_id=lane_id,
        checkpoint=lane_id,
        text="words",
        audio_length_s=10.0,
        generated_tokens=3,
        repeats=(timing,),
        dtype="float32",
        attention="sdpa",
        runtime="eager",
        **dict(timing),
    )


def comparison(whisper_s, distil_s, clip_id="a", pair="base"):
    runs = (run("whisper", whisper_s), run("distil", distil_s))
    return Comparison(clip_id=clip_id, audio_length_s=10.0, pair=pair, runs=runs, machine=MACHINE)


@pytest.mark.parametrize(
    ("checkpoint", "name"),
    [
        ("openai/whisper-large-v2", "Whisper large-v2"),
        ("distil-whisper/distil-large-v3.5", "distil-large-v3.5"),
        ("owner/model@revision", "model"),
    ],
)
def test_models_are_named_as_people_say_them(checkpoint, name):
    assert model_name(checkpoint) == name


def test_a_link_opens_what_is_offered_and_nothing_else(choices):
    opened = choices.opened({"pair": "large-v2", "lanes": "distil,unknown"})
    assert opened[choices.pair] == "large-v2"
    assert opened[choices.lanes] == ["distil"]
    assert choices.opened({"pair": "/etc", "lanes": "x"})[choices.pair] == choices.lab.default_pair
    assert choices.opened({}) == {}


def test_a_link_is_what_opens_the_same_choices():
    address = share.link("http://here/", "base", ["whisper", "distil"], "a clip & more")
    assert address == "http://here/?pair=base&lanes=whisper,distil&example=a+clip+%26+more"
    assert "example" not in share.link("http://here/", "base", ["whisper"], None)


def test_examples_are_shipped_with_their_words():
    found = examples()
    assert found
    for clip_id, example in found.items():
        assert example.clip_id == clip_id
        assert example.path.is_file()
        assert example.label


def test_the_same_clip_twice_is_two_samples_of_a_visit():
    compared = visit.add([comparison(3.0, 1.0)], comparison(1.0, 1.0))
    report = visit.report([*compared, comparison(9.0, 1.0, pair="other")], "base")
    assert report.summary.clips == 2
    assert report.summary.speed_up == {"distil": pytest.approx(2.0)}
    assert visit.report(compared, "other") is None


def test_a_visit_keeps_the_newest():
    compared = []
    for number in range(visit.MAX_COMPARISONS + 1):
        compared = visit.add(compared, comparison(1.0, 1.0, clip_id=str(number)))
    assert len(compared) == visit.MAX_COMPARISONS
    assert compared[-1].clip_id == str(visit.MAX_COMPARISONS)


def test_how_long_more_audio_takes_by_the_visit():
    assert visit.seconds_for([comparison(3.0, 1.0)], "base", 100.0) == pytest.approx(40.0)
    assert visit.seconds_for([], "base", 100.0) is None


def test_recordings_are_numbered_and_files_keep_their_names():
    first = visit.recording_name([], "/tmp/audio.wav")
    assert visit.recording_name([comparison(1.0, 1.0, clip_id=first)], "/tmp/audio.wav") != first
    assert visit.recording_name([], "/tmp/speech.wav") is None


def test_silence_is_no_clip_of_a_visit():
    assert visit.add([], comparison(1.0, 1.0).model_copy(update={"runs": ()})) == []
