"""The app as a visitor meets it: a process of its own, and Chromium with a microphone that plays a file."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING

import pytest
import soundfile

from components.core.types import SAMPLING_RATE
from tests.browser.harness import CHROMIUM, SIZES, launch, open_page, pair_variables, running_app

if TYPE_CHECKING:
    from collections.abc import Iterator

    from playwright.sync_api import Browser, BrowserContext, Page

WAIT_MS = 60_000


def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    for item in items:
        if Path(__file__).parent in item.path.parents:
            item.add_marker(pytest.mark.browser)


@pytest.fixture(scope="session")
def app_variables(tiny_teacher: Path, tiny_student: Path) -> dict[str, str]:
    """Tiny checkpoints: what is tested is the page, whatever the words are."""
    return pair_variables(tiny_teacher, tiny_student)


@pytest.fixture(scope="session")
def app_url(app_variables: dict[str, str]) -> Iterator[str]:
    with running_app(**app_variables) as url:
        yield url


@pytest.fixture(scope="session")
def clip_file(speechlike_clip, tmp_path_factory: pytest.TempPathFactory) -> Path:
    path = tmp_path_factory.mktemp("audio") / "clip.wav"
    soundfile.write(path, speechlike_clip.samples, SAMPLING_RATE)
    return path


@pytest.fixture(scope="module")
def browser(clip_file: Path) -> Iterator[Browser]:
    """Chromium, for a file of tests: while Playwright runs, no test with an event loop of its own can run beside it."""
    playwright = pytest.importorskip("playwright.sync_api", reason="Playwright is not installed")
    if CHROMIUM is None:
        pytest.skip("there is no Chromium on this machine")
    playwright.expect.set_options(timeout=WAIT_MS)
    with playwright.sync_playwright() as driver:
        browser = launch(
            driver,
            "--use-fake-ui-for-media-stream",
            "--use-fake-device-for-media-stream",
            f"--use-file-for-fake-audio-capture={clip_file}",
        )
        yield browser
        browser.close()


@pytest.fixture
def context(browser: Browser) -> Iterator[BrowserContext]:
    context = browser.new_context(viewport=SIZES["desktop"], permissions=["microphone"])
    context.set_default_timeout(WAIT_MS)
    yield context
    context.close()


@pytest.fixture
def page(context: BrowserContext, app_url: str) -> Page:
    page = context.new_page()
    open_page(page, app_url)
    return page
