"""Word errors of a teacher and its student on a corpus: in all, by voice, and what else goes wrong.

The clips go through the same engines, clock and scoring as the page's, so a figure on the model card is the figure
that a visitor gets.
"""

from __future__ import annotations

import json
from collections import defaultdict
from typing import TYPE_CHECKING

from components.core.errors import ManifestError
from components.core.files import read_rows
from components.core.scoring import repeated_five_grams
from components.core.settings import Settings
from components.core.types import LaneFailure, WordErrors
from components.runs.lab import Lab

if TYPE_CHECKING:
    from collections.abc import Iterable, Mapping
    from pathlib import Path

    from components.core.types import LaneRun


def evaluate_pair(manifest: Path, teacher: str, student: str, output: Path, *, resume: bool = True) -> dict:
    """Transcribe every clip of a manifest with both; rows go to ``output`` as they finish.

    Returns:
        By lane: ``wer``, the edits, ``insertion_rate`` (insertions over reference words),
        ``repeated_5_grams`` (5-grams that a transcript writes again), ``seconds_a_clip`` (generation),
        and ``by_voice``.

    Raises:
        ManifestError: ``output`` holds rows of another corpus, or of other checkpoints.
    """
    lab = Lab(Settings.from_env({"TEACHER_CHECKPOINT": teacher, "STUDENT_CHECKPOINT": student, "PAIR": "custom"}))
    lab.benchmark(manifest, output, lanes=("whisper", "distil"), resume=resume and output.exists())
    rows = [json.loads(line) for line in manifest.read_text().splitlines()]
    voices = {row["clip_id"]: row.get("voice", "none") for row in rows}
    lanes: dict[str, list[LaneRun]] = defaultdict(list)
    failures = 0
    for run in read_rows(output)[1]:
        if isinstance(run, LaneFailure):
            failures += 1
            continue
        if run.clip_id not in voices:
            raise ManifestError(f"{output} holds rows of another corpus. Choose another --output.")
        lanes[run.lane_id].append(run)
    return {"clips": len(rows), "failures": failures} | {
        lane_id: _summary(runs, voices) for lane_id, runs in lanes.items()
    }


def _summary(runs: Iterable[LaneRun], voices: Mapping[str, str]) -> dict[str, object]:
    runs = list(runs)
    total = _sum(runs)
    by_voice: dict[str, list[LaneRun]] = defaultdict(list)
    for run in runs:
        by_voice[voices[run.clip_id]].append(run)
    times = [run.timing.generation_time_s for run in runs if run.timing is not None]
    return {
        "wer": total.wer,
        **total.model_dump(),
        "insertion_rate": total.insertions / max(total.reference_words, 1),
        "repeated_5_grams": sum(repeated_five_grams(run.normalized_text or "") for run in runs),
        "seconds_a_clip": sum(times) / max(len(times), 1),
        "by_voice": {voice: _sum(of_voice).wer for voice, of_voice in sorted(by_voice.items())},
    }


def _sum(runs: Iterable[LaneRun]) -> WordErrors:
    return sum((run.word_errors for run in runs if run.word_errors is not None), WordErrors())
