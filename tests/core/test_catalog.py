from __future__ import annotations

import json

import pytest

from components.core.catalog import (
    CHECKPOINTS,
    LANES,
    PACKAGED,
    PAIRS,
    architecture,
    checkpoint_name,
    get_pair,
    lane_specs,
    split_checkpoint,
)
from components.core.errors import CheckpointError, LaneError
from components.core.types import LaneSpec, Pair
from components.report.figures import SYMBOLS
from components.report.theme import COLOURS, lane_colour


def _parameters(checkpoint: str) -> tuple[int, int]:
    """All parameters and the decoder's, counted on the meta device: nothing is allocated."""
    import torch
    from transformers import WhisperConfig, WhisperForConditionalGeneration

    with torch.device("meta"):
        model = WhisperForConditionalGeneration(WhisperConfig(pad_token_id=0, **architecture(checkpoint)))
    return tuple(sum(weight.numel() for weight in part.parameters()) for part in (model, model.model.decoder))


def test_large_v2_has_the_published_parameters_and_ratios():
    teacher, teacher_decoder = _parameters("openai/whisper-large-v2")
    student, student_decoder = _parameters("distil-whisper/distil-large-v2")
    assert (teacher, student) == (1_543_304_960, 756_220_160)
    assert (teacher_decoder, student_decoder) == (906_520_320, 119_435_520)
    assert 100 * student / teacher == pytest.approx(49.000047275167184, abs=1e-12)
    assert 100 * student_decoder / teacher_decoder == pytest.approx(13.175161920253482, abs=1e-12)


@pytest.mark.parametrize(
    ("checkpoint", "millions"),
    [
        ("openai/whisper-large-v3", 1543),
        ("distil-whisper/distil-large-v3", 756),
        ("distil-whisper/distil-large-v3.5", 756),
        ("openai/whisper-medium.en", 764),
        ("distil-whisper/distil-medium.en", 394),
        ("openai/whisper-small.en", 242),
        ("distil-whisper/distil-small.en", 166),
    ],
)
def test_the_other_checkpoints_have_their_published_size(checkpoint, millions):
    assert round(_parameters(checkpoint)[0] / 1e6) == millions


def test_base_has_its_published_parameters():
    assert _parameters("openai/whisper-base")[0] == 72_593_920


@pytest.mark.parametrize("pair", PAIRS.values(), ids=list(PAIRS))
def test_a_teacher_and_its_student_share_the_encoder(pair):
    teacher, student = architecture(pair.teacher), architecture(pair.student)
    assert student.pop("decoder_layers") < teacher.pop("decoder_layers")
    assert student == teacher


def test_students_made_for_chunks_get_them():
    assert {pair.pair_id for pair in PAIRS.values() if pair.long_form == "chunked"} == {"large-v2", "medium.en"}


def test_packages_have_a_row_for_every_part_and_stand_in_the_requirements():
    lines = (CHECKPOINTS / "requirements.txt").read_text().splitlines()
    for row in PACKAGED.values():
        named = {package for file in row.files for package, _ in file.parts}
        assert named == set(row.packages)
        assert {f"{package}=={version}" for package, version in row.packages.items()} <= set(lines)


def test_the_architecture_of_a_folder_is_read_from_its_configuration(tiny_teacher):
    import torch
    from transformers import AutoModelForSpeechSeq2Seq

    model = AutoModelForSpeechSeq2Seq.from_pretrained(tiny_teacher, dtype=torch.float32)
    assert _parameters(str(tiny_teacher))[0] == sum(weight.numel() for weight in model.parameters())
    assert architecture("someone/unknown") is None


@pytest.mark.parametrize("text", ["{", "[]", '{"d_model": 32}', None])
def test_a_folder_without_a_whisper_configuration_is_refused_without_its_path(tmp_path, text):
    if text is not None:
        (tmp_path / "config.json").write_text(text)
    with pytest.raises(CheckpointError, match=r"config\.json") as raised:
        architecture(str(tmp_path))
    assert str(tmp_path.parent) not in raised.value.message


def test_lanes_take_their_checkpoint_from_the_pair():
    pair = Pair("custom", "someone/teacher@v2", "someone/student")
    specs = {spec.lane_id: spec for spec in lane_specs(pair)}
    assert list(specs) == list(LANES)
    assert specs["whisper"] == LaneSpec("whisper", "Whisper", "whisper", "someone/teacher", "v2")
    assert specs["distil"] == LaneSpec("distil", "Distil-Whisper", "whisper", "someone/student")
    assert specs["faster-distil"] == LaneSpec("faster-distil", "Faster-Distil-Whisper", "ctranslate", "someone/student")
    assert [spec.lane_id for spec in lane_specs(pair, ["distil", "whisper", "distil"])] == ["distil", "whisper"]


def test_unknown_names_list_the_choices():
    with pytest.raises(LaneError, match=r"murmur.*whisper, distil"):
        lane_specs(PAIRS["base"], ["whisper", "murmur"])
    with pytest.raises(CheckpointError, match=r"huge.*base, large-v2"):
        get_pair("huge")


def test_checkpoints_are_split_into_name_and_revision(tmp_path, monkeypatch):
    assert split_checkpoint("owner/name") == ("owner/name", None)
    assert split_checkpoint("owner/name@refs/pr/1") == ("owner/name", "refs/pr/1")
    folder = tmp_path / "models@home" / "teacher"
    folder.mkdir(parents=True)
    assert split_checkpoint(str(folder)) == (str(folder), None)
    monkeypatch.chdir(tmp_path)
    assert split_checkpoint("models@home/teacher") == (str(folder), None)
    for wrong in ("", "name", "a/b/c", "../a/b", "a b/c", "https://a/b", "owner/na me", "./x"):
        with pytest.raises(CheckpointError, match="owner/name@revision"):
            split_checkpoint(wrong)


def test_a_path_of_the_server_is_never_shown(tmp_path):
    assert checkpoint_name("openai/whisper-large-v2") == "openai/whisper-large-v2"
    assert checkpoint_name(str(CHECKPOINTS / "distil-base")) == "examples/checkpoints/distil-base"
    assert checkpoint_name(str(tmp_path / "mine")) == "mine"


def test_an_assisted_lane_has_its_student():
    (lane,) = lane_specs(Pair("custom", "someone/teacher@v2", "someone/student@v1"), ["speculative"])
    assert (lane.checkpoint, lane.revision, lane.assistant) == ("someone/teacher", "v2", "someone/student@v1")


def test_two_lanes_run_where_nobody_chooses():
    assert [lane.lane_id for lane in LANES.values() if lane.default] == ["whisper", "distil"]


def test_lanes_have_their_own_colours_and_symbols():
    """A lane's index must be within both tables."""
    assert len({lane_colour(lane) for lane in LANES}) == len(LANES) <= len(set(COLOURS))
    assert {lane.colour for lane in LANES.values()} <= set(range(len(SYMBOLS)))
    assert json.dumps(list(LANES))
