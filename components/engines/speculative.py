"""The speculative lane: the teacher, for which the student drafts (arXiv 2311.00430, 4; arXiv 2211.17192).

The tokens are the teacher's own. Both read the teacher's encoder output, of which a distilled student's encoder is a
frozen copy; the loop, and where Transformers' own loses its time, is in ``engines.decoding``.
"""

from __future__ import annotations

import json
from pathlib import Path
from typing import TYPE_CHECKING, Any

import torch

from components.core.catalog import checkpoint_name
from components.core.errors import CheckpointError
from components.engines.checkpoints import assistant_lane, explained, load_config, share_encoder
from components.engines.device import DEFAULT_ATTENTION
from components.engines.whisper import WhisperEngine

if TYPE_CHECKING:
    from components.core.settings import Settings
    from components.core.types import LaneSpec
    from components.engines.checkpoints import Models
    from components.engines.device import Device

DRAFT_TOKENS = "draft_tokens.json"
"""File beside a student: the ids of the words that are frequent in its teacher's transcripts."""

SHARED_SHAPES = ("vocab_size", "d_model", "max_source_positions", "max_target_positions")
"""What an assistant must have in common with its teacher to read its encoder's output and write its tokens."""


class SpeculativeEngine(WhisperEngine):
    """A teacher with an assistant: windows, words and cancelling as in ``WhisperEngine``.

    Raises, when made, beside what ``WhisperEngine`` raises:
        CheckpointError: the student cannot be loaded, or does not fit the teacher.
    """

    def __init__(self, lane: LaneSpec, settings: Settings, device: Device, models: Models | None = None) -> None:
        assistant = assistant_lane(lane)
        ours, theirs = (load_config(each, settings.token) for each in (lane, assistant))
        if wrong := [name for name in SHARED_SHAPES if getattr(ours, name) != getattr(theirs, name)]:
            raise CheckpointError(
                f"{checkpoint_name(assistant.checkpoint)} cannot assist {checkpoint_name(lane.checkpoint)}: "
                f"they differ in {', '.join(wrong)}."
            )
        super().__init__(lane, settings, device, models)

    @staticmethod
    def expected(settings: Settings, device: Device) -> dict[str, str]:
        """What will run, before it is loaded: our own loop, whatever the settings say."""
        return WhisperEngine.expected(settings, device) if settings.runtime == "compiled" else {"runtime": "loop"}

    def _set_runtime(self, settings: Settings) -> None:
        self.student: Any = self.models.get(
            assistant_lane(self.lane),
            dtype=self.model.dtype,
            attention=DEFAULT_ATTENTION,
            device=self.device,
            token=settings.token,
        )
        if not share_encoder(self.student, self.model):
            self.runtime_note += " The student's encoder is not the teacher's, so that fewer drafts are right."
        self._use_loop(self.student, graphs=settings.runtime == "compiled")

    def _draft_ids(self) -> torch.Tensor | None:
        """The tokens that the student drafts: frequent words, where it has a list, and all that are no words.

        On a CPU the projection onto the whole vocabulary is most of a draft's cost (FR-Spec, arXiv 2502.14856).
        """
        student = assistant_lane(self.lane)
        file = Path(student.checkpoint) / DRAFT_TOKENS
        if self.device.kind != "cpu" or not file.is_file():
            return None
        with explained(student.checkpoint):
            words = torch.tensor(json.loads(file.read_text(encoding="utf-8")), dtype=torch.long)
            every = torch.arange(self.model.config.vocab_size)
            return every[(every >= self.special.end) | torch.isin(every, words)]

    def unload(self) -> None:
        del self.student
        super().unload()
