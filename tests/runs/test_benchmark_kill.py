"""``kill -9`` at any moment, then ``--resume``: the same rows as an undisturbed run, each once."""

from __future__ import annotations

import json
import multiprocessing
import os
import random
import signal
import time

import numpy as np
import pytest
import soundfile

from components.runs.lab import Lab
from tests.runs.trivial import without_times
from tests.runs.voice import spoken

CLIPS = 60
KILLS = int(os.environ.get("KILLS", "8"))
TIMEOUT_S = 100


@pytest.fixture(scope="module")
def manifest(tmp_path_factory):
    """Short clips of speech; every tenth is missing, and so a failure."""
    folder = tmp_path_factory.mktemp("clips")
    rng = np.random.default_rng(0)
    rows = []
    for number in range(CLIPS):
        if number % 10 != 9:
            soundfile.write(folder / f"{number}.wav", spoken(rng), 16_000)
        rows.append({"clip_id": f"clip-{number} “é”", "audio": f"{number}.wav", "text": "one two three"})
    path = folder / "manifest.jsonl"
    path.write_text("".join(json.dumps(row) + "\n" for row in rows))
    return path


def rows(output):
    return [without_times(json.loads(line)) for line in output.read_text().splitlines()[1:]]


@pytest.fixture
def undisturbed(trivial_lab, manifest, tmp_path):
    output = tmp_path / "whole.jsonl"
    report = trivial_lab.benchmark(manifest, output)
    assert (len(report.clips), sum(report.summary.failures.values())) == (108, 12)
    return rows(output)


def run_anew(settings, manifest, output):
    """In a forked process, to which the threads of this one's lab do not come along."""
    Lab(settings).benchmark(manifest, output, resume=True)


def test_killed_and_resumed(trivial_lab, manifest, undisturbed, tmp_path):
    """Run in a process of its own, kill it, go on with what it left, kill that, and so on."""
    output = tmp_path / "runs.jsonl"
    chance = random.Random(0)
    whole = (tmp_path / "whole.jsonl").stat().st_size
    context = multiprocessing.get_context("fork")
    cut_short = 0
    for kill in range(KILLS):
        process = context.Process(target=run_anew, args=(trivial_lab.settings, manifest, output))
        process.start()
        ends = time.monotonic() + TIMEOUT_S
        size = output.stat().st_size if output.exists() else 0
        enough = size + chance.randrange(1, max(2, whole // KILLS))
        while process.is_alive() and (not output.exists() or output.stat().st_size < enough):
            process.join(0.001)
            assert time.monotonic() < ends, "it stands still"
        process.kill()
        process.join()
        cut_short += process.exitcode == -signal.SIGKILL
        if kill % 2:  # a kill tears a line only where the disk is slow: do so for certain
            os.truncate(output, output.stat().st_size - chance.randrange(1, 700))
    assert cut_short
    report = trivial_lab.benchmark(manifest, output, resume=True)
    assert rows(output) == undisturbed
    assert report.summary.clips == CLIPS


@pytest.mark.parametrize("share", [0.0001, 0.01, 0.1, 0.37, 0.5, 0.9, 0.9999])
def test_torn_anywhere(trivial_lab, manifest, tmp_path, share):
    """Also within the header, and within a character."""
    output = tmp_path / "runs.jsonl"
    trivial_lab.benchmark(manifest, output, limit=10)
    whole = rows(output)
    os.truncate(output, max(1, int(share * output.stat().st_size)))
    report = trivial_lab.benchmark(manifest, output, limit=10, resume=True)
    assert rows(output) == whole
    assert (len(report.clips), sum(report.summary.failures.values())) == (18, 2)


def test_two_at_once_are_refused(trivial_lab, manifest, tmp_path):
    from components.core.errors import ManifestError

    output = tmp_path / "runs.jsonl"
    running = trivial_lab.benchmark_steps(manifest, output)
    next(running)
    with pytest.raises(ManifestError, match="being written by another process"):
        trivial_lab.benchmark(manifest, output, resume=True)
    assert len(list(running)) == CLIPS - 1
