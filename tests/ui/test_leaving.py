"""A visitor who leaves frees the place, whether they waited or were being served; and nothing of theirs stays."""

from __future__ import annotations

import subprocess
import sys
import time
from concurrent.futures import ThreadPoolExecutor
from contextlib import ExitStack, closing, contextmanager
from pathlib import Path
from typing import TYPE_CHECKING

import httpx
import numpy as np
import pytest
import soundfile

from components.core.types import SAMPLING_RATE
from components.runs.queue import MAX_WAITING
from components.ui import layout
from tests.ui.test_api import call, upload

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator

    from components.runs.lab import Lab
    from components.ui.requests import Page

SOON_S = 20
"""Far less than the long run takes, far more than a short one."""


def wait_until(reached: Callable[[], bool], seconds: float = SOON_S) -> None:
    deadline = time.monotonic() + seconds
    while not reached():
        assert time.monotonic() < deadline, "it never came to that"
        time.sleep(0.02)


@pytest.fixture(scope="module")
def long_file(speechlike_clip, tmp_path_factory) -> Path:
    """Two minutes; a hundred repeats of both lanes take minutes even with the tiny pair."""
    path = tmp_path_factory.mktemp("audio") / "long.wav"
    soundfile.write(path, np.tile(speechlike_clip.samples, 40), SAMPLING_RATE)
    return path


LONG = {"repeats": 100, "lanes": ["whisper", "distil"]}


def begin(http: httpx.Client, clip: Path, **options: object) -> str:
    body = {"audio": upload(http, clip), **options}
    return http.post("/call/v2/compare", json=body).raise_for_status().json()["event_id"]


def stays_until_it_runs(http, lab, clip) -> httpx.Response:
    response = http.send(http.build_request("GET", f"/call/compare/{begin(http, clip, **LONG)}"), stream=True)
    wait_until(lambda: len(lab.queue) == 1)
    return response


@contextmanager
def served_page(lab: Lab, page: Page | None = None) -> Iterator[httpx.Client]:
    """A page of its own over the same Lab."""
    page = page or layout.build(lab)
    options = {"server_name": "127.0.0.1", "quiet": True, "prevent_thread_lock": True}
    _, address, _ = page.launch(**(layout.launch_options(page, lab) | options))
    try:
        with httpx.Client(base_url=f"{address}gradio_api", timeout=60) as http:
            yield http
    finally:
        page.close()


def served_soon(http, clip_file) -> None:
    started = time.monotonic()
    event, (result,) = call(http, "compare", {"audio": upload(http, clip_file), "repeats": 1})
    assert event == "complete"
    assert result["failures"] == []
    assert time.monotonic() - started < SOON_S


def test_one_who_closes_the_connection_of_a_running_comparison(http, lab, clip_file, long_file):
    served_soon(http, clip_file)  # loaded and warm
    with closing(stays_until_it_runs(http, lab, long_file)):
        time.sleep(1)  # well into it
        assert len(lab.queue) == 1
    served_soon(http, clip_file)
    assert len(lab.queue) == 0


CLIENT = """
import sys
from gradio_client import Client, handle_file
Client(sys.argv[1], verbose=False).predict(audio=handle_file(sys.argv[2]), repeats=100, api_name="/compare")
"""


def test_a_client_that_is_killed(http, url, lab, clip_file, long_file):
    client = subprocess.Popen([sys.executable, "-c", CLIENT, url, str(long_file)])
    try:
        wait_until(lambda: len(lab.queue) == 1, 60)
        assert client.poll() is None
    finally:
        client.kill()
        client.wait()
    served_soon(http, clip_file)
    assert len(lab.queue) == 0


def test_one_who_waits_and_goes(http, lab, clip_file):
    with lab.queue.turn():
        event = begin(http, clip_file)
        with http.stream("GET", f"/call/compare/{event}"):
            wait_until(lambda: len(lab.queue) == 2)
        wait_until(lambda: len(lab.queue) == 1)
    served_soon(http, clip_file)


def test_where_too_many_wait_the_next_is_told_and_a_later_one_served(http, lab, clip_file):
    with ExitStack() as turn:
        turn.enter_context(lab.queue.turn())
        with ThreadPoolExecutor(MAX_WAITING) as readers:
            body = {"audio": upload(http, clip_file), "repeats": 1}
            answers = [readers.submit(call, http, "compare", body) for _ in range(MAX_WAITING)]
            wait_until(lambda: len(lab.queue) == 1 + MAX_WAITING)
            event, data = call(http, "compare", body)
            assert event == "error"
            assert str(MAX_WAITING) in data["error"]
            turn.close()
            assert {answer.result()[0] for answer in answers} == {"complete"}
    served_soon(http, clip_file)


def test_calls_that_nobody_reads_do_not_begin_and_are_ended(lab, clip_file):
    page = layout.build(lab)
    with served_page(lab, page) as http:
        waiting = page._queue.event_ids_to_events
        for _ in range(3):
            begin(http, clip_file)
        assert len(waiting) == 3
        served_soon(http, clip_file)
        assert len(lab.queue) == 0
        wait_until(lambda: not waiting)


def test_a_full_queue_of_gradios_is_a_sentence(lab, clip_file, monkeypatch):
    """The outer bound, which the one above keeps from being reached."""
    monkeypatch.setattr(layout, "MAX_QUEUED", 1)
    monkeypatch.setitem(layout.api.MEASURING, "concurrency_limit", 1)
    with served_page(lab) as http:
        begin(http, clip_file)
        time.sleep(0.5)  # handed over
        begin(http, clip_file)  # in the queue
        refused = http.post("/call/v2/compare", json={"audio": upload(http, clip_file)})
        assert refused.status_code == httpx.codes.SERVICE_UNAVAILABLE
        assert refused.json()["detail"].startswith("Queue is full.")


def test_uploads_are_deleted_after_a_while(lab, clip_file, monkeypatch):
    monkeypatch.setattr(layout, "CACHE_S", 6)  # longer than a comparison
    with served_page(lab) as http:
        path = Path(upload(http, clip_file)["path"])
        event, _ = call(http, "compare", {"audio": {"path": str(path), "meta": {"_type": "gradio.FileData"}}})
        assert event == "complete"
        wait_until(lambda: not path.exists(), 60)
        event, data = call(http, "compare", {"audio": {"path": str(path), "meta": {"_type": "gradio.FileData"}}})
        assert event == "error"
        assert data["error"].endswith("is not there or cannot be opened. Choose it again.")
