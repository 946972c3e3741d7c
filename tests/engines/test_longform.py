"""How clips are cut into windows: Transformers' rule for timestamps, its pipeline's chunks."""

from __future__ import annotations

import random

import numpy as np
import pytest
import torch
from transformers import WhisperFeatureExtractor, WhisperForConditionalGeneration
from transformers.pipelines.automatic_speech_recognition import chunk_iter

from components.engines import longform
from components.engines.longform import CHUNK_S, STRIDE_S, Span
from components.engines.prompt import FRAME_S, TIMESTAMP_S, SpecialTokens

SPECIAL = SpecialTokens(start=101, end=100, no_timestamps=110)
ZERO = SPECIAL.first_timestamp


def text(tokens):
    return "".join(chr(token) for token in SPECIAL.words(tokens) if token != SPECIAL.end)


def drive(windows, script):
    """Run a generator of windows over scripted tokens; the spans that it asked for, and what it returned."""
    spans, tokens = [], None
    while True:
        try:
            spans.append(windows.send(tokens))
        except StopIteration as end:
            return spans, end.value
        tokens = script[len(spans) - 1]


@pytest.mark.parametrize("seed", range(60))
def test_windows_are_split_as_transformers_splits_them(seed):
    rng = random.Random(seed)
    tokens, time = [ZERO + rng.randint(0, 5)], 5
    for _ in range(rng.randint(0, 6)):
        tokens += [rng.randint(1, 90) for _ in range(rng.randint(0, 3))]
        time += rng.randint(0, 100)
        tokens += [ZERO + time] * rng.randint(0, 2)
    span = Span(1000, 1000 + rng.choice([3000, 1234]))
    theirs, step = WhisperForConditionalGeneration._retrieve_segment(
        seek_sequence=torch.tensor(tokens),
        seek_outputs=[None],
        time_offset=torch.tensor([span.start_s], dtype=torch.float64),
        timestamp_begin=ZERO,
        seek_num_frames=[span.stop - span.start],
        time_precision=TIMESTAMP_S,
        time_precision_features=FRAME_S,
        input_stride=2,
        prev_idx=0,
        idx=0,
        return_token_timestamps=False,
        decoder_input_ids=torch.zeros(1, 0),
    )
    pieces, moved = longform.split([*tokens, SPECIAL.end], span, SPECIAL)
    assert moved == step
    words = [SPECIAL.words(part["tokens"].tolist()) for part in theirs]  # theirs end with the pair, ours with its first
    assert [SPECIAL.words(piece.tokens) for piece in pieces] == words
    for name in ("start", "end"):
        times = [getattr(piece, f"{name}_s") for piece in pieces]
        assert times == pytest.approx([float(part[name]) for part in theirs])


def test_windows_follow_the_timestamps_and_none_starts_after_the_clip():
    """A segment that ends in two timestamps sends the next window to the second."""
    script = [
        [ZERO, 97, ZERO + 60, ZERO + 60, 99, SPECIAL.end],  # up to 1.2 s, then an unfinished one
        [ZERO, 98, ZERO + 90, ZERO + 90, SPECIAL.end],  # up to 1.2 + 1.8 s: the end of the clip
    ]
    spans, (written, segments) = drive(longform.sequential(3000, 300, 3000, SPECIAL, text), script)
    assert spans == [Span(0, 3000), Span(120, 3000)]
    assert written == "ab"
    assert [(part.start_s, part.end_s, part.text) for part in segments] == [(0.0, 1.2, "a"), (1.2, 3.0, "b")]


@pytest.mark.parametrize("samples", [480_001, 600_000, 1_000_123, 1_200_000])
def test_chunks_are_those_of_transformers_pipeline(samples):
    length, stride = int(CHUNK_S * 16_000), int(STRIDE_S * 16_000)
    theirs = list(chunk_iter(np.zeros(samples), WhisperFeatureExtractor(), length, stride, stride))
    ours = longform.chunks(-(-samples // 160))
    assert len(ours) == len(theirs)
    for index, ((span, shared), item) in enumerate(zip(ours, theirs, strict=True)):
        assert span.start == index * 1000
        assert shared == pytest.approx([each / 16_000 for each in item["stride"]], abs=0.01)
