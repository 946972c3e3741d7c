"""The Live tab in Chromium, whose microphone plays a file: nothing spoken is lost, and who leaves leaves nothing."""

from __future__ import annotations

import time
from typing import TYPE_CHECKING

import pytest

pytest.importorskip("playwright.sync_api", reason="Playwright is not installed")
from playwright.sync_api import expect

from components.core.settings import Settings
from components.runs.lab import Lab
from components.ui import layout
from tests.browser.harness import CHROMIUM, open_page, pair_variables

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator
    from pathlib import Path

    from playwright.sync_api import Browser, BrowserContext, Page

    from components.ui.requests import Page as Served

LANES = ("whisper", "distil")
SPEAKING_MS = 6_000
RESULT_MS = 180_000
"""Until all that was spoken is worked off, on a busy machine."""

GONE_S = 5.0
"""Seconds after a tab was closed in which all that it had started must have ended."""


@pytest.fixture(scope="module")
def lab(tiny_teacher: Path, tiny_student: Path) -> Lab:
    return Lab(Settings.from_env(pair_variables(tiny_teacher, tiny_student)))


@pytest.fixture(scope="module")
def served(lab: Lab) -> Iterator[Served]:
    """The page in this process, so that what runs can be seen."""
    page = layout.build(lab)
    options = {"server_name": "127.0.0.1", "quiet": True, "prevent_thread_lock": True}
    page.launch(**(layout.launch_options(page, lab) | options))
    yield page
    page.close()


@pytest.fixture
def page(context: BrowserContext, served: Served) -> Page:
    return live_tab(context, served)


def live_tab(context: BrowserContext, served: Served) -> Page:
    page = context.new_page()
    open_page(page, served.local_url)
    page.get_by_role("tab", name="Live", exact=True).click()
    return page


def record(page: Page) -> None:
    page.locator("#record-live").click()
    expect(page.locator("#live-clock")).to_contain_text("Recording")


def speak(page: Page) -> None:
    """Record until both lanes have written something, and some seconds more."""
    record(page)
    for lane_id in LANES:
        expect(page.locator(f"#live-words [data-lane={lane_id}] .where")).to_contain_text("behind you")
    page.wait_for_timeout(SPEAKING_MS)


def counts(page: Page) -> dict[str, int]:
    return page.evaluate("window.liveMicrophone.counts()")


def expect_result(page: Page) -> None:
    expect(page.locator("#live-result .claim").first).to_be_visible(timeout=RESULT_MS)
    for lane_id in LANES:
        expect(page.locator(f"#live-result .card[data-lane={lane_id}]")).to_be_visible()
    expect(page.locator("#record-live")).to_be_enabled()
    expect(page.locator("#stop-live")).to_be_disabled()


def wait_until(reached: Callable[[], bool], seconds: float) -> None:
    deadline = time.monotonic() + seconds
    while not reached():
        assert time.monotonic() < deadline, "it never came to that"
        time.sleep(0.05)


def nothing_runs(served: Served, lab: Lab) -> bool:
    return len(served.microphones) == len(lab.queue) == 0


def kept(monkeypatch: pytest.MonkeyPatch, served: Served) -> list:
    """The microphones that are opened from now on."""
    found, opened = [], served.microphones.open

    def noting(*arguments: object) -> object:
        found.append(opened(*arguments))
        return found[-1]

    monkeypatch.setattr(served.microphones, "open", noting)
    return found


def test_both_columns_fill_and_stop_loses_nothing(page, served, lab, monkeypatch):
    opened = kept(monkeypatch, served)
    speak(page)
    expect(page.locator("#lags .js-plotly-plot")).to_be_visible()
    page.locator("#stop-live").click()
    expect_result(page)
    (microphone,) = opened
    sent = counts(page)
    assert sent["captured"] == sent["received"] == microphone.received
    assert microphone.received > SPEAKING_MS / 1000 * sent["rate"]
    assert len(microphone.recording) == pytest.approx(16_000 * microphone.received / sent["rate"], abs=2)
    assert nothing_runs(served, lab)


def test_pieces_that_do_not_arrive_are_sent_again(page, served, monkeypatch):
    opened = kept(monkeypatch, served)
    lost = []

    def lose(route):
        """Every third request never reaches the server, and of every fifth the answer is lost."""
        lost.append(route.request.url)
        if len(lost) % 3 == 0:
            route.abort()
        elif len(lost) % 5 == 0:
            route.fetch()
            route.abort()
        else:
            route.continue_()

    page.route("**/microphone/**", lose)
    speak(page)
    page.locator("#stop-live").click()
    expect_result(page)
    assert len(lost) > 5
    assert counts(page)["captured"] == opened[0].received
    assert "did not reach" not in page.locator("#live-status").inner_text()


def test_a_tab_closed_in_mid_sentence_leaves_nothing(page, served, lab):
    speak(page)
    assert len(served.microphones) == 1
    page.close()
    wait_until(lambda: nothing_runs(served, lab), GONE_S)


def test_after_a_reload_nothing_runs_and_all_can_begin_anew(page, served, lab):
    speak(page)
    page.reload()
    wait_until(lambda: nothing_runs(served, lab), GONE_S)
    page.get_by_role("tab", name="Live", exact=True).click()
    speak(page)
    page.locator("#stop-live").click()
    expect_result(page)


def test_a_second_visitor_at_the_same_time(page, browser: Browser, served, lab):
    other_context = browser.new_context(permissions=["microphone"])
    other_context.set_default_timeout(60_000)
    other = live_tab(other_context, served)
    record(page)
    record(other)
    other.wait_for_timeout(SPEAKING_MS)
    assert len(served.microphones) == 2
    for each in (page, other):
        each.locator("#stop-live").click()
    for each in (page, other):
        expect_result(each)
        assert counts(each)["captured"] == counts(each)["received"]
    other_context.close()
    assert nothing_runs(served, lab)


def test_without_permission_there_is_a_sentence(browser: Browser, served):
    arguments = ["--no-sandbox", "--use-fake-device-for-media-stream"]  # and nobody there to allow it
    refusing = browser.browser_type.launch(executable_path=CHROMIUM, args=arguments)
    try:
        page = live_tab(refusing.new_context(), served)
        page.locator("#record-live").click()
        expect(page.locator("#live-status [role=alert]")).to_contain_text("did not let this page use the microphone")
        expect(page.locator("#record-live")).to_be_enabled()
        assert len(served.microphones) == 0
    finally:
        refusing.close()


def test_an_example_is_replayed(page):
    page.locator("#replay-live").click()
    expect_result(page)
