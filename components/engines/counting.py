"""Parameter counts from a configuration alone: no weights, no network, no memory."""

from __future__ import annotations

import functools
from collections.abc import Mapping
from typing import TYPE_CHECKING, Any

from components.core.catalog import ARCHITECTURE_KEYS, checkpoint_name
from components.core.types import LaneSpec, ModelInfo

if TYPE_CHECKING:
    from torch import nn
    from transformers import WhisperConfig


def model_info(lane: LaneSpec, config: WhisperConfig | Mapping[str, Any]) -> ModelInfo:
    """Count the parameters of a Whisper architecture, built on the meta device.

    ``config``: a ``WhisperConfig``, or the values of ``core.catalog.ARCHITECTURE_KEYS``. Device, dtype and attention
    stay ``None``.

    The encoder has its convolutions and its fixed positions; the decoder its learnt positions and the token
    embedding, which the output projection shares and which is counted once. So the two add up to the whole.
    """
    values = config if isinstance(config, Mapping) else config.to_dict()
    whole, encoder, decoder = _num_parameters(**{key: int(values[key]) for key in ARCHITECTURE_KEYS})
    return ModelInfo(
        lane_id=lane.lane_id,
        checkpoint=checkpoint_name(lane.checkpoint),
        num_parameters=whole,
        encoder_parameters=encoder,
        decoder_parameters=decoder,
        encoder_layers=int(values["encoder_layers"]),
        decoder_layers=int(values["decoder_layers"]),
    )


@functools.lru_cache(maxsize=64)
def _num_parameters(**shapes: Any) -> tuple[int, int, int]:
    """Whole, encoder, decoder."""
    import torch
    from transformers import WhisperConfig, WhisperModel

    config = WhisperConfig(**shapes, pad_token_id=0)  # the default padding lies outside small vocabularies
    with torch.device("meta"):
        # Without the output projection, which is the token embedding: Transformers ties the two, but not while another
        # thread loads a checkpoint.
        model = WhisperModel(config)
    return _count(model), _count(model.encoder), _count(model.decoder)


def _count(module: nn.Module) -> int:
    return sum(parameter.numel() for parameter in module.parameters())
