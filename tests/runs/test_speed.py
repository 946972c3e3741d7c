"""The speed of shapes: every lane, the notebook's tokens, and the limit that it is held against."""

from __future__ import annotations

import json

import pytest
import torch

from components.core import catalog
from components.core.caller import Caller
from components.core.errors import LaneError
from components.core.settings import Settings
from components.core.types import LaneSpec, SpeedRun
from components.engines.device import Device
from components.engines.linear import has_fbgemm
from components.engines.shapes import PROMPT, ShapePair
from components.runs.__main__ import main
from components.runs.measure import RequestStopwatch
from components.runs.speed import notebook_tokens, speed


@pytest.fixture
def shapes(tiny_teacher, tiny_student):
    return [catalog.architecture(str(folder)) for folder in (tiny_teacher, tiny_student)]


@pytest.fixture
def pair(shapes):
    return ShapePair(*shapes, Settings(), Device("cpu"))


def test_the_notebooks_clips():
    clips = notebook_tokens()
    assert len(clips) == 73
    assert [sum(clip[role] for clip in clips) for role in ("teacher", "student")] == [1557, 1553]
    assert notebook_tokens(2) == clips[:2] == [{"teacher": 22, "student": 23}, {"teacher": 16, "student": 16}]


def test_every_lane_is_timed(settings):
    told = []
    result = speed("custom", settings, limit=2, caller=Caller(lambda *step: told.append(step)))
    lanes = {lane.lane_id: lane for lane in result.lanes}
    assert list(lanes) == list(catalog.LANES)
    assert result.failures == ()
    by_role = {"teacher": 38, "student": 39}
    assert {name: lane.generated_tokens for name, lane in lanes.items()} == {
        name: by_role[lane.role] for name, lane in catalog.LANES.items()
    }
    for lane in lanes.values():
        assert 0 < lane.encoder_time_s < lane.generation_time_s
        assert lane.decoder_time_s == pytest.approx(lane.generation_time_s - lane.encoder_time_s)
        assert lane.ms_per_token == pytest.approx(1000 * lane.decoder_time_s / lane.generated_tokens)
        assert lane.bandwidth_fraction > 0
    assert lanes["whisper"].ratio == 1
    runtimes = {"whisper": "loop", "speculative": "loop", "ctranslate": "ctranslate2"}
    assert {name: lane.runtime for name, lane in lanes.items()} == {
        name: runtimes[lane.backend] for name, lane in catalog.LANES.items()
    }
    assert lanes["speculative"].tokens_per_pass > 4
    assert result.bandwidth_bytes_per_s > 1e8
    assert told[-1][0] == 1
    assert SpeedRun.model_validate_json(result.model_dump_json()) == result


def test_several_clips_at_a_time(settings):
    """Sorted by length; what does not fill a batch is left out, and the draft lane says that it takes one at a time."""
    result = speed("custom", settings, limit=5, batch_size=2)
    shortest = sorted(notebook_tokens(5), key=lambda clip: clip["teacher"])[:4]
    assert result.clips == 4
    assert {lane.batch_size for lane in result.lanes} == {2}
    for lane in result.lanes:
        role = catalog.LANES[lane.lane_id].role
        assert lane.generated_tokens == sum(clip[role] for clip in shortest)
        assert 0 < lane.encoder_time_s < lane.generation_time_s
    (failure,) = result.failures
    assert (failure.lane_id, "one clip at a time" in failure.message) == ("speculative", True)
    with pytest.raises(LaneError, match="too few for a batch of 6"):
        speed("custom", settings, limit=5, batch_size=6)


def test_a_lane_with_another_backend_is_refused(pair):
    lane = LaneSpec("new", "New", "tests.runs.trivial:TrivialEngine", "a/b")
    with pytest.raises(LaneError, match="New cannot be timed with random weights"):
        pair.engine(lane, "teacher")


def test_the_student_is_the_teacher_without_the_zeroed_layers(pair):
    """So every draft is right, at full cost."""
    lane = catalog.lane_specs(catalog.Pair("p", "a/b", "a/c"), ["speculative"])[0]
    engine = pair.engine(lane, "teacher")
    stopwatch = RequestStopwatch(engine.synchronize)
    assert engine.write(33, stopwatch) == pytest.approx(33 / 6)  # five drafts and the teacher's own
    teacher, student = pair.models["teacher"], pair.models["student"]
    tokens = torch.tensor([[*PROMPT, 40, 50, 60]])
    with torch.no_grad():
        one, other = (
            model(input_features=engine.window, decoder_input_ids=tokens).logits for model in (teacher, student)
        )
    assert torch.equal(one, other)
    assert one.std() > 0
    assert len(teacher.model.decoder.layers) == 4
    assert len(student.model.decoder.layers) == 2


def test_the_bytes_that_a_token_must_read(pair, shapes):
    lane = catalog.lane_specs(catalog.Pair("p", "a/b", "a/c"), ["whisper"])[0]
    engine = pair.engine(lane, "teacher")
    decoder = pair.models["teacher"].model.decoder
    weights = sum(parameter.numel() for parameter in decoder.parameters()) - decoder.embed_positions.weight.numel()
    for layer in decoder.layers:
        for projection in (layer.encoder_attn.k_proj, layer.encoder_attn.v_proj):
            weights -= sum(parameter.numel() for parameter in projection.parameters())
    caches = 4 * 2 * 32 * (1500 + len(PROMPT) + 1)
    assert engine.bytes_read(1) == engine.weight_size * weights + 4 * caches
    assert engine.weight_size == (2 if has_fbgemm() else 4)
    lane = catalog.lane_specs(catalog.Pair("p", "a/b", "a/c"), ["faster-whisper"])[0]
    converted = ShapePair(*shapes, Settings(dtype="int8"), Device("cpu")).engine(lane, "teacher")
    assert converted.bytes_read(1) == weights + 4 * caches
    assert engine.bytes_read(10) > 10 * engine.bytes_read(1)


def test_the_large_pairs_limit_is_that_of_the_field():
    """1.8 GB of decoder weights in float16, 0.24 GB for the student, before the caches; on the meta device."""
    from components.engines.shapes import ShapeEngine

    found = []
    for checkpoint in ("openai/whisper-large-v2", "distil-whisper/distil-large-v2"):
        from components.core.types import LaneSpec
        from components.engines.counting import model_info

        engine = ShapeEngine.__new__(ShapeEngine)
        engine.shapes = catalog.architecture(checkpoint)
        engine.info = model_info(LaneSpec("whisper", "", "", checkpoint), engine.shapes)
        engine.model, engine.weight_size, engine.batch_size = torch.empty(0, dtype=torch.float16), 2, 1
        found.append(engine.bytes_read(1) / 1e9)
    assert found[0] == pytest.approx(1.85, abs=0.02)
    assert found[1] == pytest.approx(0.24, abs=0.02)


@pytest.mark.parametrize(
    ("changes", "runs"),
    [
        ({"dtype": "bfloat16"}, {"whisper": "bfloat16"}),
        ({"dtype": "int8"}, {"whisper": "int8_float32", "faster-whisper": "int8_float32"}),
    ],
)
def test_precision_by_name(environ, changes, runs):
    settings = Settings.from_env(environ | {name.upper(): value for name, value in changes.items()})
    result = speed("custom", settings, lanes=["whisper", "faster-whisper"], limit=1)
    assert {lane.lane_id: lane.dtype for lane in result.lanes} == runs
    failed = {failure.lane_id: failure.message for failure in result.failures}
    assert set(failed) == {"whisper", "faster-whisper"} - set(runs)
    assert all("cannot compute in bfloat16" in message for message in failed.values())


def test_wrong_choices(settings):
    with pytest.raises(LaneError, match="at least 1"):
        speed("custom", settings, limit=0)
    with pytest.raises(LaneError, match="no lane called"):
        speed("custom", settings, lanes=["x"])


def test_a_lane_without_room_is_a_failure_and_no_room_at_all_a_sentence(settings, monkeypatch):
    from components.engines import shapes

    def full(*_):
        raise RuntimeError("CUDA failed with error out of memory")

    monkeypatch.setattr(shapes._ConvertedEngine, "_set_up", full)
    result = speed("custom", settings, lanes=["whisper", "faster-whisper"], limit=1)
    assert [lane.lane_id for lane in result.lanes] == ["whisper"]
    assert "Memory ran out" in result.failures[0].message
    monkeypatch.setattr(shapes.ShapeEngine, "write", full)
    with pytest.raises(LaneError, match="Memory ran out"):
        speed("custom", settings, lanes=["whisper"], limit=1)


def test_the_command_line(environ, monkeypatch, capsys, tmp_path):
    for name, value in (environ | {"RUNTIME": "compiled"}).items():
        monkeypatch.setenv(name, value)
    page = tmp_path / "speed.html"
    arguments = [
        "speed",
        "--pair",
        "custom",
        "--lanes",
        "whisper,distil",
        "--limit",
        "1",
        "--page",
        str(page),
        "--json",
    ]
    assert main(arguments) == 0
    captured = capsys.readouterr()
    result = json.loads(captured.out.splitlines()[-1])
    assert [lane["runtime"] for lane in result["lanes"]] == ["loop", "loop"]
    assert "CUDA graphs need a CUDA device" in result["lanes"][0]["note"]
    assert "Clip 1 of 1" in captured.err
    assert "Time per token" in captured.out
    text = page.read_text()
    assert text.count("Plotly.newPlot") == 3
    assert "Distil-Whisper" in text
    assert main([*arguments[:-2], str(tmp_path / "no" / "where.html")]) == 2
