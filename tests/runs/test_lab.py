"""Lab: choices, one measurement at a time, counts without weights."""

from __future__ import annotations

import pickle
import shutil
import threading
import time
from concurrent.futures import ThreadPoolExecutor
from contextvars import ContextVar
from dataclasses import replace

import numpy as np
import pytest
import soundfile

from components.core.caller import Caller
from components.core.catalog import LANES
from components.core.errors import AudioError, BusyError, Cancelled, CheckpointError, LaneError
from components.core.settings import Settings
from components.engines import device as devices
from components.engines.base import DecodingOptions
from components.runs import ready, service
from components.runs.lab import Lab
from components.runs.queue import WorkQueue


@pytest.fixture
def source(speechlike_clip):
    return speechlike_clip.sampling_rate, speechlike_clip.samples


def test_a_comparison(lab, source):
    comparison = lab.compare(source, reference="a b", clip_id="mine", repeats=2)
    assert (comparison.clip_id, comparison.pair, comparison.failures) == ("mine", "custom", ())
    assert [run.lane_id for run in comparison.runs] == ["whisper", "distil"]
    assert comparison.runs[0].word_errors.reference_words == 2
    assert comparison.speed_up["distil"] > 0
    assert comparison.machine == devices.machine()
    (alone,) = lab.compare(source, lanes=["distil"], timestamps=False, reference="  ").runs
    assert (alone.lane_id, alone.segments, alone.reference) == ("distil", (), None)


def test_what_is_offered(lab):
    assert (lab.default_pair, lab.offered_pairs) == ("custom", ("custom", "base"))
    assert [lane.lane_id for lane in lab.default_lanes()] == ["whisper", "distil"]
    assert [lane.lane_id for lane in lab.offered_lanes()] == list(LANES)
    assert lab.offered_lanes("base")[0].checkpoint.endswith("whisper-base")
    only = Lab(replace(lab.settings, lanes=("distil",)))
    assert [lane.lane_id for lane in only.offered_lanes()] == ["distil"]
    with pytest.raises(LaneError, match=r"no lane called “whisper”\. Choose from: distil"):
        only.offer.choose(None, ["whisper"])


@pytest.mark.parametrize(
    ("arguments", "error", "sentence"),
    [
        ({"pair": "huge"}, CheckpointError, "no pair called “huge”. Choose from: custom, base"),
        ({"pair": "large-v3"}, CheckpointError, "no pair called “large-v3”"),  # known, but not offered
        ({"lanes": ["whisper", "x"]}, LaneError, "no lane called “x”. Choose from: whisper, distil"),
        ({"repeats": 0}, LaneError, "from 1 to 100"),
        ({"repeats": 101}, LaneError, "from 1 to 100"),
        ({"long_form": "sideways"}, LaneError, "Choose from: auto, sequential, chunked"),
        ({"language": "xx"}, LaneError, "Choose from: auto, en"),
    ],
)
def test_wrong_choices(lab, source, arguments, error, sentence):
    with pytest.raises(error, match=sentence):
        lab.compare(source, **arguments)
    assert lab.compare(source, repeats=1).failures == ()  # and the next one is right


def test_bad_audio_reaches_no_engine(lab, source):
    for bad in (None, b"not audio", (16_000, source[1][:0])):
        with pytest.raises(AudioError):
            lab.compare(bad)
    with pytest.raises(AudioError, match="longer than 2 seconds"):
        Lab(replace(lab.settings, max_audio_s=2)).compare(source)
    assert all(lab.pool.loaded(lane) is None for lane in lab.offered_lanes())


def test_models_need_no_weights(lab, source, tmp_path, tiny_teacher):
    before = lab.models().lanes
    assert all(lab.pool.loaded(lane) is None for lane in lab.offered_lanes())
    assert [(info.lane_id, info.decoder_layers, info.dtype) for info in before] == [
        ("whisper", 4, None),
        ("distil", 2, None),
    ]
    lab.compare(source, lanes=["distil"], repeats=1)
    teacher, student = lab.models().lanes
    assert (teacher.attention, student.attention, student.device) == (None, "sdpa", lab.device.kind)
    assert student.num_parameters == before[1].num_parameters

    bare = tmp_path / "bare"
    bare.mkdir()
    shutil.copy(tiny_teacher / "config.json", bare)
    settings = Settings.from_env({"TEACHER_CHECKPOINT": str(bare), "STUDENT_CHECKPOINT": str(bare)})
    assert Lab(settings).models().lanes[0].num_parameters == before[0].num_parameters


def test_the_large_pair_is_counted_without_weights_or_network(lab):
    teacher, student = Lab(replace(lab.settings, pairs=("large-v2",))).models("large-v2").lanes
    assert 100 * student.num_parameters / teacher.num_parameters == pytest.approx(49.000047275167184, abs=1e-12)
    assert 100 * student.decoder_parameters / teacher.decoder_parameters == pytest.approx(13.175161920253482, abs=1e-12)


def test_the_stamp(lab, source):
    before = lab.stamp()
    assert set(before) == {"pair", "device", "device_name", "dtype", "attention", "runtime", "note"}
    assert (before["pair"], before["dtype"], before["attention"]) == ("custom", "float32", "sdpa")
    lab.compare(source, lanes=["whisper"], repeats=1)
    assert lab.stamp() == before


def test_one_measurement_at_a_time(lab, source, watch):
    running, most, told = [], [], []

    def before(*_: object) -> None:
        running.append(None)
        time.sleep(0.02)  # room for another to come between
        most.append(len(running))
        running.pop()

    watch(lab.pool, lab.default_lanes(), before)
    threads = [
        threading.Thread(
            target=lab.compare, args=(source,), kwargs={"caller": Caller(lambda *step: told.append(step)), "repeats": 1}
        )
        for _ in range(3)
    ]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert len(most) == 2 + 3 * 2  # two warm-ups, then both lanes of each
    assert max(most) == 1
    assert (0.0, "Waiting for the device: 1 before you") in told


def test_one_who_waits_can_leave(lab, source, watch):
    entered, leave = threading.Event(), threading.Event()

    def block(*_: object) -> None:
        entered.set()
        leave.wait(10)

    watch(lab.pool, lab.default_lanes()[:1], block)
    first = threading.Thread(target=lab.compare, args=(source,))
    first.start()
    assert entered.wait(10)
    with pytest.raises(Cancelled):
        lab.compare(source, caller=Caller(cancelled=lambda: True))
    assert first.is_alive()
    leave.set()
    first.join()
    assert lab.compare(source, repeats=1).failures == ()


def test_cancel_frees_the_device(lab, source):
    with pytest.raises(Cancelled):
        lab.compare(source, caller=Caller(cancelled=lambda: all(lab.pool.loaded(lane) for lane in lab.default_lanes())))
    assert lab.compare(source, repeats=1).failures == ()


def test_load_loads_and_warms_the_default_pair(lab, speechlike_clip, tmp_path, monkeypatch):
    soundfile.write(tmp_path / "speech.wav", speechlike_clip.samples, speechlike_clip.sampling_rate)
    manifest = tmp_path / "manifest.jsonl"
    manifest.write_text(
        '{"clip_id": "hush", "audio": "none", "text": ""}\n{"clip_id": "speech", "audio": "speech.wav", "text": "a"}\n'
    )
    monkeypatch.setattr(ready, "WARM_UP_MANIFEST", manifest)
    lab.load()
    assert all(lab.pool.loaded(lane).warm for lane in lab.default_lanes())


def test_load_leaves_a_missing_checkpoint_to_whoever_asks(lab, source, tmp_path, tiny_student, caplog):
    gone = tmp_path / "gone"
    shutil.copytree(tiny_student, gone)
    settings = Settings.from_env({"TEACHER_CHECKPOINT": str(gone), "STUDENT_CHECKPOINT": str(tiny_student)})
    shutil.rmtree(gone)
    lab = Lab(settings)
    lab.load()
    assert "There is no folder gone" in caplog.text
    comparison = lab.compare(source, repeats=1)
    assert "There is no folder gone" in comparison.failures[0].message
    assert [run.lane_id for run in comparison.runs] == ["distil"]


def test_what_crosses_to_another_process_can_be_pickled(lab, source, speechlike_clip):
    """As on ZeroGPU, where the run is in a process of its own."""
    arguments = {
        "clip": speechlike_clip,
        "lanes": lab.default_lanes(),
        "options": DecodingOptions(),
        "pair_id": "custom",
        "reference": None,
        "repeats": 2,
    }
    comparison = lab.service.compare_on_gpu(**pickle.loads(pickle.dumps(arguments)))
    assert pickle.loads(pickle.dumps(comparison)) == comparison
    assert service.gpu_duration_s(**arguments) == round(20 + 6 * 1.3)
    ten_minutes = replace(speechlike_clip, samples=np.tile(speechlike_clip.samples, 200))
    assert service.gpu_duration_s(**arguments | {"clip": ten_minutes}) == 20 + 2 * (4 + 2 * 61)


def test_the_token_is_in_no_export(settings, source, speechlike_clip, tmp_path):
    lab = Lab(replace(settings, token="hf_Secret"))
    soundfile.write(tmp_path / "speech.wav", speechlike_clip.samples, speechlike_clip.sampling_rate)
    (tmp_path / "manifest.jsonl").write_text('{"clip_id": "speech", "audio": "speech.wav", "text": "a"}\n')
    report = lab.benchmark(tmp_path / "manifest.jsonl", tmp_path / "runs.jsonl", lanes=["distil"])
    exported = (
        (tmp_path / "runs.jsonl").read_text() + repr(report) + repr(lab.compare(source, repeats=1)) + repr(lab.settings)
    )
    assert "speech" in exported
    assert "hf_Secret" not in exported


def test_work_is_done_in_order_and_refused_where_too_much_waits():
    queue, served = WorkQueue(), []
    with queue.turn():
        threads = []
        for number in range(3):
            threads.append(threading.Thread(target=queue.run, args=(lambda number=number: served.append(number),)))
            threads[-1].start()
            while len(queue) < 2 + number:
                time.sleep(0.001)
        with pytest.raises(BusyError, match="3 requests wait for the device already"):
            queue.run(served.clear, limit=3)
        assert served == []
    for thread in threads:
        thread.join()
    assert served == [0, 1, 2]
    assert len(queue) == 0


def test_all_work_runs_in_one_thread_with_its_callers_context():
    queue, where = WorkQueue(), []
    caller = ContextVar("caller")

    def ask(name: str) -> None:
        caller.set(name)
        assert queue.run(lambda: (where.append(threading.current_thread()), caller.get())[1]) == name

    with ThreadPoolExecutor(3) as pool:
        list(pool.map(ask, "abc"))
    assert len(where) == 3
    assert len(set(where)) == 1
    with pytest.raises(AudioError, match="reaches who asked"):
        queue.run(lambda: (_ for _ in ()).throw(AudioError("reaches who asked")))
    assert queue.run(lambda: "and the next is served") == "and the next is served"


def test_a_caller_who_stops_reading_holds_nobody_up():
    """The work goes on to its end, and the next one is served all the same."""
    queue, made = WorkQueue(), []

    def numbers():
        for number in range(3):
            made.append(number)
            yield number

    reader = queue.stream(numbers)
    assert next(reader) == 0
    assert queue.run(lambda: list(made)) == [0, 1, 2]
    reader.close()
    assert len(queue) == 0


def test_a_watcher_who_leaves_stops_the_comparison(lab, source, watch):
    calls = []
    watch(lab.pool, lab.default_lanes(), lambda lane, _: calls.append(lane.lane_id))
    steps = lab.compare_steps(source, repeats=50)
    assert next(step for step in steps if step.text.startswith("Running")).states["whisper"] == "running"
    steps.close()
    assert lab.queue.run(lambda: len(calls)) < 2 + 2 * 50


def test_long_audio_is_cut_as_suits_the_pair(lab):
    large = Lab(replace(lab.settings, pairs=("large-v2",)))
    assert large.offer.check(pair="large-v2").options.long_form == "chunked"
    assert large.offer.check(pair="large-v2", long_form="sequential").options.long_form == "sequential"
    assert lab.offer.check().options.long_form == "sequential"
