"""Many visitors at once, in short; `tests/benchmarks/load.py` is the long form, with the times."""

from __future__ import annotations

import os

import soundfile

from components.core.types import SAMPLING_RATE
from tests.benchmarks.load import alone, press, server_process
from tests.browser.harness import pair_variables, running_app

CLIENTS = int(os.environ.get("LOAD_CLIENTS", "8"))
SECONDS = float(os.environ.get("LOAD_SECONDS", "10"))
CLIPS = 3


def test_everybody_is_answered_or_refused_and_memory_stays(tiny_teacher, tiny_student, speechlike_clip, tmp_path):
    clips = [tmp_path / f"clip-{number}.wav" for number in range(CLIPS)]
    for number, clip in enumerate(clips):
        soundfile.write(clip, speechlike_clip.samples[: SAMPLING_RATE * (1 + number)], SAMPLING_RATE)
    with running_app(**pair_variables(tiny_teacher, tiny_student)) as url:
        unloaded = alone(url, clips, rounds=2)
        outcome = press(url, server_process(url), clips, unloaded, clients=CLIENTS, seconds=SECONDS, pause_s=1.0)
    assert outcome.hung == 0
    assert outcome.wrong == []
    assert all("Try again" in message for message in outcome.refused)
    assert outcome.answered >= CLIENTS
    assert outcome.memory_growth(SECONDS / 2) < 0.1
