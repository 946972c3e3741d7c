"""The pool: loaded once, shared, evicted when room is short."""

from __future__ import annotations

import json
import shutil
import sys
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


def test_a_lane_may_name_its_engines_class(teacher_lane):
    engine = Pool(Settings()).get(replace(teacher_lane, backend="tests.runs.trivial:TrivialEngine"))
    assert engine.info.attention == "none"
    with pytest.raises(LaneError, match=r"tests\.runs\.no_such_engine is not installed"):
        Pool(Settings()).get(replace(teacher_lane, backend="tests.runs.no_such_engine:Engine"))


def test_the_stamp_before_and_after_loading(teacher_lane):
    pool = Pool(Settings(dtype="bfloat16", attention="eager"))
    before = pool.stamp(teacher_lane)
    assert before == {"device": pool.device.kind, "dtype": "bfloat16", "attention": "eager", "runtime": "eager"}
    pool.get(teacher_lane)
    assert pool.stamp(teacher_lane) == before


def storages(*models: object) -> int:
    """Bytes of the distinct storages behind all parameters and buffers."""
    found = {}
    for model in models:
        for tensor in (*model.parameters(), *model.buffers()):
            storage = tensor.untyped_storage()
            found[storage.data_ptr()] = storage.nbytes()
    return sum(found.values())


def test_an_equal_encoder_is_held_once(teacher_lane, student_lane):
    pool = Pool(Settings())
    teacher, student = pool.get(teacher_lane), pool.get(student_lane)
    apart = [storages(Pool(Settings()).get(lane).model) for lane in (teacher_lane, student_lane)]
    encoder = 4 * teacher.info.encoder_parameters
    assert storages(teacher.model, student.model) == sum(apart) - encoder
    assert apart[1] == 4 * student.info.num_parameters
    assert student.encoder is teacher.encoder
    assert len(teacher.encoder.layers[0]._forward_pre_hooks) == 1


def test_the_large_pair_takes_less_than_three_quarters():
    from components.core.catalog import PAIRS, architecture, lane_specs
    from components.engines.counting import model_info

    teacher, student = (
        model_info(lane, architecture(lane.checkpoint)) for lane in lane_specs(PAIRS["large-v2"], ("whisper", "distil"))
    )
    shared = teacher.num_parameters + student.decoder_parameters
    assert shared == 1_662_740_480
    assert shared / (teacher.num_parameters + student.num_parameters) < 0.75


def test_an_encoder_that_differs_is_not_shared(teacher_lane, student_lane, tmp_path, speechlike_clip, parts):
    from safetensors.torch import load_file, save_file

    from components.engines.base import DecodingOptions

    folder = tmp_path / "other"
    shutil.copytree(student_lane.checkpoint, folder)
    weights = load_file(folder / "model.safetensors")
    weights["model.encoder.layer_norm.bias"][0] += 1e-3
    save_file(weights, folder / "model.safetensors", {"format": "pt"})
    pool = Pool(Settings())
    teacher, student = pool.get(teacher_lane), pool.get(replace(student_lane, checkpoint=str(folder)))
    assert student.encoder is not teacher.encoder
    assisted = replace(teacher_lane, backend="speculative", assistant=str(folder))
    engine = pool.get(assisted)
    assert engine.model is teacher.model
    assert engine.student is student.model
    assert "not the teacher's" in engine.runtime_note
    options = DecodingOptions()
    assert engine.transcribe(speechlike_clip, options, parts).transcript == (
        teacher.transcribe(speechlike_clip, options, parts).transcript
    )


def test_lanes_that_share_a_model_need_no_more_room(teacher_lane, student_lane, speechlike_clip, parts):
    from components.engines.base import DecodingOptions

    pool = Pool(Settings())
    assisted = replace(teacher_lane, backend="speculative", assistant=student_lane.checkpoint)
    alone = pool._needed_bytes(assisted)
    teacher, student = pool.get(teacher_lane), pool.get(student_lane)
    assert alone > 0 == pool._needed_bytes(assisted)
    engine = pool.get(assisted)
    assert storages(teacher.model, student.model) == storages(teacher.model, student.model, engine.model)
    teacher.unload()
    student.unload()
    del teacher, student
    assert engine.transcribe(speechlike_clip, DecodingOptions(), parts).ended


def test_an_assistant_that_does_not_fit_is_a_sentence(teacher_lane, tmp_path):
    folder = tmp_path / "other"
    shutil.copytree(teacher_lane.checkpoint, folder)
    path = folder / "config.json"
    path.write_text(json.dumps(json.loads(path.read_text()) | {"vocab_size": 51865, "d_model": 64}))
    with pytest.raises(CheckpointError, match=r"other cannot assist .*: they differ in vocab_size, d_model\."):
        Pool(Settings()).get(replace(teacher_lane, backend="speculative", assistant=str(folder)))


def test_a_backend_whose_package_is_missing_is_a_sentence(teacher_lane, monkeypatch):
    monkeypatch.setitem(sys.modules, "faster_whisper", None)
    monkeypatch.delitem(sys.modules, "components.engines.ctranslate", raising=False)
    lane = replace(teacher_lane, label="Faster-Whisper", backend="ctranslate")
    with pytest.raises(LaneError, match="Faster-Whisper cannot run here: faster_whisper is not installed"):
        Pool(Settings()).get(lane)
