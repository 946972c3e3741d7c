"""The recipe on a tiny random teacher: from speech to an exported student."""

from __future__ import annotations

import json
import os
import signal
import subprocess
import sys
import time
import wave
from typing import TYPE_CHECKING

import numpy as np
import pytest

from components.core.types import SAMPLING_RATE
from components.distillation.__main__ import load, main

if TYPE_CHECKING:
    from pathlib import Path

STEPS = "12"
HERE = ["--cpu", "--layers", "2", "--batch-size", "4", "--warm-up", "2", "--at-least-hours", "0.001"]


def _write(path: Path, samples: np.ndarray) -> None:
    with wave.open(str(path), "wb") as file:
        file.setparams((1, 2, SAMPLING_RATE, len(samples), "NONE", ""))
        file.writeframes((samples * 32767).astype("<i2").tobytes())


@pytest.fixture(scope="session")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Twelve clips of 1 to 23 s, one of 65 s, and one file that is no audio."""
    folder = tmp_path_factory.mktemp("speech")
    rng = np.random.default_rng(3)
    for number, seconds in enumerate([*range(1, 25, 2), 65]):
        time_s = np.arange(seconds * SAMPLING_RATE) / SAMPLING_RATE
        tone = np.sin(2 * np.pi * (90 + 20 * number) * time_s) * np.clip(np.sin(6 * time_s), 0, None)
        _write(folder / f"clip-{number:02}.wav", 0.3 * tone + 0.01 * rng.standard_normal(len(time_s)))
    (folder / "broken.wav").write_bytes(b"RIFF")
    return folder


def _arguments(teacher: Path, folder: Path, output: Path, *more: str) -> list[str]:
    named = ["--teacher", str(teacher), "--speech", str(folder), "--output", str(output)]
    return ["distil", *named, *HERE, *more]


def _layers(output: Path) -> bytes:
    return (output / "layers.safetensors").read_bytes()


@pytest.fixture(scope="session")
def finished(tiny_teacher: Path, folder: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    output = tmp_path_factory.mktemp("runs") / "whole"
    assert main(_arguments(tiny_teacher, folder, output, "--steps", STEPS)) == 0
    return output


def test_the_student_comes_nearer_to_its_teacher(
    finished: Path, tiny_teacher: Path, folder: Path, tmp_path: Path
) -> None:
    longer = tmp_path / "longer"
    assert main(_arguments(tiny_teacher, folder, longer, "--steps", "24", "--learning-rate", "1e-2")) == 0
    before, after = (json.loads((run / "result.json").read_text())["held_out_agreement"] for run in (finished, longer))
    assert after > before


def test_killed_twice_it_ends_with_the_same_bits(
    finished: Path, tiny_teacher: Path, folder: Path, tmp_path: Path
) -> None:
    output = tmp_path / "killed"
    arguments = _arguments(tiny_teacher, folder, output, "--steps", STEPS, "--save-every", "0")
    command = [sys.executable, "-m", "components.distillation", *arguments]
    for sign in ("labels-0.jsonl", "state.pt"):
        process = subprocess.Popen(command)
        while process.poll() is None and not ((output / sign).exists() and (output / sign).stat().st_size):
            time.sleep(0.01)
        process.send_signal(signal.SIGKILL)
        assert process.wait() == -signal.SIGKILL
    assert not (output / "layers.safetensors").exists()
    assert main(arguments) == 0
    assert _layers(output) == _layers(finished)


def test_two_processes_train_what_one_does(finished: Path, tiny_teacher: Path, folder: Path, tmp_path: Path) -> None:
    from safetensors.torch import load_file

    output = tmp_path / "two"
    launch = ["-m", "accelerate.commands.launch", "--multi_gpu", "--num_processes", "2", "--num_machines", "1"]
    launch += ["--mixed_precision", "no", "--dynamo_backend", "no", "--main_process_port", "0", "--module"]
    arguments = _arguments(tiny_teacher, folder, output, "--steps", STEPS)
    subprocess.run([sys.executable, *launch, "components.distillation", *arguments], check=True)
    assert len(list(output.glob("labels-*.jsonl"))) == 2
    one, two = load_file(finished / "layers.safetensors"), load_file(output / "layers.safetensors")
    assert all(np.allclose(one[name], two[name], atol=1e-4) for name in one)


def test_states_on_disk_are_what_is_computed(finished: Path, tiny_teacher: Path, folder: Path, tmp_path: Path) -> None:
    from safetensors.torch import load_file

    output = tmp_path / "copies"
    assert main(_arguments(tiny_teacher, folder, output, "--steps", STEPS, "--copies", "99")) == 0
    one, two = load_file(finished / "layers.safetensors"), load_file(output / "layers.safetensors")
    assert all(np.allclose(one[name], two[name], atol=1e-4) for name in one)


def test_too_little_speech_is_refused_before_labelling(
    tiny_teacher: Path, folder: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    output = tmp_path / "little"
    assert main([*_arguments(tiny_teacher, folder, output), "--at-least-hours", "1"]) == 2
    assert "0.06 h" in capsys.readouterr().err
    assert not list(output.glob("labels-*"))


def test_a_language_that_the_teacher_does_not_know_is_refused(
    tiny_teacher: Path, folder: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    assert main([*_arguments(tiny_teacher, folder, tmp_path / "run"), "--language", "fr"]) == 2
    assert "fr" in capsys.readouterr().err


def test_another_setting_is_refused_in_the_same_folder(
    finished: Path, tiny_teacher: Path, folder: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    assert main(_arguments(tiny_teacher, folder, finished, "--steps", "9")) == 2
    assert "steps" in capsys.readouterr().err


def test_long_clips_are_cut_and_short_ones_packed(finished: Path) -> None:
    from components.distillation.speech import Windows

    windows = Windows(finished)
    assert max(window.samples for window in windows.listed) == 30 * SAMPLING_RATE
    assert 65 + sum(range(1, 25, 2)) <= windows.hours() * 3600 < 65 + sum(range(1, 25, 2)) + 10
    assert len(windows.listed) < 13
    assert np.abs(windows.samples(0)).max() > 0.1


def test_an_exported_student_has_its_teachers_encoder(finished: Path, tiny_teacher: Path, tmp_path: Path) -> None:
    output = tmp_path / "student"
    arguments = ["export", str(finished), "--output", str(output), "--licence", "mit", "--dtype", "float32"]
    assert main(arguments) == 0
    student, _ = load(str(output), "float32")
    teacher, _ = load(str(tiny_teacher), "float32")
    theirs, ours = teacher.state_dict(), student.state_dict()
    assert student.config.decoder_layers == 2
    for name in ours:
        if "decoder.layers" not in name and "decoder.layer_norm" not in name:
            assert (ours[name] == theirs[name]).all(), name
    assert "license: mit" in (output / "README.md").read_text()
    assert main(arguments) == 2  # it is not written over


def test_layers_alone_are_numbered_as_the_student_has_them(finished: Path, tmp_path: Path) -> None:
    from safetensors.torch import load_file

    output = tmp_path / "layers"
    assert main(["export", str(finished), "--output", str(output), "--licence", "mit", "--layers-only"]) == 0
    files = [load_file(output / f"decoder-{number}.safetensors") for number in (0, 1)]
    for number, file in enumerate(files):
        assert any(name.startswith(f"model.decoder.layers.{number}.") for name in file)
        assert not any(name.startswith(f"model.decoder.layers.{1 - number}.") for name in file)
        assert all(str(tensor.dtype) == "torch.float16" for tensor in file.values())
    assert "model.decoder.layer_norm.weight" in files[1]
    config = json.loads((output / "config.json").read_text())
    assert config["decoder_layers"] == 2
    assert config["distilled_from"] == json.loads((finished / "settings.json").read_text())["teacher"]


def test_a_student_that_loops_is_not_exported(
    finished: Path, tiny_teacher: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    import shutil

    from safetensors.torch import load_file, save_file

    run = tmp_path / "looping"
    shutil.copytree(finished, run)
    weights = load_file(run / "layers.safetensors")
    weights["model.decoder.layer_norm.weight"].zero_()
    weights["model.decoder.layer_norm.bias"].zero_()[:2].copy_(weights["model.decoder.layer_norm.bias"].new([9, -9]))
    save_file(weights, run / "layers.safetensors")
    assert main(["export", str(run), "--output", str(tmp_path / "out"), "--licence", "mit"]) == 2
    assert "repeated itself" in capsys.readouterr().err
    assert not (tmp_path / "out").exists()


def test_faults_of_a_transcript(tiny_teacher: Path) -> None:
    from components.distillation.labels import Labeller

    labeller = Labeller(*load(str(tiny_teacher), "float32"), "en", 0.0, 1)
    assert labeller.fault([], " ") == "empty"
    assert labeller.fault([1] * 445, "not at an end") == "loop"
    assert labeller.fault([1] * 80, "over and over and over again " * 12) == "loop"
    assert labeller.fault([1, 2, 3], "all is well") == ""


def test_half_of_a_batch_is_of_people_and_every_window_has_its_turn(
    tiny_teacher: Path, finished: Path, tmp_path: Path
) -> None:
    from accelerate import Accelerator

    from components.distillation.distil import Distillation, Settings
    from components.distillation.labels import Label
    from components.distillation.speech import Window

    settings = Settings(teacher="", speech=(), batch_size=8)
    run = Distillation(settings, *load(str(tiny_teacher), "float32"), tmp_path, Accelerator(cpu=True))
    run.windows.listed = [Window(0, 1, None, number % 3 == 0, 0, 1) for number in range(60)]
    run.labels = {number: Label(number, [1], [2], "a", "far" if number == 7 else "") for number in range(60)}
    people = {n for n in range(60) if n % 3 and n != 7} - set(run.held_out())
    drawn = [index for step in range(len(people) // 4) for index, _ in run.batch(step)]
    assert all(sum(index % 3 > 0 for index, _ in run.batch(step)) == 4 for step in range(5))
    own = [index for index in drawn if index % 3]
    assert len(set(own)) == len(own) == len(people) // 4 * 4
    assert not set(drawn) & {7, *run.held_out()}
    assert run.batch(3) == run.batch(3)
    assert {number for _, number in run.batch(100)} - {0}  # later, other copies of the same windows


@pytest.mark.parametrize("name", ["espeak-ng", "flite", "hibari"])
def test_a_text_is_spoken_once(name: str, tmp_path: Path) -> None:
    from components.distillation.speech import Spoken, Windows, installed

    if name not in installed():
        pytest.skip(f"{name} is not installed")
    text = tmp_path / "sentences.txt"
    text.write_text("The harbour was quiet.\n\nNobody had seen the boat since half past nine.\n")
    windows = Windows(tmp_path)
    assert len(list(windows.collect([Spoken(text, [name])], seed=1))) in {1, 2}
    said = sorted(" ".join(window.text or "" for window in windows.listed).split())
    assert said == sorted(text.read_text().split())
    assert 2 < windows.hours(spoken=True) * 3600 < 12
    again = tmp_path / "again"
    again.mkdir()
    assert len(list(Windows(again).collect([Spoken(text, [name])], seed=1))) == len(windows.listed)
    assert (again / "windows.jsonl").read_text() == windows.table.read_text()


def test_windows_go_on_after_a_line_that_was_cut_off(folder: Path, tmp_path: Path) -> None:
    from components.distillation.speech import Windows, open_source

    whole, cut = tmp_path / "whole", tmp_path / "cut"
    for output in (whole, cut):
        output.mkdir()
        list(Windows(output).collect([open_source(str(folder), [], "audio", "")], seed=2))
    for keep in (0.3, 0.6, 0.97):
        table, pcm = (cut / "windows.jsonl").read_bytes(), (cut / "windows.pcm").read_bytes()
        (cut / "windows.jsonl").write_bytes(table[: int(keep * len(table))])
        (cut / "windows.pcm").write_bytes(pcm[:-1])
        list(Windows(cut).collect([open_source(str(folder), [], "audio", "")], seed=2))
        assert (cut / "windows.jsonl").read_bytes() == (whole / "windows.jsonl").read_bytes()
        assert (cut / "windows.pcm").read_bytes() == (whole / "windows.pcm").read_bytes()


def test_teacher_and_speech_of_a_hub(finished: Path, tiny_teacher: Path, folder: Path, tmp_path: Path) -> None:
    from tests.hub.server import Hub

    speech, output = tmp_path / "speech", tmp_path / "run"
    (speech / "train").mkdir(parents=True)
    for clip in folder.glob("clip-*.wav"):
        (speech / "train" / clip.name).write_bytes(clip.read_bytes())
    with Hub({"somebody/whisper": tiny_teacher, "somebody/speech": speech}).serving() as endpoint:
        environment = {"HF_ENDPOINT": endpoint, "HF_HOME": str(tmp_path / "cache"), "HF_HUB_OFFLINE": "0"}
        arguments = ["distil", "--teacher", "somebody/whisper", "--speech", "somebody/speech,train", *HERE]
        command = [sys.executable, "-m", "components.distillation", *arguments, "--steps", "2", "--output", str(output)]
        subprocess.run(command, check=True, env=os.environ | environment)
    assert (
        json.loads((output / "result.json").read_text())["hours"]
        == json.loads((finished / "result.json").read_text())["hours"]
    )
