"""The speculative lane: the teacher, for which the student drafts (arXiv 2311.00430, 4; arXiv 2211.17192).

The tokens are the teacher's own. Both read the teacher's encoder output, of which a distilled student's encoder is a
frozen copy; the loop, and where Transformers' own loses its time, is in ``engines.decoding``.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from components.core.catalog import checkpoint_name
from components.core.errors import CheckpointError
from components.engines.checkpoints import assistant_lane, load_config, share_encoder
from components.engines.device import DEFAULT_ATTENTION
from components.engines.whisper import WhisperEngine

if TYPE_CHECKING:
    from components.core.settings import Settings
    from components.core.types import LaneSpec
    from components.engines.checkpoints import Models
    from components.engines.device import Device

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
        return {"runtime": "loop"} if settings.runtime == "eager" else WhisperEngine.expected(settings, device)

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

    def unload(self) -> None:
        del self.student
        super().unload()
