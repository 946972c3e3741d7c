"""Shared fixtures: tiny, real Whisper checkpoints with random weights, and clips made in the test."""

from __future__ import annotations

import json
import os
import string
from typing import TYPE_CHECKING

import numpy as np
import pytest

from components.core.types import SAMPLING_RATE, AudioClip

if TYPE_CHECKING:
    from pathlib import Path

SPECIAL_TOKENS = (
    "<|endoftext|>",
    "<|startoftranscript|>",
    "<|en|>",
    "<|translate|>",
    "<|transcribe|>",
    "<|startoflm|>",
    "<|startofprev|>",
    "<|nocaptions|>",
    "<|notimestamps|>",
)
"""Whisper's, in Whisper's order; 1,501 timestamps follow them."""

TEACHER_DECODER_LAYERS = 4
STUDENT_DECODER_LAYERS = 2


def pytest_configure(config: pytest.Config) -> None:
    """What tests convert and measure is kept beside pytest's own cache, not in the user's."""
    os.environ.setdefault("HF_HOME", str(config.rootpath / ".pytest_cache" / "huggingface"))


@pytest.fixture(scope="session")
def speechlike_clip() -> AudioClip:
    """Three seconds of syllables: a gliding, amplitude-modulated harmonic tone with pauses and a little noise."""
    rng = np.random.default_rng(0)
    time_s = np.arange(3 * SAMPLING_RATE) / SAMPLING_RATE
    pitch_hz = 120 + 30 * np.sin(2 * np.pi * 0.7 * time_s)
    phase = 2 * np.pi * np.cumsum(pitch_hz) / SAMPLING_RATE
    voice = sum(np.sin(harmonic * phase) / harmonic for harmonic in range(1, 12))
    syllables = np.clip(np.sin(2 * np.pi * 3.0 * time_s), 0, None)
    samples = (0.2 * voice * syllables + 0.002 * rng.standard_normal(len(time_s))).astype(np.float32)
    samples.setflags(write=False)
    return AudioClip("speechlike", samples)


@pytest.fixture(scope="session")
def tiny_teacher(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Folder of a Whisper checkpoint: 2 + 4 layers of width 32, English only, 30 s windows, ends after some tokens."""
    return _save_checkpoint(tmp_path_factory.mktemp("checkpoints") / "teacher", range(TEACHER_DECODER_LAYERS))


@pytest.fixture(scope="session")
def tiny_student(tiny_teacher: Path) -> Path:
    """The same with the first and the last of the teacher's decoder layers; encoder and embeddings are equal."""
    return _save_checkpoint(tiny_teacher.parent / "student", (0, TEACHER_DECODER_LAYERS - 1))


def _tokens() -> tuple[list[str], list[tuple[str, str]]]:
    """Vocabulary and merges: 256 bytes, then a space before each of the others, so that a bare space is rare."""
    from transformers.convert_slow_tokenizer import bytes_to_unicode

    symbols = list(bytes_to_unicode().values())
    space = bytes_to_unicode()[ord(" ")]
    merges = [(space, symbol) for symbol in symbols if symbol != space]
    return symbols + [space + symbol for _, symbol in merges], merges


def _save_checkpoint(folder: Path, layers: range | tuple[int, ...]) -> Path:
    """Save the layers chosen from one seeded teacher; what Transformers, its pipeline and Faster-Whisper need."""
    import torch
    from tokenizers import AddedToken
    from transformers import (
        GenerationConfig,
        WhisperConfig,
        WhisperFeatureExtractor,
        WhisperForConditionalGeneration,
        WhisperProcessor,
        WhisperTokenizer,
    )

    torch.set_num_threads(1)
    symbols, merges = _tokens()
    tokens = {symbol: index for index, symbol in enumerate(symbols)}
    ids = {token: len(tokens) + index for index, token in enumerate(SPECIAL_TOKENS)}
    end, start, no_timestamps = ids["<|endoftext|>"], ids["<|startoftranscript|>"], ids["<|notimestamps|>"]

    config = WhisperConfig(
        vocab_size=no_timestamps + 1 + 1501,
        num_mel_bins=80,
        d_model=32,
        encoder_layers=2,
        decoder_layers=TEACHER_DECODER_LAYERS,
        encoder_attention_heads=2,
        decoder_attention_heads=2,
        encoder_ffn_dim=64,
        decoder_ffn_dim=64,
        max_source_positions=1500,
        max_target_positions=448,
        init_std=0.3,
        bos_token_id=end,
        eos_token_id=end,
        pad_token_id=end,
        decoder_start_token_id=start,
    )
    generator_state = torch.random.get_rng_state()
    torch.manual_seed(0)
    model = WhisperForConditionalGeneration(config).eval()
    torch.random.set_rng_state(generator_state)
    _steer(model, [index for symbol, index in tokens.items() if symbol[-1] in string.ascii_lowercase], end)

    decoder = model.model.decoder
    decoder.layers = torch.nn.ModuleList(decoder.layers[layer] for layer in layers)
    model.config.decoder_layers = len(decoder.layers)
    model.generation_config = GenerationConfig(
        bos_token_id=end,
        eos_token_id=end,
        pad_token_id=end,
        decoder_start_token_id=start,
        is_multilingual=False,
        no_timestamps_token_id=no_timestamps,
        prev_sot_token_id=ids["<|startofprev|>"],
        max_initial_timestamp_index=50,
        max_length=448,
        return_timestamps=False,
        alignment_heads=[[len(decoder.layers) - 1, 0]],
        begin_suppress_tokens=[tokens["Ġ"], end],
        suppress_tokens=sorted(set(ids.values()) - {end, no_timestamps}),
    )
    tokenizer = WhisperTokenizer(vocab=tokens, merges=merges, pad_token="<|endoftext|>")
    special = [AddedToken(token, special=True, normalized=False) for token in SPECIAL_TOKENS]
    tokenizer.add_special_tokens({"extra_special_tokens": special[1:]})
    tokenizer.add_tokens([AddedToken(f"<|{0.02 * index:.2f}|>", normalized=False) for index in range(1501)])
    assert len(tokenizer) == config.vocab_size
    assert tokenizer.convert_tokens_to_ids("<|notimestamps|>") == no_timestamps

    model.save_pretrained(folder)
    feature_extractor = WhisperFeatureExtractor(feature_size=80)
    WhisperProcessor(feature_extractor, tokenizer).save_pretrained(folder)
    feature_extractor.save_pretrained(folder)  # preprocessor_config.json, which the processor no longer writes
    (folder / "normalizer.json").write_text(json.dumps({}))
    return folder


def _steer(model: object, letters: list[int], end: int) -> None:
    """Turn noise into an obliging writer: letters, of which the audio decides, and the end after a dozen or so.

    The output embedding is tied, so the last layer norm's bias speaks for letters, and the learnt positions speak
    for the end token, more with every step.
    """
    import torch

    decoder = model.model.decoder  # type: ignore[attr-defined]
    with torch.no_grad():
        embedding, positions = decoder.embed_tokens.weight, decoder.embed_positions.weight
        embedding[:, :2] = 0
        embedding[letters, 0] = 1
        embedding[end, 1] = 8
        positions *= 4  # a new letter at each step, rather than the last one again
        positions[:, 0] = 0
        positions[:, 1] = torch.linspace(-60, 2622, len(positions))  # up 6 a step
        decoder.layer_norm.bias[0] += 8
