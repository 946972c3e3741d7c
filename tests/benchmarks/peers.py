"""Other programs on the same weights: openai-whisper, whisper.cpp, Faster-Whisper, Transformers' pipeline, and ours.

The teacher, greedy, English, without fallbacks, every clip up to 30 s through each in turn, with the threads that torch
has here; the order turns round with every clip. Each program reads samples in memory and returns a text. A program
that is not installed is named and left out: ``pip install openai-whisper pywhispercpp``.
"""

from __future__ import annotations

import importlib.metadata
import struct
import sys
import tempfile
from collections.abc import Callable
from pathlib import Path
from time import perf_counter
from typing import Any

import numpy as np
import torch

from components.core import audio, catalog
from components.core.manifests import read_manifest
from components.core.settings import CUSTOM_PAIR
from components.core.speech import find_speech
from components.core.types import WINDOW_S, AudioClip
from components.engines.base import DecodingOptions
from components.engines.pool import Pool
from components.runs.measure import measure
from tests.benchmarks import common

Run = Callable[[AudioClip], str]
GGML_MAGIC = 0x67676D6C
OURS = "ours"
OPENAI_NAMES = {
    "model.": "",
    ".layers.": ".blocks.",
    "self_attn_layer_norm": "attn_ln",
    "encoder_attn_layer_norm": "cross_attn_ln",
    "final_layer_norm": "mlp_ln",
    "self_attn": "attn",
    "encoder_attn": "cross_attn",
    "q_proj": "query",
    "k_proj": "key",
    "v_proj": "value",
    "out_proj": "out",
    "fc1": "mlp.0",
    "fc2": "mlp.2",
    "encoder.layer_norm": "encoder.ln_post",
    "decoder.layer_norm": "decoder.ln",
    "decoder.embed_tokens": "decoder.token_embedding",
    "embed_positions.weight": "positional_embedding",
}
"""Transformers' names of weights, part by part, and openai-whisper's; the order counts."""


def main() -> int:
    parser = common.parser(__doc__)
    parser.add_argument("--every", type=int, default=1, help="of so many clips one is taken")
    options = parser.parse_args()
    settings = common.settings(options)
    pool = Pool(settings)
    lanes = catalog.lane_specs(settings.get_pair(CUSTOM_PAIR), ("whisper", "faster-whisper"))
    engine, faster = (pool.get(lane, beside=lanes) for lane in lanes)
    rows = []
    for row in read_manifest(options.manifest):
        clip = audio.load_audio(row.audio, clip_id=row.clip_id)
        if row.text and clip.audio_length_s <= WINDOW_S and find_speech(clip).worth_asking:
            rows.append((row, clip))
    rows = rows[:: options.every]

    with tempfile.TemporaryDirectory() as folder:
        programs: dict[str, Run] = {
            OURS: lambda clip: _text(engine, clip),
            "faster-whisper": lambda clip: _text(faster, clip),
        }
        missing = {}
        for name, make in (("openai-whisper", _openai), ("whisper.cpp", _cpp), ("transformers", _pipeline)):
            try:
                programs[name] = make(engine, Path(folder))
            except ImportError as error:
                missing[name] = str(error)
        for run in programs.values():
            run(rows[0][1])
        seconds, errors = dict.fromkeys(programs, 0.0), {name: [] for name in programs}
        for number, (row, clip) in enumerate(rows):
            for name in programs if number % 2 == 0 else reversed(programs):
                started = perf_counter()
                text = programs[name](clip)
                seconds[name] += perf_counter() - started
                errors[name].append(common.word_errors(row.text, text))
            print(clip.clip_id, {name: f"{each:.2f}" for name, each in seconds.items()}, file=sys.stderr)

    result = {
        "goal": "ours ahead of each on the same weights",
        "clips": len(rows),
        "audio_s": sum(clip.audio_length_s for _, clip in rows),
        "threads": torch.get_num_threads(),
        "runtime": engine.runtime,
        "seconds": seconds,
        "times_ours": {name: seconds[name] / seconds[OURS] for name in programs},
        "wer": {name: common.wer(each) for name, each in errors.items()},
        "versions": {name: _version(name) for name in programs if name != OURS},
        "missing": missing,
    }
    return common.finish("peers", options, result, passed=min(seconds, key=seconds.__getitem__) == OURS)


def _text(engine: Any, clip: AudioClip) -> str:
    return measure(engine, clip, DecodingOptions(timestamps=False)).output.transcript.text


def _version(name: str) -> str:
    try:
        return importlib.metadata.version({"whisper.cpp": "pywhispercpp"}.get(name, name))
    except importlib.metadata.PackageNotFoundError:
        return "?"


def _pipeline(engine: Any, _folder: Path) -> Run:
    from transformers import WhisperForConditionalGeneration, pipeline

    model = WhisperForConditionalGeneration.from_pretrained(
        engine.model.config._name_or_path, dtype=torch.float32, local_files_only=True
    )
    run = pipeline(
        "automatic-speech-recognition", model=model, tokenizer=engine.tokenizer, feature_extractor=engine.extractor
    )
    choices = {"language": "en", "task": "transcribe", "num_beams": 1}  # the pipeline's own default is five beams
    return lambda clip: run(clip.samples.copy(), generate_kwargs=choices)["text"]


def _openai(engine: Any, _folder: Path) -> Run:
    import whisper

    model = whisper.model.Whisper(whisper.model.ModelDimensions(**_dimensions(engine)))
    model.load_state_dict(_renamed(engine), strict=False)  # its masks are made, not loaded
    model.eval()
    choices = {"language": "en", "temperature": 0.0, "without_timestamps": True, "fp16": False}
    return lambda clip: model.transcribe(np.array(clip.samples), condition_on_previous_text=False, **choices)["text"]


def _cpp(engine: Any, folder: Path) -> Run:
    from pywhispercpp.model import Model

    path = folder / "model.bin"
    _write_ggml(engine, path)
    model = Model(str(path), n_threads=torch.get_num_threads(), print_progress=False, redirect_whispercpp_logs_to=None)
    choices = {"language": "en", "temperature": 0.0, "temperature_inc": 0.0, "no_context": True, "no_timestamps": True}
    return lambda clip: " ".join(segment.text for segment in model.transcribe(np.array(clip.samples), **choices))


def _dimensions(engine: Any) -> dict[str, int]:
    config = engine.model.config
    return {
        "n_vocab": config.vocab_size,
        "n_audio_ctx": config.max_source_positions,
        "n_audio_state": config.d_model,
        "n_audio_head": config.encoder_attention_heads,
        "n_audio_layer": config.encoder_layers,
        "n_text_ctx": config.max_target_positions,
        "n_text_state": config.d_model,
        "n_text_head": config.decoder_attention_heads,
        "n_text_layer": config.decoder_layers,
        "n_mels": config.num_mel_bins,
    }


def _renamed(engine: Any) -> dict[str, torch.Tensor]:
    weights = {}
    for name, weight in engine.model.state_dict().items():
        if name == "proj_out.weight":
            continue  # the token embedding
        renamed = name
        for ours, theirs in OPENAI_NAMES.items():
            renamed = renamed.replace(ours, theirs)
        weights[renamed] = weight.float()
    return weights


def _write_ggml(engine: Any, path: Path) -> None:
    """whisper.cpp's file of one model: sizes, mel filters, vocabulary, weights (matrices in float16)."""
    sizes = _dimensions(engine)
    filters = np.asarray(engine.extractor.mel_filters, dtype=np.float32).T  # (mels, frequencies)
    decode = _byte_decoder()
    vocabulary = sorted(engine.tokenizer.get_vocab().items(), key=lambda entry: entry[1])
    words = [
        bytes(decode[character] for character in word) for word, number in vocabulary if number < engine.special.end
    ]
    with path.open("wb") as file:
        file.write(struct.pack("<12i", GGML_MAGIC, *sizes.values(), 1))
        file.write(struct.pack("<2i", *filters.shape) + filters.tobytes())
        file.write(struct.pack("<i", len(words)))
        for word in words:
            file.write(struct.pack("<i", len(word)) + word)
        for name, weight in _renamed(engine).items():
            values = weight.numpy()
            if name.endswith((".conv1.bias", ".conv2.bias")):
                values = values.reshape(-1, 1)
            half = values.ndim > 1 and not name.endswith((".bias", "positional_embedding"))
            encoded = name.encode()
            file.write(struct.pack("<3i", values.ndim, len(encoded), int(half)))
            file.write(struct.pack(f"<{values.ndim}i", *reversed(values.shape)) + encoded)
            file.write(values.astype(np.float16 if half else np.float32).tobytes())


def _byte_decoder() -> dict[str, int]:
    from transformers.convert_slow_tokenizer import bytes_to_unicode

    return {character: byte for byte, character in bytes_to_unicode().items()}


if __name__ == "__main__":
    sys.exit(main())
