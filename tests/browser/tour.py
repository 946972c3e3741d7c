"""A walk through all that the page shows, for those who look at it: accessibility checks and screenshots."""

from __future__ import annotations

from typing import TYPE_CHECKING

from tests.browser.harness import set_number

if TYPE_CHECKING:
    from collections.abc import Iterator

    from playwright.sync_api import Page

FOLDS = ("Lines and subtitles", "For a script")
BENCHMARK_CLIPS = 3


def tour(page: Page) -> Iterator[str]:
    """Use an open page tab by tab, on shipped clips; yields what it shows each time it stands still."""
    yield "compare-empty"
    page.locator("#examples button").first.click()
    page.locator("#share button").first.wait_for()
    page.locator("#run:not([disabled])").wait_for()
    yield "compare"
    page.locator("#run").press("Enter")  # after a picture a click may miss
    page.locator("#speed-up .js-plotly-plot .barlayer .point").nth(1).wait_for(state="attached")
    page.locator("#choices button").first.click()
    for fold in FOLDS:
        page.get_by_role("button", name=fold).click()
    page.locator("#curl .cm-line").first.wait_for()
    yield "compare-unfolded"
    page.locator("#choices button").first.click()
    page.get_by_role("tab", name="Models", exact=True).click()
    page.locator("#passes .js-plotly-plot .barlayer .point").first.wait_for(state="attached")
    page.locator("#speed-times .js-plotly-plot .barlayer .point").first.wait_for(state="attached")
    yield "models"
    page.get_by_role("tab", name="Benchmark", exact=True).click()
    set_number(page, "benchmark-limit", BENCHMARK_CLIPS)
    yield "benchmark-empty"
    page.get_by_role("button", name="Run benchmark", exact=True).press("Enter")
    page.locator("#benchmark-status").get_by_text("Done").wait_for()
    page.locator("#benchmark-run:not([disabled])").wait_for()
    page.locator("#benchmark-clip input").click()
    page.get_by_role("option").first.click()
    page.locator("#benchmark-words .card").first.wait_for()
    yield "benchmark"
