"""Parameter counts from a configuration alone: no weights, no network, no memory."""

from __future__ import annotations

from collections.abc import Mapping
from typing import TYPE_CHECKING, Any

from components.core.types import LaneSpec, ModelInfo

if TYPE_CHECKING:
    from torch import nn
    from transformers import WhisperConfig


def model_info(lane: LaneSpec, config: WhisperConfig | Mapping[str, Any]) -> ModelInfo:
    """Count the parameters of a Whisper architecture, built on the meta device.

    ``config``: a ``WhisperConfig`` or its keyword arguments. Device, dtype and attention stay ``None``.

    The encoder has its convolutions and its fixed positions; the decoder its learnt positions and the token
    embedding, which the output projection shares and which is counted once. So the two add up to the whole.
    """
    import torch
    from transformers import WhisperConfig, WhisperForConditionalGeneration

    if isinstance(config, Mapping):
        config = WhisperConfig(**{"pad_token_id": 0} | dict(config))  # the default lies outside small vocabularies
    with torch.device("meta"):
        model = WhisperForConditionalGeneration(config)
    return ModelInfo(
        lane_id=lane.lane_id,
        checkpoint=lane.checkpoint,
        num_parameters=_num_parameters(model),
        encoder_parameters=_num_parameters(model.model.encoder),
        decoder_parameters=_num_parameters(model.model.decoder),
        encoder_layers=config.encoder_layers,
        decoder_layers=config.decoder_layers,
    )


def _num_parameters(module: nn.Module) -> int:
    """Tied parameters once: ``parameters()`` yields each tensor a single time."""
    return sum(parameter.numel() for parameter in module.parameters())
