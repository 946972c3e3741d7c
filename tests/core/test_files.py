"""Files of rows, and manifests."""

from __future__ import annotations

import json

import pytest

from components.core.errors import ManifestError
from components.core.files import read_manifest, read_rows, to_line
from components.core.types import LaneFailure, RowsHeader
from tests.core.test_types import MACHINE, lane_run, timing

HEADER = RowsHeader(pair="base", checkpoints={"whisper": "openai/whisper-base"}, settings={}, machine=MACHINE)
RUN = lane_run("whisper", timing())


def _file_of_rows(path, *rows, torn=""):
    path.write_text("".join(to_line(row) for row in (HEADER, *rows)) + torn)
    return path


def test_a_file_of_rows_is_read_back(tmp_path):
    failure = LaneFailure(clip_id="clip", lane_id="distil", message="It failed.")
    header, rows = read_rows(_file_of_rows(tmp_path / "runs.jsonl", RUN, failure))
    assert list(rows) == [RUN, failure]
    assert header == HEADER
    assert header.all_machines == (MACHINE,)


def test_a_header_of_a_single_machine_is_as_before():
    assert list(json.loads(to_line(HEADER))) == ["format", "pair", "checkpoints", "settings", "machine"]
    assert to_line(HEADER).startswith('{"format": "whisper-vs-distil-whisper/1"')


def test_a_torn_last_line_is_left_out(tmp_path):
    for torn in (to_line(RUN)[:-30], to_line(RUN)[:-1]):
        _, rows = read_rows(_file_of_rows(tmp_path / "runs.jsonl", RUN, torn=torn))
        assert len(list(rows)) == 1


def test_what_is_not_a_file_of_rows_is_refused(tmp_path):
    path = tmp_path / "runs.jsonl"
    headless = json.dumps({"format": HEADER.format, "pair": "base"}) + "\n"
    for text, word in (
        ("", "header"),
        ('{"a": 1}\n', "header"),
        ("[1]\n", "object"),
        ("?\n", "JSON"),
        (headless, "header"),
    ):
        path.write_text(text)
        with pytest.raises(ManifestError, match=word):
            read_rows(path)
    with pytest.raises(ManifestError, match="not there"):
        read_rows(tmp_path / "none.jsonl")
    _, rows = read_rows(_file_of_rows(path, {"clip_id": "clip"}))
    with pytest.raises(ManifestError, match="not complete"):
        list(rows)


def _manifest(tmp_path, *lines):
    path = tmp_path / "manifest.jsonl"
    path.write_text("\n".join(line if isinstance(line, str) else json.dumps(line) for line in lines))
    return path


def test_a_manifest_is_read(tmp_path):
    path = _manifest(
        tmp_path,
        {"clip_id": "a", "audio": "a.ogg", "text": "Hello.", "voice": "extra"},
        "",
        {"clip_id": "b", "audio": "/else/b.ogg", "text": "", "language": "de"},
        {"clip_id": "c", "audio": "c.ogg"},
    )
    rows = list(read_manifest(path))
    assert [(row.clip_id, row.text) for row in rows] == [("a", "Hello."), ("b", ""), ("c", None)]
    assert [row.language for row in rows] == [None, "de", None]
    assert rows[0].audio == tmp_path / "a.ogg"
    assert str(rows[1].audio) == "/else/b.ogg"


@pytest.mark.parametrize(
    ("lines", "sentence"),
    [
        (["not json"], "Line 1 of manifest.jsonl is not JSON"),
        (["[]"], "not a JSON object"),
        ([{"clip_id": "a"}], "needs a clip_id and an audio"),
        ([{"clip_id": 3, "audio": "a"}], "needs a clip_id and an audio"),
        ([{"clip_id": "a", "audio": "a", "text": 5}], "must be text or null"),
        ([{"clip_id": "a", "audio": "a"}, {"clip_id": "a", "audio": "b"}], "Line 2.*repeats the clip id 'a'"),
        ([{"clip_id": "a", "audio": "a", "language": 5}], "language must be"),
        ([""], "lists no clips"),
    ],
)
def test_a_wrong_manifest_says_what_is_wrong(tmp_path, lines, sentence):
    with pytest.raises(ManifestError, match=sentence):
        list(read_manifest(_manifest(tmp_path, *lines)))


def test_a_manifest_that_cannot_be_read(tmp_path):
    with pytest.raises(ManifestError, match=r"none\.jsonl is not there"):
        list(read_manifest(tmp_path / "none.jsonl"))
    (tmp_path / "binary.jsonl").write_bytes(b"\xff\xfe\x00")
    with pytest.raises(ManifestError, match="UTF-8"):
        list(read_manifest(tmp_path / "binary.jsonl"))
