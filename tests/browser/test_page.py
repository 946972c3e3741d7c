"""What a visitor does on the page."""

from __future__ import annotations

import json
import re
import urllib.parse
from typing import TYPE_CHECKING

import numpy as np
import pytest
import soundfile

from components.core.types import SAMPLING_RATE
from tests.browser.harness import SIZES, open_page, pair_variables, running_app, set_number

if TYPE_CHECKING:
    from pathlib import Path

    from playwright.sync_api import Page

pytest.importorskip("playwright.sync_api", reason="Playwright is not installed")
from playwright.sync_api import expect

LANES = ("whisper", "distil")
CHARTS = ("latency", "speed-up", "parameters")


def upload(page: Page, file: Path | dict) -> None:
    clip = page.locator("#clip")
    if clip.get_by_label("Clear").count():
        clip.get_by_label("Clear").first.click()
    clip.get_by_role("button", name="Upload file", exact=True).click()
    clip.locator("input[type=file]").set_input_files(file)
    clip.locator("[data-testid^=waveform-]").first.wait_for(state="attached")


def run(page: Page) -> None:
    page.get_by_role("button", name="Run comparison", exact=True).click()


def expect_result(page: Page) -> None:
    for lane_id in LANES:
        card = page.locator(f"#result .card[data-lane={lane_id}]")
        expect(card.locator(".transcript")).to_be_visible()
        expect(card.get_by_text("Latency", exact=True)).to_be_visible()
    expect(page.locator("#result .hero .figure")).to_have_text(re.compile(r"^\d+\.\d\d×$"))
    for chart in CHARTS:
        drawing = page.locator(f"#{chart} .js-plotly-plot .barlayer .point path").first
        expect(drawing).to_be_attached()
        assert page.locator(f"#{chart} .js-plotly-plot").bounding_box()["height"] > 250
    expect(page.get_by_role("button", name="Run comparison", exact=True)).to_be_enabled()
    expect(page.get_by_role("button", name="Cancel", exact=True)).to_be_disabled()


def test_a_recording_goes_through_both_models(page):
    page.locator("#clip").get_by_role("button", name="Record", exact=True).click()
    stop = page.locator("#clip").get_by_role("button", name="Stop", exact=True)
    # The recorder's own clock says when a second has been taken.
    expect(page.locator("#clip").get_by_text(re.compile(r"0:0[1-9]")).first).to_be_visible()
    stop.click()
    page.locator("#clip [data-testid^=waveform-]").first.wait_for(state="attached")
    run(page)
    expect_result(page)


def test_an_upload_and_what_folds_away(page, clip_file):
    upload(page, clip_file)
    page.get_by_role("button", name="Options").click()
    page.get_by_label("Reference text (optional)").fill("some words to count against")
    run(page)
    expect_result(page)
    expect(page.locator("#result .diff")).to_contain_text("WER")

    page.get_by_role("button", name="Timestamps and subtitles").click()
    srt = page.locator("#segments a[download$='.whisper.srt']")
    assert srt.get_attribute("href").startswith("data:application/x-subrip")
    page.get_by_role("button", name="Result as JSON").click()
    with page.expect_download() as download:
        page.get_by_role("link", name="Download clip.json").click()
    result = json.loads(download.value.path().read_text())
    assert [row["lane_id"] for row in result["runs"]] == list(LANES)
    assert result["speed_up"]["distil"] > 0
    page.get_by_role("button", name="Repeat this run from a script").click()
    expect(page.locator("#python")).to_contain_text("handle_file('clip.wav')")


def test_samples_of_a_visit_gather_in_the_charts(page, clip_file):
    upload(page, clip_file)
    for count in (1, 2):
        run(page)
        # A decoder bar a lane and an encoder bar a lane, for each sample.
        expect(page.locator("#speed-up .js-plotly-plot .barlayer .point")).to_have_count(count)
        expect(page.get_by_role("button", name="Run comparison", exact=True)).to_be_enabled()
    page.get_by_role("tab", name="Models", exact=True).click()
    expect(page.locator("#shares .share")).to_have_count(2)


def test_an_examples_reference_goes_with_it_and_an_old_result_is_named(page, clip_file, tmp_path):
    page.locator("#examples button").first.click()
    reference = page.get_by_label("Reference text (optional)")
    page.get_by_role("button", name="Options").click()
    expect(reference).not_to_have_value("")
    upload(page, clip_file)
    expect(reference).to_have_value("")
    reference.fill("my own words")
    run(page)
    expect_result(page)
    wrong = tmp_path / "not-audio.wav"
    wrong.write_text("this is a text file\n" * 50)
    upload(page, wrong)
    expect(reference).to_have_value("my own words")
    run(page)
    expect(page.locator("#status [role=alert]")).to_contain_text(f"still that of “{clip_file.stem}”")


def test_bad_input_is_told_and_the_next_clip_is_right(page, clip_file, tmp_path):
    run(page)
    expect(page.locator("#status [role=alert]")).to_contain_text("no audio")
    wrong = tmp_path / "not-audio.wav"
    wrong.write_text("this is a text file\n" * 50)
    upload(page, wrong)
    run(page)
    expect(page.locator("#status [role=alert]")).to_contain_text(re.compile("cannot be read|not.*audio", re.IGNORECASE))
    expect(page.locator("#result .card")).to_have_count(0)

    upload(page, clip_file)
    run(page)
    expect_result(page)


@pytest.fixture(scope="module")
def long_file(tmp_path_factory):
    path = tmp_path_factory.mktemp("audio") / "long.wav"
    noise = np.random.default_rng(0).standard_normal(600 * SAMPLING_RATE).astype(np.float32) * 0.1
    soundfile.write(path, noise, SAMPLING_RATE)
    return path


def start_minutes_of_work(page: Page, long_file: Path) -> None:
    """Were it not stopped, the next clip would wait longer than these tests do."""
    upload(page, long_file)
    page.get_by_role("button", name="Options").click()
    set_number(page, "repeats", 9)
    run(page)
    expect(page.locator("#status").get_by_text(re.compile("Running|Warming|Loading"))).to_be_visible()
    expect(page.get_by_role("button", name="Run comparison", exact=True)).to_be_disabled()


def test_cancel_stops_a_run_and_frees_the_device(page, clip_file, long_file):
    start_minutes_of_work(page, long_file)
    page.get_by_role("button", name="Cancel", exact=True).click()
    expect(page.locator("#status")).to_contain_text("Cancelled")
    expect(page.get_by_role("button", name="Run comparison", exact=True)).to_be_enabled()
    expect(page.locator("#result .card")).to_have_count(0)
    set_number(page, "repeats", 1)
    upload(page, clip_file)
    run(page)
    expect_result(page)


def test_a_visitor_who_leaves_frees_the_device(page, context, app_url, clip_file, long_file):
    start_minutes_of_work(page, long_file)
    page.close()
    other = context.new_page()
    open_page(other, app_url)
    upload(other, clip_file)
    run(other)
    expect_result(other)


def test_a_run_waits_at_a_place_and_can_be_cancelled_there(page, context, app_url, clip_file, long_file):
    start_minutes_of_work(page, long_file)
    other = context.new_page()
    open_page(other, app_url)
    upload(other, clip_file)
    run(other)
    expect(other.get_by_role("button", name="Run comparison", exact=True)).to_be_disabled()
    expect(other.locator("#status")).to_contain_text("1 before you")
    other.get_by_role("button", name="Cancel", exact=True).click()
    expect(other.locator("#status")).to_contain_text("Cancelled")
    expect(other.get_by_role("button", name="Run comparison", exact=True)).to_be_enabled()
    page.get_by_role("button", name="Cancel", exact=True).click()
    run(other)
    expect_result(other)


def test_nothing_of_one_visitor_is_seen_by_another(page, browser, app_url, clip_file):
    private = {"name": "quite-private.wav", "mimeType": "audio/wav", "buffer": clip_file.read_bytes()}
    upload(page, private)
    page.get_by_role("button", name="Options").click()
    page.get_by_label("Reference text (optional)").fill("words that nobody else may read")
    run(page)
    expect_result(page)

    with browser.new_context() as context:
        other = context.new_page()
        open_page(other, app_url)
        expect(other.locator("#result")).to_contain_text("Nothing measured yet")
        upload(other, clip_file)
        run(other)
        expect_result(other)
        expect(other.locator("#speed-up .js-plotly-plot .barlayer .point")).to_have_count(1)
        for visitor in (page, other):
            visitor.get_by_role("button", name="Repeat this run from a script").click()
            expect(visitor.locator("#python")).to_contain_text("handle_file")
        shown = other.content() + json.dumps(other.request.get(f"{app_url}/config").json())
    for text in ("quite-private", "nobody else"):
        assert text in page.content()
        assert text not in shown
    expect(page.locator("#speed-up .js-plotly-plot .barlayer .point")).to_have_count(1)


def test_models_tab_counts_and_draws(page):
    page.get_by_role("tab", name="Models", exact=True).click()
    for lane_id in LANES:
        expect(page.locator(f"#models-table th[data-lane={lane_id}]")).to_be_visible()
    expect(page.locator("#models-table")).to_contain_text("100.000000 %")
    expect(page.locator("#passes")).to_contain_text("2 layers × 128 tokens")
    set_number(page, "tokens", 10)
    expect(page.locator("#passes")).to_contain_text("Distil-Whisper: 20 layer passes")
    expect(page.locator("#models-parameters .js-plotly-plot .barlayer .point path").first).to_be_attached()


MARKUP = "<img src=x onerror=window.hacked=1>"


@pytest.fixture(scope="module")
def hostile_url(tiny_teacher, tiny_student, tmp_path_factory):
    """The app with models whose every letter is a piece of markup."""
    folder = tmp_path_factory.mktemp("hostile")
    for source in (tiny_teacher, tiny_student):
        target = folder / source.name
        target.mkdir()
        for file in source.iterdir():
            (target / file.name).write_bytes(file.read_bytes())
        tokenizer = json.loads((target / "tokenizer.json").read_text())
        vocabulary, spelled = tokenizer["model"]["vocab"], MARKUP.replace(" ", "Ġ")
        hostile = {
            token: f"{spelled}Ġ{token[-1]}{'' if len(token) > 1 else '.'}"
            for token in vocabulary
            if token[-1].isascii() and token[-1].islower() and len(token) <= 2
        }
        tokenizer["model"]["vocab"] = {hostile.get(token, token): index for token, index in vocabulary.items()}
        tokenizer["model"]["merges"] = []
        (target / "tokenizer.json").write_text(json.dumps(tokenizer))
    with running_app(**pair_variables(folder / "teacher", folder / "student")) as url:
        yield url


def expect_text_only(page: Page) -> None:
    assert page.evaluate("window.hacked") is None
    assert page.locator("img[src=x]").count() == 0


def test_markup_in_transcript_file_name_and_reference_is_text(context, hostile_url, clip_file):
    page = context.new_page()
    open_page(page, hostile_url)
    named = {"name": f"{MARKUP}.wav", "mimeType": "audio/wav", "buffer": clip_file.read_bytes()}
    upload(page, named)
    page.get_by_role("button", name="Options").click()
    page.get_by_label("Reference text (optional)").fill(f"{MARKUP} ${{window.hacked=1}} {{{{value}}}}")
    run(page)
    expect_result(page)
    for lane_id in LANES:
        expect(page.locator(f".card[data-lane={lane_id}] .transcript")).to_contain_text("<img src=x onerror")
    for fold in ("Timestamps and subtitles", "Result as JSON", "Repeat this run from a script"):
        page.get_by_role("button", name=fold).click()
    page.locator("#latency .js-plotly-plot .barlayer .point path").first.hover(force=True)
    for link in page.locator("#segments a[download]").all():
        assert "<" not in urllib.parse.unquote(link.get_attribute("href"))
    expect_text_only(page)

    page.get_by_role("tab", name="Benchmark", exact=True).click()
    page.get_by_label("My files").check()
    page.locator("#benchmark-files input[type=file]").set_input_files(named)
    stored = MARKUP.translate(str.maketrans("", "", "<>"))  # as Gradio names the upload
    table = f"{stored}.wav,{MARKUP}\n"
    page.locator("#benchmark-references input[type=file]").set_input_files(
        {"name": f"{MARKUP}.csv", "mimeType": "text/csv", "buffer": table.encode()}
    )
    for box in ("benchmark-files", "benchmark-references"):
        expect(page.locator(f"#{box} .file-preview")).to_be_visible()
    page.get_by_role("button", name="Run benchmark", exact=True).click()
    expect(page.locator("#benchmark-status")).to_contain_text("Done")
    page.locator("#benchmark-clip input").click()
    page.get_by_role("option").first.click()
    expect(page.locator("#benchmark-words .card").first).to_contain_text("<img src=x onerror")
    page.locator("#clip-latency .js-plotly-plot .scatterlayer .point").first.hover(force=True)
    expect_text_only(page)


@pytest.mark.parametrize("size", ["desktop", "phone"])
def test_nothing_is_wider_than_the_window(context, app_url, clip_file, size):
    page = context.new_page()
    page.set_viewport_size(SIZES[size])
    open_page(page, app_url)
    upload(page, clip_file)
    run(page)
    expect_result(page)
    tops = [page.locator(f"#{chart}").bounding_box()["y"] for chart in CHARTS]
    assert (len({round(top) for top in tops}) == 1) == (size == "desktop")
    assert page.evaluate("document.documentElement.scrollWidth <= window.innerWidth")
