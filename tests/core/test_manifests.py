"""Manifests as data sets write them."""

from __future__ import annotations

import json
import os

import pytest

from components.core.errors import ManifestError
from components.core.manifests import base_name, composed, read_manifest

LINES = '{"clip_id": "a", "audio": "a.ogg", "text": "Grüße."}\n\n{"clip_id": "b", "audio": "b.ogg"}\n'


def written(tmp_path, content, name="manifest.jsonl"):
    path = tmp_path / name
    path.write_bytes(content if isinstance(content, bytes) else content.encode())
    return path


def of(*rows):
    return "".join((row if isinstance(row, str) else json.dumps(row)) + "\n" for row in rows)


def read(path):
    return [(row.clip_id, row.audio.name, row.text) for row in read_manifest(path) if row.fault is None]


GOOD = {"clip_id": "good", "audio": "good.wav", "text": "x"}


def test_a_manifest_is_read(tmp_path):
    path = written(
        tmp_path,
        of(
            {"clip_id": "a", "audio": "a.ogg", "text": "Hello.", "voice": "extra"},
            "",
            {"clip_id": "b", "audio": "/else/b.ogg", "text": "", "language": "de"},
            {"clip_id": "c", "audio": "c.ogg"},
        ),
    )
    rows = list(read_manifest(path))
    assert [(row.clip_id, row.text) for row in rows] == [("a", "Hello."), ("b", ""), ("c", None)]
    assert [row.language for row in rows] == [None, "de", None]
    assert rows[0].audio == tmp_path / "a.ogg"
    assert str(rows[1].audio) == "/else/b.ogg"


@pytest.mark.parametrize("encoding", ["utf-8", "utf-8-sig", "utf-16", "utf-16-le", "utf-16-be", "utf-32"])
@pytest.mark.parametrize("end", ["\n", "\r\n", "\r"])
def test_encodings_and_line_ends(tmp_path, encoding, end):
    path = written(tmp_path, LINES.replace("\n", end).encode(encoding))
    assert read(path) == [("a", "a.ogg", "Grüße."), ("b", "b.ogg", None)]


@pytest.mark.parametrize(
    ("fields", "right"),
    [
        ({"audio_filepath": "d/x.wav", "text": "a b", "duration": 2.5, "offset": 1.0}, ("x", "x.wav", "a b")),
        ({"file": "x.flac", "sentence": "a b", "id": 7}, ("7", "x.flac", "a b")),
        ({"file_name": "x.flac", "transcription": "a b"}, ("x", "x.flac", "a b")),
        ({"audio": {"path": "x.mp3", "bytes": None}, "transcript": "a b"}, ("x", "x.mp3", "a b")),
        ({"path": "x.mp3", "sentence": "a b", "locale": "de"}, ("x", "x.mp3", "a b")),
        ({"clip_id": 0, "audio": "x.wav", "text": 5}, ("0", "x.wav", "5")),
        ({"clip_id": "e\u0301", "audio": "x.wav", "text": ""}, ("é", "x.wav", "")),
        ({"clip_id": "a\ud800\nb", "audio": "x.wav", "text": None, "sentence": "c"}, ("a? b", "x.wav", "c")),
        ({"audio_id": "v", "audio": "x.ogg", "raw_text": "A b."}, ("v", "x.ogg", "A b.")),
        ({"file_name": "x.wav", "raw_transcription": "A b."}, ("x", "x.wav", "A b.")),
        ({"Audio": "x.wav", "Text": "a b"}, ("x", "x.wav", "a b")),
        ({"audio": "wavs\\x.wav"}, ("x", "wavs\\x.wav", None)),
    ],
)
def test_names_of_fields(tmp_path, fields, right):
    assert read(written(tmp_path, of(fields))) == [right]


def test_a_part_of_a_file(tmp_path):
    rows = [{"audio_filepath": "x.wav", "offset": start, "duration": 2, "text": "a"} for start in (0, 2, 4.5)]
    found = list(read_manifest(written(tmp_path, of(*rows))))
    assert [(row.clip_id, row.offset_s, row.duration_s) for row in found] == [
        ("x", 0, 2),
        ("x-2", 2, 2),
        ("x-3", 4.5, 2),
    ]


def test_files_of_one_name_in_several_folders(tmp_path):
    rows = [{"audio": f"{folder}/1.wav"} for folder in ("a", "b", "c\\d")]
    assert [row[0] for row in read(written(tmp_path, of(*rows)))] == ["1", "b/1", "d/1"]


@pytest.mark.parametrize(
    ("name", "text"),
    [
        ("m.csv", "clip_id,audio,text\na,a.ogg,Grüße.\nb,b.ogg,\n"),
        ("m.csv", '\ufefffile;sentence;id\r\na.ogg;"Grüße.";a\r\nb.ogg;;b\r\n'),
        ("m.tsv", "client\tpath\tsentence\n1\ta.ogg\tGrüße.\n1\tb.ogg\t\n"),
        ("m.json", json.dumps([{"audio": "a.ogg", "text": "Grüße."}, {"audio": "b.ogg", "text": ""}], indent=1)),
        ("m.json", json.dumps([{"audio": "a.ogg", "text": "Grüße."}, {"audio": "b.ogg", "text": ""}])),
        ("metadata.csv", "a|Gr.|Grüße.\nb||\n"),
    ],
)
def test_tables_and_lists(tmp_path, name, text):
    found = read(written(tmp_path, text, name))
    right = [("a", "a", "Grüße."), ("b", "b", "")]
    assert [(clip_id, audio.partition(".")[0], said) for clip_id, audio, said in found] == right


def test_quotes_in_lj_speech(tmp_path):
    text = 'LJ001-0001|"Oh, 5|"Oh, five\nLJ001-0002|he said, "no|he said, "no\n'
    found = list(read_manifest(written(tmp_path, text, "metadata.csv")))
    assert [row.text for row in found] == ['"Oh, five', 'he said, "no']
    assert found[0].audio == tmp_path / "wavs" / "LJ001-0001.wav"


@pytest.mark.parametrize(
    ("line", "clip_id", "sentence"),
    [
        ("not json", "line-2", "is not JSON"),
        ("[]", "line-2", "not a JSON object"),
        ("[" * 200_000, "line-2", "is not JSON"),
        ('{"a": ' + "9" * 5000 + "}", "line-2", "is not JSON"),
        ({"clip_id": "a"}, "line-2", "needs an audio"),
        ({"clip_id": "a", "audio": 3}, "line-2", "needs an audio"),
        ({"clip_id": [1], "audio": "a"}, "line-2", "clip_id must be"),
        ({"clip_id": True, "audio": "a"}, "line-2", "clip_id must be"),
        ({"clip_id": "a", "audio": "a", "text": [5]}, "a", "must be text or null"),
        ({"clip_id": "a", "audio": "a", "text": 1.5}, "a", "must be text or null"),
        ({"clip_id": "a", "audio": "a", "text": "\ud800"}, "a", "not valid UTF-8"),
        ({"clip_id": "a", "audio": "a", "text": "x" * 1_000_001}, "a", "more than 1,000,000"),
        ({"clip_id": "a", "audio": "a", "language": 5}, "a", "language must be"),
        ({"clip_id": "a", "audio": "a", "offset": -1}, "a", "offset must be"),
        ({"clip_id": "a", "audio": "a", "duration": "long"}, "a", "duration must be"),
        ('{"clip_id": "a", "audio": "a", "offset": NaN}', "a", "offset must be"),
        ({"clip_id": "good", "audio": "b"}, r"good \(line-2\)", "repeats the clip id 'good'"),
    ],
)
def test_a_bad_row_is_a_row(tmp_path, line, clip_id, sentence):
    path = written(tmp_path, of(GOOD, line, GOOD | {"clip_id": "last"}))
    rows = list(read_manifest(path))
    assert [row.clip_id for row in rows] == ["good", clip_id.replace("\\", ""), "last"]
    assert sentence in rows[1].fault
    assert rows[1].fault.startswith("Line 2 of manifest.jsonl")
    path.write_text(of(line, GOOD))  # first, too
    assert len(list(read_manifest(path))) == 2


def test_bytes_that_are_no_text(tmp_path):
    path = written(tmp_path, of(GOOD).encode() + b'{"clip_id": "a", "audio": "a", "text": "gr\xfc\xdfe"}\n')
    assert [row.fault is None for row in read_manifest(path)] == [True, False]


@pytest.mark.parametrize(
    ("content", "sentence"),
    [
        ("not json\nnot json\n", "Line 1 of manifest.jsonl is not JSON"),
        ('{"a": 1}\n', "needs an audio: the name of a file"),
        ("\n\n", "lists no clips"),
        (b"", "lists no clips"),
        (b"\xff\xfe\x00", "not text in UTF-8 or UTF-16"),
        (bytes(range(256)) * 20, "is not JSON"),
    ],
)
def test_what_is_no_manifest(tmp_path, content, sentence):
    with pytest.raises(ManifestError, match=sentence):
        list(read_manifest(written(tmp_path, content)))


def test_what_is_no_file(tmp_path):
    os.mkfifo(tmp_path / "pipe")
    for path, sentence in (
        (tmp_path / "none.jsonl", "not there"),
        (tmp_path, "a folder"),
        (tmp_path / "pipe", "no file"),
    ):
        with pytest.raises(ManifestError, match=sentence):
            list(read_manifest(path))
    with pytest.raises(ManifestError, match="name its columns"):
        list(read_manifest(written(tmp_path, "a,b\nc,d\n", "m.csv")))


def test_names():
    assert base_name("C:\\data\\e\u0301.wav") == base_name("/data/é.wav ") == "é.wav"
    assert composed("a\nb\ud800") == "a b?"
