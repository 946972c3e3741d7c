"""Engines over the tiny checkpoints."""

from __future__ import annotations

from collections import Counter
from contextlib import contextmanager
from typing import TYPE_CHECKING

import numpy as np
import pytest

from components.core.settings import Settings
from components.core.types import AudioClip, LaneSpec
from components.engines.device import Device

if TYPE_CHECKING:
    from collections.abc import Iterator
    from pathlib import Path

    from components.engines.whisper import WhisperEngine


class Parts:
    """A stopwatch that keeps the order of events instead of the time."""

    def __init__(self) -> None:
        self.events: list[str] = []
        self.counts: Counter[str] = Counter()

    @contextmanager
    def part(self, name: str) -> Iterator[None]:
        self.events.append(f"+{name}")
        self.counts[name] += 1
        yield
        self.events.append(f"-{name}")

    def elapsed_s(self, _name: str) -> float:
        return float(len(self.events))


@pytest.fixture
def parts() -> Parts:
    return Parts()


@pytest.fixture(scope="session")
def teacher_lane(tiny_teacher: Path) -> LaneSpec:
    return LaneSpec("whisper", "Whisper", "whisper", str(tiny_teacher))


@pytest.fixture(scope="session")
def student_lane(tiny_student: Path) -> LaneSpec:
    return LaneSpec("distil", "Distil-Whisper", "whisper", str(tiny_student))


@pytest.fixture(scope="session")
def engine(teacher_lane: LaneSpec) -> WhisperEngine:
    from components.engines.whisper import WhisperEngine

    return WhisperEngine(teacher_lane, Settings(runtime="eager"), Device("cpu"))


@pytest.fixture(scope="session")
def long_clip(speechlike_clip: AudioClip) -> AudioClip:
    """75 s whose windows differ: louder and louder, each repeat of the clip reversed."""
    pieces = [speechlike_clip.samples[:: 1 if index % 2 else -1] * (0.2 + index / 30) for index in range(25)]
    return AudioClip("long", np.concatenate(pieces))
