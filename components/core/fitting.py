"""Whether a teacher and a student fit each other: the same features, vocabulary and languages."""

from __future__ import annotations

import json
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

from components.core.catalog import architecture, checkpoint_name
from components.core.errors import CheckpointError

if TYPE_CHECKING:
    from collections.abc import Mapping

MULTILINGUAL_VOCABULARY = 51_865
"""Tokens of the smallest published multilingual Whisper; an English-only one has 51,864."""


@dataclass(frozen=True)
class Kind:
    """What must be equal in a teacher and its student. ``multilingual`` is ``None`` where it is unknown."""

    checkpoint: str
    num_mel_bins: int
    vocab_size: int
    multilingual: bool | None


def kind_of(checkpoint: str, config: Mapping[str, int], multilingual: bool | None = None) -> Kind:
    """The kind by ``num_mel_bins`` and ``vocab_size``, which also decides ``multilingual`` where that is ``None``."""
    vocabulary = int(config["vocab_size"])
    if multilingual is None and vocabulary >= MULTILINGUAL_VOCABULARY - 1:
        multilingual = vocabulary >= MULTILINGUAL_VOCABULARY
    return Kind(checkpoint, int(config["num_mel_bins"]), vocabulary, multilingual)


def known_kind(checkpoint: str) -> Kind | None:
    """The kind of a folder or of a checkpoint of the catalogue, without a network; ``None`` for any other hub id.

    Raises:
        CheckpointError: the folder's ``config.json`` is missing, broken, or not Whisper's.
    """
    config = architecture(checkpoint)
    if config is None:
        return None
    try:
        generation = json.loads((Path(checkpoint) / "generation_config.json").read_text(encoding="utf-8"))
        multilingual = generation.get("is_multilingual")
    except (OSError, ValueError, AttributeError):
        multilingual = None
    return kind_of(checkpoint, config, multilingual)


def check_fit(teacher: Kind, student: Kind) -> None:
    """Refuse a teacher and a student that cannot be compared.

    Raises:
        CheckpointError: they differ in mel bins, vocabulary or language; the message names both, and how they differ.
    """
    differences = []
    if teacher.num_mel_bins != student.num_mel_bins:
        differences.append(f"{teacher.num_mel_bins} mel bins against {student.num_mel_bins}")
    if teacher.vocab_size != student.vocab_size:
        differences.append(f"a vocabulary of {teacher.vocab_size:,} tokens against {student.vocab_size:,}")
    if None not in {teacher.multilingual, student.multilingual} and teacher.multilingual != student.multilingual:
        names = {True: "multilingual", False: "English-only"}
        differences.append(f"{names[bool(teacher.multilingual)]} against {names[bool(student.multilingual)]}")
    if differences:
        raise CheckpointError(
            f"The teacher {checkpoint_name(teacher.checkpoint)} and the student {checkpoint_name(student.checkpoint)} "
            f"do not fit each other: {', '.join(differences)}. Choose a student that was distilled from this teacher."
        )
