"""The pool: loaded once, shared, evicted when room is short."""

from __future__ import annotations

import threading
from dataclasses import dataclass, field, replace

import pytest

from components.core.errors import CheckpointError, LaneError
from components.core.settings import Settings
from components.engines.device import Device
from components.engines.pool import Pool


@dataclass(frozen=True)
class SmallDevice(Device):
    """A CPU on which only so many engines fit."""

    room: int = 2
    loaded: list = field(default_factory=list)

    def available_memory_bytes(self) -> int:
        return 10**9 * (len(self.loaded[0]._engines) < self.room)


def small_pool(room: int) -> Pool:
    device = SmallDevice("cpu", room)
    pool = Pool(Settings(), device)
    device.loaded.append(pool)
    return pool


def test_a_checkpoint_is_loaded_once(teacher_lane, student_lane):
    pool = Pool(Settings())
    assert pool.loaded(teacher_lane) is None
    engine = pool.get(teacher_lane)
    assert pool.get(teacher_lane) is engine is pool.loaded(teacher_lane)
    assert pool.get(replace(student_lane, checkpoint=teacher_lane.checkpoint)) is engine
    assert pool.get(student_lane) is not engine
    assert pool.get(replace(teacher_lane, revision="main")) is not engine


def test_requests_at_once_load_once(teacher_lane):
    pool = Pool(Settings())
    engines: list[object] = []
    threads = [threading.Thread(target=lambda: engines.append(pool.get(teacher_lane))) for _ in range(4)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert len(engines) == 4
    assert len(set(map(id, engines))) == 1


def test_the_least_recently_used_makes_room(teacher_lane, student_lane):
    pool = small_pool(2)
    first, second = pool.get(teacher_lane), pool.get(student_lane)
    pool.get(teacher_lane)  # now the student is the least recently used
    third = replace(teacher_lane, revision="main")
    pool.get(third)
    assert pool.loaded(teacher_lane) is first
    assert pool.loaded(student_lane) is None
    assert not hasattr(second, "model")
    pool.unload()
    assert pool.loaded(teacher_lane) is None


def test_lanes_of_one_comparison_do_not_evict_each_other(teacher_lane, student_lane):
    pool = small_pool(1)
    lanes = (teacher_lane, student_lane)
    first = pool.get(teacher_lane, beside=lanes)
    with pytest.raises(LaneError, match=r"student needs about 0\.0 GB of memory, and 0\.0 GB are free"):
        pool.get(student_lane, beside=lanes)
    assert pool.loaded(teacher_lane) is first


def test_a_failed_load_leaves_nothing_behind(teacher_lane):
    pool = Pool(Settings())
    missing = replace(teacher_lane, checkpoint="/nowhere/at/all")
    with pytest.raises(CheckpointError, match="There is no folder all"):
        pool.get(missing)
    assert pool.loaded(missing) is None
    assert pool.get(teacher_lane)


def test_an_unknown_backend_lists_the_choices(teacher_lane):
    with pytest.raises(LaneError, match=r"no backend called “vapour”. Choose from: whisper"):
        Pool(Settings()).get(replace(teacher_lane, backend="vapour"))


def test_the_stamp_before_and_after_loading(teacher_lane):
    pool = Pool(Settings(dtype="bfloat16", attention="eager"))
    before = pool.stamp(teacher_lane)
    assert before == {"device": pool.device.kind, "dtype": "bfloat16", "attention": "eager", "runtime": "eager"}
    pool.get(teacher_lane)
    assert pool.stamp(teacher_lane) == before
