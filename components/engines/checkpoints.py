"""Checkpoint -> configuration, model, processor; and what to tell a person wherever that fails.

Weights are read from safetensors alone, since a pickle can run code; no code from a repository is ever run.
"""

from __future__ import annotations

import hashlib
import importlib
import json
import threading
import weakref
from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING, Any

from components.core.catalog import checkpoint_name, split_checkpoint
from components.core.errors import CheckpointError
from components.core.fitting import kind_of
from components.core.types import SAMPLING_RATE
from components.engines import hub
from components.engines.packaged import missing_files
from components.engines.prompt import FRAME_S, TIMESTAMPS

if TYPE_CHECKING:
    from contextlib import AbstractContextManager

    import torch
    from transformers import PreTrainedModel, ProcessorMixin, WhisperConfig

    from components.core.fitting import Kind
    from components.core.types import LaneSpec
    from components.engines.device import Device


_importing = threading.Lock()

LAZY_NAMES = (
    "AutoConfig",
    "AutoModelForSpeechSeq2Seq",
    "AutoProcessor",
    "GenerationConfig",
    "StoppingCriteria",
    "StoppingCriteriaList",
    "WhisperConfig",
    "WhisperFeatureExtractor",
    "WhisperForConditionalGeneration",
    "WhisperModel",
    "WhisperProcessor",
    "WhisperTokenizer",
)
"""What the engines import from Transformers."""

HOP = round(FRAME_S * SAMPLING_RATE)
"""Samples from one feature frame to the next."""

DECODER_FILES = "decoder-*.safetensors"
"""Weights of a student without those that it has in common with its teacher."""

DECODER_LAYERS = "model.decoder.layers."


def folder_state(checkpoint: str) -> str | None:
    """A digest that changes when the files of a checkpoint's folder do; ``None`` for one of the hub."""
    folder = Path(checkpoint)
    if not folder.is_dir():
        return None
    files = sorted(file for file in folder.iterdir() if file.suffix in {".json", ".safetensors"})
    state = [(file.name, file.stat().st_size, file.stat().st_mtime_ns) for file in files]
    return hashlib.sha256(json.dumps(state).encode()).hexdigest()[:16]


def load_libraries() -> None:
    """Import what the engines need, in one thread at a time.

    Transformers imports its names on first use. Where two threads ask for one at the same time, one of them can find it
    missing.
    """
    with _importing:
        transformers = importlib.import_module("transformers")
        for name in LAZY_NAMES:
            getattr(transformers, name)


def load_config(lane: LaneSpec, token: str | None = None) -> WhisperConfig:
    """Read the architecture alone: a small file, from the folder or the hub.

    Raises:
        CheckpointError: it is not there, not reachable, not readable, or not a Whisper.
    """
    from transformers import AutoConfig, WhisperConfig

    _check_folder(lane.checkpoint)
    with explained(lane.checkpoint):
        source = hub.located(lane.checkpoint, lane.revision)
        config = AutoConfig.from_pretrained(source, **_options(lane, token))
    if not isinstance(config, WhisperConfig):
        raise CheckpointError(
            f"{checkpoint_name(lane.checkpoint)} is a {config.model_type} model. "
            "Choose a Whisper or Distil-Whisper checkpoint."
        )
    if source != lane.checkpoint:
        config._commit_hash = Path(source).name  # noqa: SLF001 - as Transformers notes it of what it fetches itself
    return config


def load_kind(lane: LaneSpec, token: str | None = None) -> Kind:
    """What a teacher and its student must have in common, from the small files of the checkpoint.

    Raises:
        CheckpointError: see ``load_config``.
    """
    from transformers import GenerationConfig

    config = load_config(lane, token)
    source = hub.located(lane.checkpoint, lane.revision)
    try:
        generation = GenerationConfig.from_pretrained(source, **_options(lane, token))
    except OSError:  # not every checkpoint has one
        generation = None
    multilingual = getattr(generation, "is_multilingual", None)
    return kind_of(
        lane.checkpoint, {"num_mel_bins": config.num_mel_bins, "vocab_size": config.vocab_size}, multilingual
    )


def teacher_of(lane: LaneSpec) -> LaneSpec | None:
    """The teacher whose encoder and embeddings a student's folder leaves out; ``None`` for a complete checkpoint.

    Such a folder holds ``config.json``, with the teacher's name under ``distilled_from``, and the decoder's layers.
    """
    folder = Path(lane.checkpoint)
    if not any(folder.glob(DECODER_FILES)):
        return None
    try:
        name = json.loads((folder / "config.json").read_text(encoding="utf-8"))["distilled_from"]
    except (OSError, ValueError, TypeError, KeyError):
        return None
    checkpoint, revision = split_checkpoint(name)
    return replace(lane, checkpoint=checkpoint, revision=revision, assistant=None)


def load_model(
    lane: LaneSpec,
    *,
    dtype: torch.dtype,
    attention: str,
    token: str | None = None,
    teacher: PreTrainedModel | None = None,
) -> PreTrainedModel:
    """Load the weights in ``dtype`` on the CPU.

    ``teacher``: of a student that leaves its encoder out, the teacher, where it is loaded already; the student is then
    on the same device.

    Raises:
        CheckpointError: no safetensors, a corrupt or incomplete file, gated, not reachable.
    """
    from transformers import AutoModelForSpeechSeq2Seq

    _check_folder(lane.checkpoint)
    if (origin := teacher_of(lane)) is not None:
        if teacher is None:
            teacher = load_model(origin, dtype=dtype, attention=attention, token=token)
        return _grafted(lane, teacher, attention)
    with explained(lane.checkpoint):
        source = hub.located(lane.checkpoint, lane.revision)
        _check_files(lane, source, (".safetensors",))
        if damaged := _damaged(Path(source), "generation_config.json"):  # Transformers goes on without it
            raise CheckpointError(f"{checkpoint_name(lane.checkpoint)} {damaged}")
        model, report = AutoModelForSpeechSeq2Seq.from_pretrained(
            source,
            dtype=dtype,
            attn_implementation=attention,
            use_safetensors=True,
            output_loading_info=True,
            **_options(lane, token),
        )
    if missing := report["missing_keys"]:
        # Transformers would fill them with random numbers.
        raise CheckpointError(
            f"{checkpoint_name(lane.checkpoint)} has weights that do not fit its config.json: "
            f"{len(missing)} tensors are missing. Export it again."
        )
    if surplus := {name for name in report["unexpected_keys"] if name.endswith(".fc1.weight")}:
        raise CheckpointError(
            f"{checkpoint_name(lane.checkpoint)} has weights of {len(surplus)} more layers than its config.json says. "
            "Copy the config.json that belongs to them."
        )
    if (broken := _first_not_finite(model)) is not None:
        raise CheckpointError(
            f"{checkpoint_name(lane.checkpoint)} has weights that are no numbers (NaN or infinite), the first in "
            f"{broken}. Its training went wrong, or its file is damaged: choose another checkpoint."
        )
    return model.eval()


def _first_not_finite(model: PreTrainedModel) -> str | None:
    """Name of the first tensor that holds a NaN or an infinity, found without a copy of it."""
    for name, tensor in model.named_parameters():
        if not all(bound.isfinite() for bound in tensor.aminmax()):
            return name
    return None


def _grafted(lane: LaneSpec, teacher: PreTrainedModel, attention: str) -> PreTrainedModel:
    """A student from the decoder layers in its folder and everything else of its teacher, which the two then share."""
    import torch
    from safetensors.torch import load_file
    from transformers import GenerationConfig, WhisperForConditionalGeneration

    config = load_config(lane)
    with explained(lane.checkpoint):
        own: dict[str, torch.Tensor] = {}
        for file in sorted(Path(lane.checkpoint).glob(DECODER_FILES)):
            own |= load_file(file)
    weights = {name: tensor for name, tensor in teacher.state_dict().items() if not name.startswith(DECODER_LAYERS)}
    weights |= {name: tensor.to(teacher.device, teacher.dtype) for name, tensor in own.items()}
    with torch.device("meta"):
        student = WhisperForConditionalGeneration._from_config(  # noqa: SLF001 - `from_pretrained` without a file
            config, attn_implementation=attention, dtype=teacher.dtype
        )
    try:
        student.load_state_dict(weights, assign=True)
    except RuntimeError as error:
        raise CheckpointError(
            f"{checkpoint_name(lane.checkpoint)} does not fit its teacher: its config.json, its layers and "
            f"{checkpoint_name(config.distilled_from)} do not belong together. Export it again."
        ) from error
    student.tie_weights()
    student.model.encoder = teacher.model.encoder
    rules = teacher.generation_config.to_dict()
    rules.pop("alignment_heads", None)  # the teacher's, in layers that the student does not have
    student.generation_config = GenerationConfig.from_dict(rules)
    return student.eval()


class Models:
    """The models of a pool's engines: those that use the same one share it, as long as one of them exists.

    A distilled student's encoder is a frozen copy of its teacher's. Where all tensors are equal it is held once.
    """

    def __init__(self) -> None:
        self._models: weakref.WeakValueDictionary[tuple, PreTrainedModel] = weakref.WeakValueDictionary()
        self._lock = threading.Lock()  # one thread loads while others ask what is held
        self.unavailable_attention: dict[str, str] = {}
        """Attention kernels that failed to load, and the kind of error."""

    def get(
        self, lane: LaneSpec, *, dtype: torch.dtype, attention: str, device: Device, token: str | None = None
    ) -> PreTrainedModel:
        """The model of a lane's checkpoint, loaded the first time.

        Raises:
            CheckpointError: see ``load_model``.
        """
        key = lane.checkpoint, lane.revision, dtype, device.kind
        model = self._models.get(key)
        if model is None:
            origin, teacher = teacher_of(lane), None
            if origin is not None:
                teacher = self.get(origin, dtype=dtype, attention=attention, device=device, token=token)
            model = load_model(lane, dtype=dtype, attention=attention, token=token, teacher=teacher)
            any(share_encoder(model, other) for other in list(self._models.values()))
            model = model.to(device.kind)
            with self._lock:
                self._models[key] = model
        return model

    def holds(self, lane: LaneSpec) -> bool:
        """Whether the model of a lane's checkpoint is loaded, in any dtype."""
        with self._lock:
            return any(key[:2] == (lane.checkpoint, lane.revision) for key in self._models)


def share_encoder(model: Any, other: Any) -> bool:
    """Give ``model`` the encoder of ``other`` if all tensors are equal, and return whether they are."""
    mine, theirs = (each.get_encoder() for each in (model, other))
    same = {"activation_function", "encoder_attention_heads", "scale_embedding"}
    if mine is theirs or any(getattr(model.config, name) != getattr(other.config, name) for name in same):
        return mine is theirs
    ours, others = mine.state_dict(), theirs.state_dict()
    if ours.keys() != others.keys() or not all(_equal(ours[name], others[name]) for name in ours):
        return False
    model.model.encoder = theirs
    return True


def _equal(tensor: torch.Tensor, other: torch.Tensor) -> bool:
    if tensor.shape != other.shape or tensor.dtype != other.dtype:
        return False
    return bool((tensor.to(other.device) == other).all())


def load_processor(lane: LaneSpec, token: str | None = None) -> ProcessorMixin:
    """Load feature extractor and tokenizer.

    Raises:
        CheckpointError: one of them is missing, is not Whisper's, or does not fit the model.
    """
    from transformers import AutoProcessor

    lane = teacher_of(lane) or lane
    with explained(lane.checkpoint):
        source = hub.located(lane.checkpoint, lane.revision)
        _check_files(lane, source, ("tokenizer.json", "preprocessor_config.json"))
        processor = AutoProcessor.from_pretrained(source, **_options(lane, token))
    tokenizer = getattr(processor, "tokenizer", None)
    vocabulary = tokenizer.get_vocab() if tokenizer is not None else {}
    # Special tokens come after the words, of which a byte-level vocabulary has at least the 256 bytes; Transformers
    # makes a tokenizer of special tokens alone where its file is missing.
    if vocabulary.get("<|notimestamps|>", 0) < 256 or not hasattr(processor, "feature_extractor"):
        raise CheckpointError(
            f"{checkpoint_name(lane.checkpoint)} has no Whisper tokenizer or feature extractor: add tokenizer.json and "
            "preprocessor_config.json, as `processor.save_pretrained` writes them."
        )
    last = vocabulary["<|notimestamps|>"] + TIMESTAMPS
    if later := sorted(token for token, index in vocabulary.items() if index > last):
        # Transformers and CTranslate2 take every id from the first timestamp on for a time.
        raise CheckpointError(
            f"{checkpoint_name(lane.checkpoint)} has words after Whisper's timestamps, such as “{later[0]}”, which "
            "would be read as times and end the text. Choose a checkpoint without added words."
        )
    config = load_config(lane, token)
    if last >= config.vocab_size:
        raise CheckpointError(
            f"{checkpoint_name(lane.checkpoint)} has a tokenizer of {last + 1} tokens beside a model of "
            f"{config.vocab_size}. Copy tokenizer.json of the Whisper checkpoint that it was made from."
        )
    features, mels = processor.feature_extractor.feature_size, config.num_mel_bins
    if features != mels:
        raise CheckpointError(
            f"{checkpoint_name(lane.checkpoint)} has a preprocessor_config.json of {features} mel bins beside a model "
            f"of {mels}. Copy the file of the Whisper checkpoint that it was made from."
        )
    if (processor.feature_extractor.sampling_rate, processor.feature_extractor.hop_length) != (SAMPLING_RATE, HOP):
        raise CheckpointError(
            f"{checkpoint_name(lane.checkpoint)} has a preprocessor_config.json of another sampling rate or hop length "
            f"than Whisper's {SAMPLING_RATE} Hz and {HOP}. Copy the file of the Whisper checkpoint that it was made "
            "from."
        )
    return processor


def assistant_lane(lane: LaneSpec) -> LaneSpec:
    """A lane's assistant, as a lane of its own."""
    checkpoint, revision = split_checkpoint(lane.assistant or lane.checkpoint)
    return replace(lane, checkpoint=checkpoint, revision=revision, assistant=None)


def explained(checkpoint: str) -> AbstractContextManager[None]:
    """Turn whatever loading raises into a ``CheckpointError``; see ``hub.explained``."""
    return hub.explained(checkpoint, _why_not_loaded)


def _options(lane: LaneSpec, token: str | None) -> dict[str, Any]:
    """Arguments of every ``from_pretrained``."""
    return {"revision": lane.revision or "main", "token": token, "trust_remote_code": False}


def _check_folder(checkpoint: str) -> None:
    folder = Path(checkpoint)
    if folder.is_absolute() and not folder.is_dir():
        raise CheckpointError(f"There is no folder {checkpoint_name(checkpoint)} on this machine. Check the path.")


def _check_files(lane: LaneSpec, source: str, names: tuple[str, ...]) -> None:
    """Refuse a folder that lacks files whose names end in one of ``names``, before anything is read from it."""
    folder = Path(source)
    missing = [name for name in missing_files(folder) if name.endswith(names)] if folder.is_dir() else []
    if missing == ["model.safetensors"]:
        raise CheckpointError(f"{checkpoint_name(lane.checkpoint)} {hub.NO_WEIGHTS}")
    if missing:
        raise CheckpointError(
            f"{checkpoint_name(lane.checkpoint)} is incomplete: {', '.join(missing)} is missing. "
            "Copy the folder again, or export the checkpoint anew, with its processor."
        )


def _damaged(folder: Path, pattern: str = "*.json") -> str | None:
    """The rest of a sentence about the first of a folder's files that is not JSON; ``None`` where all are."""
    for file in sorted(folder.glob(pattern)):
        try:
            json.loads(file.read_text(encoding="utf-8"))
        except ValueError:
            return f"has a {file.name} that is damaged or cut off. Copy that file again."
    return None


def _why_not_loaded(checkpoint: str, error: BaseException) -> str | None:
    """What loading ran into, as the rest of a sentence; ``None`` where that cannot be told."""
    from safetensors import SafetensorError

    folder = Path(checkpoint)
    causes = tuple(hub.causes(error))
    text = " ".join(str(cause) for cause in causes)
    sentences = (  # the first that applies
        (
            any(isinstance(cause, SafetensorError) for cause in causes),
            "has weights that are damaged or cut off. Delete them, then fetch or export them again.",
        ),
        ("safetensors" in text and not any(folder.glob("*.safetensors")), hub.NO_WEIGHTS),
        (
            folder.is_dir() and not (folder / "config.json").exists(),
            "has no config.json. Name the folder that `save_pretrained` wrote.",
        ),
        ("custom code" in text, "wants to run code of its own, which is refused. Choose a plain Whisper checkpoint."),
        ("mismatched" in text, "has weights that do not fit its config.json. Export it again."),
    )
    return next((sentence for applies, sentence in sentences if applies), None) or _damaged(folder)
