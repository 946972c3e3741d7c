"""The command line, as scripts use it."""

from __future__ import annotations

import json
import os
import subprocess
import sys

import pytest
import soundfile

from components.runs.__main__ import main


@pytest.fixture
def clip(tmp_path, speechlike_clip):
    path = tmp_path / "clip.wav"
    soundfile.write(path, speechlike_clip.samples, speechlike_clip.sampling_rate)
    return path


@pytest.fixture
def command(environ, monkeypatch, capsys):
    """Run the command line in this process; exit code, standard output and standard error."""
    for name in ("PAIR", "PAIRS", "LANES", "LANGUAGE", "DTYPE", "ATTENTION", "RUNTIME", "MAX_AUDIO_S"):
        monkeypatch.delenv(name, raising=False)
    for name, value in (environ | {"TRANSFORMERS_VERBOSITY": "error"}).items():
        monkeypatch.setenv(name, value)

    def command(*arguments: object) -> tuple[int, str, str]:
        code = main([str(argument) for argument in arguments])
        captured = capsys.readouterr()
        return code, captured.out, captured.err

    return command


@pytest.mark.parametrize("arguments", [["--help"], ["compare", "--help"], ["benchmark", "--help"], ["rescore", "-h"]])
def test_help_imports_nothing_heavy(arguments):
    code = (
        "import sys; from components.runs.__main__ import main\n"
        "try:\n    main(sys.argv[1:])\n"
        "except SystemExit as stop:\n    print('code', stop.code)\n"
        "print('heavy', sorted({'torch', 'transformers', 'gradio', 'plotly', 'numpy', 'av'} & set(sys.modules)))"
    )
    ran = subprocess.run([sys.executable, "-c", code, *arguments], capture_output=True, text=True, check=True)
    assert "usage: python -m components.runs" in ran.stdout
    assert ran.stdout.endswith("code 0\nheavy []\n")


def test_compare(command, clip):
    code, out, err = command("compare", clip, "--reference", "a b", "--repeats", 2, "--json")
    assert code == 0
    result = json.loads(out.splitlines()[-1])
    assert result["clip_id"] == "clip"
    assert [run["lane_id"] for run in result["runs"]] == ["whisper", "distil"]
    assert [len(run["repeats"]) for run in result["runs"]] == [2, 2]
    assert result["runs"][0]["word_errors"]["reference_words"] == 2
    assert result["runs"][0]["segments"]
    assert result["speed_up"]["distil"] > 0
    assert "Running Whisper" in err
    assert "speed-up" in out
    assert result["runs"][0]["text"] in "".join(out.splitlines()[:-1])


def test_compare_options(command, clip):
    _, out, _ = command("compare", clip, "--lanes", "distil", "--no-timestamps", "--long-form", "chunked", "--json")
    (run,) = json.loads(out.splitlines()[-1])["runs"]
    assert (run["lane_id"], run["segments"]) == ("distil", [])
    _, out, _ = command("compare", clip, "--lanes", "distil")
    assert "{" not in out


def test_models(command):
    code, out, _ = command("models", "--pair", "large-v2", "--json")
    assert code == 0
    result = json.loads(out.splitlines()[-1])
    assert result["parameter_ratio"] == pytest.approx(0.49000047275167184, abs=1e-14)
    assert result["decoder_parameter_ratio"] == pytest.approx(0.13175161920253482, abs=1e-14)
    assert "1,543,304,960" in out
    assert "49.000047%" in out
    _, out, _ = command("models", "--json")
    assert json.loads(out.splitlines()[-1])["pair"] == "custom"


def test_benchmark(command, clip):
    manifest, output = clip.with_name("manifest.jsonl"), clip.with_name("runs.jsonl")
    manifest.write_text('{"clip_id": "one", "audio": "clip.wav", "text": "a"}\n{"clip_id": "two", "audio": "no"}\n')
    arguments = ("benchmark", "--manifest", manifest, "--output", output, "--json")
    code, out, err = command(*arguments)
    assert code == 0
    result = json.loads(out.splitlines()[-1])
    assert result["clips"] == 2
    assert result["lanes"]["whisper"]["word_errors"]["reference_words"] == 1
    assert result["failures"] == {"whisper": 1, "distil": 1}
    assert "The file no is not there" in out
    assert "Clip 1 of 2: one" in err
    code, _, err = command(*arguments)
    assert (code, "runs.jsonl is there already" in err) == (2, True)
    code, out, _ = command(*arguments, "--resume")
    assert json.loads(out.splitlines()[-1]) == result


@pytest.mark.parametrize(
    ("arguments", "sentence"),
    [
        (("compare", "none.wav"), "none.wav is not there"),
        (("compare", "CLIP", "--pair", "huge"), "no pair called “huge”. Choose from: custom, base, large-v2"),
        (("compare", "CLIP", "--lanes", "x,whisper"), "no lane called “x”"),
        (("compare", "CLIP", "--repeats", "0"), "from 1 to 100"),
        (("benchmark", "--manifest", "none.jsonl", "--output", "runs.jsonl"), "none.jsonl is not there"),
    ],
)
def test_mistakes(command, clip, arguments, sentence):
    code, out, err = command(*[clip if argument == "CLIP" else argument for argument in arguments])
    assert (code, out) == (2, "")
    assert sentence in err
    assert "Traceback" not in err


def test_every_lane_failing_is_a_failure(command, clip, monkeypatch, tmp_path, environ):
    (tmp_path / "config.json").write_text('{"model_type": "bert"}')
    monkeypatch.setenv("STUDENT_CHECKPOINT", str(tmp_path))
    code, out, _ = command("compare", clip, "--json")
    assert code == 0
    assert "is a bert model" in out
    assert json.loads(out.splitlines()[-1])["failures"][0]["lane_id"] == "distil"
    code, out, _ = command("compare", clip, "--lanes", "distil")
    assert code == 2


def test_as_a_process(environ, clip):
    arguments = [sys.executable, "-m", "components.runs", "compare", str(clip), "--lanes", "distil", "--json"]
    variables = {"PATH": os.environ["PATH"], "OMP_NUM_THREADS": "1", "PYTHONIOENCODING": "ascii"}
    ran = subprocess.run(arguments, capture_output=True, text=True, check=True, env=variables | environ)
    assert json.loads(ran.stdout.splitlines()[-1])["runs"][0]["lane_id"] == "distil"
    assert "Traceback" not in ran.stderr
    wrong = subprocess.run(
        arguments, capture_output=True, text=True, check=False, env=variables | environ | {"DTYPE": "int7"}
    )
    assert (wrong.returncode, wrong.stdout) == (2, "")
    assert "DTYPE says int7; choose one of these: auto, float32" in wrong.stderr
    assert "Traceback" not in wrong.stderr
