"""What a visitor does on the page."""

from __future__ import annotations

import json
import re
import urllib.parse
from typing import TYPE_CHECKING

import av
import numpy as np
import pytest
import soundfile

from components.core.types import SAMPLING_RATE
from tests.browser.harness import SIZES, choose, open_page, pair_variables, running_app, set_number

if TYPE_CHECKING:
    from pathlib import Path

    from playwright.sync_api import Page

pytest.importorskip("playwright.sync_api", reason="Playwright is not installed")
from playwright.sync_api import expect

from tests.browser.actions import (
    LANES,
    expect_clip,
    expect_idle,
    expect_problem,
    expect_result,
    run_automatically,
    upload,
)


def run(page: Page) -> None:
    page.locator("#run").click()


def stop(page: Page) -> None:
    page.locator("#stop").click()


def record(page: Page) -> None:
    """Record a second."""
    clip = page.locator("#clip")
    clip.get_by_role("button", name="Record", exact=True).click()
    expect(clip.get_by_text(re.compile(r"0:0[1-9]")).first).to_be_visible()  # the recorder's own clock
    clip.get_by_role("button", name="Stop", exact=True).click()


def test_a_recording_runs_when_it_stops(page):
    record(page)
    expect_result(page, "recording 1")


def test_a_file_runs_by_itself_and_its_result_folds_out(page, clip_file):
    page.get_by_label("What is said (optional)").fill("some words to count against")
    upload(page, clip_file)
    expect_result(page, "clip")
    expect(page.locator("#result .card[data-lane=whisper]")).to_contain_text("Word error rate")

    page.get_by_role("button", name="Lines and subtitles").click()
    for form, mime in (("txt", "text/plain"), ("srt", "application/x-subrip"), ("vtt", "text/vtt")):
        link = page.locator(f"#lines a[download='clip.whisper.{form}']")
        assert link.get_attribute("href").startswith(f"data:{mime}")
    page.get_by_role("button", name="For a script").click()
    with page.expect_download() as download:
        page.get_by_role("link", name="Download clip.json").click()
    result = json.loads(download.value.path().read_text())
    assert [row["lane_id"] for row in result["runs"]] == list(LANES)
    assert result["speed_up"]["distil"] > 0
    expect(page.locator("#python")).to_contain_text("handle_file('clip.wav')")


def test_with_the_switch_off_a_clip_waits_and_the_old_result_goes(page, clip_file):
    upload(page, clip_file)
    expect_result(page, "clip")
    run_automatically(page, False)
    page.locator("#examples button").first.click()
    expect(page.locator("#result .card")).to_have_count(0)
    expect_idle(page)
    run(page)
    expect(page.locator("#result .result")).to_be_visible()
    expect(page.locator("#result .result")).not_to_have_attribute("data-clip", "clip")


def test_each_models_card_is_there_before_its_words(page, long_file):
    upload(page, long_file)
    expect(page.locator("#result .card[data-lane=whisper]")).to_be_visible()
    expect(page.locator("#result .card[data-lane=distil]")).to_have_attribute(
        "data-state", re.compile("waiting|loading|running")
    )
    stop(page)
    expect_idle(page)


@pytest.mark.parametrize(
    ("name", "codec"), [("firefox.ogg", "libopus"), ("safari.mp4", "aac"), ("chrome.webm", "libopus")]
)
def test_what_browsers_record_is_read(page, speechlike_clip, tmp_path, name, codec):
    path = tmp_path / name
    with av.open(str(path), "w") as file:
        stream = file.add_stream(codec, rate=48_000, layout="mono")
        frame = av.AudioFrame.from_ndarray(speechlike_clip.samples[None], format="fltp", layout="mono")
        frame.sample_rate = SAMPLING_RATE
        resampler = av.AudioResampler(stream.format, "mono", 48_000, stream.codec_context.frame_size or 960)
        for part in [*resampler.resample(frame), *resampler.resample(None)]:
            file.mux(stream.encode(part))
        file.mux(stream.encode(None))
    upload(page, path)
    expect_result(page, name.split(".")[0])


def test_the_clips_of_a_visit_gather_and_are_cleared(page, clip_file):
    upload(page, clip_file)
    expect_result(page, "clip")
    expect(page.locator("#visit")).to_be_hidden()
    run(page)
    expect(page.locator("#visit-strip")).to_contain_text("2 clips")
    expect(page.locator("#speed-up .js-plotly-plot .barlayer .point")).to_have_count(2)
    page.get_by_role("tab", name="Models", exact=True).click()
    expect(page.locator("#shares")).to_contain_text("%")
    page.get_by_role("tab", name="Compare", exact=True).click()
    page.get_by_role("button", name="Clear my clips").click()
    expect(page.locator("#visit")).to_be_hidden()


def test_a_reference_goes_with_its_clip_and_what_is_typed_for_the_next_stays(page, clip_file):
    reference = page.get_by_label("What is said (optional)")
    page.locator("#examples button").first.click()
    expect(reference).not_to_have_value("")
    expect_idle(page)
    upload(page, clip_file)
    expect_result(page, "clip")
    expect(reference).to_have_value("")
    reference.fill("my own words")
    upload(page, clip_file)
    expect(page.locator("#result .card[data-lane=whisper]")).to_contain_text("Word error rate")
    expect(reference).to_have_value("my own words")


def test_bad_input_is_told_and_the_next_clip_is_right(page, clip_file, tmp_path):
    run(page)
    expect_problem(page, "no audio")
    wrong = tmp_path / "not-audio.wav"
    wrong.write_text("this is a text file\n" * 50)
    upload(page, wrong)
    expect_problem(page, "cannot be read|not.*audio")
    expect(page.locator("#result .card")).to_have_count(0)
    upload(page, clip_file)
    expect_result(page, "clip")


@pytest.fixture(scope="module")
def long_file(tmp_path_factory):
    """Were it not stopped, the next clip would wait longer than these tests do."""
    path = tmp_path_factory.mktemp("audio") / "long.wav"
    noise = np.random.default_rng(0).standard_normal(1200 * SAMPLING_RATE).astype(np.float32) * 0.1
    soundfile.write(path, noise, SAMPLING_RATE)
    return path


def start_minutes_of_work(page: Page, long_file: Path) -> None:
    upload(page, long_file)
    expect(page.locator("#result .card").first).to_be_visible()
    expect(page.locator("#stop")).to_be_enabled()


def test_stop_ends_a_run_and_frees_the_device(page, clip_file, long_file):
    start_minutes_of_work(page, long_file)
    stop(page)
    expect(page.locator("#status")).to_contain_text("Stopped")
    expect_idle(page)
    upload(page, clip_file)
    expect_result(page, "clip")


def test_another_clip_takes_the_place_of_the_one_that_runs(page, clip_file, long_file):
    start_minutes_of_work(page, long_file)
    upload(page, clip_file)
    expect_result(page, "clip")


def test_a_visitor_who_leaves_frees_the_device(page, context, app_url, clip_file, long_file):
    start_minutes_of_work(page, long_file)
    page.close()
    other = context.new_page()
    open_page(other, app_url)
    upload(other, clip_file)
    expect_result(other, "clip")


def test_a_run_waits_for_anothers_and_can_be_stopped_there(page, context, app_url, clip_file, long_file):
    start_minutes_of_work(page, long_file)
    other = context.new_page()
    open_page(other, app_url)
    upload(other, clip_file)
    expect(other.locator("#status")).to_contain_text("1 before you")
    stop(other)
    expect_idle(other)
    stop(page)
    run(other)
    expect_result(other, "clip")


def test_nothing_of_one_visitor_is_seen_by_another(page, browser, app_url, clip_file):
    private = {"name": "quite-private.wav", "mimeType": "audio/wav", "buffer": clip_file.read_bytes()}
    page.get_by_label("What is said (optional)").fill("words that nobody else may read")
    upload(page, private)
    expect_result(page, "quite-private")

    with browser.new_context() as context:
        other = context.new_page()
        open_page(other, app_url)
        expect(other.locator("#result .card")).to_have_count(0)
        upload(other, clip_file)
        expect_result(other, "clip")
        expect(other.locator("#visit")).to_be_hidden()
        for visitor in (page, other):
            visitor.get_by_role("button", name="For a script").click()
            expect(visitor.locator("#python")).to_contain_text("handle_file")
        shown = other.content() + json.dumps(other.request.get(f"{app_url}/config").json())
    for text in ("quite-private", "nobody else"):
        assert text in page.content()
        assert text not in shown


def test_several_files_become_a_small_benchmark(page, clip_file):
    two = [
        {"name": f"{name}.wav", "mimeType": "audio/wav", "buffer": clip_file.read_bytes()} for name in ("one", "two")
    ]
    upload(page, *two)
    expect(page.get_by_role("tab", name="Benchmark", exact=True)).to_have_attribute("aria-selected", "true")
    expect(page.locator("#benchmark-status")).to_contain_text("Done: 2 clips")
    expect(page.locator("#benchmark-result .headline")).to_be_visible()


def test_a_link_opens_with_pair_lanes_and_example(context, app_url):
    page = context.new_page()
    open_page(page, f"{app_url}/?lanes=distil&example={first_example(app_url, page)}")
    expect_clip(page)
    expect(page.get_by_label("What is said (optional)")).not_to_have_value("")
    page.locator("#choices button").first.click()
    expect(page.get_by_label("Distil-Whisper", exact=True)).to_be_checked()
    expect(page.get_by_label("Whisper", exact=True)).not_to_be_checked()
    run(page)
    expect(page.locator("#result .card[data-state=done]")).to_have_count(1)


def first_example(app_url: str, page: Page) -> str:
    from components.ui.parts import examples

    return urllib.parse.quote(next(iter(examples())))


def test_what_others_show_of_a_link(page, app_url):
    html = page.request.get(f"{app_url}/").text()
    found = dict(re.findall(r'<meta property="(og:\w+)" content="([^"]*)"', html))
    assert found["og:title"] == "Whisper vs Distil-Whisper"
    assert "Distil-Whisper" in found["og:description"]
    picture = page.request.get(found["og:image"])
    assert picture.headers["content-type"] == "image/png"
    assert html.count("og:title") == 1


def test_a_result_is_copied_and_saved_as_a_picture(context, app_url, clip_file):
    context.grant_permissions(["clipboard-read", "clipboard-write"])
    page = context.new_page()
    open_page(page, app_url)
    upload(page, clip_file)
    expect_result(page, "clip")
    page.get_by_role("button", name="Copy as Markdown").click()
    expect(page.locator("#spoken")).to_have_text("Copied")
    copied = page.evaluate("navigator.clipboard.readText()")
    assert "clip" in copied
    assert app_url in copied
    page.get_by_role("button", name="Copy the link").click()
    expect(page.locator("#spoken")).to_have_text("Copied")
    page.wait_for_function("async () => (await navigator.clipboard.readText()).includes('?pair=')")
    card = page.locator("#result .card[data-lane=whisper]")
    card.get_by_role("button", name="Copy").click()
    transcript = " ".join(card.locator(".transcript").inner_text().split())
    page.wait_for_function(
        "async (text) => (await navigator.clipboard.readText()) === text",
        arg="" if transcript == "No words" else transcript,
    )
    with page.expect_download() as download:
        page.get_by_role("button", name="Save as a picture").click()
    assert download.value.suggested_filename == "clip.png"
    assert download.value.path().read_bytes().startswith(b"\x89PNG")


def test_a_line_plays_from_its_start(page, clip_file):
    upload(page, clip_file)
    expect_result(page, "clip")
    page.get_by_role("button", name="Lines and subtitles").click()
    line = page.locator("#lines .line").first
    line.click()
    start_s = float(line.get_attribute("data-start-s"))
    page.wait_for_function("(start) => window.__linePlayer?.currentTime >= start", arg=start_s)
    assert page.evaluate("window.__linePlayer.error") is None


PLAYING = "document.querySelector('#result .race-bar').getAnimations().length"


def test_the_race_replays_unless_motion_is_not_wanted(context, app_url, clip_file):
    page = context.new_page()
    open_page(page, app_url)
    upload(page, clip_file)
    expect_result(page, "clip")
    page.get_by_role("button", name="Replay").click()
    page.wait_for_function(f"{PLAYING} === 1")
    page.wait_for_function(f"{PLAYING} === 0")
    page.emulate_media(reduced_motion="reduce")
    page.get_by_role("button", name="Replay").click()
    assert page.evaluate(PLAYING) == 0


def test_on_a_phone_the_result_comes_into_view(context, app_url, clip_file):
    page = context.new_page()
    page.set_viewport_size(SIZES["phone"])
    open_page(page, app_url)
    upload(page, clip_file)
    expect_result(page, "clip")
    page.wait_for_function("Math.abs(document.querySelector('#result').getBoundingClientRect().top) < innerHeight / 4")


@pytest.mark.parametrize("size", SIZES)
def test_every_tab_is_at_hand_and_nothing_is_wider_than_the_window(context, app_url, clip_file, size):
    page = context.new_page()
    page.set_viewport_size(SIZES[size])
    open_page(page, app_url)
    expect(page.get_by_text("deleted within two hours").first).to_be_visible()
    upload(page, clip_file)
    expect_result(page, "clip")
    for fold in ("Lines and subtitles", "For a script"):
        page.get_by_role("button", name=fold).click()
    expect(page.locator("#curl .cm-line").first).to_be_visible()
    for tab in ("Live", "Benchmark", "Models", "Compare"):
        assert page.evaluate("document.documentElement.scrollWidth <= window.innerWidth"), f"before {tab}"
        page.get_by_role("tab", name=tab, exact=True).click()
    rows = page.get_by_role("tab").evaluate_all("tabs => new Set(tabs.map(tab => tab.offsetTop)).size")
    assert rows == 1


def test_of_silence_one_sentence_is_said_and_no_model_is_asked(page, tmp_path):
    path = tmp_path / "silence.wav"
    soundfile.write(path, np.zeros(2 * SAMPLING_RATE, np.float32), SAMPLING_RATE)
    upload(page, path)
    expect(page.locator("#result .claim")).to_have_text(re.compile("^We heard only silence"))
    expect(page.locator("#result .card")).to_have_count(0)
    expect_idle(page)


def test_models_tab_counts_and_draws(page):
    page.get_by_role("tab", name="Models", exact=True).click()
    for lane_id in LANES:
        expect(page.locator(f"#models-table th[data-lane={lane_id}]")).to_be_visible()
    expect(page.locator("#passes .js-plotly-plot .barlayer .point").first).to_be_attached()
    before = page.locator("#passes").inner_text()
    set_number(page, "tokens", 10)
    expect(page.locator("#passes")).not_to_have_text(before)
    expect(page.locator("#models-parameters .js-plotly-plot .barlayer .point path").first).to_be_attached()


def test_the_language_is_told_to_all_models_and_named(page, clip_file):
    page.locator("#choices button").first.click()
    choose(page, "language", "English")
    upload(page, clip_file)
    expect_result(page, "clip")
    expect(page.locator("#result .models")).to_contain_text("English")


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
    page.get_by_label("What is said (optional)").fill(f"{MARKUP} ${{window.hacked=1}} {{{{value}}}}")
    upload(page, named)
    expect(page.locator("#result .card[data-state=done]")).to_have_count(2)
    expect_idle(page)
    for lane_id in LANES:
        expect(page.locator(f".card[data-lane={lane_id}] .transcript")).to_contain_text("<img src=x onerror")
    for fold in ("Lines and subtitles", "For a script"):
        page.get_by_role("button", name=fold).click()
    with page.expect_download():
        page.get_by_role("button", name="Save as a picture").click()
    for link in page.locator("#lines a[download]").all():
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
    expect_text_only(page)


@pytest.mark.parametrize("size", ["desktop", "phone"])
def test_nothing_is_wider_than_the_window(context, app_url, clip_file, size):
    page = context.new_page()
    page.set_viewport_size(SIZES[size])
    open_page(page, app_url)
    upload(page, clip_file)
    expect_result(page, "clip")
    tops = [page.locator(f"#result .card[data-lane={lane_id}]").bounding_box()["y"] for lane_id in LANES]
    assert (len({round(top) for top in tops}) == 1) == (size == "desktop")
    assert page.evaluate("document.documentElement.scrollWidth <= window.innerWidth")


def test_nothing_is_wider_than_the_window_at_twice_the_size(context, app_url, clip_file):
    """Zoomed to 200 %, a window of 1280 pixels has room for 640."""
    page = context.new_page()
    page.set_viewport_size({"width": 640, "height": 450})
    open_page(page, app_url)
    upload(page, clip_file)
    expect_result(page, "clip")
    assert page.evaluate("document.documentElement.scrollWidth <= window.innerWidth")
