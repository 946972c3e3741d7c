"""How soon the page answers: from Stop to the first transcript, and what the server works for a page that opens.

Chromium, with a microphone that plays a shipped clip, records it on the page of the pair `base`. The clock runs in the
browser, from the click on Stop until the first model's words stand there; the time that this model itself took,
encoder and decoder, is taken off. The work for a page is the processor time of the server between two
loads by visitors whose cache is empty. About two minutes on two quiet cores.
"""

from __future__ import annotations

import sys
import tempfile
from pathlib import Path
from time import sleep
from typing import TYPE_CHECKING, Any

import soundfile
from playwright.sync_api import sync_playwright

from components.core.types import SAMPLING_RATE
from tests.benchmarks import common
from tests.benchmarks.load import server_process
from tests.browser.harness import SIZES, launch, open_page, running_app

if TYPE_CHECKING:
    import psutil
    from playwright.sync_api import Browser, Page

OVER_GOAL_S = 0.3
LOAD_GOAL_S = 0.1
WAIT_MS = 30_000
SETTLED_S = 1.5
"""After a page is there, for what it asks the server for in the background."""

WATCH = """() => {
    window.__times = {}
    document.addEventListener('click', (event) => {
        if (event.target.closest('#clip')) window.__times = {stop: performance.now()}
    }, true)
    new MutationObserver(() => {
        const times = window.__times
        const words = document.querySelector('#result .card[data-state=done] .transcript')
        if (!document.querySelector('#result .card')) return
        times.cards ??= performance.now()
        if (!words || times.words) return
        times.words = performance.now()
        times.model = Number(document.querySelector('#result .race-lane[data-seconds]').dataset.seconds)
    }).observe(document.body, {childList: true, subtree: true})
}"""


def record(page: Page, seconds: float) -> dict[str, float]:
    """Record so long on a fresh page; seconds from Stop to the first card and words, and what the model itself took."""
    clip = page.locator("#clip")
    clip.get_by_role("button", name="Record", exact=True).click()
    clip.get_by_role("button", name="Stop", exact=True).wait_for()
    page.wait_for_timeout(1000 * seconds)
    page.evaluate(WATCH)
    clip.get_by_role("button", name="Stop", exact=True).click()
    page.locator("#share button").first.wait_for()
    times = page.evaluate("window.__times")
    cards_s, words_s = ((times[name] - times["stop"]) / 1000 for name in ("cards", "words"))
    return {"cards_s": cards_s, "words_s": words_s, "model_s": times["model"], "over_s": words_s - times["model"]}


def load_s(browser: Browser, url: str, server: psutil.Process) -> float:
    """Processor seconds of the server for one visitor's page."""
    before = server.cpu_times()
    with browser.new_context() as context:
        open_page(context.new_page(), url)
        sleep(SETTLED_S)
    after = server.cpu_times()
    return (after.user - before.user) + (after.system - before.system)


def idle_s(server: psutil.Process) -> float:
    """Processor seconds of the server while nobody asks, over as long as a load is watched."""
    before = server.cpu_times()
    sleep(SETTLED_S)
    after = server.cpu_times()
    return (after.user - before.user) + (after.system - before.system)


def measure(browser: Browser, url: str, *, recordings: int, loads: int, seconds: float) -> dict[str, Any]:
    """The recordings and the loads of one app; the first of each is to warm up."""
    server = server_process(url)
    answers = []
    with browser.new_context(viewport=SIZES["desktop"], permissions=["microphone"]) as context:
        context.set_default_timeout(WAIT_MS)
        for _ in range(recordings + 1):
            page = context.new_page()
            open_page(page, url)
            answers.append(record(page, seconds))
            page.close()
    worked = [load_s(browser, url, server) for _ in range(loads + 1)][1:]
    return {"answers": answers[1:], "server_s_a_load": worked, "server_s_idle": idle_s(server)}


def main() -> int:
    parser = common.parser(__doc__)
    parser.add_argument("--recordings", type=int, default=5)
    parser.add_argument("--loads", type=int, default=10)
    parser.add_argument("--seconds", type=float, default=4.0, help="length of a recording")
    options = parser.parse_args()
    clip = common.speech_clip(options)
    with tempfile.TemporaryDirectory() as folder:
        microphone = Path(folder) / "microphone.wav"
        soundfile.write(microphone, clip.samples, SAMPLING_RATE)
        arguments = (
            "--use-fake-ui-for-media-stream",
            "--use-fake-device-for-media-stream",
            f"--use-file-for-fake-audio-capture={microphone}",
        )
        with running_app(PAIR="base") as url, sync_playwright() as driver:
            browser = launch(driver, *arguments)
            found = measure(browser, url, recordings=options.recordings, loads=options.loads, seconds=options.seconds)
            browser.close()
    over = common.middle([answer["over_s"] for answer in found["answers"]])
    load = common.middle(found["server_s_a_load"])
    result = {
        "goal": f"{OVER_GOAL_S:g} s over the model's own time; {LOAD_GOAL_S:g} s of the server's work for a page",
        "over_the_model": over,
        "server_work_a_load": load,
        **found,
    }
    passed = over["median_s"] <= OVER_GOAL_S and load["median_s"] <= LOAD_GOAL_S
    return common.finish("page_times", options, result, passed=passed)


if __name__ == "__main__":
    sys.exit(main())
