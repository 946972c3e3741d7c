"""Pictures of the page: ``python -m tests.browser.screenshots`` takes the README's, ``--all FOLDER`` every tab's.

Starts the app on its default pair; under a minute for the README's, some minutes for all.
"""

from __future__ import annotations

import argparse
from pathlib import Path
from typing import TYPE_CHECKING

from playwright.sync_api import sync_playwright

from tests.browser.harness import ROOT, SIZES, launch, open_page, running_app, settle
from tests.browser.tour import tour

if TYPE_CHECKING:
    from playwright.sync_api import Page

README_PICTURE = ROOT / "examples" / "screenshot.png"
WAIT_MS = 240_000


def take_readme_picture(page: Page) -> None:
    """From the title to the end of the result; what is folded away below it is left out."""
    page.mouse.move(0, 0)
    end = page.locator("#result").evaluate("result => result.getBoundingClientRect().bottom + scrollY")
    clip = {"x": 0, "y": 0, "width": SIZES["desktop"]["width"], "height": end + 16}
    page.screenshot(path=README_PICTURE, full_page=True, clip=clip)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--all", type=Path, metavar="FOLDER", help="every tab, at both widths, light and dark")
    folder = parser.parse_args().all
    with running_app() as url, sync_playwright() as driver:
        browser = launch(driver)
        for scheme in ("light", "dark") if folder else ("light",):
            for size, viewport in SIZES.items() if folder else [("desktop", SIZES["desktop"])]:
                page = browser.new_page(viewport=viewport)
                page.set_default_timeout(WAIT_MS)
                open_page(page, f"{url}/?__theme={scheme}")
                for shown in tour(page):
                    settle(page)
                    if folder:
                        page.screenshot(path=folder / f"{size}-{scheme}-{shown}.png", full_page=True)
                    elif shown == "compare":
                        take_readme_picture(page)
                        break
                page.close()
        browser.close()


if __name__ == "__main__":
    main()
