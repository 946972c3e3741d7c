"""What axe-core finds on every tab, and the page without a mouse."""

from __future__ import annotations

import pytest

from tests.browser.harness import SIZES, open_page, settle
from tests.browser.tour import tour

pytest.importorskip("playwright.sync_api", reason="Playwright is not installed")
pytest.importorskip("axe_playwright_python", reason="axe-playwright-python is not installed")
from axe_playwright_python.sync_playwright import Axe
from playwright.sync_api import expect

GRAVE = {"serious", "critical"}
MAX_STOPS = 40
"""Presses of Tab within which everything is reached."""


def faults(page) -> list[str]:
    settle(page)  # colours fade in; axe would measure the contrast half-way
    return [
        f"{violation['impact']} {violation['id']}: {node['html'][:200]} ({node['failureSummary'][:300]})"
        for violation in Axe().run(page).response["violations"]
        if violation["impact"] in GRAVE
        for node in violation["nodes"]
    ]


@pytest.mark.parametrize("scheme", ["light", "dark"])
def test_axe_finds_nothing_grave_on_any_tab(context, app_url, scheme):
    page = context.new_page()
    open_page(page, f"{app_url}/?__theme={scheme}")
    found = {}
    for shown in tour(page):
        if shown in {"compare", "benchmark-empty"}:
            continue  # the next stop has all of it and more
        for size, viewport in SIZES.items():
            page.set_viewport_size(viewport)
            found[f"{shown}, {size}"] = faults(page)
        page.set_viewport_size(SIZES["desktop"])
    assert len(found) == 2 * 4
    grave = [f"{where}: {fault}" for where, what in found.items() for fault in what]
    assert not grave, "\n".join(grave)


FOCUS = """() => {
    const element = document.activeElement, style = getComputedStyle(element)
    const outlined = style.outlineStyle !== 'none' && parseFloat(style.outlineWidth) > 0
    return {
        id: element.closest('[id]').id,
        text: (element.getAttribute('aria-label') ?? element.textContent).trim(),
        visible: outlined || style.boxShadow !== 'none',
    }
}"""


def press_until(page, key, reached):
    """Press a key until the focus is where it should be; everywhere on the way it must be seen."""
    stops = []
    for _ in range(MAX_STOPS):
        page.keyboard.press(key)
        stops.append(page.evaluate(FOCUS))
        assert stops[-1]["visible"], stops[-1]
        if reached(stops[-1]):
            return stops
    raise AssertionError([stop["text"] or stop["id"] for stop in stops])


def test_a_comparison_without_a_mouse(page):
    press_until(page, "Tab", lambda stop: stop["text"] == "Compare")
    press_until(page, "Tab", lambda stop: stop["id"] == "run")
    press_until(page, "Tab", lambda stop: stop["id"] == "examples")
    page.keyboard.press("Enter")
    expect(page.locator("#result .card[data-state=done]")).to_have_count(2)
    expect(page.locator("#run")).to_be_enabled()
    press_until(page, "Tab", lambda stop: stop["text"] == "Replay")
    page.keyboard.press("Enter")
    press_until(page, "Tab", lambda stop: stop["text"] == "Copy as Markdown")
