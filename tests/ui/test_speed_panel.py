"""Saved speed runs: a table and charts of any run, words where a file is none."""

from __future__ import annotations

import json

import gradio as gr
import pytest

from components.core.settings import Settings
from components.runs.speed import speed
from components.ui.speed_panel import SpeedPanel

HOSTILE = "</script><img src=x onerror=alert(1)>"


@pytest.fixture(scope="module")
def run(tiny_teacher, tiny_student):
    settings = Settings.from_env({"TEACHER_CHECKPOINT": str(tiny_teacher), "STUDENT_CHECKPOINT": str(tiny_student)})
    return speed("custom", settings, lanes=["whisper", "distil"], limit=2)


@pytest.fixture
def panel():
    with gr.Blocks():
        return SpeedPanel()


def test_shipped_runs_are_drawn(panel):
    for name in panel.shipped:
        shown = panel._choose(name)
        assert not shown[panel.said]
        assert "<table" in shown[panel.table]
        assert shown[panel.times.column].visible
        assert shown[panel.times.plot].data
        drawn = {label for trace in shown[panel.ratios.plot].data for label in trace.y}
        assert len(drawn) == len(panel.shipped)  # every run in one chart


def test_an_upload_is_drawn_and_its_words_stay_words(panel, run, tmp_path):
    saved = json.loads(run.model_dump_json())
    saved["machine"]["device_name"] = saved["lanes"][0]["note"] = saved["pair"] = HOSTILE
    saved["failures"] = [{"clip_id": "shapes", "lane_id": "speculative", "message": HOSTILE}]
    path = tmp_path / "run.json"
    path.write_text(json.dumps(saved))
    shown = panel._open(str(path))
    assert shown[panel.choice].value is None  # it is not one of the project's
    assert not shown[panel.said]
    assert "<img" not in shown[panel.table]
    assert "&lt;img" in shown[panel.table]


def test_a_file_that_is_none_is_told_and_changes_nothing(panel, tmp_path):
    path = tmp_path / "run.json"
    path.write_bytes(b"\xff\xfe\x00")
    shown = panel._open(str(path))
    assert set(shown) == {panel.said}
    assert "alert" in shown[panel.said]
    assert set(panel._choose(None)) == {panel.said}
