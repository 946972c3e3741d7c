"""The page and its API, served by this process over tiny checkpoints."""

from __future__ import annotations

from typing import TYPE_CHECKING

import httpx
import pytest
import soundfile

from components.core.settings import Settings
from components.core.types import SAMPLING_RATE
from components.runs.lab import Lab
from components.ui import layout

if TYPE_CHECKING:
    from collections.abc import Iterator
    from pathlib import Path


@pytest.fixture(scope="session")
def lab(tiny_teacher: Path, tiny_student: Path) -> Lab:
    environ = {
        "TEACHER_CHECKPOINT": str(tiny_teacher),
        "STUDENT_CHECKPOINT": str(tiny_student),
        "PAIRS": "custom,large-v2",
    }
    return Lab(Settings.from_env(environ))


@pytest.fixture(scope="session")
def url(lab: Lab) -> Iterator[str]:
    page = layout.build(lab)
    options = layout.launch_options(page, lab) | {
        "server_name": "127.0.0.1",
        "quiet": True,
        "prevent_thread_lock": True,
    }
    _, address, _ = page.launch(**options)
    yield address.rstrip("/")
    page.close()


@pytest.fixture(scope="session")
def http(url: str) -> Iterator[httpx.Client]:
    with httpx.Client(base_url=f"{url}/gradio_api", timeout=60) as client:
        yield client


@pytest.fixture(scope="session")
def clip_file(speechlike_clip, tmp_path_factory: pytest.TempPathFactory) -> Path:
    path = tmp_path_factory.mktemp("audio") / "clip.wav"
    soundfile.write(path, speechlike_clip.samples, SAMPLING_RATE)
    return path
