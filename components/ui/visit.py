"""A visit: what one visitor compared so far, kept in their own session and nowhere else."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from collections.abc import Sequence

    from components.core.types import Comparison, Report

RECORDING = "audio"
"""What Gradio's recorder calls its files, without the ending."""
MAX_COMPARISONS = 100
"""The oldest go first."""


def add(visit: Sequence[Comparison], comparison: Comparison) -> list[Comparison]:
    """The visit with one comparison more, if a model was timed in it: silence is no clip to compare."""
    timed = any(run.generation_time_s for run in comparison.runs)
    return [*visit, *([comparison] if timed else [])][-MAX_COMPARISONS:]


def report(visit: Sequence[Comparison], pair: str) -> Report | None:
    """Totals and intervals over the comparisons of one pair, each a sample of its own; ``None`` without any."""
    from components.runs.totals import report_of

    same_pair = [comparison for comparison in visit if comparison.pair == pair]
    return report_of(same_pair) if same_pair else None


def seconds_for(visit: Sequence[Comparison], pair: str, audio_length_s: float) -> float | None:
    """How long audio of a length takes, all lanes together, going by the visit; ``None`` where it cannot tell."""
    same_pair = [comparison for comparison in visit if comparison.pair == pair]
    heard_s = sum(comparison.audio_length_s for comparison in same_pair)
    took_s = sum(run.end_to_end_time_s or 0.0 for comparison in same_pair for run in comparison.runs)
    return audio_length_s * took_s / heard_s if heard_s and took_s else None


def recording_name(visit: Sequence[Comparison], audio: str | None) -> str | None:
    """A name for what was recorded on the page, by how many were before it; ``None`` for a file, which has its own."""
    if audio is None or Path(audio).stem != RECORDING:
        return None
    before = sum(comparison.clip_id.startswith("recording ") for comparison in visit)
    return f"recording {before + 1}"
