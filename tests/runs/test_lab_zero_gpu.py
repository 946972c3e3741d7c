"""ZeroGPU, as far as it goes without a GPU: `spaces` plays one to the app, and asks this test for the real one.

What needs the real one, moving the weights onto it and computing there, fails in the worker; that a visitor is told so
in a sentence, and that the GPU is given back, is part of the test.
"""

from __future__ import annotations

import json
import threading
from contextlib import contextmanager
from dataclasses import dataclass, field
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import TYPE_CHECKING
from urllib.parse import parse_qs, urlsplit

import httpx
import numpy as np
import pytest
import soundfile

from components.core.types import SAMPLING_RATE
from tests.browser.harness import pair_variables, running_app

if TYPE_CHECKING:
    from collections.abc import Iterator
    from pathlib import Path

START = """
import runpy
import torch
if torch.version.cuda is None:  # a build without CUDA: given what `spaces` looks up in one with it
    torch.version.cuda, torch._C._cuda_init, torch.cuda._is_in_bad_fork = "13.0", lambda: None, bool
runpy.run_path("app.py", run_name="__main__")
"""

QUOTA = {"left": 7, "wait": 90}


@dataclass
class DeviceService:
    """Who lends GPUs on ZeroGPU: https://huggingface.co/docs/hub/spaces-zerogpu. Keeps what it was asked."""

    packed: Path
    asked: list[tuple[str, dict[str, str]]] = field(default_factory=list)
    packed_bytes_at_launch: int = 0
    exhausted: bool = False

    @contextmanager
    def serving(self) -> Iterator[str]:
        server = ThreadingHTTPServer(("127.0.0.1", 0), type("Handler", (_Handler,), {"service": self}))
        thread = threading.Thread(target=server.serve_forever, daemon=True)
        thread.start()
        try:
            yield f"http://127.0.0.1:{server.server_port}"
        finally:
            server.shutdown()
            server.server_close()
            thread.join()

    def calls(self, name: str) -> list[dict[str, str]]:
        return [query for called, query in self.asked if called == name]

    def answer(self, name: str) -> tuple[int, dict[str, object]]:
        if name == "startup-report":
            self.packed_bytes_at_launch = sum(file.stat().st_size for file in self.packed.iterdir())
        if name != "schedule":
            return 200, {}
        if self.exhausted:
            return 429, QUOTA
        return 200, {"idle": False, "nvidiaIndex": 0, "nvidiaUUID": "GPU-0", "allowToken": "token"}


class _Handler(BaseHTTPRequestHandler):
    service: DeviceService

    def do_POST(self) -> None:
        address = urlsplit(self.path)
        name = address.path.strip("/")
        self.service.asked.append((name, {key: values[0] for key, values in parse_qs(address.query).items()}))
        status, value = self.service.answer(name)
        text = json.dumps(value).encode()
        self.send_response(status)
        self.send_header("Content-Type", "application/json")
        self.send_header("Content-Length", str(len(text)))
        self.end_headers()
        self.wfile.write(text)

    def log_message(self, *_: object) -> None:
        pass


@pytest.fixture(scope="module")
def service(tmp_path_factory) -> DeviceService:
    return DeviceService(tmp_path_factory.mktemp("zero") / "tensors")


@pytest.fixture(scope="module")
def log() -> list[str]:
    return []


@pytest.fixture(scope="module")
def space(service, log, tiny_teacher, tiny_student) -> Iterator[httpx.Client]:
    """The started app. A pair of the hub, which cannot be reached, is among those asked for."""
    with (
        service.serving() as endpoint,
        running_app(
            command=("-c", START),
            log=log,
            **pair_variables(tiny_teacher, tiny_student),
            PAIRS="custom,small.en",
            SPACES_ZERO_GPU="true",
            SPACES_ZERO_DEVICE_API_URL=endpoint,
            ZEROGPU_OFFLOAD_DIR=str(service.packed),
            HF_HUB_OFFLINE="1",
        ) as url,
        httpx.Client(base_url=f"{url}/gradio_api", timeout=120) as client,
    ):
        yield client


def call(space: httpx.Client, name: str, body: dict[str, object]) -> tuple[str, object]:
    event_id = space.post(f"/call/v2/{name}", json=body).raise_for_status().json()["event_id"]
    *_, event, data = [line for line in space.get(f"/call/{name}/{event_id}").text.splitlines() if line]
    return event.removeprefix("event: "), json.loads(data.removeprefix("data: "))


def compare(space: httpx.Client, samples: np.ndarray, tmp_path: Path, **options: object) -> tuple[str, object]:
    path = tmp_path / "clip.wav"
    soundfile.write(path, samples, SAMPLING_RATE)
    (file,) = space.post("/upload", files={"files": (path.name, path.read_bytes())}).raise_for_status().json()
    return call(space, "compare", {"audio": {"path": file, "meta": {"_type": "gradio.FileData"}}, **options})


def test_models_are_on_the_device_when_the_page_is_launched(space, service):
    """What is placed by then is packed, for the workers to read."""
    assert len(service.calls("startup-report")) == 1
    event, (models,) = call(space, "models", {})
    assert event == "complete"
    teacher, student = models["lanes"]
    assert [(lane["device"], lane["dtype"]) for lane in (teacher, student)] == [("cuda", "float16")] * 2
    weights = 2 * (teacher["num_parameters"] + student["decoder_parameters"])
    assert service.packed_bytes_at_launch >= weights


def test_only_what_was_placed_is_offered(space, log):
    event, data = call(space, "models", {"pair": "small.en"})
    assert event == "error"
    assert data["error"].endswith("Choose from: custom.")
    assert any("small.en" in line and "cannot be reached" in line for line in log)
    event, data = call(space, "compare", {"audio": None, "lanes": ["faster-whisper"]})
    assert event == "error"


def test_a_lane_that_needs_the_gpu_to_be_loaded_is_not_offered(space, service, speechlike_clip, tmp_path):
    event, data = compare(space, speechlike_clip.samples, tmp_path, lanes=["faster-whisper"])
    assert event == "error"
    assert data["error"].endswith("Choose from: whisper, distil, speculative.")
    assert service.calls("schedule") == []


def test_silence_borrows_no_gpu(space, service, tmp_path):
    event, (result,) = compare(space, np.zeros(SAMPLING_RATE), tmp_path)
    assert event == "complete"
    assert [run["text"] for run in result["runs"]] == ["", ""]
    assert result["machine"]["device"] == "cuda"
    assert service.calls("schedule") == []


def test_one_gpu_for_both_lanes_and_as_long_as_the_clip_wants(space, service, speechlike_clip, tmp_path):
    for seconds in (3, 30):
        samples = np.resize(speechlike_clip.samples, seconds * SAMPLING_RATE)
        event, data = compare(space, samples, tmp_path, repeats=2)
        assert event == "error"
        assert data["error"].startswith("ZeroGPU worker error: ")  # there is no GPU to move the models to
    short, long = service.calls("schedule")
    assert (short["durationSeconds"], long["durationSeconds"]) == ("28", "44")
    assert service.calls("release") == [{"allowToken": "token", "fail": "true"}] * 2


def test_a_quota_that_is_used_up_is_told_in_zero_gpus_own_words(space, service, speechlike_clip, tmp_path):
    service.exhausted = True
    event, data = compare(space, speechlike_clip.samples, tmp_path)
    service.exhausted = False
    assert event == "error"
    assert data["error"].startswith("ZeroGPU ")
    assert "Traceback" not in data["error"]
    event, _ = compare(space, np.zeros(SAMPLING_RATE), tmp_path)
    assert event == "complete"
