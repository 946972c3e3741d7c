"""What a figure holds for, in a few words: the machine and the models."""

from __future__ import annotations

from typing import TYPE_CHECKING

from components.core.wording import counted
from components.report.columns import model_name

if TYPE_CHECKING:
    from components.core.types import Comparison, Machine


def machine_line(machine: Machine) -> str:
    """``AMD EPYC, 2 threads``; threads count on a CPU only."""
    parts = [machine.device_name]
    if machine.device == "cpu":
        parts.append(counted(machine.threads, "thread"))
    if machine.processes > 1:
        parts.append(counted(machine.processes, "process", "processes"))
    return ", ".join(parts)


def models_line(comparison: Comparison) -> str:
    """``Whisper base vs distil-base``, each checkpoint once; the pair where nothing ran."""
    return " vs ".join(dict.fromkeys(model_name(run.checkpoint) for run in comparison.runs)) or comparison.pair
