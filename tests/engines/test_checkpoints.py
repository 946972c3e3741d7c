"""Checkpoints that cannot be loaded: each a sentence that says what to do, and never the token."""

from __future__ import annotations

import json
import shutil
import subprocess
import sys
from dataclasses import replace
from typing import TYPE_CHECKING

import httpx2
import pytest
import torch
from huggingface_hub import errors as hub

from components.core.errors import CheckpointError
from components.engines.checkpoints import explained, load_config, load_model, load_processor

if TYPE_CHECKING:
    from pathlib import Path

    from components.core.types import LaneSpec

TOKEN = "hf_secret"


def load(lane: LaneSpec) -> None:
    load_config(lane, TOKEN)
    load_processor(lane, TOKEN)
    load_model(lane, dtype=torch.float32, attention="sdpa", token=TOKEN)


def reconfigure(folder: Path, name: str = "config.json", **changes: object) -> None:
    path = folder / name
    path.write_text(json.dumps(json.loads(path.read_text()) | changes))


def cut(path: Path) -> None:
    path.write_bytes(path.read_bytes()[: path.stat().st_size // 2])


def without_features(folder: Path) -> None:
    for name in ("preprocessor_config.json", "processor_config.json"):
        (folder / name).unlink()


def with_other_features(folder: Path) -> None:
    (folder / "processor_config.json").unlink()
    reconfigure(folder, "preprocessor_config.json", feature_size=128)


def with_another_rate(folder: Path) -> None:
    (folder / "processor_config.json").unlink()
    reconfigure(folder, "preprocessor_config.json", sampling_rate=8000)


def with_an_added_word(folder: Path) -> None:
    from transformers import AutoModelForSpeechSeq2Seq, AutoProcessor

    processor = AutoProcessor.from_pretrained(folder)
    processor.tokenizer.add_tokens(["hullabaloo"])
    model = AutoModelForSpeechSeq2Seq.from_pretrained(folder)
    model.resize_token_embeddings(len(processor.tokenizer))
    model.save_pretrained(folder)
    processor.save_pretrained(folder)


def spoil_a_weight(folder: Path, value: float) -> None:
    from safetensors.torch import load_file, save_file

    weights = load_file(folder / "model.safetensors")
    weights["model.decoder.layers.1.fc1.weight"][3, 5] = value
    save_file(weights, folder / "model.safetensors", {"format": "pt"})


def cut_in_shards(folder: Path) -> Path:
    """Cut the weights in two files with an index, as large checkpoints are; returns the second one."""
    from safetensors.torch import load_file, save_file

    weights = load_file(folder / "model.safetensors")
    (folder / "model.safetensors").unlink()
    names, places = sorted(weights), {}
    for number, part in enumerate((names[::2], names[1::2]), 1):
        path = folder / f"model-0000{number}-of-00002.safetensors"
        save_file({name: weights[name] for name in part}, path, {"format": "pt"})
        places |= dict.fromkeys(part, path.name)
    (folder / "model.safetensors.index.json").write_text(json.dumps({"metadata": {}, "weight_map": places}))
    return path


SPOIL = {
    "pickle": (lambda f: (f / "model.safetensors").rename(f / "pytorch_model.bin"), "no safetensors weights"),
    "cut off": (lambda f: cut(f / "model.safetensors"), "damaged or cut off"),
    "garbage": (lambda f: (f / "model.safetensors").write_bytes(b"garbage" * 9), "damaged or cut off"),
    "another model": (lambda f: reconfigure(f, model_type="bert"), "is a bert model"),
    "own code": (lambda f: reconfigure(f, model_type="x", auto_map={"AutoConfig": "x.Y"}), "code of its own"),
    "no config": (lambda f: (f / "config.json").unlink(), "has no config.json"),
    "config cut off": (lambda f: cut(f / "config.json"), "has a config.json that is damaged"),
    "tokenizer cut off": (lambda f: cut(f / "tokenizer.json"), "has a tokenizer.json that is damaged"),
    "generation config cut off": (
        lambda f: cut(f / "generation_config.json"),
        "has a generation_config.json that is damaged",
    ),
    "NaN": (lambda f: spoil_a_weight(f, float("nan")), "no numbers .* in model.decoder.layers.1.fc1.weight"),
    "infinite": (lambda f: spoil_a_weight(f, float("-inf")), "no numbers"),
    "too few embeddings": (
        lambda f: reconfigure(f, vocab_size=1000),
        "tokenizer of 2021 tokens beside a model of 1000",
    ),
    "too many layers": (lambda f: reconfigure(f, decoder_layers=2), "weights of 2 more layers"),
    "another rate": (with_another_rate, "another sampling rate"),
    "too few layers": (lambda f: reconfigure(f, decoder_layers=6), "48 tensors are missing"),
    "another width": (lambda f: reconfigure(f, d_model=64), "do not fit its config.json"),
    "no tokenizer": (lambda f: (f / "tokenizer.json").unlink(), "tokenizer.json is missing"),
    "no feature extractor": (without_features, "preprocessor_config.json is missing"),
    "a missing shard": (lambda f: cut_in_shards(f).unlink(), "model-00002-of-00002.safetensors is missing"),
    "an added word": (with_an_added_word, "such as “hullabaloo”"),
    "another extractor": (with_other_features, "128 mel bins"),
}


@pytest.mark.parametrize("what", SPOIL)
def test_a_spoilt_folder(tiny_teacher, teacher_lane, tmp_path, what):
    folder = tmp_path / "spoilt"
    shutil.copytree(tiny_teacher, folder)
    spoil, sentence = SPOIL[what]
    spoil(folder)
    with pytest.raises(CheckpointError, match=sentence) as caught:
        load(replace(teacher_lane, checkpoint=str(folder)))
    message = caught.value.message
    assert message.startswith("spoilt ")
    assert message.endswith(".")
    assert str(tmp_path) not in message


def test_a_missing_folder(teacher_lane, tmp_path):
    with pytest.raises(CheckpointError, match="There is no folder nowhere on this machine"):
        load(replace(teacher_lane, checkpoint=str(tmp_path / "nowhere")))


def answer(kind: type[Exception], status: int) -> Exception:
    request = httpx2.Request("GET", "https://hub.invalid", headers={"authorization": f"Bearer {TOKEN}"})
    return kind(f"refused {TOKEN}", response=httpx2.Response(status, request=request))


@pytest.mark.parametrize(
    ("cause", "sentence"),
    [
        (answer(hub.GatedRepoError, 403), "is gated. Accept its terms"),
        (answer(hub.RepositoryNotFoundError, 404), "neither a folder here nor a checkpoint on the hub"),
        (answer(hub.RevisionNotFoundError, 404), "no such revision"),
        (answer(hub.HfHubHTTPError, 401), "may not be read with this HF_TOKEN"),
        (answer(hub.HfHubHTTPError, 429), "too many requests"),
        (answer(hub.HfHubHTTPError, 500), "error 500"),
        (hub.LocalEntryNotFoundError("offline"), "the hub cannot be reached"),
        (hub.OfflineModeIsEnabled("offline"), "the hub cannot be reached"),
        (OSError("Consistency check failed: file should be of size 9"), "arrived cut off. Try again"),
        (OSError("owner/name does not appear to have a file named model.safetensors."), "no safetensors weights"),
        (ValueError(TOKEN), "cannot be loaded"),
    ],
)
@pytest.mark.parametrize("wrapped", [False, True])
def test_what_the_hub_says(cause, sentence, wrapped):
    if wrapped:  # as Transformers does
        wrapper = OSError("We could not load it")
        wrapper.__cause__, cause = cause, wrapper
    with pytest.raises(CheckpointError, match=sentence) as caught, explained("owner/name"):
        raise cause
    assert caught.value.message.startswith("owner/name ")
    assert TOKEN not in caught.value.message


def test_memory_that_runs_out_is_not_the_checkpoints_fault():
    with pytest.raises(MemoryError), explained("owner/name"):
        raise MemoryError


def test_two_threads_may_load_the_libraries_at_once():
    code = (
        "from concurrent.futures import ThreadPoolExecutor\n"
        "from components.engines.checkpoints import load_libraries\n"
        "with ThreadPoolExecutor(4) as pool:\n"
        "    done = [pool.submit(load_libraries) for _ in range(4)]\n"
        "    print(all(future.result() is None for future in done))\n"
    )
    run = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert run.stdout.strip() == "True"
