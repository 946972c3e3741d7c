"""What the benchmarks share: their options, their clips, and the JSON that each writes.

Run them by hand, one at a time, when nothing else runs on the machine.
"""

from __future__ import annotations

import argparse
import json
import os
import statistics
from datetime import UTC, datetime
from pathlib import Path
from typing import TYPE_CHECKING, Any

from components.core import audio, catalog, scoring
from components.core.manifests import read_manifest
from components.core.settings import CUSTOM_PAIR, Settings
from components.core.speech import find_speech
from components.core.types import WINDOW_S, WordErrors
from components.engines import device as devices

if TYPE_CHECKING:
    from collections.abc import Iterator, Mapping

    from components.core.types import AudioClip, LaneSpec

RESULTS = Path(__file__).parent / "results"


def parser(description: str | None) -> argparse.ArgumentParser:
    """Options of every benchmark; by default the shipped pair and clips."""
    options = argparse.ArgumentParser(description=description, formatter_class=argparse.ArgumentDefaultsHelpFormatter)
    options.add_argument("--teacher", default="openai/whisper-base", help="folder or hub id")
    options.add_argument("--student", default=str(catalog.CHECKPOINTS / "distil-base"), help="folder or hub id")
    options.add_argument("--manifest", type=Path, default=catalog.ROOT / "examples" / "audio" / "manifest.jsonl")
    options.add_argument("--results", type=Path, default=RESULTS, help="folder that the JSON is written to")
    return options


def settings(options: argparse.Namespace) -> Settings:
    return Settings.from_env({"TEACHER_CHECKPOINT": options.teacher, "STUDENT_CHECKPOINT": options.student})


def lanes(options: argparse.Namespace) -> tuple[LaneSpec, LaneSpec]:
    """Teacher and student in plain Transformers."""
    teacher, student = catalog.lane_specs(settings(options).get_pair(CUSTOM_PAIR), ("whisper", "distil"))
    return teacher, student


def clips(options: argparse.Namespace) -> Iterator[AudioClip]:
    for row in read_manifest(options.manifest):
        yield audio.load_audio(row.audio, clip_id=row.clip_id)


def spoken_clips(options: argparse.Namespace) -> list[AudioClip]:
    """The clips of up to one window that speech is heard in."""
    return [clip for clip in clips(options) if clip.audio_length_s <= WINDOW_S and find_speech(clip).worth_asking]


def speech_clip(options: argparse.Namespace, shortest_s: float = 5.0, longest_s: float = 30.0) -> AudioClip:
    """The first clip with speech in it that is neither very short nor over one window."""
    for row in read_manifest(options.manifest):
        clip = audio.load_audio(row.audio, clip_id=row.clip_id)
        if row.text and shortest_s <= clip.audio_length_s <= longest_s:
            return clip
    raise SystemExit(f"{options.manifest} has no clip with a text and {shortest_s:g} to {longest_s:g} s long.")


def middle(seconds: list[float]) -> dict[str, float]:
    """Median and quartiles, in seconds."""
    low, median, high = statistics.quantiles(seconds, n=4, method="inclusive")
    return {"median_s": median, "lower_quartile_s": low, "upper_quartile_s": high}


def word_errors(reference: str, text: str) -> WordErrors:
    """Of one English clip, both normalised."""
    return scoring.word_errors(reference, text, "en").errors


def wer(errors: list[WordErrors]) -> float | None:
    """Summed over the clips, divided once."""
    return sum(errors, WordErrors()).wer


def within(wers: Mapping[str, float | None], points: float) -> bool:
    """Whether word error rates lie within so many percentage points of each other."""
    known = [value for value in wers.values() if value is not None]
    return not known or 100 * (max(known) - min(known)) <= points


def save(name: str, options: argparse.Namespace, result: dict[str, Any], *, passed: bool | None = None) -> str:
    """Write the result, as far as it is known, with the machine's stamp; returns the JSON."""
    whole = {
        "benchmark": name,
        "passed": passed,
        **result,
        "checkpoints": [catalog.checkpoint_name(lane.checkpoint) for lane in lanes(options)],
        "machine": devices.machine().model_dump(mode="json"),
        "load_average": os.getloadavg(),
        "date": datetime.now(UTC).isoformat(timespec="seconds"),
    }
    text = json.dumps(whole, indent=2)
    options.results.mkdir(parents=True, exist_ok=True)
    (options.results / f"{name}.json").write_text(text + "\n")
    return text


def finish(name: str, options: argparse.Namespace, result: dict[str, Any], *, passed: bool) -> int:
    """Print and save the result; the exit code: 0 where the goal is met, else 1."""
    print(save(name, options, result, passed=passed))
    print(f"{name}: {'met' if passed else 'MISSED'}")
    return 0 if passed else 1
