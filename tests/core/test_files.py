"""Files of rows, and manifests."""

from __future__ import annotations

import json

import pytest

from components.core.errors import ManifestError
from components.core.files import read_rows, to_line
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
