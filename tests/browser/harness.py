"""Starting the app and opening its page."""

from __future__ import annotations

import os
import shutil
import socket
import subprocess
import sys
import threading
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING

import httpx
import pytest

if TYPE_CHECKING:
    from collections.abc import Iterator, Sequence

    from playwright.sync_api import Browser, Page, Playwright

ROOT = Path(__file__).parents[2]
START_S = 240
CHROMIUM = next(filter(None, map(shutil.which, ("chromium", "chromium-browser", "google-chrome"))), None)
SIZES = {"desktop": {"width": 1280, "height": 900}, "phone": {"width": 390, "height": 844}}


@contextmanager
def running_app(
    *, command: Sequence[str] = ("app.py",), log: list[str] | None = None, **variables: str
) -> Iterator[str]:
    """Start ``app.py`` on a free port, yield its address once it answers, and end it. ``log`` gets what it prints."""
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        port = probe.getsockname()[1]
    url = f"http://127.0.0.1:{port}"
    own = {"GRADIO_SERVER_NAME": "127.0.0.1", "GRADIO_SERVER_PORT": str(port), "GRADIO_ANALYTICS_ENABLED": "False"}
    contract = {"PAIR", "PAIRS", "TEACHER_CHECKPOINT", "STUDENT_CHECKPOINT", "LANES", "DTYPE", "ATTENTION", "RUNTIME"}
    kept = {name: value for name, value in os.environ.items() if name not in contract}
    process = subprocess.Popen(
        [sys.executable, *command],
        cwd=ROOT,
        env=kept | own | variables,
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
        text=True,
    )
    lines = [] if log is None else log
    listening = threading.Event()

    def read() -> None:
        # Gradio prints its address once it listens; a start that fails ends the output instead.
        for line in process.stdout:
            lines.append(line)
            if url in line:
                listening.set()
        listening.set()

    reader = threading.Thread(target=read, daemon=True)
    reader.start()
    try:
        if not listening.wait(START_S) or process.poll() is not None:
            pytest.fail("app.py did not start")
        assert httpx.get(url, timeout=START_S).status_code == httpx.codes.OK
        yield url
    finally:
        process.terminate()
        process.wait(START_S)
        reader.join(START_S)
        print("".join(lines))


def pair_variables(teacher: Path, student: Path) -> dict[str, str]:
    return {"TEACHER_CHECKPOINT": str(teacher), "STUDENT_CHECKPOINT": str(student)}


def open_page(page: Page, url: str) -> None:
    """Load the page and wait until it can be used: its last line is filled by the server after the first paint."""
    page.goto(url)
    page.locator("#run").wait_for()
    page.locator("#machine").get_by_text("Runs on").wait_for()


def settle(page: Page) -> None:
    """Wait until nothing on the page is in motion."""
    page.wait_for_function("document.getAnimations().every((animation) => animation.playState !== 'running')")


def set_number(page: Page, slider: str, value: int) -> None:
    """Set a slider by its number, again until it stays: Gradio puts back the start value once, just after opening."""
    number = page.locator(f"#{slider} input[type=number]")
    for _ in range(20):
        number.fill(str(value))
        number.press("Enter")
        settle(page)
        if number.input_value() == str(value):
            return
    pytest.fail(f"{slider} does not stay at {value}")


def choose(page: Page, dropdown: str, label: str) -> None:
    """Choose an entry of a Gradio dropdown by what it says."""
    page.locator(f"#{dropdown} input").click()
    page.get_by_role("option", name=label, exact=True).click()


def launch(driver: Playwright, *arguments: str) -> Browser:
    """Start the system's Chromium; the driver's own would be a download."""
    return driver.chromium.launch(executable_path=CHROMIUM, args=["--no-sandbox", *arguments])
