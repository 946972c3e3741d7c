"""The whole recipe in small: a minute of speech, a few steps; and what each of its parts promises."""

from __future__ import annotations

import json
import random
import shutil
import subprocess
import sys
from collections import Counter
from dataclasses import replace
from typing import TYPE_CHECKING

import numpy as np
import pytest
import soundfile
import torch

from components.distillation import corpus, distill, language, voices
from components.distillation.alignment import align, letter_frames
from components.distillation.encoded import EncodedBatches
from components.distillation.examples import texts
from components.distillation.export import export
from components.distillation.labels import draw_window, features_of
from components.distillation.teacher import (
    Listener,
    encode,
    grow,
    load_teacher,
    new_listener,
    straying,
    train_teacher,
    trained_teacher,
    with_steps,
)
from components.distillation.tokenizer import train_tokenizer
from components.distillation.training import Stage, run_stage
from components.distillation.windows import (
    ALPHABET,
    IGNORED,
    Batches,
    Segment,
    Utterance,
    Window,
    collate,
    full_window,
    load_utterances,
    short_windows,
    target_tokens,
    window_features,
)

if TYPE_CHECKING:
    from collections.abc import Iterator
    from pathlib import Path

missing = [tool for tool in ("espeak-ng", "flite", "festival") if not shutil.which(tool)]
needs_synthesizers = pytest.mark.skipif(bool(missing), reason=f"{', '.join(missing)} not installed")


LISTEN = Stage("listen", 6, size=2, most=1, layers=0, ctc=1.0, ce=0.0, learning_rate=1e-3, warmup=2, decay=3)


@pytest.fixture(scope="module")
def tokenizer():
    return train_tokenizer(language.sentences("train", random.Random(0), 500))


@pytest.fixture(scope="module")
def extractor():
    from transformers import WhisperFeatureExtractor

    return WhisperFeatureExtractor()


@pytest.fixture(scope="module")
def manifest(tmp_path_factory) -> Iterator[Path]:
    """Of Debian's voices alone: the neural ones are not always there, and Piper reads nothing twice alike."""
    folder = tmp_path_factory.mktemp("corpus")
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(voices, "RECORDED", tuple(pair for pair in voices.RECORDED if pair[0] in voices._COMMANDS))
        yield corpus.make_corpus("train", seed=3, count=16, most=3, output=folder, kept_out=texts())


def test_voices_of_the_splits_are_disjoint():
    named = [set(group[split]) for group in (voices.VARIANTS, voices.FLITE) for split in ("train", "dev", "test")]
    for group in (named[:3], named[3:]):
        assert sum(map(len, group)) == len(set().union(*group))


def test_a_sentence_belongs_to_one_split_whatever_the_seed():
    drawn = {split: set(language.sentences(split, random.Random(9), 400)) for split in ("train", "dev", "test")}
    assert not drawn["train"] & drawn["test"]
    assert not drawn["train"] & drawn["dev"]
    assert all(language.split_of(sentence) == split for split, found in drawn.items() for sentence in found)


def test_training_shares_no_five_words_in_a_row_with_a_shipped_clip():
    shipped = set().union(*map(language.five_grams, texts()))
    assert shipped
    for sentence in language.sentences("train", random.Random(5), 5000, kept_out=texts()):
        assert not language.five_grams(sentence) & shipped, sentence


def test_shipped_sentences_stay_within_the_declared_words():
    spoken = {word for text in texts() for word in language.plain(text).split()}
    known = {w for words in language.WORDS.values() for phrase in words for w in phrase.split()}
    known |= {f"{word}s" for slot in ("object", "animal") for word in language.WORDS[slot]}
    known |= set(language.plain(" ".join(language.FORMS)).split())
    assert spoken <= {language.plain(word) for word in known}


@pytest.mark.parametrize(("synthesizer", "name"), [("piper", voices.PIPER), ("hibari", voices.HIBARI)])
def test_a_neural_voice_speaks_and_minds_its_settings(synthesizer, name):
    pytest.importorskip(synthesizer)
    text = "Maria found the old camera after lunch."
    slow, fast = (
        voices.speak(text, voices.Voice(synthesizer, name, speed=speed, pitch=50, stretch=stretch))
        for speed, stretch in ((0.8, 0.8), (1.25, 1.25))
    )
    assert slow.dtype == np.float32
    assert 1 < len(fast) / 16_000 < len(slow) / 16_000 < 6
    assert np.abs(slow).max() == pytest.approx(0.5)


def test_a_synthesizer_that_is_not_there_is_named_with_where_it_comes_from(monkeypatch):
    monkeypatch.setenv("PATH", "")
    monkeypatch.setitem(sys.modules, "hibari", None)
    voices._hibari_reader.cache_clear()
    for synthesizer, name, source in (("flite", "slt", "apt-get install flite"), ("hibari", "heart", "pip install")):
        with pytest.raises(RuntimeError, match=f"{synthesizer} is not installed: {source}"):
            voices.speak("Maria", voices.Voice(synthesizer, name, speed=1, pitch=50))


@needs_synthesizers
def test_a_corpus_that_was_interrupted_comes_out_the_same(manifest, tmp_path):
    whole = manifest.read_text()
    rows = [json.loads(line) for line in whole.splitlines()]
    assert len({row["voice"] for row in rows}) > 5
    assert {len(row["segments"]) for row in rows} == {1, 2, 3}
    kept = [manifest.parent / row["audio"] for row in rows[:10]]
    for path in (*kept, *(path.with_suffix(".json") for path in kept), manifest.parent / "corpus.json"):
        shutil.copy(path, tmp_path)
    again = corpus.make_corpus("train", seed=3, count=16, most=3, output=tmp_path, kept_out=texts())
    assert again.read_text() == whole
    for row in rows:
        assert (tmp_path / row["audio"]).read_bytes() == (manifest.parent / row["audio"]).read_bytes()
    with pytest.raises(FileExistsError, match="other settings"):
        corpus.make_corpus("train", seed=4, count=16, most=3, output=tmp_path)


@needs_synthesizers
def test_sentences_stand_where_the_manifest_says(tmp_path):
    rng = random.Random(1)
    voice = voices.draw_voice("test", rng)
    samples, spoken = corpus.speak_in_turn(["It was sunny.", "Our friend comes home."], voice, [0.5, 0.7, 0.4])
    loud = np.abs(samples) > 0.02
    for sentence in spoken:
        assert loud[int(sentence.start_s * 16000) : int(sentence.end_s * 16000)].any()
    between = slice(int(spoken[0].end_s * 16000) + 10, int(spoken[1].start_s * 16000) - 10)
    assert not loud[between].any()
    assert spoken[1].start_s - spoken[0].end_s == pytest.approx(0.7, abs=0.01)


def test_targets_are_whispers(tokenizer):
    def times(*seconds: float) -> list[int]:
        return tokenizer.convert_tokens_to_ids([f"<|{s:.2f}|>" for s in seconds])

    window = Window(np.zeros(16000, np.float32), (Segment(0.5, 2.0, "It was sunny."),), cut_s=2.4)
    start, end = tokenizer.convert_tokens_to_ids(["<|startoftranscript|>", "<|endoftext|>"])
    ids, heard_s = target_tokens(window, tokenizer, timestamps=True)
    assert ids[:2] == [start, *times(0.5)]
    assert ids[-3:] == [*times(2.0, 2.4), end]
    assert tokenizer.decode(ids, skip_special_tokens=True) == " It was sunny."
    assert heard_s[1:-1] == sorted(heard_s[1:-1])
    assert (heard_s[1], heard_s[-3], heard_s[-2]) == (0.5, 2.0, 2.4)
    assert np.isnan([heard_s[0], heard_s[-1]]).all()
    later, later_heard_s = target_tokens(window, tokenizer, timestamps=True, offset_s=10.0)
    assert later[1:2] + later[-3:-1] == times(10.5, 12.0, 12.4)
    assert later_heard_s[1:-1] == heard_s[1:-1]  # from the window's start, not from where it stands
    silent = Window(np.zeros(16000, np.float32), ())
    assert target_tokens(silent, tokenizer, timestamps=True)[0] == [start, *times(0.0), end]
    assert target_tokens(silent, tokenizer, timestamps=False)[0][2:] == [end]


def test_letters_are_aligned_where_they_are_spelled(tokenizer, extractor):
    text = "Too loose."
    letters = [ALPHABET.index(c) + 1 for c in "too loose"]
    heard = [3, 5, 8, 9, 14, 15, 17, 20, 21]  # frames; a blank between doubled letters, some letters held
    held = {3: 2, 9: 4}
    log_probs = torch.full((1, 25, len(ALPHABET) + 1), -9.0)
    spelled = {
        frame + k: letter for letter, frame in zip(letters, heard, strict=True) for k in range(held.get(frame, 1))
    }
    for frame in range(25):
        log_probs[0, frame, spelled.get(frame, 0)] = -0.1
    found = letter_frames(log_probs, [letters])
    assert found[0].tolist() == [3.5, 5, 8, 10.5, 14, 15, 17, 20, 21]
    assert np.isnan(letter_frames(log_probs[:, :8], [letters])[0]).all()  # nine letters do not fit
    together = letter_frames(log_probs.repeat(2, 1, 1), [letters, letters[:2]])  # a short one beside it
    assert together[0].tolist() == found[0].tolist()
    assert together[1].tolist() == letter_frames(log_probs, [letters[:2]])[0].tolist()

    said = Utterance(np.zeros(25 * 320, np.int16), (Segment(0.05, 0.45, text),))
    (segment,) = align(lambda features: log_probs, [said], extractor)[0].segments
    assert len(segment.letters_s) == len(text)
    assert segment.letters_s[:2] == (0.08, 0.11)
    assert segment.letters_s[-1] == segment.letters_s[-2] == 0.43  # the full stop is not spelled
    twice = Utterance(np.zeros(50 * 320, np.int16), (segment, segment.later(0.5)._replace(letters_s=None)))
    first, second = align(lambda features: log_probs.expand(len(features), -1, -1), [twice], extractor)[0].segments
    assert first.letters_s == segment.letters_s
    assert second.letters_s == pytest.approx([0.5 + s for s in segment.letters_s])
    window = Window(np.zeros(16000, np.float32), (segment.later(2.0),))
    _, heard_s = target_tokens(window, tokenizer, timestamps=False)
    assert heard_s[2] == pytest.approx(2.08, abs=0.05)
    assert 2.4 < heard_s[-2] < 2.45


def test_attention_strays_unless_a_head_listens_where_tokens_are_heard():
    places = torch.tensor([[torch.nan, 0.2, 4.0]])
    there = torch.zeros(1, 2, 3, 300)
    there[0, 0, 1, 10] = there[0, 0, 2, 200] = 1.0  # frames of 20 ms; the other head looks elsewhere
    there[0, 1, :, 299] = there[0, 0, 0, 299] = 1.0
    assert straying([there], places, 0.5) == 0
    even = torch.full((1, 2, 3, 300), 1 / 300)
    near = torch.tensor([2 * 36 / 300, 2 * 51 / 300])  # 0.5 s at either side, cut off by the window's start
    assert straying([even, there], places, 0.5).item() == pytest.approx(-near.log().mean().item() / 2)
    assert straying([even], torch.full((1, 3), torch.nan), 0.5) == 0


def test_batches_follow_from_the_step_alone(tokenizer, extractor):
    noise = np.random.default_rng(0)
    clips = [
        Utterance((noise.normal(size=16000 * k) * 3000).astype(np.int16), (Segment(0.1, 0.9 * k, "It was sunny."),))
        for k in (1, 2)
    ]
    mixed = replace(LISTEN, steps=6, size=3, most=2, full=1.0, shifted=0.5, timed=True)
    for stage in (LISTEN, mixed):
        first, second = (Batches(clips, tokenizer, extractor, seed="s", stage=stage) for _ in range(2))
        for step in (0, 5, 2):
            a, b = first(step), second(step)
            assert torch.equal(a.features, b.features)
            assert torch.equal(a.labels, b.labels)


def test_full_windows_keep_whole_sentences_and_say_what_they_cut():
    clips = [Utterance(np.full(16000 * 4, 2000, np.int16), (Segment(0.0, 4.0, "It was sunny."),))]
    windows = [full_window(clips, random.Random(k)) for k in range(40)]
    assert all(len(window.samples) == 30 * 16000 for window in windows)
    assert any(window.cut_s is not None for window in windows)
    assert any(not window.segments for window in windows)
    for window in windows:
        assert all(0 <= start < end <= 30 for start, end, *_ in window.segments)


def test_windows_are_cut_from_long_clips_between_sentences(tmp_path):
    said = [Segment(0.5 + 4 * k, 3.5 + 4 * k, f"Sentence {k}.") for k in range(9)]
    samples = np.concatenate([np.full(4 * 16000, k, np.int16) for k in range(9)])
    samples[: 9 * 16000 * 4 : 64000] = 99  # the start of each sentence's four seconds
    soundfile.write(tmp_path / "clip.wav", samples, 16000)
    row = {"audio": "clip.wav", "segments": [s._asdict() for s in said]}
    (tmp_path / "manifest.jsonl").write_text(json.dumps(row))
    (clip,) = load_utterances([tmp_path / "manifest.jsonl"])
    assert clip.segments == tuple(said[:7])  # those that a window of 30 s holds
    assert len(clip.samples) == 28 * 16000
    part = clip.part(2, 4)
    assert [s.text for s in part.segments] == ["Sentence 2.", "Sentence 3."]
    assert [(s.start_s, s.end_s) for s in part.segments] == [(0.5, 3.5), (4.5, 7.5)]
    assert np.array_equal(part.samples, samples[8 * 16000 : 16 * 16000])
    for window in short_windows([clip], random.Random(1), 20, 3):
        first = int(window.text.split()[1].rstrip("."))
        expected = [f"Sentence {k}." for k in range(first, first + len(window.segments))]
        assert [s.text for s in window.segments] == expected
    assert {len(w.segments) for w in short_windows([clip], random.Random(1), 20, 3)} == {1, 2, 3}


def test_encoder_on_a_full_window_is_transformers_own(tokenizer):
    model = new_listener(tokenizer, seed=1).model.float().eval()
    features = torch.randn(1, 80, 3000)
    with torch.no_grad():
        torch.testing.assert_close(
            encode(model.get_encoder(), features), model.get_encoder()(features).last_hidden_state
        )


def test_growing_changes_no_output(tokenizer):
    model = new_listener(tokenizer, seed=1).model.float().eval()
    inputs = {"input_features": torch.randn(1, 80, 3000), "decoder_input_ids": torch.tensor([[449, 456, 40, 41]])}
    with torch.no_grad():
        before = model(**inputs).logits
        grow(model, 5)
        torch.testing.assert_close(model(**inputs).logits, before)
    assert len(model.model.decoder.layers) == model.config.decoder_layers == 5


@needs_synthesizers
def test_the_whole_recipe_in_small(manifest, tokenizer, tmp_path):
    utterances = load_utterances([manifest])
    short = {"size": 4, "most": 1, "learning_rate": 1e-3, "warmup": 2}
    stages = (
        Stage("listen", 12, layers=0, ctc=1.0, ce=0.0, **short),
        Stage("read", 6, layers=2, ctc=0.3, ce=1.0, **short),
        Stage("grow", 2, layers=4, ctc=0.3, ce=1.0, **short),
        Stage(
            "shrink",
            3,
            layers=3,
            ctc=0.0,
            ce=1.0,
            guided=0.5,
            shifted=1.0,
            continued=True,
            frozen_encoder=True,
            timed=True,
            aligned=True,
            **short,
        ),
        Stage("reread", 3, layers=3, ctc=0.0, ce=1.0, guided=0.5, frozen_encoder=True, timed=True, encoded=6, **short),
    )
    heard = train_teacher([manifest], tokenizer, tmp_path / "teacher", stages=stages[:3]).model.get_encoder()
    listener = train_teacher([manifest], tokenizer, tmp_path / "teacher", stages=stages)
    assert len(listener.model.model.decoder.layers) == 3
    for before, after in zip(heard.parameters(), listener.model.get_encoder().parameters(), strict=True):
        assert torch.equal(before, after)
    last = json.loads((tmp_path / "teacher" / "shrink.log.jsonl").read_text().splitlines()[-1])
    assert {"ce", "guided"} <= last.keys()
    kept = trained_teacher(tmp_path / "teacher", tokenizer)
    for saved, ours in zip(kept.parameters(), listener.model.parameters(), strict=True):
        assert torch.equal(saved.to(ours.dtype), ours)
    log = [json.loads(line) for line in (tmp_path / "teacher" / "listen.log.jsonl").read_text().splitlines()]
    batch = Batches(utterances, tokenizer, extractor_of(), seed="x", stage=stages[1])(0)
    fresh = new_listener(tokenizer, seed=1).losses(batch, stages[1])
    trained = listener.losses(batch, stages[1])
    assert trained["ctc"] < fresh["ctc"]
    assert trained["ce"] < fresh["ce"]
    assert log[-1]["step"] == 12

    export(listener.model.float(), tokenizer, tmp_path / "export", "a card")
    further = (
        Stage("further", 6, layers=2, ctc=0.3, ce=1.0, **short),
        Stage("regrow", 1, layers=3, ctc=0, ce=1, **short),
    )
    start = {"stages": further, "start": str(tmp_path / "export")}
    more = train_teacher([manifest], tokenizer, tmp_path / "more", **start)
    assert more.losses(batch, stages[1])["ce"] < trained["ce"]
    kept = trained_teacher(tmp_path / "more", tokenizer)
    for saved, ours in zip(kept.parameters(), more.model.parameters(), strict=True):
        assert torch.equal(saved.to(ours.dtype), ours)
    with pytest.raises(FileExistsError, match="other settings or inputs"):
        train_teacher([manifest], tokenizer, tmp_path / "more", stages=further)
    teacher, processor = load_teacher(str(tmp_path / "export"))
    stage = Stage("distil", 3, size=2, most=0, layers=2, ctc=0, ce=1, learning_rate=1e-3, warmup=1)
    student = distill.distil(
        teacher, processor, utterances, tmp_path / "student", count=4, stage=stage, threshold=float("inf")
    )
    assert student.config.decoder_layers == 2
    for ours, theirs in zip(student.get_encoder().parameters(), teacher.get_encoder().parameters(), strict=True):
        assert torch.equal(ours, theirs)
    with pytest.raises(FileExistsError, match="other settings"):
        distill.distil(teacher, processor, utterances, tmp_path / "student", seed=2, count=4, stage=stage)
    with pytest.raises(FileExistsError, match="a stage read of other settings"):
        train_teacher([manifest], tokenizer, tmp_path / "teacher", stages=with_steps(stages, {"read": 7}))
    with pytest.raises(ValueError, match="Choose from: listen, read, grow, shrink, reread"):
        with_steps(stages, {"raed": 7})
    started = distill.shrink(teacher)
    moved = [not torch.equal(a, b) for a, b in zip(student.parameters(), started.parameters(), strict=True)]
    assert any(moved)


@needs_synthesizers
def test_a_lesson_is_heard_otherwise_than_it_was_labelled_but_always_alike(manifest, tokenizer):
    from transformers import WhisperProcessor

    teacher = new_listener(tokenizer, seed=1).model.float()
    processor = WhisperProcessor(extractor_of(), tokenizer)
    utterances = load_utterances([manifest])
    row = {"window": 3, "prompt": [1, 2], "tokens": [3, 4]}
    lesson, again = (distill.Lessons(teacher, processor, utterances, seed=1, warped=1.0)(row) for _ in range(2))
    assert torch.equal(lesson.hidden, again.hidden)
    plain = encode(teacher.get_encoder(), features_of([draw_window(utterances, 1, 3)], processor, torch.float32))[0]
    assert lesson.hidden.shape == plain.shape
    assert not torch.allclose(lesson.hidden, plain, atol=1e-3)


def extractor_of():
    from transformers import WhisperFeatureExtractor

    return WhisperFeatureExtractor()


def test_a_student_starts_as_the_chosen_layers_of_its_teacher(tokenizer):
    model = new_listener(tokenizer, seed=1).model.float()
    grow(model, 7)
    student = distill.shrink(model, 3)
    assert student.config.decoder_layers == 3
    for ours, k in zip(student.model.decoder.layers, (0, 3, 6), strict=True):
        theirs = model.model.decoder.layers[k].state_dict()
        assert all(torch.equal(tensor, theirs[name]) for name, tensor in ours.state_dict().items())
    assert len(model.model.decoder.layers) == 7
    assert not torch.equal(student.model.decoder.layers[2].fc1.weight, model.model.decoder.layers[5].fc1.weight)
    with pytest.raises(ValueError, match="2 to 7"):
        distill.shrink(model, 8)


def test_resumed_training_gives_the_same_weights(tokenizer, tmp_path):
    noise = np.random.default_rng(0)
    clips = [Utterance((noise.normal(size=24000) * 3000).astype(np.int16), (Segment(0.1, 1.2, "It was sunny."),))]

    def train(path: Path, *, stop_at: int | None = None) -> Listener:
        listener = new_listener(tokenizer, seed=1)
        listener.model.model.decoder.requires_grad_(False)
        batches = Batches(clips, tokenizer, extractor_of(), seed="s", stage=LISTEN)

        def loss_of(step: int) -> dict[str, torch.Tensor]:
            if step == stop_at:
                raise KeyboardInterrupt
            return listener.losses(batches(step), LISTEN)

        run_stage(LISTEN, listener, loss_of, path, save_every=2)
        return listener

    whole = train(tmp_path / "whole.pt")
    with pytest.raises(KeyboardInterrupt):
        train(tmp_path / "resumed.pt", stop_at=5)
    resumed = train(tmp_path / "resumed.pt")
    assert all(torch.equal(a, b) for a, b in zip(whole.parameters(), resumed.parameters(), strict=True))
    losses = [json.loads(line) for line in (tmp_path / "whole.log.jsonl").read_text().splitlines()]
    assert losses[-1]["step"] == 6


def test_labels_ignore_prompt_and_padding(tokenizer, extractor):
    windows = [Window(np.zeros(16000, np.float32), (Segment(0.1, 0.9, text),)) for text in ("It was sunny.", "No.")]
    batch = collate(windows, window_features(windows, extractor, random.Random(0)), [True, False], tokenizer)
    assert batch.labels[0, 0] != IGNORED  # a timestamp is written, not given
    assert batch.labels[1, 0] == IGNORED  # <|notimestamps|> is given
    assert batch.labels[1, -1] == IGNORED
    kept = batch.labels[1][batch.labels[1] != IGNORED]
    assert tokenizer.decode(kept, skip_special_tokens=True) == " No."


def test_encoded_windows_are_each_seen_once_an_epoch_and_heard_as_by_the_encoder(tokenizer, extractor):
    tone = (1000 * np.sin(np.arange(16000) / 20)).astype(np.int16)
    words = "one two three four five six".split()
    utterances = [Utterance(tone[: 8000 + 999 * k], (Segment(0.1, 0.5, word),)) for k, word in enumerate(words)]
    listener = new_listener(tokenizer, seed=1)
    stage = Stage("s", 9, size=2, most=1, layers=2, ctc=0, ce=1, learning_rate=1e-3, frozen_encoder=True, encoded=6)
    heard = []

    def listen(features: torch.Tensor) -> torch.Tensor:
        heard.extend(features)
        return listener.listen(features)

    batches = EncodedBatches(utterances, tokenizer, extractor, seed="s", stage=stage, listen=listen)
    assert len(heard) == 6
    for first in (0, 3):
        epoch = [batches(first + k) for k in range(3)]
        assert Counter(text for batch in epoch for text in batch.texts) == Counter(w.text for w in batches.windows)
    batch = batches(1)
    assert torch.equal(batch.labels, batches(1).labels)
    assert batch.encoded
    with torch.no_grad():
        whole = listener.listen(torch.stack(heard))
    places = [k for k, window in enumerate(batches.windows) for text in batch.texts if window.text == text]
    assert all(any(torch.allclose(row, whole[k], atol=0.05) for k in places) for row in batch.features)
    assert torch.isfinite(listener.losses(batch, stage)["ce"])


def test_help_imports_nothing_heavy():
    code = "import sys, components.distillation.__main__ as m; m.parser(); print('torch' in sys.modules)"
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert done.stdout.strip() == "False"
