from __future__ import annotations

import pytest

from components.core.types import Comparison, LaneFailure, ModelInfo, Models, Report
from tests.report.nouns import make_clip, make_comparison, make_report, make_run


@pytest.fixture
def compared() -> Comparison:
    """Whisper took 0.9 s and its student 0.3 s, in three rounds; one word of four is another."""
    return make_comparison(
        make_run("whisper", (0.1, 0.8), (0.1, 0.7), (0.1, 0.9), text="one two three four"),
        make_run("distil", (0.1, 0.2), (0.1, 0.2), (0.1, 0.2), text="one two tree four"),
    )


@pytest.fixture
def report() -> Report:
    """Three samples: speed-ups 4, 2 and, where the student was not timed, none; one lane failed on a fourth."""
    clips = [
        make_clip("a", "whisper", 0.1, 0.7),
        make_clip("a", "distil", 0.1, 0.1),
        make_clip("b", "whisper", 0.1, 0.3),
        make_clip("b", "distil", 0.1, 0.1),
        make_clip("c", "whisper", 0.1, 0.5),
        make_clip("c", "distil", None),
    ]
    return make_report(clips, failures=(LaneFailure(clip_id="d", lane_id="distil", message="It failed."),))


@pytest.fixture
def models() -> Models:
    """Whisper large-v2 and its student, as the configurations count them."""
    counts = ((1543304960, 636784640, 906520320, 32, 32), (756220160, 636784640, 119435520, 32, 2))
    names = ("num_parameters", "encoder_parameters", "decoder_parameters", "encoder_layers", "decoder_layers")
    ids = (("whisper", "openai/whisper-large-v2"), ("distil", "distil-whisper/distil-large-v2"))
    lanes = (
        ModelInfo(lane_id=lane, checkpoint=checkpoint, **dict(zip(names, each, strict=True)))
        for (lane, checkpoint), each in zip(ids, counts, strict=True)
    )
    return Models(pair="large-v2", lanes=tuple(lanes))
