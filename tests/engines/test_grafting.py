"""A student of which only the decoder's layers are stored: everything else is its teacher's."""

from __future__ import annotations

import json
from dataclasses import replace
from pathlib import Path

import pytest
import torch
from safetensors.torch import load_file, save_file

from components.core.errors import CheckpointError
from components.core.settings import Settings
from components.engines.base import DecodingOptions
from components.engines.checkpoints import load_model, teacher_of
from components.engines.pool import Pool


@pytest.fixture
def layers_alone(teacher_lane, student_lane, tmp_path) -> Path:
    """The tiny student without what it has in common with the tiny teacher."""
    folder, whole = tmp_path / "layers", Path(student_lane.checkpoint)
    folder.mkdir()
    config = json.loads((whole / "config.json").read_text()) | {"distilled_from": teacher_lane.checkpoint}
    (folder / "config.json").write_text(json.dumps(config))
    weights = load_file(whole / "model.safetensors")
    for layer in range(config["decoder_layers"]):
        own = {name: tensor for name, tensor in weights.items() if f"decoder.layers.{layer}." in name}
        save_file(own, folder / f"decoder-{layer}.safetensors")
    return folder


@pytest.mark.parametrize("backend", ["whisper", "ctranslate"])
def test_it_writes_what_the_whole_student_writes(layers_alone, student_lane, speechlike_clip, parts, backend):
    pool = Pool(Settings())
    whole = replace(student_lane, backend=backend)
    grafted = replace(whole, checkpoint=str(layers_alone))
    outputs = [pool.get(lane).transcribe(speechlike_clip, DecodingOptions(), parts) for lane in (whole, grafted)]
    assert outputs[0] == outputs[1]
    assert pool.get(grafted).info == pool.get(whole).info.model_copy(update={"checkpoint": layers_alone.name})


def test_it_shares_its_teachers_weights(layers_alone, teacher_lane, student_lane):
    pool = Pool(Settings())
    teacher = pool.get(teacher_lane).model
    student = pool.get(replace(student_lane, checkpoint=str(layers_alone))).model
    assert student.model.encoder is teacher.model.encoder
    ours, theirs = student.model.decoder, teacher.model.decoder
    for name in ("embed_tokens", "embed_positions"):
        assert getattr(ours, name).weight.data_ptr() == getattr(theirs, name).weight.data_ptr()
    assert student.proj_out.weight.data_ptr() == ours.embed_tokens.weight.data_ptr()
    assert len(theirs.layers) > len(ours.layers) == 2


def test_its_own_last_norm_comes_first(layers_alone, teacher_lane, student_lane):
    file = layers_alone / "decoder-0.safetensors"
    own = torch.full((32,), 0.5)
    save_file(load_file(file) | {"model.decoder.layer_norm.bias": own}, file)
    pool = Pool(Settings())
    teacher = pool.get(teacher_lane).model
    student = pool.get(replace(student_lane, checkpoint=str(layers_alone))).model
    assert student.model.decoder.layer_norm.bias.equal(own)
    assert not teacher.model.decoder.layer_norm.bias.equal(own)


def test_the_teacher_is_fetched_with_it(layers_alone, teacher_lane, student_lane):
    pool = Pool(Settings())
    lane = replace(student_lane, checkpoint=str(layers_alone))
    assert [part.checkpoint for part in pool.missing(lane)] == [str(layers_alone), teacher_lane.checkpoint]
    engine = pool.get(teacher_lane)
    assert [part.checkpoint for part in pool.missing(lane)] == [str(layers_alone)]
    assert engine.info.decoder_layers == 4
    assisted = replace(teacher_lane, backend="speculative", assistant=str(layers_alone))
    assert [part.checkpoint for part in Pool(Settings()).missing(assisted)] == [
        teacher_lane.checkpoint,
        str(layers_alone),
    ]


def test_a_whole_checkpoint_has_no_teacher(teacher_lane, student_lane):
    assert teacher_of(teacher_lane) is None
    assert teacher_of(replace(student_lane, checkpoint="someone/student")) is None


@pytest.mark.parametrize(
    ("spoil", "said"),
    [
        (lambda folder: (folder / "decoder-1.safetensors").unlink(), "do not belong together"),
        (lambda folder: (folder / "decoder-1.safetensors").write_bytes(b"garbage" * 9), "damaged or cut off"),
        (lambda folder: reconfigure(folder, distilled_from="/nowhere/at/all"), "no folder all"),
        (lambda folder: reconfigure(folder, d_model=64), "do not belong together"),
    ],
    ids=["missing layer", "garbage", "no teacher", "another width"],
)
def test_a_spoilt_student_is_a_sentence(layers_alone, student_lane, tmp_path, spoil, said):
    spoil(layers_alone)
    with pytest.raises(CheckpointError, match=said) as caught:
        load_model(replace(student_lane, checkpoint=str(layers_alone)), dtype=torch.float32, attention="sdpa")
    assert str(tmp_path) not in caught.value.message


def reconfigure(folder: Path, **changes: object) -> None:
    path = folder / "config.json"
    path.write_text(json.dumps(json.loads(path.read_text()) | changes))
