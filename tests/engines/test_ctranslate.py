"""The Faster-Whisper lane: the words of Transformers, everything timed, conversions whole or not at all."""

from __future__ import annotations

import json
import shutil
from dataclasses import replace

import pytest

from components.core.caller import Caller
from components.core.errors import Cancelled, LaneError
from components.core.settings import Settings
from components.engines import ctranslate
from components.engines.base import DecodingOptions
from components.engines.checkpoints import load_config
from components.engines.ctranslate import CTranslateEngine, converted
from components.engines.device import Device
from components.engines.pool import Pool

CPU = Device("cpu")


@pytest.fixture(scope="session")
def cache(tmp_path_factory):
    return tmp_path_factory.mktemp("conversions")


@pytest.fixture(autouse=True)
def _own_cache(cache, monkeypatch):
    monkeypatch.setattr(ctranslate, "cache_folder", lambda _: cache)


@pytest.fixture
def faster_lane(teacher_lane):
    return replace(teacher_lane, lane_id="faster-whisper", label="Faster-Whisper", backend="ctranslate")


@pytest.fixture
def faster(faster_lane):
    return CTranslateEngine(faster_lane, Settings(), CPU)


@pytest.mark.parametrize("timestamps", [False, True])
def test_the_words_and_tokens_of_transformers(engine, faster, speechlike_clip, parts, timestamps):
    options = DecodingOptions(timestamps=timestamps)
    expected = engine.transcribe(speechlike_clip, options, type(parts)())
    output = faster.transcribe(speechlike_clip, options, parts)
    assert output.transcript.text == expected.transcript.text
    assert output.generated_tokens == expected.generated_tokens
    assert output.ended
    assert bool(output.transcript.segments) == timestamps
    assert [part.text for part in output.transcript.segments] == [part.text for part in expected.transcript.segments]


def test_features_lie_outside_the_generation_and_the_encoder_inside(faster, speechlike_clip, parts):
    faster.transcribe(speechlike_clip, DecodingOptions(), parts)
    assert parts.events == ["+features", "-features", "+generation", "+encoder", "-encoder", "-generation"]


def test_every_window_of_a_long_clip_is_timed(engine, faster, long_clip, parts):
    expected = engine.transcribe(long_clip, DecodingOptions(), type(parts)())
    output = faster.transcribe(long_clip, DecodingOptions(), parts)
    assert parts.counts["encoder"] == 3
    assert output.transcript.text == expected.transcript.text
    assert output.generated_tokens == expected.generated_tokens


def test_the_token_limit_is_that_of_the_other_lanes(engine, faster, speechlike_clip, parts):
    for limit in (1, 4):
        options = DecodingOptions(timestamps=False, max_new_tokens=limit)
        output = faster.transcribe(speechlike_clip, options, parts)
        assert (output.generated_tokens, output.ended) == (limit, False)
        expected = engine.transcribe(speechlike_clip, options, parts)
        assert output.transcript.text == expected.transcript.text


def test_a_model_that_never_ends_stops_where_transformers_does(teacher_lane, tmp_path, speechlike_clip, parts):
    """448 positions, not the 224 tokens that CTranslate2 would stop at."""
    from components.engines.whisper import WhisperEngine

    folder = tmp_path / "endless"
    shutil.copytree(teacher_lane.checkpoint, folder)
    path = folder / "generation_config.json"
    rules = json.loads(path.read_text())
    rules["suppress_tokens"].append(rules["eos_token_id"])
    path.write_text(json.dumps(rules))
    lane = replace(teacher_lane, checkpoint=str(folder))
    options = DecodingOptions(timestamps=False)
    expected = WhisperEngine(lane, Settings(), CPU).transcribe(speechlike_clip, options, parts)
    output = CTranslateEngine(lane, Settings(), CPU).transcribe(speechlike_clip, options, parts)
    assert output.generated_tokens == expected.generated_tokens == 446
    assert not output.ended
    assert not expected.ended


def test_a_checkpoint_that_suppresses_nothing_is_not_helped(teacher_lane, tmp_path, speechlike_clip, parts):
    from components.engines.whisper import WhisperEngine

    folder = tmp_path / "free"
    shutil.copytree(teacher_lane.checkpoint, folder)
    path = folder / "generation_config.json"
    rules = json.loads(path.read_text())
    path.write_text(json.dumps(rules | {"suppress_tokens": [], "begin_suppress_tokens": []}))
    lane = replace(teacher_lane, checkpoint=str(folder))
    options = DecodingOptions(timestamps=False)
    expected = WhisperEngine(lane, Settings(), CPU).transcribe(speechlike_clip, options, parts)
    assert CTranslateEngine(lane, Settings(), CPU).transcribe(speechlike_clip, options, parts) == expected


def test_cancel_is_seen_between_windows(faster, long_clip, parts):
    with pytest.raises(Cancelled):
        faster.transcribe(long_clip, DecodingOptions(), parts, Caller(cancelled=lambda: parts.counts["encoder"] == 2))
    assert parts.counts["encoder"] == 2
    assert "cancel" in faster.runtime_note.lower()
    with pytest.raises(Cancelled):
        faster.transcribe(long_clip, DecodingOptions(), parts, Caller(cancelled=lambda: True))
    assert parts.counts["encoder"] == 2


@pytest.mark.parametrize("timestamps", [False, True])
def test_chunks_are_those_of_the_other_lanes(engine, faster, long_clip, parts, timestamps):
    options = DecodingOptions(timestamps=timestamps, long_form="chunked")
    assert faster.transcribe(long_clip, options, parts) == engine.transcribe(long_clip, options, parts)


@pytest.mark.parametrize(("dtype", "runs"), [("auto", "float32"), ("float32", "float32"), ("int8", "int8_float32")])
def test_the_dtype_that_runs_is_told(faster_lane, speechlike_clip, parts, dtype, runs):
    engine = CTranslateEngine(faster_lane, Settings(dtype=dtype), CPU)
    assert (engine.info.dtype, engine.info.device, engine.runtime) == (runs, "cpu", "ctranslate2")
    assert engine.info.lane_id == "faster-whisper"
    assert engine.transcribe(speechlike_clip, DecodingOptions(), parts).generated_tokens > 1
    engine.unload()
    assert not hasattr(engine, "model")


@pytest.mark.parametrize("dtype", ["float16", "bfloat16"])
def test_arithmetic_that_is_not_there_is_a_sentence(faster_lane, dtype):
    with pytest.raises(
        LaneError, match=f"cannot compute in {dtype} on this device. Set DTYPE to one of: float32, int8"
    ):
        CTranslateEngine(faster_lane, Settings(dtype=dtype), CPU)


def test_a_device_that_it_does_not_know_is_a_sentence(faster_lane):
    with pytest.raises(LaneError, match="cannot run on this device"):
        CTranslateEngine(faster_lane, Settings(), Device("mps"))


def test_conversions_are_made_once_and_anew_when_the_checkpoint_changes(teacher_lane, tmp_path, monkeypatch):
    monkeypatch.setattr(ctranslate, "cache_folder", lambda _: tmp_path / "cache")
    folder = tmp_path / "checkpoint"
    shutil.copytree(teacher_lane.checkpoint, folder)
    lane = replace(teacher_lane, checkpoint=str(folder))
    config = load_config(lane)
    place = converted(lane, config, "float32")
    made = (place / "model.bin").stat().st_mtime_ns
    assert converted(lane, config, "float32") == place
    assert (place / "model.bin").stat().st_mtime_ns == made
    assert converted(lane, config, "int8_float32") != place
    (folder / "generation_config.json").touch()
    assert converted(lane, config, "float32") != place


def test_an_interrupted_conversion_is_never_used_and_done_again(teacher_lane, tmp_path, monkeypatch):
    monkeypatch.setattr(ctranslate, "cache_folder", lambda _: tmp_path)
    config = load_config(teacher_lane)
    save = ctranslate.json.dumps

    def interrupt(value, **_):
        if isinstance(value, dict) and "lang_to_id" in value:  # the last file of a conversion
            raise KeyboardInterrupt
        return save(value)

    with monkeypatch.context() as patch:
        patch.setattr(ctranslate.json, "dumps", interrupt)
        with pytest.raises(KeyboardInterrupt):
            converted(teacher_lane, config, "float32")
    assert not [path for path in tmp_path.iterdir() if path.is_dir()]
    place = converted(teacher_lane, config, "float32")
    assert [path for path in tmp_path.iterdir() if path.is_dir()] == [place]
    assert (place / ctranslate.RULES).is_file()


def test_a_conversion_is_announced_once(faster_lane, tmp_path, monkeypatch):
    monkeypatch.setattr(ctranslate, "cache_folder", lambda _: tmp_path)
    pool = Pool(Settings(), CPU)
    assert pool.preparation(faster_lane) == "Converting teacher for Faster-Whisper, once"
    assert pool.preparation(replace(faster_lane, backend="whisper")) == ""
    assert pool.preparation(replace(faster_lane, checkpoint="/nowhere")) == ""  # it fails when it is loaded, with words
    assert Pool(Settings(dtype="float16"), CPU).preparation(faster_lane) == ""
    pool.get(faster_lane)
    assert pool.preparation(faster_lane) == ""
    assert Pool(Settings(), CPU).preparation(faster_lane) == ""


@pytest.mark.parametrize("dtype", ["auto", "float32", "int8"])
def test_the_stamp_tells_what_will_run(faster_lane, dtype):
    pool = Pool(Settings(dtype=dtype), CPU)
    before = pool.stamp(faster_lane)
    pool.get(faster_lane)
    assert pool.stamp(faster_lane) == before
    assert before["runtime"] == "ctranslate2"
    assert Pool(Settings(dtype="float16"), CPU).stamp(faster_lane)["dtype"] == "float16"  # refused when it is loaded
