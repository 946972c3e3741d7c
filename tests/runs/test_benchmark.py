"""A manifest through the lanes."""

from __future__ import annotations

import json
import shutil
from dataclasses import replace

import pytest
import soundfile

from components.core.caller import Caller
from components.core.errors import Cancelled, LaneError, ManifestError
from components.core.files import read_rows
from components.core.normalizers import MAX_CHARACTERS
from components.core.types import LaneFailure, LaneRun
from components.report.files import contents
from components.runs.benchmark import read_report
from components.runs.lab import Lab


@pytest.fixture
def manifest(tmp_path, speechlike_clip):
    """Three clips that can be read, one that cannot."""
    rows = []
    for number, text in enumerate(["a b", "", None]):
        name = f"{number}.wav"
        soundfile.write(tmp_path / name, speechlike_clip.samples[4_000 * number :], 16_000)
        rows.append({"clip_id": f"clip-{number}", "audio": name, "text": text})
    rows.insert(1, {"clip_id": "missing", "audio": "missing.wav", "text": "x"})
    path = tmp_path / "manifest.jsonl"
    path.write_text("".join(json.dumps(row) + "\n" for row in rows))
    return path


@pytest.fixture
def output(tmp_path):
    return tmp_path / "runs.jsonl"


def keys(path):
    return [(row.clip_id, row.lane_id) for row in read_rows(path)[1]]


ALL = [(clip, lane) for clip in ("clip-0", "missing", "clip-1", "clip-2") for lane in ("whisper", "distil")]


def test_rows_failures_and_totals(lab, manifest, output):
    told = []
    report = lab.benchmark(manifest, output, caller=Caller(lambda *step: told.append(step)))
    assert keys(output) == ALL
    header, rows = read_rows(output)
    assert header.pair == report.pair == "custom"
    assert header.settings["language"] == "en"
    failures = [row for row in rows if isinstance(row, LaneFailure)]
    assert {failure.clip_id for failure in failures} == {"missing"}
    assert "missing.wav is not there" in failures[0].message
    assert [step[0] for step in told] == [0.0, 0.25, 0.5, 0.75, 1.0]

    summary = report.summary
    teacher = [row for row in read_rows(output)[1] if isinstance(row, LaneRun) and row.lane_id == "whisper"]
    assert summary.clips == 4
    assert summary.failures == {"whisper": 1, "distil": 1}
    totals = summary.lanes["whisper"]
    assert totals.generation_time_s == pytest.approx(sum(run.timing.generation_time_s for run in teacher))
    assert totals.generated_tokens == sum(run.generated_tokens for run in teacher)
    errors = [run.word_errors for run in teacher]
    assert errors[2] is None  # no reference
    wrong = sum(each.edits for each in errors[:2])
    assert totals.word_errors.wer == wrong / 2  # one reference of two words, and one that says nothing
    student_s = summary.lanes["distil"].generation_time_s
    assert summary.speed_up == {"distil": pytest.approx(totals.generation_time_s / student_s)}
    assert read_report(output) == report


def test_where_every_clip_fails_there_is_a_report_all_the_same(lab, manifest, output):
    manifest.write_text(json.dumps({"clip_id": "missing", "audio": "missing.wav", "text": "x"}) + "\n")
    report = lab.benchmark(manifest, output)
    assert (report.summary.clips, report.summary.lanes, report.summary.speed_up) == (1, {}, {})
    (told,) = [text for text in report.summary.warnings if "failed" in text]
    assert told.startswith("Whisper and Distil-Whisper failed on 1 clip. The first, missing: ")
    assert {failure.clip_id for failure in report.failures} == {"missing"}
    assert "missing.wav" in contents(report)["report.html"]


def test_a_reference_that_is_too_long_is_a_failed_row_and_the_rest_goes_on(lab, manifest, output):
    first, *rest = manifest.read_text().splitlines()
    long = json.loads(first) | {"text": "a" * (MAX_CHARACTERS + 1)}
    manifest.write_text("\n".join((json.dumps(long), *rest)) + "\n")
    report = lab.benchmark(manifest, output, lanes=["whisper"], normalizer="whisper")
    assert report.summary.failures == {"whisper": 2}
    header, rows = read_rows(output)
    assert header.settings["normalizer"] == "whisper-1"
    assert next(row.message for row in rows if isinstance(row, LaneFailure)).startswith("The reference has 100,001")


def test_an_output_that_is_there_is_not_overwritten(lab, manifest, output):
    output.write_text("precious")
    for resume in (False, True):
        with pytest.raises(ManifestError):
            lab.benchmark(manifest, output, resume=resume)
        assert output.read_text() == "precious"


def test_resume_runs_what_is_missing(lab, manifest, output, watch):
    lab.benchmark(manifest, output)
    whole = output.read_text()
    lines = whole.splitlines(keepends=True)
    output.write_text("".join(lines[:6]) + lines[6][:25])  # up to clip-1's whisper row, and a torn line
    ran = []
    watch(lab.pool, lab.default_lanes(), lambda lane, clip: ran.append((clip.clip_id, lane.lane_id)))
    report = lab.benchmark(manifest, output, resume=True)
    assert keys(output) == ALL
    assert ran == [("clip-1", "distil"), ("clip-2", "whisper"), ("clip-2", "distil")]
    assert report.summary.lanes["distil"].clips == 3
    ran.clear()
    assert lab.benchmark(manifest, output, resume=True) == report
    assert ran == []


def test_a_resumed_student_is_judged_by_the_baselines_tokens(lab, manifest, output):
    lab.benchmark(manifest, output)
    lines = output.read_text().splitlines(keepends=True)
    row = json.loads(lines[1]) | {"generated_tokens": 1000}
    output.write_text(lines[0] + json.dumps(row) + "\n")
    lab.benchmark(manifest, output, resume=True)
    student = next(row for row in read_rows(output)[1] if row.lane_id == "distil")
    assert "far less than Whisper" in " ".join(student.warnings)


def test_an_output_of_another_run_is_refused(lab, manifest, output):
    lab.benchmark(manifest, output)
    before = output.read_text()
    with pytest.raises(ManifestError, match="belongs to another run: its checkpoints"):
        lab.benchmark(manifest, output, lanes=["distil"], resume=True)
    with pytest.raises(ManifestError, match="belongs to another run: its settings"):
        lab.benchmark(manifest, output, repeats=2, resume=True)
    assert output.read_text() == before


def test_another_student_drafting_is_another_run(lab, manifest, output, tmp_path):
    lab.benchmark(manifest, output, lanes=["speculative"], limit=1)
    settings, other = lab.settings, tmp_path / "other"
    shutil.copytree(settings.student_checkpoint, other)
    with (other / "config.json").open("a") as config:
        config.write("\n")
    for checkpoint in (str(other), settings.student_checkpoint):
        lab = Lab(replace(settings, student_checkpoint=checkpoint))
        if checkpoint == settings.student_checkpoint:
            assert lab.benchmark(manifest, output, lanes=["speculative"], limit=1, resume=True).summary.clips == 1
        else:
            with pytest.raises(ManifestError, match="belongs to another run: its checkpoints"):
                lab.benchmark(manifest, output, lanes=["speculative"], limit=1, resume=True)


def test_a_bad_manifest_stops_before_anything_runs(lab, manifest, output):
    rows = manifest.read_text()
    manifest.write_text("not JSON\n")
    with pytest.raises(ManifestError, match="Line 1"):
        lab.benchmark(manifest, output)
    manifest.write_text(rows)
    with pytest.raises(ManifestError):
        lab.benchmark(manifest.parent / "none.jsonl", output)
    with pytest.raises(LaneError):
        lab.benchmark(manifest, output, lanes=["x"])
    assert not output.exists()


def test_a_bad_row_is_a_failed_row_and_the_rest_goes_on(trivial_lab, manifest, output):
    good = manifest.read_text().splitlines()
    bad = ["not JSON", '{"clip_id": "nul", "audio": "a\\u0000b.wav"}', '{"clip_id": "half", "audio": "\\ud800.wav"}']
    manifest.write_text("\n".join([good[0], *bad, *good[1:]]) + "\n")
    for options in ({}, {"resume": True}, {"resume": True, "retry_failed": True}):
        report = trivial_lab.benchmark(manifest, output, **options)
        assert {row.clip_id for row in read_rows(output)[1] if isinstance(row, LaneFailure)} == {
            "line-2",
            "nul",
            "half",
            "missing",
        }
        assert report.summary.clips == 7
        assert report.summary.failures == {"whisper": 4, "distil": 4}


def test_a_manifest_that_changed_before_resuming_is_said(trivial_lab, manifest, output):
    trivial_lab.benchmark(manifest, output)
    assert not any(
        "changed" in warning for warning in trivial_lab.benchmark(manifest, output, resume=True).summary.warnings
    )
    manifest.write_text("".join(manifest.read_text().splitlines(keepends=True)[1:]))
    for _ in range(2):
        report = trivial_lab.benchmark(manifest, output, resume=True)
        assert any("manifest.jsonl changed" in warning for warning in report.summary.warnings)
        assert len(read_rows(output)[0].data_states) == 2


def test_an_output_that_cannot_be_written(lab, manifest, tmp_path):
    with pytest.raises(ManifestError, match="there is no folder nowhere"):
        lab.benchmark(manifest, tmp_path / "nowhere" / "runs.jsonl")
    with pytest.raises(ManifestError, match="cannot be written"):
        lab.benchmark(manifest, tmp_path, resume=True)


def test_cancel_keeps_what_is_done(lab, manifest, output):
    with pytest.raises(Cancelled):
        lab.benchmark(
            manifest, output, caller=Caller(cancelled=lambda: output.exists() and "missing" in output.read_text())
        )
    assert keys(output) == ALL[:4]
    lab.benchmark(manifest, output, resume=True)
    assert keys(output) == ALL
