"""How clips are cut into windows: Transformers' rule for timestamps, its pipeline's chunks."""

from __future__ import annotations

import random

import numpy as np
import pytest
import torch
from transformers import WhisperFeatureExtractor, WhisperForConditionalGeneration
from transformers.pipelines.automatic_speech_recognition import chunk_iter

from components.core.types import Segment
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
    spans, (written, segments) = drive(longform.sequential(3000, 300, 3000, (), SPECIAL, text), script)
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


@pytest.mark.parametrize(
    ("seek", "speech", "start"),
    [
        (0, [], 0),  # not known where speech is
        (3000, [], 3000),
        (0, [Span(20, 1100)], 0),
        (3000, [Span(20, 1100)], 6000),  # 11 s of speech, 49 s of nothing
        (3000, [Span(20, 1100), Span(5100, 5900)], 3000),  # somewhere in the window
        (3000, [Span(20, 1100), Span(6030, 6100)], 6030),  # beyond the window: begin there
        (3000, [Span(20, 3015)], 6000),  # the end of a word that the window before has heard
        (3000, [Span(20, 3150)], 3000),  # more than that
        (3000, [Span(20, 2950), Span(3110, 3150)], 3000),  # a short word of its own
        (0, [Span(0, 40)], 0),  # a short clip
    ],
)
def test_a_window_starts_where_there_is_speech(seek, speech, start):
    assert longform.next_start(seek, 6000 if start == 6000 else 7000, 3000, speech) == start


def test_windows_without_speech_are_not_asked():
    spans, (written, segments) = drive(
        longform.sequential(6000, 6000, 3000, [Span(0, 1100)], SPECIAL, text), [[ZERO, 97, ZERO + 550, SPECIAL.end]]
    )
    assert spans == [Span(0, 3000)]
    assert (written, [segment.end_s for segment in segments]) == ("a", [11.0])


def chunked(speech, merged):
    """A minute in chunks; what is to be merged is added to ``merged``."""
    return longform.chunked(6000, speech, SPECIAL, lambda written: merged.extend(written) or ("", []))


def test_a_chunk_that_ends_before_its_speech_is_asked_again():
    """As base does at a pause; times count from the start of the chunk."""
    speech = [Span(0, 600), Span(800, 1500)]
    stopped, rest = [ZERO, 97, ZERO + 300, SPECIAL.end], [ZERO + 100, 98, ZERO + 450, SPECIAL.end]
    merged = []
    spans, _ = drive(chunked(speech, merged), [stopped, rest, [ZERO, 99]])
    assert [(span.start, span.stop) for span in spans] == [(0, 1500), (600, 1500), (1000, 2500)]
    assert merged[0][0] == [ZERO, 97, ZERO + 300, ZERO + 400, 98, ZERO + 750, SPECIAL.end]


@pytest.mark.parametrize(
    "tokens",
    [
        [ZERO, 97, ZERO + 300, ZERO + 310, 98, SPECIAL.end],  # it went on writing to the end of the chunk
        [ZERO, 97, ZERO + 580, SPECIAL.end],  # less than a second is left
        [97, SPECIAL.end],  # no timestamps
        [ZERO, ZERO, SPECIAL.end],  # nothing, at the start
    ],
)
def test_a_chunk_is_not_asked_again(tokens):
    spans, _ = drive(chunked([Span(0, 1240)], []), [tokens, [97]])
    assert [(span.start, span.stop) for span in spans] == [(0, 1500), (1000, 2500)]


def test_chunks_without_speech_are_not_asked():
    speech = [Span(0, 700), Span(4300, 4500)]
    merged = []
    spans, _ = drive(chunked(speech, merged), [[97]] * 9)
    assert [(span.start, span.stop) for span in spans] == [(0, 1500), (3000, 4500), (4000, 5500)]
    assert [tokens for tokens, _ in merged] == [[97], [], [], [97], [97], []][: len(merged)]


@pytest.mark.parametrize(
    ("said", "loops"),
    [
        ("", False),
        ("And so, my fellow Americans, ask not what your country can do for you.", False),
        ("no no no no", False),
        ("ha ha ha ha ha ha", False),
        ("nine nine nine two nine nine nine two", False),
        ("or " * 30, True),
        ("or or or " * 75, True),
        ("I begin well. " + "Thank you for watching. " * 6, True),
        ("ご視聴ありがとうございました" * 5, True),
        ("我" * 60, True),
        ("I don't know. " * 5, True),
        ("I don't know. " * 4, False),
        ("a" * 200, True),
        ("The tale goes on and on, " * 4 + "and ends.", False),
        ("x".join(f"{index:03}" for index in range(300)), False),
    ],
)
def test_loops_in_words_and_characters(said, loops):
    assert longform.repeats_itself(said) == loops


def test_speech_without_segments_is_counted():
    segments = [Segment(start_s=start, end_s=end, text="a") for start, end in ((0.0, 4.0), (3.0, 5.0), (9.0, 9.5))]
    assert longform.uncovered_s(segments, [Span(0, 600), Span(900, 1000)]) == pytest.approx(1.5)
    assert longform.uncovered_s([], [Span(0, 600)]) == pytest.approx(6)
    assert longform.uncovered_s(segments, []) == 0
