"""Several clips at a time: the same words, times shared out, memory that runs out."""

from __future__ import annotations

import json
from functools import partial

import numpy as np
import pytest
import soundfile

from components.core.errors import LaneError
from components.core.files import read_rows
from components.core.types import LaneFailure, LaneRun
from tests.runs.voice import spoken


@pytest.fixture
def manifest(tmp_path):
    """Five clips of different lengths, one of them silent, and one that is not there."""
    rows, voice = [], spoken(np.random.default_rng(0))
    for number, seconds in enumerate((1.0, 3.0, 2.0, 4.0)):
        soundfile.write(tmp_path / f"{number}.wav", np.resize(voice, int(16_000 * seconds)), 16_000)
        rows.append({"clip_id": f"clip-{number}", "audio": f"{number}.wav", "text": "one two"})
    soundfile.write(tmp_path / "hush.wav", np.zeros(16_000), 16_000)
    rows.append({"clip_id": "hush", "audio": "hush.wav", "text": ""})
    rows.append({"clip_id": "missing", "audio": "missing.wav", "text": ""})
    path = tmp_path / "manifest.jsonl"
    path.write_text("".join(json.dumps(row) + "\n" for row in rows))
    return path


def rows_of(path):
    return {(row.clip_id, row.lane_id): row for row in read_rows(path)[1]}


def test_words_are_those_of_single_clips(lab, manifest, tmp_path):
    lab.benchmark(manifest, tmp_path / "one.jsonl")
    told = [step.number for step in lab.benchmark_steps(manifest, tmp_path / "four.jsonl", batch_size=4)]
    assert told == [1, 2, 3, 4, 5, 6]
    one, four = rows_of(tmp_path / "one.jsonl"), rows_of(tmp_path / "four.jsonl")
    assert one.keys() == four.keys()
    for key, row in four.items():
        if isinstance(row, LaneFailure):
            assert row == one[key]
            continue
        assert (row.text, row.generated_tokens, row.word_errors) == (
            one[key].text,
            one[key].generated_tokens,
            one[key].word_errors,
        )
    batched = [row for row in four.values() if isinstance(row, LaneRun) and row.clip_id.startswith("clip")]
    assert {row.batch_size for row in batched} == {4}
    assert {row.batch_size for row in one.values() if isinstance(row, LaneRun)} == {1}
    timed = [row for row in batched if row.encoder_time_s and row.lane_id == "whisper"]
    shares = {row.encoder_time_s / row.audio_length_s for row in timed}
    assert max(shares, default=1.0) == pytest.approx(min(shares, default=1.0)), "times are shared out by length"


def test_a_batch_that_does_not_fit_is_halved(lab, manifest, tmp_path, monkeypatch):
    sizes = []
    for lane in lab.default_lanes():
        engine = lab.pool.get(lane)
        monkeypatch.setattr(engine, "transcribe_batch", partial(_two_at_most, engine.transcribe_batch, sizes))
    lab.benchmark(manifest, tmp_path / "runs.jsonl", batch_size=4)
    rows = [row for row in rows_of(tmp_path / "runs.jsonl").values() if row.clip_id.startswith("clip")]
    first, *others = [size for size in sizes if size > 1]  # one clip is a batch, too, to the engine
    assert (first, set(others)) == (4, {2})
    assert {row.batch_size for row in rows} == {2}
    assert any("Memory ran out with 4 clips at a time; 2" in note for row in rows for note in row.notes)


def _two_at_most(transcribe, sizes, clips, *arguments):
    sizes.append(len(clips))
    if len(clips) > 2:
        raise MemoryError
    return transcribe(clips, *arguments)


def test_a_clip_that_fails_does_so_alone(lab, manifest, tmp_path, monkeypatch):
    engine = lab.pool.get(lab.default_lanes()[0])
    for name in ("transcribe", "transcribe_batch"):
        monkeypatch.setattr(engine, name, partial(_not_of_three_seconds, getattr(engine, name)))
    lab.benchmark(manifest, tmp_path / "runs.jsonl", batch_size=4)
    rows = rows_of(tmp_path / "runs.jsonl")
    assert [key for key, row in rows.items() if isinstance(row, LaneFailure) and key[0] != "missing"] == [
        ("clip-1", "whisper")
    ]
    assert rows["clip-0", "whisper"].batch_size == 1


def _not_of_three_seconds(transcribe, clips, *arguments):
    if any(clip.audio_length_s == 3.0 for clip in (clips if isinstance(clips, list) else [clips])):
        raise RuntimeError("no")
    return transcribe(clips, *arguments)


def test_resuming_runs_what_is_missing(lab, manifest, tmp_path):
    output = tmp_path / "runs.jsonl"
    lab.benchmark(manifest, output, batch_size=2)
    whole = rows_of(output)
    lines = output.read_text().splitlines(keepends=True)
    output.write_text("".join(lines[:6]) + lines[6][:20])
    lab.benchmark(manifest, output, batch_size=2, resume=True)
    assert rows_of(output).keys() == whole.keys()
    assert len(output.read_text().splitlines()) == len(lines), "no row stands twice"


def test_a_batch_of_nothing_is_refused(lab, manifest, tmp_path):
    with pytest.raises(LaneError, match="batch size"):
        lab.benchmark(manifest, tmp_path / "runs.jsonl", batch_size=0)


def test_a_clip_is_decoded_in_the_language_that_its_row_names(lab, manifest, tmp_path, monkeypatch):
    first, second, *_ = (json.loads(line) for line in manifest.read_text().splitlines())
    manifest.write_text(json.dumps(first | {"language": "de"}) + "\n" + json.dumps(second) + "\n")
    told = {}
    engine = lab.pool.get(lab.default_lanes()[0])
    monkeypatch.setattr(engine, "transcribe", partial(_noting_language, engine.transcribe, told))
    lab.benchmark(manifest, tmp_path / "runs.jsonl", batch_size=2)
    assert told == {"clip-0": "de", "clip-1": "en"}


def _noting_language(transcribe, told, clip, options, *arguments):
    told[clip.clip_id] = options.language
    return transcribe(clip, options, *arguments)
