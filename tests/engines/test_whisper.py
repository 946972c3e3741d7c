"""The Transformers lane on tiny, real checkpoints: the same tokens as plain ``generate``, all windows timed."""

from __future__ import annotations

import json
import shutil
import threading
from dataclasses import replace
from typing import TYPE_CHECKING

import pytest
import torch

from components.core.caller import Caller
from components.core.errors import Cancelled, CheckpointError, LaneError
from components.core.settings import Settings
from components.core.types import SAMPLING_RATE, AudioClip, LaneSpec
from components.engines.base import DecodingOptions
from components.engines.decoding import Decoded
from components.engines.device import Device
from components.engines.linear import has_fbgemm
from components.engines.longform import CHUNK_S, STRIDE_S
from components.engines.whisper import WhisperEngine

if TYPE_CHECKING:
    from pathlib import Path

CPU = Device("cpu")


def variant(source: Path, folder: Path, **changes: object) -> WhisperEngine:
    """Copy a checkpoint, change its generation config, load it."""
    shutil.copytree(source, folder)
    path = folder / "generation_config.json"
    path.write_text(json.dumps(json.loads(path.read_text()) | changes))
    return WhisperEngine(LaneSpec("whisper", "Whisper", "whisper", str(folder)), Settings(), CPU)


def generated(engine: WhisperEngine, clip: AudioClip, **options: object) -> list[int]:
    """Tokens of a bare ``model.generate``, without the prompt."""
    long = len(clip.samples) > engine.window_samples
    features = engine.extractor(
        clip.samples,
        sampling_rate=SAMPLING_RATE,
        return_tensors="pt",
        truncation=False,
        padding="longest" if long else "max_length",
    )["input_features"]
    return engine.model.generate(features, **options)[0].tolist()


@pytest.mark.parametrize("timestamps", [False, True])
def test_short_clips_give_the_tokens_of_generate(engine, speechlike_clip, parts, timestamps):
    output = engine.transcribe(speechlike_clip, DecodingOptions(timestamps=timestamps), parts)
    expected = generated(engine, speechlike_clip, return_timestamps=timestamps)
    text = engine.tokenizer.decode(expected, skip_special_tokens=True).strip()
    assert output.transcript.text == text
    assert text
    assert output.generated_tokens == len(expected) + 1  # generate drops the end token
    assert output.ended
    assert bool(output.transcript.segments) == timestamps
    assert output.transcript.language == "en"
    assert parts.events == ["+features", "-features", "+generation", "+encoder", "-encoder", "-generation"]


def test_long_clips_give_the_tokens_of_sequential_generate(engine, long_clip, parts):
    output = engine.transcribe(long_clip, DecodingOptions(), parts)
    expected = generated(engine, long_clip, return_timestamps=True)
    assert output.transcript.text == engine.tokenizer.decode(expected, skip_special_tokens=True).strip()
    windows = parts.counts["encoder"]
    assert windows == parts.counts["generation"] == 3
    assert output.generated_tokens == len(expected) + windows
    starts = [segment.start_s for segment in output.transcript.segments]
    assert starts == [0.0, 30.0, 60.0]
    assert all(segment.start_s <= segment.end_s <= 75.0 for segment in output.transcript.segments)


@pytest.mark.parametrize("samples", [480_001, 960_000, 960_159, 960_160, 1_000_123, 1_200_000])
def test_features_by_blocks_are_those_of_the_whole(engine, long_clip, samples):
    part = long_clip.samples[:samples]
    whole = engine._extract(part, padding="longest")
    blocks = engine._extract_blocks(part)
    assert blocks.shape == whole.shape == (1, 80, samples // 160)
    torch.testing.assert_close(blocks, whole, atol=1e-5, rtol=0)


def test_cancel_stops_the_features_of_a_long_clip(engine, long_clip, parts):
    with pytest.raises(Cancelled):
        engine.transcribe(long_clip, DecodingOptions(), parts, Caller(cancelled=lambda: True))
    assert parts.events == ["+features"]


def test_chunks_are_those_of_transformers_pipeline(engine, long_clip, parts):
    from transformers import pipeline

    recognizer = pipeline(
        "automatic-speech-recognition",
        model=engine.model,
        tokenizer=engine.tokenizer,
        feature_extractor=engine.extractor,
        chunk_length_s=CHUNK_S,
        stride_length_s=STRIDE_S,
        ignore_warning=True,
    )
    output = engine.transcribe(long_clip, DecodingOptions(timestamps=False, long_form="chunked"), parts)
    assert output.transcript.text == recognizer(long_clip.samples.copy())["text"].strip()
    assert output.transcript.segments == ()
    assert parts.counts["encoder"] == 7  # starts of 0, 10, ... 60 s

    output = engine.transcribe(long_clip, DecodingOptions(long_form="chunked"), parts)
    expected = recognizer(long_clip.samples.copy(), return_timestamps=True)
    assert output.transcript.text == expected["text"].strip()
    assert [segment.text for segment in output.transcript.segments] == [c["text"].strip() for c in expected["chunks"]]
    assert output.transcript.segments[-1].end_s <= 75.0


@pytest.mark.parametrize("runtime", ["eager", "compiled", "ctranslate2"])
@pytest.mark.parametrize("long_form", ["sequential", "chunked"])
def test_a_batch_writes_what_each_clip_writes_alone(  # noqa: PLR0917
    teacher_lane, speechlike_clip, long_clip, parts, runtime, long_form, tmp_path, monkeypatch
):
    """Short and long, with and without timestamps; in passes of all the windows that are left."""
    if runtime == "ctranslate2":
        from components.engines import ctranslate

        monkeypatch.setattr(ctranslate, "cache_folder", lambda *_: tmp_path)
        batched = ctranslate.CTranslateEngine(teacher_lane, Settings(), CPU)
    else:
        batched = WhisperEngine(teacher_lane, Settings(runtime=runtime), CPU)
    reverse = replace(speechlike_clip, samples=speechlike_clip.samples[::-1].copy() * 2)
    clips = [speechlike_clip, long_clip, reverse, speechlike_clip]
    for timestamps in (True, False):
        options = DecodingOptions(timestamps=timestamps, long_form=long_form)
        alone = [batched.transcribe(clip, options, type(parts)()) for clip in clips]
        together = type(parts)()
        assert batched.transcribe_batch(clips, options, together) == alone
        most = max(len(output.windows) for output in alone)
        assert together.counts["encoder"] <= most + (not timestamps)
        assert all(output.token_times_s is None for output in batched.transcribe_batch(clips, options, parts))


@pytest.mark.parametrize(
    ("timestamps", "script", "looped", "warned"),
    [
        (True, [0.0, *"abcdefgh", 2.9], False, []),
        (True, [0.0, *"abcdefgh", 1.0], False, ["nothing for 2 of 3 s"]),
        (False, [*"abcdefgh"], False, []),
        (False, [], False, ["only 1 tokens for 3 s"]),
        (True, [0.0, *"a" * 60, 2.9], True, ["at 0:00 to 0:03"]),
    ],
)
def test_loops_and_gaps_are_told(  # noqa: PLR0917
    engine, speechlike_clip, parts, monkeypatch, timestamps, script, looped, warned
):
    """On scripted tokens: letters, and times in seconds."""
    special = engine.special
    tokens = [
        special.first_timestamp + round(each / 0.02)
        if isinstance(each, float)
        else engine.tokenizer.convert_tokens_to_ids(each)
        for each in script
    ]
    monkeypatch.setattr(engine, "decode", lambda *_: [Decoded([*tokens, special.end])])
    output = engine.transcribe(speechlike_clip, DecodingOptions(timestamps=timestamps), parts)
    assert output.looped == looped
    assert len(output.warnings) == len(warned)
    assert all(part in warning for part, warning in zip(warned, output.warnings, strict=True))


def test_the_language_is_detected_outside_the_clock(engine, multilingual, speechlike_clip, parts):
    assert engine.detect_language(speechlike_clip) == ("en", 1.0)
    assert multilingual.detect_language(speechlike_clip) == ("en", 1.0)  # the only one that it knows
    assert parts.events == []


def test_a_window_at_the_token_limit_has_not_ended(engine, speechlike_clip, parts):
    output = engine.transcribe(speechlike_clip, DecodingOptions(timestamps=False, max_new_tokens=4), parts)
    assert output.generated_tokens == 4
    assert not output.ended


def test_cancel_stops_within_one_token(engine, speechlike_clip, parts):
    asked = []

    def cancelled() -> bool:
        asked.append(None)
        return len(asked) == 8  # after both encoder layers: between two tokens

    steps = []
    hook = engine.model.model.decoder.register_forward_hook(lambda *_: steps.append(None))
    try:
        with pytest.raises(Cancelled):
            engine.transcribe(speechlike_clip, DecodingOptions(timestamps=False), parts, Caller(cancelled=cancelled))
    finally:
        hook.remove()
    assert len(asked) == 8  # never asked again
    assert 1 <= len(steps) <= 6  # one step for each token asked after
    after = engine.transcribe(speechlike_clip, DecodingOptions(timestamps=False), parts)
    assert after == engine.transcribe(
        speechlike_clip, DecodingOptions(timestamps=False), parts, Caller(cancelled=lambda: False)
    )


def test_cancel_stops_within_one_encoder_layer(engine, long_clip, parts):
    answers = iter([False, False, False, False, True])  # two blocks of features, the window, the first layer, the next
    with pytest.raises(Cancelled):
        engine.transcribe(long_clip, DecodingOptions(), parts, Caller(cancelled=lambda: next(answers)))
    assert parts.events[-2:] == ["+generation", "+encoder"]


def test_two_requests_on_one_engine_do_not_see_each_other(engine, speechlike_clip, long_clip, parts):
    alone = engine.transcribe(speechlike_clip, DecodingOptions(), parts)
    results: dict[str, object] = {}

    def run(name: str, clip: AudioClip, cancelled: object) -> None:
        own = type(parts)()
        try:
            results[name] = (
                engine.transcribe(clip, DecodingOptions(), own, Caller(cancelled=cancelled)),
                own.counts["encoder"],
            )
        except Cancelled:
            results[name] = "cancelled"

    calls = iter(range(1000))
    threads = [
        threading.Thread(target=run, args=("first", speechlike_clip, None)),
        threading.Thread(target=run, args=("stopped", long_clip, lambda: next(calls) > 10)),
        threading.Thread(target=run, args=("second", speechlike_clip, lambda: False)),
    ]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert results == {"first": (alone, 1), "second": (alone, 1), "stopped": "cancelled"}


def test_a_checkpoints_own_habits_are_dropped(engine, tiny_teacher, tmp_path, speechlike_clip, parts):
    habits = variant(
        tiny_teacher,
        tmp_path / "habits",
        num_beams=3,
        no_repeat_ngram_size=1,
        max_length=5,
        return_timestamps=True,
        compression_ratio_threshold=1.0,
    )
    options = DecodingOptions(timestamps=False)
    assert habits.transcribe(speechlike_clip, options, parts) == engine.transcribe(speechlike_clip, options, parts)


@pytest.fixture(scope="module")
def multilingual(engine, tiny_teacher, tmp_path_factory) -> WhisperEngine:
    """A checkpoint that wants to be told its language; it knows one."""
    ids = engine.tokenizer.convert_tokens_to_ids
    return variant(
        tiny_teacher,
        tmp_path_factory.mktemp("checkpoints") / "multilingual",
        is_multilingual=True,
        lang_to_id={"<|en|>": ids("<|en|>")},
        task_to_id={"transcribe": ids("<|transcribe|>"), "translate": ids("<|translate|>")},
    )


@pytest.mark.parametrize("timestamps", [False, True])
def test_multilingual_checkpoints_are_prompted(engine, multilingual, speechlike_clip, parts, timestamps):
    other = multilingual
    output = other.transcribe(speechlike_clip, DecodingOptions("english", timestamps=timestamps), parts)
    expected = generated(other, speechlike_clip, return_timestamps=timestamps, language="en", task="transcribe")
    assert output.transcript.text == engine.tokenizer.decode(expected, skip_special_tokens=True).strip()
    assert output.generated_tokens == len(expected) + 1
    assert output.transcript.language == "en"
    assert other.transcribe(speechlike_clip, DecodingOptions(None, timestamps=timestamps), parts) == output
    with pytest.raises(LaneError, match=r"does not know “fr”\. It knows: en\."):
        other.transcribe(speechlike_clip, DecodingOptions("fr"), parts)


def test_an_outdated_generation_config_is_refused(tiny_teacher, tmp_path):
    with pytest.raises(CheckpointError, match="lists no languages"):
        variant(tiny_teacher, tmp_path / "outdated", is_multilingual=True)


@pytest.mark.parametrize("name", ["decoder_start_token_id", "eos_token_id", "no_timestamps_token_id"])
def test_special_tokens_are_the_tokenizers(engine, tiny_teacher, tmp_path, name):
    """Left out or in a list they are filled in; those of another model are refused at loading."""
    known = getattr(engine.model.generation_config, name)
    for number, theirs in enumerate((None, [known])):
        rules = variant(tiny_teacher, tmp_path / str(number), **{name: theirs}).model.generation_config
        assert getattr(rules, name) == known
    with pytest.raises(CheckpointError, match=f"another model's: its {name} is 50362"):
        variant(tiny_teacher, tmp_path / "other", **{name: 50362})


def test_english_only_checkpoints_take_no_language(engine, speechlike_clip, parts):
    output = engine.transcribe(speechlike_clip, DecodingOptions("fr"), parts)
    assert output == engine.transcribe(speechlike_clip, DecodingOptions("en"), parts)
    assert output.transcript.language == "en"


def test_info_says_what_runs(engine, teacher_lane):
    assert (engine.info.dtype, engine.info.device, engine.info.attention) == ("float32", "cpu", "sdpa")
    assert engine.info.num_parameters == sum(p.numel() for p in engine.model.parameters())
    assert (engine.runtime, engine.runtime_note) == ("eager", "")
    eager = WhisperEngine(teacher_lane, Settings(attention="eager", dtype="bfloat16", runtime="compiled"), CPU)
    assert (eager.info.dtype, eager.info.attention, eager.runtime) == ("bfloat16", "eager", "loop")
    assert "compiled is not available" in eager.runtime_note
    assert eager.peak_memory_bytes() is None


@pytest.mark.skipif(not has_fbgemm(), reason="needs an x86 processor with AVX2")
def test_int8_transcribes_and_is_named(teacher_lane, speechlike_clip, parts):
    engine = WhisperEngine(teacher_lane, Settings(dtype="int8"), CPU)
    assert (engine.info.dtype, engine.runtime) == ("int8_float32", "loop")
    assert WhisperEngine.expected(Settings(dtype="int8"), CPU) == {"dtype": "int8_float32", "runtime": "loop"}
    assert engine.transcribe(speechlike_clip, DecodingOptions(), parts).generated_tokens > 1


def test_bfloat16_transcribes(teacher_lane, speechlike_clip, parts):
    engine = WhisperEngine(teacher_lane, Settings(dtype="bfloat16"), CPU)
    assert engine.transcribe(speechlike_clip, DecodingOptions(), parts).generated_tokens > 1


@pytest.fixture
def no_hub(monkeypatch):
    """Flash attention may come from the hub; here it must not."""
    monkeypatch.setattr("huggingface_hub.constants.HF_HUB_OFFLINE", True)


@pytest.mark.usefixtures("no_hub")
@pytest.mark.parametrize("attempt", [1, 2])
def test_an_attention_kernel_asked_for_by_name_has_no_substitute(teacher_lane, attempt):
    with pytest.raises(LaneError, match="flash_attention_2 cannot be used here"):
        WhisperEngine(teacher_lane, Settings(attention="flash_attention_2"), CPU)


@pytest.mark.usefixtures("no_hub")
def test_automatic_attention_falls_back_and_says_so(teacher_lane):
    engine = WhisperEngine(teacher_lane, Settings(), CPU)
    engine._set_attention(("flash_attention_2", "sdpa"))
    assert engine.model.config._attn_implementation == "sdpa"
    assert "flash_attention_2 is not available here" in engine.runtime_note


def test_the_lane_of_the_info_is_the_lane_asked_for(teacher_lane):
    engine = WhisperEngine(replace(teacher_lane, lane_id="other"), Settings(), CPU)
    assert engine.info.lane_id == "other"
    engine.unload()
    assert not hasattr(engine, "model")
