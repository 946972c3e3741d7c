from __future__ import annotations

import json

import pytest
from typing_extensions import get_type_hints

from components.core import records
from components.core.catalog import PAIRS
from components.core.errors import ManifestError
from components.core.types import (
    Comparison,
    LaneFailure,
    LaneRun,
    Machine,
    ModelInfo,
    Segment,
    Timing,
    Transcript,
    WordErrors,
)

MACHINE = Machine("cpu", "Some CPU", "Linux", "3.11", {"torch": "2.13.0"}, threads=2)


def _run(lane_id: str = "whisper", *, generation_time_s: float = 2.0, timed: bool = True) -> LaneRun:
    timing = Timing(0.1, 0.5, generation_time_s - 0.5, generation_time_s, generation_time_s + 0.2)
    return LaneRun(
        clip_id="clip",
        lane_id=lane_id,
        checkpoint="owner/name",
        transcript=Transcript("Grüße “you”.", (Segment(0.0, 1.5, "Grüße"), Segment(1.5, 3.0, "“you”.")), "en"),
        audio_length_s=3.0,
        timing=timing if timed else None,
        repeats=(timing, timing) if timed else (),
        generated_tokens=9,
        dtype="float32",
        attention="sdpa",
        runtime="eager",
        reference="Grüße you",
        normalized_reference="grüße you",
        normalized_text="grüße you",
        word_errors=WordErrors(1, 0, 0, 2),
        warnings=("A sign.",),
        acceptance_rate=None,
        peak_memory_bytes=123,
    )


@pytest.mark.parametrize("timed", [True, False])
def test_a_row_survives_its_way_through_json(timed):
    run = _run(timed=timed)
    row = json.loads(records.to_line(records.run_to_row(run)))
    assert list(row) == list(records.RunJSON.__annotations__)
    assert records.row_to_run(row) == run
    assert row["rtfx"] == (1.5 if timed else None)
    assert row["word_errors"]["wer"] == 0.5


def test_a_comparison_has_the_shape_of_the_contract():
    comparison = Comparison(
        "clip",
        3.0,
        "base",
        (_run(), _run("distil", generation_time_s=0.5)),
        (LaneFailure("clip", "speculative", "It failed."),),
        MACHINE,
    )
    answer = records.comparison_to_json(comparison)
    assert json.loads(json.dumps(answer)) == answer
    assert set(answer) == set(records.CompareJSON.__annotations__)
    assert answer["speed_up"] == {"distil": 4.0}
    assert answer["failures"] == [{"clip_id": "clip", "lane_id": "speculative", "message": "It failed."}]
    assert answer["machine"]["libraries"] == {"torch": "2.13.0"}


def test_models_are_compared_as_fractions():
    teacher = ModelInfo("whisper", PAIRS["base"].student, 1_543_304_960, 636_784_640, 906_520_320, 32, 32)
    student = ModelInfo("distil", "distil", 756_220_160, 636_784_640, 119_435_520, 32, 2)
    answer = records.models_to_json("large-v2", (teacher, student))
    assert answer["parameter_ratio"] == pytest.approx(0.49000047275167184, abs=1e-14)
    assert answer["decoder_parameter_ratio"] == pytest.approx(0.13175161920253482, abs=1e-14)
    assert answer["lanes"][0]["checkpoint"] == "examples/checkpoints/distil-base"
    assert set(answer["lanes"][0]) == set(records.ModelJSON.__annotations__)
    assert records.models_to_json("large-v2", (teacher,))["parameter_ratio"] is None


@pytest.mark.parametrize("shape", [records.CompareJSON, records.ModelsJSON])
def test_schemas_name_every_field(shape):
    """Gradio's own generator and Pydantic, which the standard library's TypedDict fails before Python 3.12."""
    from gradio_client.utils import python_type_to_json_schema
    from pydantic import TypeAdapter

    schema = python_type_to_json_schema(shape)
    assert schema["required"] == list(get_type_hints(shape))
    assert TypeAdapter(shape).json_schema()["required"] == schema["required"]
    rows = schema["properties"]["runs" if shape is records.CompareJSON else "lanes"]["items"]
    assert rows["properties"]["lane_id"] == {"type": "string"}


def test_an_answer_is_valid_by_its_own_schema():
    from pydantic import TypeAdapter

    comparison = Comparison("clip", 3.0, "base", (_run(), _run("distil", timed=False)), (), MACHINE)
    answer = records.comparison_to_json(comparison)
    assert TypeAdapter(records.CompareJSON).validate_python(answer, strict=True) == answer


def _file_of_rows(path, *rows, torn=""):
    header = records.header_to_json("base", {"whisper": PAIRS["base"].student}, {"repeats": 1}, MACHINE)
    path.write_text("".join(records.to_line(row) for row in (header, *rows)) + torn)
    return path


def test_a_file_of_rows_is_read_back(tmp_path):
    failure = LaneFailure("clip", "distil", "It failed.")
    path = _file_of_rows(tmp_path / "runs.jsonl", records.run_to_row(_run()), records.failure_to_row(failure))
    header, rows = records.read_rows(path)
    assert list(rows) == [_run(), failure]
    assert header["checkpoints"] == {"whisper": "examples/checkpoints/distil-base"}
    assert records.machine_from_json(header["machine"]) == MACHINE


def test_a_torn_last_line_is_left_out(tmp_path):
    line = records.to_line(records.run_to_row(_run()))
    for torn in (line[:-30], line[:-1]):
        _, rows = records.read_rows(_file_of_rows(tmp_path / "runs.jsonl", records.run_to_row(_run()), torn=torn))
        assert len(list(rows)) == 1


def test_what_is_not_a_file_of_rows_is_refused(tmp_path):
    path = tmp_path / "runs.jsonl"
    for text, sentence in (("", "header"), ('{"a": 1}\n', "header"), ("[1]\n", "object"), ("?\n", "JSON")):
        path.write_text(text)
        with pytest.raises(ManifestError, match=sentence):
            records.read_rows(path)
    with pytest.raises(ManifestError, match="not there"):
        records.read_rows(tmp_path / "none.jsonl")
    _, rows = records.read_rows(_file_of_rows(path, {"clip_id": "clip"}))
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
        {"clip_id": "b", "audio": "/else/b.ogg", "text": ""},
        {"clip_id": "c", "audio": "c.ogg"},
    )
    rows = list(records.read_manifest(path))
    assert [(row.clip_id, row.text) for row in rows] == [("a", "Hello."), ("b", ""), ("c", None)]
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
        ([""], "lists no clips"),
    ],
)
def test_a_wrong_manifest_says_what_is_wrong(tmp_path, lines, sentence):
    with pytest.raises(ManifestError, match=sentence):
        list(records.read_manifest(_manifest(tmp_path, *lines)))


def test_a_manifest_that_cannot_be_read(tmp_path):
    with pytest.raises(ManifestError, match=r"none\.jsonl is not there"):
        list(records.read_manifest(tmp_path / "none.jsonl"))
    (tmp_path / "binary.jsonl").write_bytes(b"\xff\xfe\x00")
    with pytest.raises(ManifestError, match="UTF-8"):
        list(records.read_manifest(tmp_path / "binary.jsonl"))
