"""``/benchmark``, from gradio_client and from plain HTTP."""

from __future__ import annotations

import json
import resource

import gradio as gr
import pytest
import soundfile
from gradio_client import Client, handle_file
from gradio_client.exceptions import AppError

from components.core.catalog import EXAMPLES
from components.core.errors import ManifestError
from components.core.types import SAMPLING_RATE, BenchmarkProgress, Report
from components.report.files import to_json
from components.runs.__main__ import main
from components.runs.sources import Manifest
from components.ui.benchmark_tab import WAITING, BenchmarkTab, Run, progress_text
from components.ui.benchmarking import Watched, estimate, open_report
from components.ui.microphones import Microphones
from components.ui.parts import Choices, Shared
from components.ui.requests import Cancellations, Ticket


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
    assert set(report) == set(Report.model_fields)
    assert report["summary"]["clips"] == 3
    assert set(report["summary"]["speed_up"]) == {"distil"}
    assert len(report["clips"]) == 6


def test_the_command_line_gives_the_same_word_errors(streamed, lab, tmp_path, monkeypatch):
    """On the same clips, with the same checkpoints, by the other way in."""
    pair = lab.settings.get_pair("custom")
    monkeypatch.setenv("TEACHER_CHECKPOINT", pair.teacher)
    monkeypatch.setenv("STUDENT_CHECKPOINT", pair.student)
    rows = tmp_path / "runs.jsonl"
    assert main(["benchmark", "--manifest", str(EXAMPLES), "--limit", "3", "--output", str(rows)]) == 0
    ours, theirs = streamed[-1]["report"], open_report(rows)
    for lane, totals in theirs.summary.lanes.items():
        assert ours["summary"]["lanes"][lane]["word_errors"] == totals.word_errors.model_dump()
        assert totals.word_errors.reference_words > 10
    same = ("clip_id", "lane_id", "wer", "words_from_baseline", "generated_tokens", "warnings")
    assert [[clip[key] for key in same] for clip in ours["clips"]] == [
        [clip.model_dump(mode="json")[key] for key in same] for clip in theirs.clips
    ]


def test_files_and_their_references(http, clip_file):
    with clip_file.open("rb") as file:
        (path,) = http.post("/upload", files={"files": ("clip.wav", file)}).json()
    body = {
        "source": "files",
        "files": [{"path": path, "meta": {"_type": "gradio.FileData"}}],
        "references": ["some plain words"],
    }
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
    assert set(endpoint["returns"][0]["type"]["required"]) == set(BenchmarkProgress.model_fields)


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
    path, text = tmp_path / "report.json", to_json(Report.model_validate(report))
    path.write_text(text)
    assert open_report(path).model_dump(mode="json") == report
    for wrong in ("", "[]", "{}", "nonsense", json.dumps(report | {"clips": [1]}), text.replace("3", "NaN")):
        path.write_text(wrong)
        with pytest.raises(ManifestError, match="not a saved report"):
            open_report(path)
    rows = tmp_path / "runs.jsonl"
    rows.write_text('{"a": 1}\n')
    with pytest.raises(ManifestError):
        open_report(rows)
    path.write_text(json.dumps(report | {"format": "other"}))
    with pytest.raises(ManifestError, match="not a saved report"):
        open_report(path)


@pytest.mark.parametrize(
    ("left_s", "told"),
    [
        (0, ""),
        (0.2, " About 1 s left."),
        (59.4, " About 59 s left."),
        (100, " About 2 min left."),
        (3600 * 2.5, " About 2 h 30 min left."),
    ],
)
def test_time_left_in_words(left_s, told):
    class Totals:
        seconds_a_clip = left_s

    assert progress_text(Watched(3, 4, "x", Totals())) == f"Clip 3 of 4 is done: x.{told}"


@pytest.fixture
def tab(lab):
    with gr.Blocks():
        with gr.Tabs() as tabs:
            pass
        visit, dropped = gr.State([]), gr.State(("", []))
        return BenchmarkTab(Shared(lab, Cancellations(), Microphones(60), Choices(lab), visit, dropped, tabs))


ME = gr.Request(session_hash="me")


def test_a_full_disk_keeps_and_shows_what_is_done(tab, tmp_path, monkeypatch):
    """The system refuses what is beyond a file's first kilobytes: rows, archive and the clip to hear break off."""
    monkeypatch.setenv("GRADIO_TEMP_DIR", str(tmp_path / "gradio"))  # no copy is there from before
    run = Run(tmp_path, Manifest(EXAMPLES), {"limit": 8, "lanes": ["distil"]})

    def measure():
        *_, last = tab._measure(run, tab.shared.cancellations.begin("me"), "me", {})
        return last

    soft, hard = resource.getrlimit(resource.RLIMIT_FSIZE)
    resource.setrlimit(resource.RLIMIT_FSIZE, (6_000, hard))
    try:
        last = measure()
    finally:
        resource.setrlimit(resource.RLIMIT_FSIZE, (soft, hard))
    assert "runs.jsonl" in last[tab.status]
    assert "alert" in last[tab.status]
    assert last[tab.resume].interactive
    assert last[tab.run].interactive
    assert not last[tab.download].interactive
    assert not last[tab.player].visible
    done = run.report.summary.clips
    assert 1 <= done < 8
    assert len(last[tab.clip].choices) == done
    kept = run.rows.read_text()
    last = measure()
    assert "8 clips" in last[tab.status]
    assert run.rows.read_text().startswith(kept)
    assert last[tab.download].interactive
    assert last[tab.player].visible
    assert not last[tab.resume].interactive


def test_a_run_that_is_not_kept_is_not_resumed_and_deletes_nothing(tab):
    """Nor does the run after it: what it would delete is the folder of the run before."""
    (shown,) = tab._resume({tab.kept: None, tab.ticket: Ticket()}, ME)
    assert shown[tab.kept] is None
    assert "alert" in shown[tab.status]
    assert not shown[tab.resume].interactive
    assert shown[tab.run].interactive


def test_who_waits_for_anothers_benchmark_is_told_and_can_stop(tab, tmp_path):
    run = Run(tmp_path, Manifest(EXAMPLES), {"limit": 1})
    ticket = tab.shared.cancellations.begin("me")
    with tab.lab.benchmarks.turn():
        steps = tab._measure(run, ticket, "me", {})
        assert WAITING in next(steps)[tab.status]
        ticket.set()
        last = next(steps)
    assert "Stopped" in last[tab.status]
    assert last[tab.run].interactive
    assert not last[tab.resume].interactive, "nothing was measured"
    assert not tab.shared.cancellations._tickets


def test_a_choice_that_cannot_be_run_keeps_the_run_before(tab, tmp_path):
    before = Run(tmp_path, Manifest(EXAMPLES), unfinished=True)
    before.rows.write_text("kept")
    values = {tab.source: "files", tab.files: [], tab.table: None, tab.kept: before, tab.ticket: Ticket()}
    (shown,) = tab._begin(values, ME)
    assert "No files were given" in shown[tab.status]
    assert tab.kept not in shown
    assert tab.result not in shown
    assert shown[tab.run].interactive
    assert shown[tab.resume].interactive
    assert before.rows.read_text() == "kept"


def test_what_a_run_takes_is_told_before_it_starts(tab):
    said = estimate(Manifest(EXAMPLES), 2, [], tab.lab.default_pair)
    assert said.startswith("2 clips, ")
    assert "of audio" in said
