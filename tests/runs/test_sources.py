"""Where clips come from."""

from __future__ import annotations

import io
import sys

import pytest
import soundfile

from components.core.audio import load_audio
from components.core.errors import ManifestError
from components.runs.sources import Files, HubDataSet, read_references


@pytest.fixture
def flac(speechlike_clip):
    file = io.BytesIO()
    soundfile.write(file, speechlike_clip.samples[:1600], 16_000, format="FLAC")
    return file.getvalue()


@pytest.fixture
def parquet_folder(tmp_path, flac):
    """A data set as the hub stores one: Parquet, with encoded audio and the types of the columns in the schema."""
    import datasets
    import pyarrow as pa
    from pyarrow import parquet

    text = datasets.Value("string")
    features = datasets.Features({"audio": datasets.Audio(16_000), "text": text, "id": text})
    rows = [
        {"audio": {"bytes": flac, "path": f"{name}.flac"}, "text": said, "id": name}
        for name, said in (("w", "a"), ("x", ""), ("y", None), ("z", "d"))
    ]
    table = pa.Table.from_pylist(rows, schema=features.arrow_schema)
    parquet.write_table(table, tmp_path / "test-00000-of-00001.parquet")
    return tmp_path


@pytest.fixture
def audio_folder(tmp_path, flac):
    """Audio files with a table of what is said in them beside."""
    (tmp_path / "test").mkdir()
    for name in "wxyz":
        (tmp_path / "test" / f"{name}.flac").write_bytes(flac)
    (tmp_path / "test" / "metadata.csv").write_text("file_name,text\nw.flac,a\nx.flac,\ny.flac,\nz.flac,d\n")
    return tmp_path


@pytest.mark.parametrize("kind", ["parquet_folder", "audio_folder"])
def test_a_data_set_is_streamed_and_stays_encoded(kind, flac, request):
    folder = request.getfixturevalue(kind)
    data = HubDataSet(str(folder))
    items = list(data.items())
    assert [(item.clip_id, item.text or "") for item in items] == [("w", "a"), ("x", ""), ("y", ""), ("z", "d")]
    assert [item.audio for item in items] == [flac] * 4
    assert len(load_audio(items[0].audio).samples) == 1600
    shuffled = [item.clip_id for item in data.items(seed=3)]
    assert sorted(shuffled) == ["w", "x", "y", "z"] != shuffled
    assert shuffled == [item.clip_id for item in data.items(seed=3)]
    assert str(folder) not in data.name


@pytest.mark.parametrize(
    ("options", "sentence"),
    [
        ({"text_column": "words"}, "no column 'words'. It has: audio, text, id."),
        ({"audio_column": "text"}, "holds no audio"),
        ({"split": "nowhere"}, r"cannot be opened\. Bad split: nowhere\. Available splits: \['test'\]"),
        ({"config": "other"}, r"cannot be opened\. BuilderConfig 'other' not found\. Available: "),
        ({"id_column": "audio"}, "repeats the clip id"),
    ],
)
def test_what_a_data_set_does_not_have(parquet_folder, options, sentence):
    if "id_column" in options:
        table = parquet_folder / "test-00000-of-00001.parquet"
        table.with_name("test-00001-of-00001.parquet").write_bytes(table.read_bytes())
        options = {}
    with pytest.raises(ManifestError, match=sentence):
        list(HubDataSet(str(parquet_folder), **options).items())


def test_a_damaged_data_set(parquet_folder):
    table = parquet_folder / "test-00000-of-00001.parquet"
    table.write_bytes(table.read_bytes()[:-100])
    with pytest.raises(ManifestError, match=r"cannot be (read|opened)"):
        list(HubDataSet(str(parquet_folder)).items())


def test_a_folder_that_is_not_there(tmp_path):
    with pytest.raises(ManifestError, match="The data set nowhere, test is not there"):
        HubDataSet(str(tmp_path / "nowhere")).count()


def test_without_datasets_a_sentence_says_how_to_install_it(monkeypatch):
    monkeypatch.setitem(sys.modules, "datasets", None)
    with pytest.raises(ManifestError, match="pip install datasets=="):
        HubDataSet("a/b").count()


@pytest.mark.parametrize(
    ("name", "text"),
    [
        ("t.csv", "file,text\na.wav,Hello\nb,\n"),
        ("t.tsv", "a.wav\tHello\nb\t\n"),
        ("t.tsv", "a.wav\tHello, you, and you; too\nb\t\n"),
        ("t.csv", 'a.wav,"Hello; you; and you"\nb,\n'),
        (
            "t.jsonl",
            '{"clip_id": "x", "audio": "a.wav", "text": "Hello"}\n{"clip_id": "y", "audio": "b", "text": ""}\n',
        ),
    ],
)
def test_a_table_of_references(tmp_path, name, text):
    path = tmp_path / name
    path.write_text(text)
    references = read_references(path)
    said = references.pop("a.wav")
    assert text.replace('"', "").find(said) > 0
    assert said.startswith("Hello")
    assert references == {"b": ""}
    items = list(Files([tmp_path / "a.wav", tmp_path / "b.flac", tmp_path / "c.wav"], read_references(path)).items())
    assert [(item.clip_id, item.text) for item in items] == [("a", said), ("b", ""), ("c", None)]


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
