"""The Benchmark tab, as a visitor uses it.

``CLIPS`` sets how many of the shipped examples run, 6 unless told; 44 are all of them.
"""

from __future__ import annotations

import csv
import io
import json
import os
import re
import subprocess
import sys
import zipfile
from pathlib import Path

import pytest
import soundfile

pytest.importorskip("playwright.sync_api", reason="Playwright is not installed")
from playwright.sync_api import expect

from components.core.catalog import EXAMPLES
from components.core.types import SAMPLING_RATE
from tests.browser.harness import ROOT, SIZES, choose, open_page, set_number

CHARTS = ("clip-latency", "clip-speed-up", "wer-rtfx")
CLIPS = int(os.environ.get("CLIPS", "6"))
LONG_MS = 30_000 + 15_000 * CLIPS


def word_errors(rows):
    """What does not depend on the clock, of every row: (clip, lane) -> words and their errors."""
    _, *lines = rows.splitlines()
    found = [json.loads(line) for line in lines]
    assert len({(row["clip_id"], row["lane_id"]) for row in found}) == len(found), "each row once"
    return {(row["clip_id"], row["lane_id"]): (row["text"], row["word_errors"]) for row in found}


@pytest.fixture(scope="module")
def command_line(app_variables, tmp_path_factory):
    """Folder of ``runs.jsonl`` and the report, of the same clips by the command line."""
    folder = tmp_path_factory.mktemp("command-line")
    options = ["--manifest", str(EXAMPLES), "--limit", str(CLIPS), "--output", str(folder / "runs.jsonl")]
    command = [sys.executable, "-m", "components.runs", "benchmark", *options, "--report", str(folder)]
    subprocess.run(command, cwd=ROOT, env=os.environ | app_variables, check=True, timeout=LONG_MS / 1000)
    return folder


def open_tab(page, clips=CLIPS):
    page.get_by_role("tab", name="Benchmark", exact=True).click()
    set_number(page, "benchmark-limit", clips)


def start(page, name="Run benchmark"):
    page.get_by_role("button", name=name, exact=True).click()


def choose_files(page, files, references=None):
    page.get_by_label("My files").click()
    for elem_id, chosen in (("benchmark-files", files), ("benchmark-references", references)):
        if chosen:
            page.locator(f"#{elem_id} input[type=file]").set_input_files(chosen)
            names = [Path(each).name if isinstance(each, str | Path) else each["name"] for each in chosen]
            expect(page.locator(f"#{elem_id} .file-preview")).to_contain_text(Path(names[0]).suffix)


def open_report(page, file):
    section = page.locator("#benchmark-reports")
    if not section.locator("#benchmark-open").is_visible():
        section.get_by_role("button", name="Open a report").click()
    if section.get_by_label("Clear").count():
        section.get_by_label("Clear").first.click()
    section.locator("input[type=file]").set_input_files(file)


def points(page, chart):
    """What is drawn of the clips: bars of a few, points of many."""
    return page.locator(f"#{chart} .js-plotly-plot :is(.scatterlayer, .barlayer) .point")


def downloaded(page):
    with page.expect_download() as download:
        page.locator("#benchmark-download").click()
    archive = zipfile.ZipFile(download.value.path())
    assert set(archive.namelist()) == {"report.json", "report.csv", "report.html", "runs.jsonl"}
    return archive, json.loads(archive.read("report.json"))


def expect_sound(page):
    """The browser has fetched and decoded the clip: its length and its wave are there."""
    player = page.locator("#benchmark-player")
    expect(player.locator("#duration")).to_have_text(re.compile(r"0:0[1-9]"))
    expect(player.locator("#waveform canvas").first).to_be_attached()
    expect(player.get_by_label("Play").first).to_be_enabled()


def test_the_same_words_as_the_command_line_stopped_resumed_and_downloaded(page, command_line):
    open_tab(page)
    page.locator("#choices button").first.click()
    choose(page, "repeats", "9 times")  # else a quick machine is done before Stop is pressed
    status = page.locator("#benchmark-status")
    start(page)
    expect(status).to_contain_text(re.compile(rf"Clip [2-9]\d* of {CLIPS} is done"), timeout=LONG_MS)
    page.locator("#benchmark-stop").click()
    expect(status).to_contain_text("What is done is kept", timeout=LONG_MS)
    expect(page.locator("#benchmark-tables th[data-lane=whisper]")).to_be_visible()
    stopped, report = downloaded(page)
    done = report["summary"]["clips"]
    assert 2 <= done < CLIPS

    start(page, "Resume")
    expect(status).to_contain_text(f"Done: {CLIPS} clips", timeout=LONG_MS)
    expect(page.locator("#benchmark-result .figure")).to_contain_text("×")
    for chart in CHARTS:
        expect(points(page, chart).first).to_be_attached()
        assert page.locator(f"#{chart} .js-plotly-plot").bounding_box()["height"] > 250
    expect(page.get_by_role("button", name="Resume", exact=True)).to_be_disabled()

    archive, report = downloaded(page)
    rows = archive.read("runs.jsonl").decode()
    assert rows.startswith(stopped.read("runs.jsonl").decode()), "what was done was kept as it was"
    assert word_errors(rows) == word_errors((command_line / "runs.jsonl").read_text())
    assert len(word_errors(rows)) == 2 * CLIPS
    theirs = json.loads((command_line / "report.json").read_text())
    for lane, totals in report["summary"]["lanes"].items():
        assert totals["word_errors"] == theirs["summary"]["lanes"][lane]["word_errors"]
    assert len(list(csv.DictReader(io.StringIO(archive.read("report.csv").decode())))) == 2 * CLIPS
    assert report["data"] == "the shipped examples"
    assert "Plotly.newPlot" in archive.read("report.html").decode()

    page.locator("#benchmark-clip input").click()
    page.get_by_role("option", name="rainbow-2", exact=True).click()
    expect(page.locator("#benchmark-words .card")).to_have_count(2)
    expect_sound(page)


def test_a_report_of_the_command_line_is_opened(page, command_line, tmp_path):
    open_tab(page)
    status = page.locator("#benchmark-status")
    open_report(page, command_line / "report.json")
    expect(status).to_contain_text("Opened report.json")
    expect(page.locator("#benchmark-tables th[data-lane=distil]")).to_be_visible()
    expect(page.locator("#benchmark-words")).to_contain_text("came without the words")
    expect(points(page, "clip-latency").first).to_be_attached()

    open_report(page, command_line / "runs.jsonl")
    expect(status).to_contain_text("Opened runs.jsonl")
    expect(page.locator("#benchmark-words .card")).to_have_count(2)
    expect_sound(page)
    _, report = downloaded(page)
    assert report == json.loads((command_line / "report.json").read_text())

    torn = tmp_path / "torn.jsonl"
    torn.write_text((command_line / "runs.jsonl").read_text().replace('{"clip_id"', "clip_id", 1))
    for name, text, sentence in (
        ("report.json", "{}", "report.json is not a saved report"),
        ("torn.jsonl", torn.read_text(), "Line 2 of torn.jsonl is not JSON."),
    ):
        wrong = tmp_path / name
        wrong.write_text(text)
        open_report(page, wrong)
        expect(status.locator("[role=alert]")).to_contain_text(sentence)
    expect(page.get_by_role("button", name="Run benchmark", exact=True)).to_be_enabled()


def test_my_files_good_and_bad(page, clip_file, speechlike_clip, tmp_path):
    """Each mistake has its sentence; one bad file among good ones is a failure of its own."""
    other, text = tmp_path / "other" / "clip.flac", tmp_path / "text.wav"
    other.parent.mkdir()
    soundfile.write(other, speechlike_clip.samples, SAMPLING_RATE)
    text.write_text("this is no audio\n" * 50)
    tables = {}
    for name, content in {
        "twice.csv": "clip.wav,one\nclip.wav,two\n",
        "others.csv": "nobody.wav,hello\n",
        "good.csv": "file,text\nclip.wav,two words\ntext.wav,\n",
    }.items():
        tables[name] = tmp_path / name
        tables[name].write_text(content)
    problem = page.locator("#benchmark-status [role=alert]")
    page.get_by_role("tab", name="Benchmark", exact=True).click()
    page.get_by_label("My files").click()
    for files, table, sentence in (
        ([], None, "No files were given. Choose some, with speech in them."),
        ([clip_file, other], None, "Two files are called 'clip'. Rename one"),
        ([clip_file], "twice.csv", "names clip.wav twice"),
        ([clip_file], "others.csv", "names none of these files"),
    ):
        for upload in ("#benchmark-files", "#benchmark-references"):
            if page.locator(upload).get_by_label("Clear").count():
                page.locator(upload).get_by_label("Clear").first.click()
        choose_files(page, files, [tables[table]] if table else None)
        start(page)
        expect(problem).to_contain_text(sentence)
        expect(page.get_by_role("button", name="Run benchmark", exact=True)).to_be_enabled()
        expect(page.get_by_role("button", name="Resume", exact=True)).to_be_disabled()

    for upload in ("#benchmark-files", "#benchmark-references"):
        page.locator(upload).get_by_label("Clear").first.click()
    choose_files(page, [clip_file, text], [tables["good.csv"]])
    start(page)
    expect(page.locator("#benchmark-status")).to_contain_text("Done: 2 clips", timeout=LONG_MS)
    expect(page.locator("#benchmark-result .warnings")).to_contain_text(
        "Whisper and Distil-Whisper failed on 1 clip. The first, text: "
    )
    page.locator("#benchmark-clip input").click()
    page.get_by_role("option", name="text", exact=True).click()
    expect(page.locator("#benchmark-words .card.failed").first).to_contain_text("This model did not run")


@pytest.mark.parametrize("size", SIZES)
def test_nothing_is_wider_than_the_window(context, app_url, command_line, size):
    page = context.new_page()
    page.set_viewport_size(SIZES[size])
    open_page(page, app_url)
    open_tab(page)
    open_report(page, command_line / "runs.jsonl")
    expect(page.locator("#benchmark-words .card")).to_have_count(2)
    expect(points(page, "wer-rtfx").first).to_be_attached()
    assert page.evaluate("document.documentElement.scrollWidth <= window.innerWidth")
    table = page.locator("#benchmark-tables .scroll").first
    assert table.evaluate("table => table.scrollWidth <= table.clientWidth"), "two lanes need no scrolling"

    page.goto((command_line / "report.html").as_uri())
    for chart in CHARTS:
        drawing, column = page.locator(f"#{chart} .main-svg").first, page.locator(f"section:has(> div #{chart})")
        assert drawing.bounding_box()["width"] <= column.bounding_box()["width"]
    assert page.evaluate("document.documentElement.scrollWidth <= window.innerWidth")
