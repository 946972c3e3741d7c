"""Where clips come from."""

from __future__ import annotations

import io
import json
import sys

import numpy as np
import pytest
import soundfile

from components.core.audio import load_audio
from components.core.errors import AudioError, ManifestError
from components.runs.sources import Files, HubDataSet, Manifest, data_set, read_references


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
        ({"split": "nowhere"}, r"cannot be opened\. Bad split: nowhere\. Available splits: \['test'\]"),
        ({"config": "other"}, r"cannot be opened\. BuilderConfig 'other' not found\. Available: "),
    ],
)
def test_what_a_data_set_does_not_have(parquet_folder, options, sentence):
    with pytest.raises(ManifestError, match=sentence):
        list(HubDataSet(str(parquet_folder), **options).items())


def test_an_id_that_comes_again_is_a_failed_row(parquet_folder):
    table = parquet_folder / "test-00000-of-00001.parquet"
    table.with_name("test-00001-of-00001.parquet").write_bytes(table.read_bytes())
    items = list(HubDataSet(str(parquet_folder)).items())
    assert [item.fault is None for item in items] == [True] * 4 + [False] * 4
    assert items[4].clip_id == "w (test-000005)"
    assert len({item.clip_id for item in items}) == 8


def _parquet(folder, values, kind):
    import pyarrow as pa
    from pyarrow import parquet

    columns = {"audio": pa.array(values, kind), "text": ["a"] * len(values), "id": list(range(len(values)))}
    parquet.write_table(pa.table(columns), folder / "test-00000-of-00001.parquet")
    return list(HubDataSet(str(folder)).items())


def test_forms_of_audio_in_parquet(tmp_path, flac):
    import pyarrow as pa

    (tmp_path / "x.flac").write_bytes(flac)
    array = load_audio(flac).samples.tolist()
    several = pa.struct([("array", pa.list_(pa.float32())), ("sampling_rate", pa.int64())])
    encoded = pa.struct([("bytes", pa.binary()), ("path", pa.string())])
    forms = (
        ([flac, flac], pa.binary()),
        (["x.flac", str(tmp_path / "x.flac")], pa.string()),
        ([{"array": array, "sampling_rate": 16_000}] * 2, several),
        ([{"bytes": flac, "path": None}, {"bytes": None, "path": "x.flac"}], encoded),
    )
    for values, kind in forms:
        items = _parquet(tmp_path, values, kind)
        assert [item.clip_id for item in items] == ["0", "1"]
        assert [len(load_audio(item.audio).samples) for item in items] == [1600, 1600]


def test_rows_without_audio_are_failed_rows(tmp_path, flac):
    import pyarrow as pa

    encoded = pa.struct([("bytes", pa.binary()), ("path", pa.string())])
    values = [
        {"bytes": flac, "path": "x.flac"},
        None,
        {"bytes": None, "path": None},
        {"bytes": None, "path": "gone.flac"},
        {"bytes": None, "path": "n\0ul"},
        {"bytes": flac, "path": "y.flac"},
    ]
    items = _parquet(tmp_path, values, encoded)
    assert [item.fault is None for item in items] == [True, False, False, False, False, True]
    assert "has no audio in its column 'audio'" in items[1].fault
    assert "gone.flac" in items[3].fault
    assert str(tmp_path) not in items[3].fault
    assert all(item.fault for item in HubDataSet(str(tmp_path), audio_column="text").items())


def test_lj_speech_is_read_from_its_table(tmp_path, flac):
    (tmp_path / "wavs").mkdir()
    (tmp_path / "wavs" / "LJ001-0001.wav").write_bytes(flac)
    (tmp_path / "metadata.csv").write_text("LJ001-0001|No. 5|Number five\n")
    (item,) = data_set(str(tmp_path), split="test").items()
    assert (item.clip_id, item.text) == ("LJ001-0001", "Number five")
    assert len(load_audio(item.audio).samples) == 1600
    assert read_references(tmp_path / "metadata.csv") == {"LJ001-0001": "Number five"}


def test_a_table_of_the_hub_is_no_lj_speech(audio_folder):
    assert isinstance(data_set(str(audio_folder)), HubDataSet)


def test_a_part_of_a_file(tmp_path, speechlike_clip):
    soundfile.write(tmp_path / "x.wav", speechlike_clip.samples, 16_000, subtype="FLOAT")
    rows = [{"audio_filepath": "x.wav", "offset": 0.5, "duration": 1}, {"audio_filepath": "x.wav", "offset": 5}]
    (tmp_path / "m.jsonl").write_text("".join(json.dumps(row) + "\n" for row in rows))
    part, beyond = Manifest(tmp_path / "m.jsonl").items()
    np.testing.assert_array_equal(load_audio(part.audio).samples, speechlike_clip.samples[8_000:24_000])
    with pytest.raises(AudioError, match=r"should start at 5\.0 s, and the recording ends at 3\.0 s"):
        load_audio(beyond.audio)


@pytest.mark.parametrize(("on_disk", "in_table"), [("e\u0301", "\u00e9"), ("\u00e9", "e\u0301")])
def test_names_composed_otherwise_and_slashes_of_windows(tmp_path, flac, on_disk, in_table):
    (tmp_path / "d").mkdir()
    (tmp_path / "d" / f"{on_disk}.flac").write_bytes(flac)
    (tmp_path / "m.jsonl").write_text(json.dumps({"audio": f"d\\{in_table}.flac"}) + "\n")
    (item,) = Manifest(tmp_path / "m.jsonl").items()
    assert item.clip_id == "\u00e9"
    assert len(load_audio(item.audio).samples) == 1600
    (tmp_path / "t.csv").write_text(f"C:\\d\\{in_table}.flac,said\n", encoding="utf-16")
    (item,) = Files([tmp_path / "d" / f"{on_disk}.flac"], read_references(tmp_path / "t.csv")).items()
    assert (item.clip_id, item.text) == ("\u00e9", "said")


def test_what_a_table_leaves_out_is_counted_and_named(tmp_path):
    files = [tmp_path / f"{number}.wav" for number in range(9)]
    told = Files(files, {"0.wav": "a", "1": "b", "else.wav": "c"}).notes
    assert "7 (2.wav, 3.wav, 4.wav, 5.wav, 6.wav and 2 more)" in told[0]
    assert "1 (else.wav)" in told[1]
    assert Files(files, {str(number): "" for number in range(9)}).notes == ()
    assert Files(files).notes == ()


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


def test_a_broken_line_of_references_is_told_by_its_number(tmp_path):
    path = tmp_path / "t.jsonl"
    path.write_text('{"audio": "a.wav"}\n{"audio": "b.wav", "text": "Hello\n')
    with pytest.raises(ManifestError, match=r"Line 2 of t.jsonl is not JSON"):
        read_references(path)


def test_files_that_cannot_be_told_apart(tmp_path):
    with pytest.raises(ManifestError, match="Two files are called 'a'"):
        Files([tmp_path / "a.wav", tmp_path / "b" / "a.flac"])
    with pytest.raises(ManifestError, match="none of these files"):
        Files([tmp_path / "a.wav"], {"other": "x"})
