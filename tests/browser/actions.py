"""What a visitor does on the Compare tab, and what they then see."""

from __future__ import annotations

import re
from typing import TYPE_CHECKING

from playwright.sync_api import expect

if TYPE_CHECKING:
    from pathlib import Path

    from playwright.sync_api import Page

LANES = ("whisper", "distil")


def upload(page: Page, *files: Path | dict) -> None:
    """Give one or several files to the Compare tab; one runs by itself."""
    page.locator("#files input[type=file]").set_input_files(list(files))


def run_automatically(page: Page, yes: bool) -> None:
    page.get_by_label("Run automatically").set_checked(yes)


def expect_clip(page: Page) -> None:
    """The chosen clip is there to listen to."""
    page.locator("#clip [data-testid^=waveform-]").first.wait_for(state="attached")


def expect_result(page: Page, clip_id: str) -> None:
    """A whole result of this clip, by all lanes, and nothing running any more."""
    result = page.locator("#result .result")
    expect(result).to_have_attribute("data-clip", clip_id)
    for lane_id in LANES:
        expect(result.locator(f".card[data-lane={lane_id}][data-state=done] .transcript")).to_be_visible()
        expect(result.locator(f".race-lane[data-lane={lane_id}] .race-time")).to_have_text(re.compile(r"\d"))
    expect(result.locator("h2")).to_contain_text(clip_id)
    expect_idle(page)


def expect_idle(page: Page) -> None:
    expect(page.locator("#run")).to_be_enabled()
    expect(page.locator("#stop")).to_be_disabled()


def expect_problem(page: Page, words: str) -> None:
    expect(page.locator("#status [role=alert]")).to_contain_text(re.compile(words, re.IGNORECASE))
