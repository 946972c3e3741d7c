"""A file of rows scored again, without a model."""

from __future__ import annotations

import json

import pytest

from components.core.errors import ManifestError, TextError
from components.core.files import read_rows
from components.core.normalizers import MAX_CHARACTERS
from components.runs.__main__ import main
from components.runs.rescore import rescore

HEADER = {
    "format": "whisper-vs-distil-whisper/1",
    "pair": "base",
    "checkpoints": {"whisper": "w", "distil": "d"},
    "settings": {"language": "en", "repeats": 1},
    "machine": {
        "device": "cpu",
        "device_name": "c",
        "platform": "p",
        "python": "3.11",
        "libraries": {},
        "threads": 2,
        "processes": 1,
    },
    "data": "set",
}
ERRORS = {"substitutions": 2, "deletions": 0, "insertions": 2, "reference_words": 2, "wer": 2.0}


def row(clip_id, lane_id, reference, text, **fields):
    return {
        "clip_id": clip_id,
        "lane_id": lane_id,
        "checkpoint": lane_id[0],
        "text": text,
        "segments": [],
        "language": "en",
        "audio_length_s": 2.0,
        "generated_tokens": 9,
        "generation_time_s": 0.5,
        "encoder_time_s": 0.25,
        "decoder_time_s": 0.25,
        "feature_time_s": 0.1,
        "end_to_end_time_s": 0.7,
        "dtype": "float32",
        "attention": "sdpa",
        "runtime": "eager",
        "reference": reference,
        "word_errors": None if reference is None else ERRORS,
        "own": {"kept": [1]},
        **fields,
    }


ROWS = [
    row("a", "whisper", "$0.50 [music]", "fifty cents"),
    row("a", "distil", "$0.50 [music]", "50 cents more"),
    {"clip_id": "b", "lane_id": "whisper", "message": "missing"},
    row("b", "distil", None, "hello"),
    row("c", "whisper", "砸自己的脚", "砸自己的腳。", language="zh"),
    row("c", "distil", "砸自己的脚", "砸自己", language="zh"),
]


@pytest.fixture
def runs(tmp_path):
    path = tmp_path / "runs.jsonl"
    path.write_text("".join(json.dumps(each, ensure_ascii=False) + "\n" for each in [HEADER, *ROWS]), encoding="utf-8")
    return path


def lines(path):
    return [json.loads(line) for line in path.read_text(encoding="utf-8").splitlines()]


SCORED = {"normalized_reference", "normalized_text", "word_errors", "normalizer", "dropped"}


def test_every_row_is_scored_and_all_else_is_kept(runs):
    result = rescore(runs)
    assert (result.normalizer, result.rows, result.refused) == ("ours-2", 4, 0)
    header, *rows = lines(runs)
    assert header == {**HEADER, "settings": {**HEADER["settings"], "normalizer": "ours-2"}}
    for before, after in zip(ROWS, rows, strict=True):
        kept = before.keys() - SCORED
        assert {key: after[key] for key in kept} == {key: before[key] for key in kept}
    assert [each["word_errors"]["wer"] for each in rows if each.get("word_errors")] == [0, 1 / 3, 0, 0.4]
    assert rows[0]["dropped"] == 1
    assert rows[4]["word_errors"]["unit"] == "character"
    assert rows[2:4] == ROWS[2:4]
    assert result.before["whisper"].edits == 8
    assert result.after["whisper"].edits == 0


def test_scoring_again_changes_nothing(runs):
    rescore(runs)
    once = runs.read_bytes()
    rescore(runs)
    assert runs.read_bytes() == once


def test_another_normaliser_into_another_file(runs, tmp_path):
    before = runs.read_bytes()
    output = tmp_path / "again.jsonl"
    rescore(runs, "whisper", output)
    assert runs.read_bytes() == before
    header, rows = read_rows(output)
    assert header.settings["normalizer"] == "whisper-1"
    assert {each.normalizer for each in rows if getattr(each, "word_errors", None)} == {"whisper-1"}
    with pytest.raises(ManifestError, match="already"):
        rescore(runs, "whisper", output)


def test_a_row_that_is_too_long_is_counted(runs):
    with runs.open("a") as file:
        file.write(json.dumps(row("d", "whisper", "a" * (MAX_CHARACTERS + 1), "a")) + "\n")
        file.write('{"torn": ')
    assert rescore(runs).refused == 1
    assert lines(runs)[-1]["word_errors"] is None


@pytest.mark.parametrize("line", ["[]", "nonsense", '{"clip_id": "x"}'])
def test_a_broken_file_stays_as_it_is(runs, line):
    with runs.open("a") as file:
        file.write(line + "\n")
    before = runs.read_bytes()
    with pytest.raises(ManifestError):
        rescore(runs)
    assert runs.read_bytes() == before
    assert [each.name for each in runs.parent.iterdir()] == [runs.name]


def test_an_unknown_normaliser_lists_the_choices(runs):
    with pytest.raises(TextError, match="ours, whisper, none"):
        rescore(runs, "theirs")


def test_the_command_line(runs, capsys):
    assert main(["rescore", str(runs), "--normalizer", "none", "--json"]) == 0
    out = capsys.readouterr().out.splitlines()
    assert out[0].endswith("none-1")
    answer = json.loads(out[-1])
    assert answer["normalizer"] == "none-1"
    assert answer["lanes"]["whisper"]["word_errors"]["wer"] == pytest.approx(4 / 7)
    assert main(["rescore", str(runs.parent / "gone.jsonl")]) == 2
    assert "gone.jsonl" in capsys.readouterr().err
