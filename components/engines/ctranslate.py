"""The Faster-Whisper lane: the same checkpoint, converted once to CTranslate2, decoded as the other lanes are.

Faster-Whisper's own ``transcribe`` runs, since that is what its users get; its habits (beam 5, temperature fallback,
conditioning on previous text, half of the token limit) are set to those of the other lanes. A copy of the model
object, which shares the weights, carries each request's stopwatch: two requests do not see each other.
"""

from __future__ import annotations

import copy
import hashlib
import json
import logging
import math
import shutil
import sys
import tempfile
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING, Any

import ctranslate2
import numpy as np
import torch
from ctranslate2.converters import Converter
from ctranslate2.converters.transformers import _MODEL_LOADERS
from faster_whisper import WhisperModel
from filelock import FileLock
from huggingface_hub import constants

from components.core.catalog import checkpoint_name
from components.core.errors import Cancelled, CheckpointError, LaneError
from components.core.types import MAX_TOKENS, WINDOW_S, Segment, Transcript
from components.engines.base import EngineOutput
from components.engines.checkpoints import explained, folder_state, load_config, load_model, load_processor
from components.engines.counting import model_info
from components.engines.device import DEFAULT_ATTENTION, is_out_of_memory, resolve_dtype
from components.engines.memory import return_freed_memory

if TYPE_CHECKING:
    from collections.abc import Callable

    from components.core.settings import Settings
    from components.core.types import AudioClip, LaneSpec
    from components.engines.base import DecodingOptions, Stopwatch
    from components.engines.checkpoints import Models
    from components.engines.device import Device

logger = logging.getLogger(__name__)

RUNTIME = "ctranslate2"
FRAME_S = 0.01
"""Seconds of a feature frame."""

TIMESTAMP_S = 0.02
"""Seconds between two timestamp tokens."""

END = sys.maxsize
"""A frame beyond every clip."""

ANY_TIMESTAMP_S = WINDOW_S
"""Where a checkpoint does not limit its first timestamp."""


def cache_folder() -> Path:
    """Where conversions are kept: beside the hub's cache, wherever that is."""
    return Path(constants.HF_HOME).parent / "whisper-vs-distil-whisper" / "ctranslate2"


@dataclass
class _Request:
    """What belongs to one transcription alone."""

    stopwatch: Stopwatch
    cancelled: Callable[[], bool] | None
    max_new_tokens: int | None
    content_frames: int
    generated_tokens: int = 0
    ended: bool = True
    segments: list[Segment] = field(default_factory=list)

    def raise_if_cancelled(self) -> None:
        if self.cancelled is not None and self.cancelled():
            raise Cancelled


class _TimedFeatures:
    """Faster-Whisper's feature extractor; its time is taken out of the generation that it lies in.

    A short clip is padded with silence to one window before its features are taken, as in the other lanes;
    Faster-Whisper by itself pads the features with zeros, which are not silence, and other words may come out.
    """

    def __init__(self, extractor: Any, stopwatch: Stopwatch) -> None:
        self._extractor, self._stopwatch = extractor, stopwatch

    def __getattr__(self, name: str) -> Any:
        return getattr(self._extractor, name)

    def __call__(self, samples: np.ndarray, **options: Any) -> np.ndarray:
        self._stopwatch.stop("generation")
        self._stopwatch.start("features")
        features = self._extractor(np.pad(samples, (0, max(0, self.n_samples - len(samples)))), **options)
        self._stopwatch.stop("features")
        self._stopwatch.start("generation")
        return features


class _TimedModel(WhisperModel):
    """Faster-Whisper with a request's stopwatch around its encoder, and its tokens counted."""

    request: _Request

    def for_request(self, request: _Request) -> _TimedModel:
        """Copy the object, not the weights."""
        model = copy.copy(self)
        model.request = request
        model.feature_extractor = _TimedFeatures(self.feature_extractor, request.stopwatch)
        return model

    def encode(self, features: np.ndarray) -> Any:
        self.request.raise_if_cancelled()
        self.request.stopwatch.start("encoder")
        output = super().encode(features)
        self.request.stopwatch.stop("encoder")
        self.request.raise_if_cancelled()
        return output

    def generate_with_fallback(self, encoder_output: Any, prompt: list[int], tokenizer: Any, options: Any) -> Any:
        # CTranslate2 stops at half of the length that it is given, as OpenAI's code does; the other lanes do not.
        limit = min(MAX_TOKENS - len(prompt), self.request.max_new_tokens or MAX_TOKENS)
        self.max_length = max(2 * limit, limit + len(prompt))
        result = super().generate_with_fallback(encoder_output, prompt, tokenizer, options)
        tokens = len(result[0].sequences_ids[0])
        ended = tokens < limit
        self.request.generated_tokens += tokens + ended  # the end token is not among them
        self.request.ended &= ended
        return result

    def _split_segments_by_timestamps(self, *, seek: int, **window: Any) -> Any:
        """Cut a window at its timestamps; none starts after the end of the clip, in its padding."""
        segments, seek, single = super()._split_segments_by_timestamps(seek=seek, **window)
        return segments, seek if seek < self.request.content_frames else END, single


class CTranslateEngine:
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
        config = load_config(lane, settings.token)
        folder = converted(lane, config, compute_type, settings.token)
        with explained(lane.checkpoint):
            self.model = _TimedModel(
                str(folder), device=device.kind, compute_type=compute_type, cpu_threads=torch.get_num_threads()
            )
        self.rules = json.loads((folder / RULES).read_text(encoding="utf-8"))
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

    def transcribe(
        self,
        clip: AudioClip,
        options: DecodingOptions,
        stopwatch: Stopwatch,
        *,
        cancelled: Callable[[], bool] | None = None,
    ) -> EngineOutput:
        """Transcribe one clip; Faster-Whisper's lazy generator is drained within the clock.

        Raises:
            Cancelled: between two parts of a window, once ``cancelled()`` has turned true.
            LaneError: the checkpoint does not know the language, or long audio is to be cut into chunks.
        """
        long = clip.audio_length_s > WINDOW_S
        if long and options.long_form == "chunked":
            raise LaneError(
                f"{self.lane.label} does not cut long audio into the chunks that the other lanes use. "
                "Choose sequential, or leave this lane out."
            )
        request = _Request(stopwatch, cancelled, options.max_new_tokens, math.ceil(clip.audio_length_s / FRAME_S))
        request.raise_if_cancelled()
        model = self.model.for_request(request)
        first_timestamp = self.rules["max_initial_timestamp_index"]
        stopwatch.start("generation")
        parts, info = model.transcribe(
            clip.samples,
            language=self._language(options.language),
            beam_size=1,
            temperature=0.0,
            compression_ratio_threshold=None,
            log_prob_threshold=None,
            no_speech_threshold=None,
            condition_on_previous_text=False,
            suppress_blank=bool(self.rules["begin_suppress_tokens"]),
            suppress_tokens=list(self.rules["suppress_tokens"]) or None,  # it is appended to
            without_timestamps=not (options.timestamps or long),
            max_initial_timestamp=ANY_TIMESTAMP_S if first_timestamp is None else first_timestamp * TIMESTAMP_S,
        )
        texts = []
        for part in parts:
            texts.append(part.text)
            start_s, end_s = (round(min(time, clip.audio_length_s), 2) for time in (part.start, part.end))
            request.segments.append(Segment(start_s=start_s, end_s=end_s, text=part.text.strip()))
        stopwatch.stop("generation")
        segments = tuple(request.segments) if options.timestamps else ()
        transcript = Transcript("".join(texts).strip(), segments, info.language)
        return EngineOutput(transcript, request.generated_tokens, request.ended)

    def synchronize(self) -> None:
        """Wait for what others launched; CTranslate2's own calls come back when they are done."""
        self.device.synchronize()

    def reset_peak_memory(self) -> None:
        """CTranslate2 keeps no such figure."""

    def peak_memory_bytes(self) -> int | None:
        return None

    def unload(self) -> None:
        del self.model
        self.device.release_memory()

    def _language(self, language: str | None) -> str | None:
        if not self.model.model.is_multilingual:
            return "en"
        known = self.rules["languages"]
        if language is not None and language not in known:
            choices = ", ".join(known)
            raise LaneError(f"{checkpoint_name(self.lane.checkpoint)} does not know “{language}”. It knows: {choices}.")
        return language


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
"""File beside a conversion: what its checkpoint suppresses, and the languages that it knows."""


class _Converter(Converter):
    """CTranslate2's converter over a model that is loaded our way: safetensors alone, pinned revision, token."""

    def __init__(self, model: Any, tokenizer: Any) -> None:
        self._model, self._tokenizer = model, tokenizer

    def _load(self) -> Any:
        with torch.no_grad():
            return _MODEL_LOADERS["WhisperConfig"](self._model, self._tokenizer)


def converted(lane: LaneSpec, config: Any, compute_type: str, token: str | None = None) -> Path:
    """Folder of the checkpoint's conversion, made the first time.

    It is written beside its place and moved there when it is whole, under a lock: an interrupted conversion is never
    used, and is done again; processes at once convert once.

    Raises:
        CheckpointError: the checkpoint cannot be loaded, or there is no room.
    """
    place = conversion_folder(lane, config, compute_type)
    if place.is_dir():
        return place
    try:
        place.parent.mkdir(parents=True, exist_ok=True)
        with FileLock(place.with_suffix(".lock")):
            if not place.is_dir():
                for torn in place.parent.glob(f"{place.name}.torn-*"):
                    shutil.rmtree(torn)
                torn = Path(tempfile.mkdtemp(prefix=f"{place.name}.torn-", dir=place.parent))
                _convert(lane, compute_type, torn, token)
                torn.rename(place)
    except OSError as error:
        raise CheckpointError(
            f"{checkpoint_name(lane.checkpoint)} could not be converted for Faster-Whisper: the cache folder beside "
            "HF_HOME cannot be written, or is full."
        ) from error
    return place


def _convert(lane: LaneSpec, compute_type: str, folder: Path, token: str | None) -> None:
    logger.info("converting %s to CTranslate2, %s", checkpoint_name(lane.checkpoint), compute_type)
    processor: Any = load_processor(lane, token)
    model: Any = load_model(lane, dtype=torch.float32, attention=DEFAULT_ATTENTION, token=token)
    rules = model.generation_config
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
    processor.feature_extractor.save_pretrained(folder)
    processor.tokenizer.backend_tokenizer.save(str(folder / "tokenizer.json"))
    languages = [name.strip("<|>") for name in getattr(rules, "lang_to_id", None) or {}]
    kept = {
        "suppress_tokens": list(rules.suppress_tokens or ()),
        "begin_suppress_tokens": list(rules.begin_suppress_tokens or ()),
        "max_initial_timestamp_index": getattr(rules, "max_initial_timestamp_index", None),
        "languages": languages,
    }
    (folder / RULES).write_text(json.dumps(kept), encoding="utf-8")
    del model
    return_freed_memory()


def conversion_folder(lane: LaneSpec, config: Any, compute_type: str) -> Path:
    """Place of a conversion, made or not: that of a pinned commit of the hub, or of a folder as its files are now."""
    source = Path(lane.checkpoint)
    state: list[Any] = [lane.checkpoint, getattr(config, "_commit_hash", None) or lane.revision]
    state += [folder_state(lane.checkpoint), ctranslate2.__version__, compute_type]
    digest = hashlib.sha256(json.dumps(state).encode()).hexdigest()[:16]
    return cache_folder() / f"{source.name}-{compute_type}-{digest}"
