"""The offline pair as it is shipped: what it is, what it gets right, and that every tool loads it."""

from __future__ import annotations

import json
from functools import cache

import numpy as np
import pytest
import torch
from safetensors.torch import load_file

from components.core.audio import load_audio
from components.core.catalog import CHECKPOINTS, ROOT
from components.core.scoring import normalise, word_errors
from components.core.types import SAMPLING_RATE, WINDOW_S, WordErrors
from components.distillation import labels
from components.distillation.degrade import coloured_noise

TEACHER, STUDENT = CHECKPOINTS / "teacher", CHECKPOINTS / "student"
AUDIO = ROOT / "examples" / "audio"
ROWS = [json.loads(line) for line in (AUDIO / "manifest.jsonl").read_text().splitlines()]
LONG = next(row for row in ROWS if row["clip_id"] == "long-1")
MB = 1_000_000


def samples_of(row: dict) -> np.ndarray:
    return load_audio(AUDIO / row["audio"]).samples


SHORT = [row for row in ROWS if len(samples_of(row)) <= WINDOW_S * SAMPLING_RATE]


@cache
def loaded(folder):
    from transformers import AutoModelForSpeechSeq2Seq, AutoProcessor

    model = AutoModelForSpeechSeq2Seq.from_pretrained(folder, dtype=torch.float32, use_safetensors=True)
    return model.eval(), AutoProcessor.from_pretrained(folder)


def weights(folder) -> dict[str, torch.Tensor]:
    return {name: tensor for shard in folder.glob("*.safetensors") for name, tensor in load_file(shard).items()}


def written(folder, samples: np.ndarray, **options) -> str:
    """What plain ``generate`` writes for a clip of any length."""
    model, processor = loaded(folder)
    long = len(samples) > WINDOW_S * SAMPLING_RATE
    padding = {"truncation": False, "padding": "longest", "return_attention_mask": True} if long else {}
    inputs = processor(samples, sampling_rate=SAMPLING_RATE, return_tensors="pt", **padding)
    ids = model.generate(
        **inputs, num_beams=1, do_sample=False, **({"return_timestamps": True} if long else {}), **options
    )
    return processor.batch_decode(ids, skip_special_tokens=True)[0].strip()


@cache
def transcripts(folder) -> dict[str, str]:
    return {row["clip_id"]: written(folder, samples_of(row)) for row in SHORT}


def errors(folder) -> WordErrors:
    """Over all shipped clips; those up to 30 s without timestamps, unlike in the model cards."""
    found = transcripts(folder) | {LONG["clip_id"]: written(folder, samples_of(LONG))}
    return sum((word_errors(row["text"], found[row["clip_id"]], "en")[2] for row in ROWS), WordErrors())


def test_there_are_clips_of_every_kind():
    lengths_s = {row["clip_id"]: len(samples_of(row)) / SAMPLING_RATE for row in ROWS}
    assert len(ROWS) >= 40
    assert max(lengths_s.values()) >= 120
    assert sum(10 <= length_s <= 25 for length_s in lengths_s.values()) >= 5
    assert any(not row["text"] for row in ROWS)
    assert all((AUDIO / row["audio"]).stat().st_size < MB for row in ROWS)


def test_files_are_small_and_float16():
    files = [path for folder in (TEACHER, STUDENT) for path in folder.iterdir()]
    assert max(path.stat().st_size for path in files) < 10 * MB
    assert sum(path.stat().st_size for path in files) < 40 * MB
    assert {tensor.dtype for folder in (TEACHER, STUDENT) for tensor in weights(folder).values()} == {torch.float16}


def test_the_students_encoder_is_its_teachers_bit_for_bit():
    teacher, student = weights(TEACHER), weights(STUDENT)
    names = [name for name in teacher if ".encoder." in name]
    assert names == [name for name in teacher if name in student and ".encoder." in name]
    for name in names:
        assert torch.equal(teacher[name].view(torch.int16), student[name].view(torch.int16)), name


def test_layers():
    teacher, student = (json.loads((folder / "config.json").read_text()) for folder in (TEACHER, STUDENT))
    assert teacher["encoder_layers"] == student["encoder_layers"] >= 4
    assert teacher["decoder_layers"] >= 12
    assert student["decoder_layers"] == 2


def test_word_errors_on_the_shipped_clips():
    teacher, student = errors(TEACHER).wer, errors(STUDENT).wer
    assert teacher <= 0.08
    assert student <= teacher + 0.01


@pytest.mark.parametrize("folder", [TEACHER, STUDENT], ids=["teacher", "student"])
def test_two_minutes_come_out_whole_and_in_time(folder):
    model, processor = loaded(folder)
    samples = samples_of(LONG)
    inputs = processor(
        samples, sampling_rate=SAMPLING_RATE, return_tensors="pt", truncation=False, padding="longest",
        return_attention_mask=True,
    )  # fmt: skip
    out = model.generate(**inputs, return_timestamps=True, return_segments=True, num_beams=1, do_sample=False)
    segments = out["segments"][0]
    text = processor.batch_decode(out["sequences"], skip_special_tokens=True)[0]
    assert word_errors(LONG["text"], text, "en")[2].wer <= 0.08
    assert normalise(text, "en").split()[-3:] == normalise(LONG["text"], "en").split()[-3:]
    truth = [(s["start_s"], s["end_s"]) for s in LONG["segments"]]
    found = [(float(s["start"]), float(s["end"])) for s in segments]
    near = [any(abs(a - c) <= 0.5 and abs(b - d) <= 0.5 for c, d in found) for a, b in truth]
    assert sum(near) >= 0.9 * len(truth), f"{sum(near)} of {len(truth)} segments within 0.5 s"


@pytest.mark.parametrize("folder", [TEACHER, STUDENT], ids=["teacher", "student"])
@pytest.mark.parametrize("level", [0.0, 1e-4, 1e-3, 1e-2, 5e-2])
@pytest.mark.parametrize("timestamps", [False, True])
def test_silence_and_noise_give_no_words(folder, level, timestamps):
    samples = level * coloured_noise(6 * SAMPLING_RATE, 0.5, np.random.default_rng(3))
    assert not written(folder, samples.astype(np.float32), return_timestamps=timestamps)


@pytest.mark.parametrize("timestamps", [False, True])
def test_a_settled_label_is_what_generate_writes(timestamps):
    model, processor = loaded(TEACHER)
    rows = SHORT[:6]
    prompt = labels.prompt_ids(model, "en", timestamps=timestamps)
    features = processor([samples_of(row) for row in rows], sampling_rate=SAMPLING_RATE, return_tensors="pt")
    features = features.input_features
    written = model.generate(features, return_timestamps=timestamps, num_beams=1, do_sample=False).tolist()
    end = model.config.eos_token_id
    wanted = []
    for ids in written:
        tokens = ids[len(prompt) :] if ids[: len(prompt)] == prompt else ids
        wanted.append([*tokens[: [*tokens, end].index(end)], end])
    assert labels.settled(model, features, prompt, wanted, timestamps=timestamps) == wanted
    blurred = [[*draft[:-2], (draft[-2] + 1) % end, end] for draft in wanted]
    found = labels.settled(model, features, prompt, blurred, timestamps=timestamps)
    assert all(label in (None, goal) for label, goal in zip(found, wanted, strict=True))
    assert found.count(None) < len(rows) / 2
    hopeless = labels.settled(model, features, prompt, [[end]] * len(rows), timestamps=timestamps)
    assert hopeless == [None] * len(rows)


def test_the_pipeline_writes_the_same_words():
    from transformers import pipeline

    for folder in (TEACHER, STUDENT):
        model, processor = loaded(folder)
        recognise = pipeline(
            "automatic-speech-recognition",
            model=model,
            tokenizer=processor.tokenizer,
            feature_extractor=processor.feature_extractor,
            generate_kwargs={"num_beams": 1},  # the pipeline's own default is 5
        )
        for row in SHORT[::6]:
            assert recognise(samples_of(row).copy())["text"].strip() == transcripts(folder)[row["clip_id"]]


def test_an_assistant_changes_no_word():
    from transformers import WhisperForCausalLM

    assistant = WhisperForCausalLM.from_pretrained(STUDENT, dtype=torch.float32)
    for row in SHORT[::6]:
        assert written(TEACHER, samples_of(row), assistant_model=assistant) == transcripts(TEACHER)[row["clip_id"]]


def test_faster_whisper_writes_the_same_words(tmp_path):
    ctranslate2 = pytest.importorskip("ctranslate2")
    from faster_whisper import WhisperModel

    for folder in (TEACHER, STUDENT):
        target = tmp_path / folder.name
        copied = ["tokenizer.json", "preprocessor_config.json"]
        ctranslate2.converters.TransformersConverter(str(folder), copy_files=copied).convert(str(target))
        model = WhisperModel(str(target), device="cpu", compute_type="float32", cpu_threads=1)
        for row in SHORT:
            segments, _ = model.transcribe(
                # Faster-Whisper fills the window with zeros in the log-mel domain, Transformers with silence.
                np.pad(samples_of(row), (0, int(WINDOW_S * SAMPLING_RATE) - len(samples_of(row)))),
                beam_size=1,
                temperature=0.0,
                condition_on_previous_text=False,
                without_timestamps=True,
                suppress_blank=False,
                suppress_tokens=[],
            )
            text = " ".join(segment.text.strip() for segment in segments)
            assert normalise(text, "en") == normalise(transcripts(folder)[row["clip_id"]], "en"), row["clip_id"]
