"""Where clips come from."""

from __future__ import annotations

import sys

import pytest

from components.core.errors import ManifestError
from components.runs.sources import Files, HubDataSet, read_references


def test_without_datasets_a_sentence_says_how_to_install_it(monkeypatch):
    monkeypatch.setitem(sys.modules, "datasets", None)
    with pytest.raises(ManifestError, match="pip install datasets=="):
        HubDataSet("a/b").count()


@pytest.mark.parametrize(
    ("name", "text"),
    [
        ("t.csv", "file,text\na.wav,Hello\nb,\n"),
        ("t.tsv", "a.wav\tHello\nb\t\n"),
        (
            "t.jsonl",
            '{"clip_id": "x", "audio": "a.wav", "text": "Hello"}\n{"clip_id": "y", "audio": "b", "text": ""}\n',
        ),
    ],
)
def test_a_table_of_references(tmp_path, name, text):
    path = tmp_path / name
    path.write_text(text)
    assert read_references(path) == {"a.wav": "Hello", "b": ""}
    items = list(Files([tmp_path / "a.wav", tmp_path / "b.flac", tmp_path / "c.wav"], read_references(path)).items())
    assert [(item.clip_id, item.text) for item in items] == [("a", "Hello"), ("b", ""), ("c", None)]


@pytest.mark.parametrize(
    ("text", "sentence"),
    [("", "is empty"), ("a.wav\n", "two cells"), ("a,b\na,c\n", "names a twice"), ("a,b,c\n", "two cells")],
)
def test_a_wrong_table_of_references(tmp_path, text, sentence):
    path = tmp_path / "t.csv"
    path.write_text(text)
    with pytest.raises(ManifestError, match=sentence):
        read_references(path)


def test_files_that_cannot_be_told_apart(tmp_path):
    with pytest.raises(ManifestError, match="Two files are called 'a'"):
        Files([tmp_path / "a.wav", tmp_path / "b" / "a.flac"])
    with pytest.raises(ManifestError, match="none of these files"):
        Files([tmp_path / "a.wav"], {"other": "x"})
