"""The Faster-Whisper lane: the same checkpoint, converted once to CTranslate2.

Faster-Whisper loads and calls CTranslate2; features, windows and decoding rules are those of the other lanes, so that
what differs is the arithmetic alone. Its own ``transcribe`` has other habits (beam 5, temperature fallback,
conditioning on previous text, half of the token limit, padding with zeros in place of silence).
"""

from __future__ import annotations

import hashlib
import json
import logging
from pathlib import Path
from typing import TYPE_CHECKING, Any

import ctranslate2
import torch
from ctranslate2.converters import Converter
from ctranslate2.converters.transformers import _MODEL_LOADERS
from faster_whisper import WhisperModel

from components.core.catalog import checkpoint_name
from components.core.errors import CheckpointError, LaneError
from components.engines.cache import cache_folder, make_once, why_not_written
from components.engines.checkpoints import explained, folder_state, load_config, load_model, load_processor
from components.engines.counting import model_info
from components.engines.decoding import Decoded
from components.engines.device import DEFAULT_ATTENTION, is_out_of_memory, resolve_dtype
from components.engines.memory import return_freed_memory
from components.engines.prompt import TIMESTAMPS, SpecialTokens, decoding_rules
from components.engines.windowed import WindowedEngine, check_caller

if TYPE_CHECKING:
    from components.core.settings import Settings
    from components.core.types import LaneSpec
    from components.engines.checkpoints import Models
    from components.engines.device import Device
    from components.engines.windowed import Task

logger = logging.getLogger(__name__)

RUNTIME = "ctranslate2"


class CTranslateEngine(WindowedEngine):
    """A Whisper checkpoint in CTranslate2; see ``engines.base.Engine``.

    A cancel is seen between two parts of a window (its encoder, its decoder), since CTranslate2 decodes a window in
    one call: a second or two on a CPU.

    Raises, when made:
        CheckpointError: the checkpoint cannot be loaded or converted.
        LaneError: CTranslate2 cannot run on this device, or not in the dtype that was asked for.
    """

    def __init__(self, lane: LaneSpec, settings: Settings, device: Device, _models: Models | None = None) -> None:
        self.lane = lane
        self.device = device
        self.runtime = RUNTIME
        self.runtime_note = "A cancel is seen between two windows."
        compute_type = compute_type_of(settings.dtype, device)
        if reason := device.load_cublas():
            raise LaneError(f"{lane.label} cannot run on this GPU: {reason}, or leave this lane out.")
        config = load_config(lane, settings.token)
        folder = converted(lane, config, compute_type, settings.token)
        processor: Any = load_processor(lane, settings.token)
        self.extractor, self.tokenizer = processor.feature_extractor, processor.tokenizer
        with explained(lane.checkpoint):
            self.model = WhisperModel(
                str(folder), device=device.kind, compute_type=compute_type, cpu_threads=torch.get_num_threads()
            )
        self.rules = json.loads((folder / RULES).read_text(encoding="utf-8"))
        self.special = SpecialTokens.of(self.rules)
        if self.special.has_words_after(self.tokenizer):
            raise CheckpointError(
                f"{checkpoint_name(lane.checkpoint)} has words after the timestamps in its vocabulary, which "
                f"CTranslate2 takes for times. Leave {lane.label} out."
            )
        self.window_frames, self.max_length = 2 * config.max_source_positions, config.max_target_positions
        self.place = {"device": "cpu", "dtype": torch.float32}
        self.info = model_info(lane, config).model_copy(
            update={
                "dtype": self.model.model.compute_type,  # what runs, whatever was asked for
                "device": device.kind,
                "attention": RUNTIME,
            }
        )

    @staticmethod
    def expected(settings: Settings, device: Device) -> dict[str, str]:
        """What will run, before it is loaded.

        Raises:
            LaneError: CTranslate2 has no such arithmetic here.
        """
        return {"dtype": compute_type_of(settings.dtype, device), "attention": RUNTIME, "runtime": RUNTIME}

    @staticmethod
    def preparation(lane: LaneSpec, settings: Settings, device: Device) -> str:
        """What is done once, the first time; empty where it has been done.

        Raises:
            CheckpointError: the configuration cannot be read.
            LaneError: CTranslate2 has no such arithmetic here.
        """
        compute_type = compute_type_of(settings.dtype, device)
        if conversion_folder(lane, load_config(lane, settings.token), compute_type).is_dir():
            return ""
        return f"Converting {checkpoint_name(lane.checkpoint)} for Faster-Whisper, once"

    def encode(self, windows: torch.Tensor) -> ctranslate2.StorageView:
        check_caller()
        return self.model.encode(windows.numpy())

    def decode(self, states: ctranslate2.StorageView, count: int, task: Task) -> list[Decoded]:
        check_caller()
        last = self.rules["max_initial_timestamp_index"]
        results = self.model.model.generate(
            states,
            [task.prompt] * count,
            beam_size=1,
            max_length=max(2 * task.limit, task.limit + len(task.prompt)),  # it stops at half, as OpenAI's code does
            suppress_blank=bool(self.rules["begin_suppress_tokens"]),
            suppress_tokens=self.rules["suppress_tokens"],
            max_initial_timestamp_index=TIMESTAMPS if last is None else last,
        )
        tokens = [result.sequences_ids[0] for result in results]
        return [Decoded(each + [self.special.end] * (len(each) < task.limit)) for each in tokens]

    def language_probabilities(self, states: ctranslate2.StorageView) -> dict[str, float]:
        found = self.model.model.detect_language(states)[0]
        return {token.strip("<|>"): probability for token, probability in found}

    def reset_peak_memory(self) -> None:
        """CTranslate2 keeps no such figure."""

    def peak_memory_bytes(self) -> int | None:
        return None

    def unload(self) -> None:
        del self.model
        self.device.release_memory()


def compute_type_of(dtype: str, device: Device) -> str:
    """CTranslate2's name of the dtype: the one of the other lanes, or int8 weights with the rest in theirs.

    Raises:
        LaneError: CTranslate2 has no such arithmetic here.
    """
    others = str(resolve_dtype(dtype, device)).removeprefix("torch.")
    wanted = f"int8_{others}" if dtype == "int8" else others
    try:
        supported = ctranslate2.get_supported_compute_types(device.kind)
    except (ValueError, RuntimeError) as error:
        raise LaneError(f"Faster-Whisper cannot run on this device ({device.kind}). Leave this lane out.") from error
    if wanted not in supported:
        choices = ", ".join(name for name in ("float32", "float16", "bfloat16", "int8") if name in supported)
        raise LaneError(
            f"Faster-Whisper cannot compute in {wanted} on this device. Set DTYPE to one of: {choices}; "
            "or leave this lane out."
        )
    return wanted


# -- conversion

RULES = "rules.json"
"""File beside a conversion: the checkpoint's special tokens, and what it suppresses."""

FORMAT = 2
"""Of the files beside a conversion; another one makes it anew."""


class _Converter(Converter):
    """CTranslate2's converter over a model that is loaded our way: safetensors alone, pinned revision, token."""

    def __init__(self, model: Any, tokenizer: Any) -> None:
        self._model, self._tokenizer = model, tokenizer

    def _load(self) -> Any:
        with torch.no_grad():
            return _MODEL_LOADERS["WhisperConfig"](self._model, self._tokenizer)


def converted(lane: LaneSpec, config: Any, compute_type: str, token: str | None = None) -> Path:
    """Folder of the checkpoint's conversion, made the first time.

    Raises:
        CheckpointError: the checkpoint cannot be loaded, or there is no room.
    """
    folder = conversion_folder(lane, config, compute_type)
    try:
        return make_once(folder, lambda part: _convert(lane, compute_type, part, token))
    except OSError as error:
        raise CheckpointError(
            f"{checkpoint_name(lane.checkpoint)} cannot be converted for Faster-Whisper: {why_not_written(error)}"
        ) from error


def _convert(lane: LaneSpec, compute_type: str, folder: Path, token: str | None) -> None:
    logger.info("converting %s to CTranslate2, %s", checkpoint_name(lane.checkpoint), compute_type)
    processor: Any = load_processor(lane, token)
    model: Any = load_model(lane, dtype=torch.float32, attention=DEFAULT_ATTENTION, token=token)
    rules = decoding_rules(model, processor.tokenizer, lane.checkpoint)
    try:
        _Converter(model, processor.tokenizer).convert(str(folder), quantization=compute_type, force=True)
    except OSError:
        raise
    except Exception as error:
        if is_out_of_memory(error):
            raise
        raise CheckpointError(
            f"{checkpoint_name(lane.checkpoint)} cannot be converted for Faster-Whisper ({type(error).__name__}). "
            "The log says more."
        ) from error
    processor.tokenizer.backend_tokenizer.save(str(folder / "tokenizer.json"))  # else it is fetched from the hub
    (folder / RULES).write_text(json.dumps(rules), encoding="utf-8")
    del model
    return_freed_memory()


def conversion_folder(lane: LaneSpec, config: Any, compute_type: str) -> Path:
    """Place of a conversion, made or not: that of a pinned commit of the hub, or of a folder as its files are now."""
    source = Path(lane.checkpoint)
    state: list[Any] = [lane.checkpoint, getattr(config, "_commit_hash", None) or lane.revision]
    state += [folder_state(lane.checkpoint), ctranslate2.__version__, compute_type, FORMAT]
    digest = hashlib.sha256(json.dumps(state).encode()).hexdigest()[:16]
    return cache_folder("ctranslate2") / f"{source.name}-{compute_type}-{digest}"
