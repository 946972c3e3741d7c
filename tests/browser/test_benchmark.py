"""The Benchmark tab, as a visitor uses it."""

from __future__ import annotations

import json
import re
import zipfile

import pytest

pytest.importorskip("playwright.sync_api", reason="Playwright is not installed")
from playwright.sync_api import expect

CHARTS = ("clip-latency", "clip-speed-up", "token-latency", "wer-rtfx")
LONG_MS = 240_000


def open_tab(page, clips):
    page.get_by_role("tab", name="Benchmark", exact=True).click()
    page.locator("#benchmark-options").get_by_role("button").first.click()
    limit = page.locator("#benchmark-limit input[type=number]")
    limit.fill(str(clips))
    limit.press("Tab")


def start(page, name="Run benchmark"):
    page.get_by_role("button", name=name, exact=True).click()


def downloaded(page):
    with page.expect_download() as download:
        page.locator("#benchmark-download").click()
    archive = zipfile.ZipFile(download.value.path())
    return archive, json.loads(archive.read("report.json"))


def test_stopped_resumed_browsed_downloaded_and_opened(page, tmp_path):
    open_tab(page, 6)
    start(page)
    status = page.locator("#benchmark-status")
    expect(status).to_contain_text("Clip 2 of 6", timeout=LONG_MS)
    page.get_by_role("button", name="Stop", exact=True).click()
    expect(status).to_contain_text("What is done is kept", timeout=LONG_MS)
    expect(page.locator("#benchmark-tables tr[data-lane=whisper]")).to_be_visible()
    _, report = downloaded(page)
    assert 2 <= report["summary"]["clips"] < 6

    start(page, "Resume")
    expect(status).to_contain_text("Done: 6 clips", timeout=LONG_MS)
    expect(page.locator("#benchmark-result .figure")).to_have_text(re.compile(r"^\d+\.\d\d×$"))
    for chart in CHARTS:
        drawing = page.locator(f"#{chart} .js-plotly-plot")
        expect(drawing.locator(".scatterlayer .point").first).to_be_attached()
        assert drawing.bounding_box()["height"] > 250
    expect(page.get_by_role("button", name="Resume", exact=True)).to_be_disabled()

    page.locator("#benchmark-clip input").click()
    page.get_by_role("option").first.click()
    expect(page.locator("#benchmark-words .card")).to_have_count(2)
    page.locator("#benchmark-player [data-testid^=waveform-]").first.wait_for(state="attached")

    archive, report = downloaded(page)
    assert set(archive.namelist()) == {"report.json", "report.csv", "report.html", "runs.jsonl"}
    assert report["summary"]["clips"] == 6
    assert len({(row["clip_id"], row["lane_id"]) for row in report["clips"]}) == len(report["clips"]) == 12

    rows = tmp_path / "runs.jsonl"
    rows.write_bytes(archive.read("runs.jsonl"))
    page.locator("#benchmark-open input[type=file]").set_input_files(rows)
    expect(status).to_contain_text("Opened runs.jsonl", timeout=LONG_MS)
    expect(page.locator("#benchmark-tables tr[data-lane=whisper]")).to_be_visible()


def test_a_file_that_is_no_report(page, tmp_path):
    open_tab(page, 1)
    wrong = tmp_path / "report.json"
    wrong.write_text("{}")
    page.locator("#benchmark-open input[type=file]").set_input_files(wrong)
    expect(page.locator("#benchmark-status [role=alert]")).to_contain_text("is not a report")
