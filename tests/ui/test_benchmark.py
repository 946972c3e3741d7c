"""``/benchmark``, from gradio_client and from plain HTTP."""

from __future__ import annotations

import json

import pytest
import soundfile
from gradio_client import Client, handle_file
from gradio_client.exceptions import AppError

from components.core.errors import ManifestError
from components.core.reports import BenchmarkJSON, ReportJSON
from components.core.types import SAMPLING_RATE
from components.report.files import to_json
from components.ui.benchmarking import open_report


@pytest.fixture(scope="module")
def client(url):
    client = Client(url, verbose=False)
    yield client
    client.close()


@pytest.fixture(scope="module")
def streamed(client):
    job = client.submit(source="examples", limit=3, api_name="/benchmark")
    job.result(timeout=300)
    return job.outputs()


def test_progress_is_streamed_and_ends_in_the_report(streamed):
    assert [line["done"] for line in streamed] == [1, 2, 3, 3]
    assert {line["total"] for line in streamed} == {3}
    assert [line["report"] is None for line in streamed] == [True, True, True, False]
    assert streamed[0]["time_left_s"] > 0
    assert streamed[-1]["time_left_s"] == 0
    report = streamed[-1]["report"]
    assert set(report) == set(ReportJSON.__annotations__)
    assert report["summary"]["clips"] == 3
    assert set(report["summary"]["speed_up"]) == {"distil"}
    assert len(report["clips"]) == 6


def test_files_and_their_references(http, clip_file):
    with clip_file.open("rb") as file:
        (path,) = http.post("/upload", files={"files": ("clip.wav", file)}).json()
    body = {"source": "files", "files": [{"path": path, "meta": {"_type": "gradio.FileData"}}], "references": ["a b c"]}
    event_id = http.post("/call/v2/benchmark", json=body).raise_for_status().json()["event_id"]
    lines = [line for line in http.get(f"/call/benchmark/{event_id}").text.splitlines() if line]
    assert "event: generating" in lines
    *_, event, data = lines
    assert event == "event: complete"
    (last,) = json.loads(data.removeprefix("data: ")) or [None]
    reports = [json.loads(line[6:])[0] for line in lines if line.startswith("data: [{")]
    report = (last or reports[-1])["report"] or reports[-1]["report"]
    assert report["summary"]["lanes"]["whisper"]["word_errors"]["reference_words"] == 3


def test_its_schema(http):
    endpoint = http.get("/info").json()["named_endpoints"]["/benchmark"]
    names = [parameter["parameter_name"] for parameter in endpoint["parameters"]]
    assert names == ["source", "files", "references", "pair", "lanes", "repeats", "limit"]
    assert set(endpoint["returns"][0]["type"]["required"]) == set(BenchmarkJSON.__annotations__)


@pytest.mark.parametrize(
    ("options", "sentence"),
    [
        ({"source": "/etc"}, "source"),
        ({"source": "files"}, "No files were given"),
        ({"limit": 0}, "limit"),
        ({"limit": 10**9}, "limit"),
        ({"lanes": ["x"]}, "no lane called"),
        ({"pair": "huge"}, "no pair called"),
        ({"repeats": 0}, "Repeats"),
    ],
)
def test_mistakes_are_told(client, options, sentence):
    with pytest.raises((AppError, ValueError), match=sentence):
        client.predict(**options, api_name="/benchmark")


def test_two_files_of_one_name(client, tmp_path, speechlike_clip):
    files = []
    for folder in ("a", "b"):
        (tmp_path / folder).mkdir()
        path = tmp_path / folder / "same.wav"
        soundfile.write(path, speechlike_clip.samples, SAMPLING_RATE)
        files.append(handle_file(path))
    with pytest.raises(AppError, match="Two files are called 'same'"):
        client.predict(source="files", files=files, api_name="/benchmark")


def test_a_report_is_opened(streamed, tmp_path):
    report = streamed[-1]["report"]
    path = tmp_path / "report.json"
    path.write_text(to_json(report))
    assert open_report(path) == report
    for wrong in ("", "[]", "{}", "nonsense", json.dumps(report | {"clips": [1]}), to_json(report).replace("3", "NaN")):
        path.write_text(wrong)
        with pytest.raises(ManifestError, match="not a report"):
            open_report(path)
    rows = tmp_path / "runs.jsonl"
    rows.write_text('{"a": 1}\n')
    with pytest.raises(ManifestError):
        open_report(rows)
    path.write_text(json.dumps(report | {"format": "other"}))
    with pytest.raises(ManifestError, match="another version"):
        open_report(path)
