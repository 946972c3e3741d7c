"""Parameter counts from configurations alone."""

from __future__ import annotations

import pytest

from components.core import catalog
from components.core.types import LaneSpec
from components.engines.counting import _num_parameters, model_info

LANE = LaneSpec("whisper", "Whisper", "whisper", "somewhere")


@pytest.mark.parametrize(
    ("checkpoint", "whole", "decoder", "layers"),
    [
        ("openai/whisper-large-v2", 1_543_304_960, 906_520_320, (32, 32)),
        ("distil-whisper/distil-large-v2", 756_220_160, 119_435_520, (32, 2)),
    ],
)
def test_the_published_pair(checkpoint, whole, decoder, layers):
    info = model_info(LANE, catalog.ARCHITECTURES[checkpoint])
    assert info.num_parameters == whole
    assert info.decoder_parameters == decoder
    assert info.encoder_parameters == whole - decoder
    assert (info.encoder_layers, info.decoder_layers) == layers
    assert (info.dtype, info.device, info.attention) == (None, None, None)


@pytest.mark.parametrize("checkpoint", catalog.ARCHITECTURES)
def test_every_catalogue_checkpoint_splits_into_encoder_and_decoder(checkpoint):
    info = model_info(LANE, catalog.ARCHITECTURES[checkpoint])
    assert info.encoder_parameters + info.decoder_parameters == info.num_parameters > 10**7


def test_a_checkpoint_that_another_thread_loads_changes_no_count():
    """Transformers ties no weights meanwhile, in no thread."""
    from transformers import initialization

    _num_parameters.cache_clear()
    with initialization.no_tie_weights():
        info = model_info(LANE, catalog.ARCHITECTURES["openai/whisper-large-v2"])
    assert info.num_parameters == 1_543_304_960


def test_a_configuration_counts_as_its_model(engine, teacher_lane):
    from components.engines.checkpoints import load_config

    info = model_info(teacher_lane, load_config(teacher_lane))
    assert info.num_parameters == sum(p.numel() for p in engine.model.parameters())
    assert info == model_info(teacher_lane, catalog.architecture(teacher_lane.checkpoint))
