"""One process and two, by accelerate on the CPU: the same rows and the same word errors."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest
import soundfile

from components.runs.shard import ONLY_PROCESS, current_process
from tests.runs.trivial import without_times
from tests.runs.voice import spoken

ROOT = Path(__file__).parents[2]
TIMEOUT_S = 600


def rows(output):
    found = [without_times(json.loads(line)) for line in output.read_text().splitlines()[1:]]
    return sorted(found, key=lambda row: (row["clip_id"], row["lane_id"]))


@pytest.fixture
def manifest(tmp_path):
    rng = np.random.default_rng(0)
    lines = []
    for number in range(12):
        if number != 5:
            soundfile.write(tmp_path / f"{number}.wav", spoken(rng), 16_000)
        lines.append(json.dumps({"clip_id": str(number), "audio": f"{number}.wav", "text": "red green blue"}))
    path = tmp_path / "manifest.jsonl"
    path.write_text("\n".join(lines))
    return path


def test_alone_unless_launched():
    assert current_process({}) is ONLY_PROCESS
    assert current_process({"WORLD_SIZE": "1"}) is ONLY_PROCESS


def test_parts_that_a_kill_left_are_gathered(trivial_lab, manifest, tmp_path):
    """What two processes were killed over, one goes on with."""
    output = tmp_path / "runs.jsonl"
    trivial_lab.benchmark(manifest, output)
    whole, (header, *lines) = rows(output), output.read_text().splitlines(keepends=True)
    output.write_text("".join([header, *lines[:6]]))
    (tmp_path / "runs.jsonl.part-1").write_text("".join([header, *lines[4:14], lines[14][:40]]))
    (tmp_path / "runs.jsonl.part-2").write_text(header[:30])
    trivial_lab.benchmark(manifest, output, resume=True)
    assert rows(output) == whole
    assert not list(tmp_path.glob("*.part-*"))


def test_one_process_and_two(trivial_lab, manifest, tmp_path, environ):
    one = trivial_lab.benchmark(manifest, tmp_path / "one.jsonl")
    two = tmp_path / "two.jsonl"
    command = [
        sys.executable,
        "-m",
        "accelerate.commands.launch",
        "--multi_gpu",  # on a CPU --cpu starts a single process; this one starts as many as were asked for
        "--num_processes",
        "2",
        "--num_machines",
        "1",
    ]
    command += ["--mixed_precision", "no", "--dynamo_backend", "no", "--main_process_port", "0"]
    command += ["-m", "tests.runs.trivial", "benchmark", "--manifest", str(manifest), "--output", str(two), "--json"]
    variables = {"PATH": os.environ["PATH"], "HOME": str(tmp_path), "OMP_NUM_THREADS": "1", "HF_HUB_OFFLINE": "1"}
    ran = subprocess.run(
        command, cwd=ROOT, env=variables | environ, capture_output=True, text=True, check=False, timeout=TIMEOUT_S
    )
    assert ran.returncode == 0, ran.stderr
    assert rows(two) == rows(tmp_path / "one.jsonl")
    result = json.loads(ran.stdout.splitlines()[-1])
    assert result["processes"] == 2
    assert "2 processes shared the clips" in result["warnings"][0]
    for lane, totals in one.summary.lanes.items():
        assert result["lanes"][lane]["word_errors"] == totals.word_errors.model_dump()
    assert not list(tmp_path.glob("*.part-*"))
