"""A lab over the tiny pair."""

from __future__ import annotations

from typing import TYPE_CHECKING

import pytest

from components.core.settings import Settings
from components.engines.pool import BACKENDS, Pool
from components.runs.lab import Lab

if TYPE_CHECKING:
    from collections.abc import Callable, Sequence
    from pathlib import Path

    from components.core.types import LaneSpec
    from components.engines.base import Engine


@pytest.fixture(scope="session")
def environ(tiny_teacher: Path, tiny_student: Path) -> dict[str, str]:
    return {"TEACHER_CHECKPOINT": str(tiny_teacher), "STUDENT_CHECKPOINT": str(tiny_student)}


@pytest.fixture(scope="session")
def settings(environ: dict[str, str]) -> Settings:
    return Settings.from_env(environ)


@pytest.fixture
def lab(settings: Settings) -> Lab:
    return Lab(settings)


@pytest.fixture
def lanes(lab: Lab) -> tuple[LaneSpec, ...]:
    return lab.default_lanes()


@pytest.fixture
def pool(settings: Settings) -> Pool:
    return Pool(settings)


@pytest.fixture
def watch() -> Callable[[Pool, Sequence[LaneSpec], Callable[..., None]], None]:
    """Call something with lane and clip before every ``transcribe`` of some lanes' engines."""

    def watch(pool: Pool, lanes: Sequence[LaneSpec], before: Callable[..., None]) -> None:
        for lane in lanes:
            _watch(pool.get(lane), lane, before)

    return watch


def _watch(engine: Engine, lane: LaneSpec, before: Callable[..., None]) -> None:
    transcribe = engine.transcribe

    def watched(clip: object, *arguments: object, **options: object) -> object:
        before(lane, clip)
        return transcribe(clip, *arguments, **options)

    engine.transcribe = watched


@pytest.fixture
def trivial_lab(settings: Settings, monkeypatch: pytest.MonkeyPatch) -> Lab:
    """A lab whose every lane is an engine with next to nothing to do."""
    monkeypatch.setitem(BACKENDS, "whisper", "tests.runs.trivial:TrivialEngine")
    return Lab(settings)
