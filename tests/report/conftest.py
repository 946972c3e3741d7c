"""Rows as a visit makes them."""

from __future__ import annotations

import pytest

from components.core.types import LaneRun, ModelInfo, Timing


def timing(encoder_s: float, decoder_s: float) -> Timing:
    generation_s = encoder_s + decoder_s
    return Timing(
        feature_time_s=0.01,
        encoder_time_s=encoder_s,
        decoder_time_s=decoder_s,
        generation_time_s=generation_s,
        end_to_end_time_s=generation_s + 0.02,
    )


def run(clip_id: str, lane_id: str, encoder_s: float | None, decoder_s: float = 0.0, **changes) -> LaneRun:
    """A row; nothing timed where ``encoder_s`` is None."""
    timed = None if encoder_s is None else timing(encoder_s, decoder_s)
    fields = {
        "clip_id": clip_id,
        "lane_id": lane_id,
        "checkpoint": f"openai/{lane_id}",
        "text": "some words",
        "audio_length_s": 5.0,
        **(dict(timed) if timed else {}),
        "repeats": (timed,) if timed else (),
        "generated_tokens": 12,
        "dtype": "float32",
        "attention": "sdpa",
        "runtime": "eager",
    }
    return LaneRun(**(fields | changes))


@pytest.fixture
def make_run():
    return run


@pytest.fixture
def rows() -> list[LaneRun]:
    """Three samples: speed-ups 4, 2 and, where the student was not timed, none."""
    return [
        run("a", "whisper", 0.1, 0.7),
        run("a", "distil", 0.1, 0.1),
        run("b", "whisper", 0.1, 0.3),
        run("b", "distil", 0.1, 0.1),
        run("c", "whisper", 0.1, 0.5),
        run("c", "distil", None),
    ]


@pytest.fixture
def infos() -> list[ModelInfo]:
    """Whisper large-v2 and its student, as the configurations count them."""
    return [
        ModelInfo(
            lane_id="whisper",
            checkpoint="openai/whisper-large-v2",
            num_parameters=1543304960,
            encoder_parameters=636784640,
            decoder_parameters=906520320,
            encoder_layers=32,
            decoder_layers=32,
        ),
        ModelInfo(
            lane_id="distil",
            checkpoint="distil-whisper/distil-large-v2",
            num_parameters=756220160,
            encoder_parameters=636784640,
            decoder_parameters=119435520,
            encoder_layers=32,
            decoder_layers=2,
        ),
    ]
