"""Saved speed runs: a table and charts of any run, words where a file is none."""

from __future__ import annotations

import json

import gradio as gr
import pytest

from components.core.settings import Settings
from components.runs.speed import speed
from components.ui import speed_panel

HOSTILE = "</script><img src=x onerror=alert(1)>"


@pytest.fixture(scope="module")
def run(tiny_teacher, tiny_student):
    settings = Settings.from_env({"TEACHER_CHECKPOINT": str(tiny_teacher), "STUDENT_CHECKPOINT": str(tiny_student)})
    return speed("custom", settings, lanes=["whisper", "distil"], limit=2)


@pytest.fixture
def panel(run, tmp_path, monkeypatch):
    (tmp_path / "speed_custom.json").write_text(run.model_dump_json())
    (tmp_path / "other.json").write_text(json.dumps({"benchmark": "other", "ratio": 2}))
    monkeypatch.setattr(speed_panel, "SHIPPED", tmp_path)
    with gr.Blocks():
        return speed_panel.SpeedPanel()


def test_shipped_runs_are_drawn(panel, run):
    (name,) = panel.shipped
    assert name.startswith("custom, 2 clips")
    said, table, shown, times, ratios, tokens = panel._choose(name)
    assert not said
    assert shown["visible"]
    assert f"{run.lanes[0].ms_per_token:.3f}" in table
    bars = [trace.y[0] for trace in times.data]
    assert bars == [getattr(lane, part) for lane in run.lanes for part in ("encoder_time_s", "decoder_time_s")]
    assert [trace.y[0] for trace in ratios.data if trace.type == "bar"] == [run.lanes[1].ratio]
    for lane, bar, limit in zip(run.lanes, tokens.data[::2], tokens.data[1::2], strict=True):
        assert bar.y[0] == lane.ms_per_token
        assert limit.y[0] == pytest.approx(lane.ms_per_token * lane.bandwidth_fraction)
        assert f"{lane.bandwidth_fraction:.0%} of the memory bandwidth" in bar.hovertemplate
    for figure in (times, ratios, tokens):
        assert figure.layout.height
        assert "(" in figure.layout.yaxis.title.text


def test_an_upload_is_drawn_and_its_words_stay_words(panel, run, tmp_path):
    saved = json.loads(run.model_dump_json())
    saved["machine"]["device_name"] = saved["lanes"][0]["note"] = saved["pair"] = HOSTILE
    saved["failures"] = [{"clip_id": "shapes", "lane_id": "speculative", "message": HOSTILE}]
    path = tmp_path / "run.json"
    path.write_text(json.dumps(saved))
    choice, said, table, *_ = panel._open(str(path))
    assert choice.value is None  # it is not one of the project's
    assert not said
    assert "<img" not in table
    assert table.count("&lt;img") == 4
    path.write_bytes(b"\xff\xfe\x00")
    choice, said, *run = panel._open(str(path))
    assert "not a saved speed run" in said
    assert "role='alert'" in said
    assert all(part == gr.skip() for part in (choice, *run, *panel._choose(None)))
