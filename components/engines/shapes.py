"""Engines of an architecture's shapes with random weights, which write as many tokens as they are told to.

For timing a pair where its weights are not at hand. The student is made of the teacher's own layers, and the residual
branches of the layers that it lacks are zeroed in the teacher: they cost what they cost, and add nothing. So the two
write the same tokens, every draft of the speculative lane is right, and its upper bound can be timed.
"""

from __future__ import annotations

import copy
import tempfile
from typing import TYPE_CHECKING, Any

import torch
from transformers import GenerationConfig, WhisperConfig, WhisperForConditionalGeneration
from transformers.modeling_outputs import BaseModelOutput

from components.core.errors import CheckpointError, LaneError
from components.engines.base import OnDevice
from components.engines.counting import model_info
from components.engines.decoding import GraphedEncoder, Loop
from components.engines.device import attention_candidates, resolve_dtype
from components.engines.linear import has_fbgemm
from components.engines.pool import SHARING
from components.engines.whisper import INT8, computes_in_int8, runs_loop

if TYPE_CHECKING:
    from collections.abc import Mapping

    from components.core.settings import Settings
    from components.core.types import LaneSpec, ModelInfo
    from components.engines.base import Stopwatch
    from components.engines.device import Device

END, START, NO_TIMESTAMPS = 0, 1, 2
PROMPT = (START, NO_TIMESTAMPS)
SPECIAL = ("<|endoftext|>", "<|startoftranscript|>", "<|notimestamps|>", "<|nocaptions|>", "<|transcribe|>")


class ShapePair:
    """Teacher and student of the given shapes, with random weights, on a device.

    ``teacher`` and ``student``: the values of ``core.catalog.ARCHITECTURE_KEYS``.

    Raises, when made:
        CheckpointError: the student is not the teacher with fewer decoder layers.
        LaneError: the attention kernel that was asked for cannot be used here.
    """

    def __init__(
        self, teacher: Mapping[str, int], student: Mapping[str, int], settings: Settings, device: Device
    ) -> None:
        if {**teacher, "decoder_layers": 0} != {**student, "decoder_layers": 0}:
            raise CheckpointError("The student of this pair is not its teacher with fewer decoder layers.")
        self.settings, self.device = settings, device
        self.dtype = resolve_dtype(settings.dtype, device)
        self.shapes = {"teacher": dict(teacher), "student": dict(student)}
        # Among hub kernels and packages the choice is the lanes'; here the plain one is enough, and named.
        self.attention = (
            "sdpa" if settings.attention == "auto" else attention_candidates(settings.attention, device, self.dtype)[0]
        )
        layers, kept = teacher["decoder_layers"], student["decoder_layers"]
        indices = [round(index * (layers - 1) / max(kept - 1, 1)) for index in range(kept)]
        with torch.device(device.kind), torch.no_grad():
            big = self._model(teacher).half().to(self.dtype)  # published weights fit into float16
            for index, layer in enumerate(big.model.decoder.layers):
                if index not in indices:
                    for branch in (layer.self_attn.out_proj, layer.encoder_attn.out_proj, layer.fc2):
                        branch.weight.zero_()
                        branch.bias.zero_()
        with torch.device("meta"):
            small = self._model(student)
        small.model.encoder = big.model.encoder
        theirs, ours = big.model.decoder, small.model.decoder
        for name in ("embed_tokens", "embed_positions", "layer_norm"):
            setattr(ours, name, copy.deepcopy(getattr(theirs, name)))
        for place, index in enumerate(indices):
            layer = copy.deepcopy(theirs.layers[index])
            layer.self_attn.layer_idx = layer.encoder_attn.layer_idx = place
            ours.layers[place] = layer
        small.proj_out.weight = ours.embed_tokens.weight
        self.models: dict[str, Any] = {"teacher": big, "student": small}

    def _model(self, shapes: Mapping[str, int]) -> Any:
        special = {"pad_token_id": END, "bos_token_id": END, "eos_token_id": END, "decoder_start_token_id": START}
        config = WhisperConfig(**shapes, **special)
        config._attn_implementation = self.attention  # noqa: SLF001 - as from_pretrained sets it
        try:
            model: Any = WhisperForConditionalGeneration(config).to(self.dtype).eval()
        except (ImportError, ValueError) as error:
            raise LaneError(
                f"The attention kernel {self.attention} cannot be used here ({type(error).__name__}). "
                "Set ATTENTION=auto, or install what it needs."
            ) from error
        model.generation_config = GenerationConfig(
            **special,
            is_multilingual=False,
            no_timestamps_token_id=NO_TIMESTAMPS,
            max_length=config.max_target_positions,
        )
        return model

    def engine(self, lane: LaneSpec, role: str, batch_size: int = 1) -> ShapeEngine:
        """The engine of a lane for so many clips at a time; ``role``: whose shapes it has, ``teacher`` or ``student``.

        Raises:
            LaneError: the lane's backend cannot run here, or not with random weights.
        """
        if lane.backend == "ctranslate":
            try:
                return _ConvertedEngine(self, lane, role, batch_size)
            except ImportError as error:
                raise LaneError(f"{lane.label} cannot run here: {error.name} is not installed.") from error
        if lane.backend not in SHARING:
            raise LaneError(f"{lane.label} cannot be timed with random weights. Leave it out.")
        if lane.assistant is not None and batch_size > 1:
            raise LaneError(f"{lane.label} cannot run here: drafts are checked for one clip at a time.")
        return ShapeEngine(self, lane, role, batch_size)


class ShapeEngine(OnDevice):
    """One lane of a ``ShapePair``: an encoder pass, then so many tokens, under a stopwatch."""

    def __init__(self, pair: ShapePair, lane: LaneSpec, role: str, batch_size: int) -> None:
        self.device, self.model = pair.device, pair.models[role]
        self.shapes = pair.shapes[role]
        self.runtime, self.runtime_note = "eager", ""
        self.info: ModelInfo = model_info(lane, self.shapes).model_copy(
            update={
                "dtype": str(pair.dtype).removeprefix("torch."),
                "device": pair.device.kind,
                "attention": pair.attention,
            }
        )
        self.weight_size = pair.dtype.itemsize
        """Bytes of a weight as it is read."""
        self.batch_size = batch_size
        self.window = torch.randn(batch_size, self.shapes["num_mel_bins"], 2 * self.shapes["max_source_positions"])
        self._set_up(pair, lane)

    def _set_up(self, pair: ShapePair, lane: LaneSpec) -> None:
        self.window = self.window.to(pair.device.kind, pair.dtype)
        self.graphed_encoder: GraphedEncoder | None = None
        self.loop: Loop | None = None
        compiled = pair.settings.runtime == "compiled"
        if not runs_loop(pair.settings, pair.device) and lane.assistant is None:
            return
        if compiled and self.batch_size > 1:
            self.runtime_note = "graphs are for one clip at a time"
        elif compiled:
            self.runtime_note = pair.device.graphs_unavailable()
        graphs = compiled and not self.runtime_note
        self.runtime = "compiled" if graphs else "loop"
        student = pair.models["student"] if lane.assistant is not None else None
        with torch.no_grad():
            # Random weights are never sure; that every draft is right is known.
            int8 = computes_in_int8(pair.settings, pair.device)
            self.loop = Loop(self.model, student, device=pair.device, graphs=graphs, sure=0, int8=int8)
            if int8:
                self.info, self.weight_size = self.info.model_copy(update={"dtype": INT8}), 1
            elif pair.device.kind == "cpu" and pair.dtype == torch.float32 and has_fbgemm():
                self.weight_size = 2  # they are packed as float16
            if graphs:
                self.graphed_encoder = GraphedEncoder(self.model.get_encoder(), self.window.shape[-1], pair.device)
                self.loop.prepare(len(PROMPT), timestamps=False)

    def write(self, tokens: int, stopwatch: Stopwatch) -> float | None:
        """Encode a batch of windows and write ``tokens`` tokens for each.

        Returns:
            The tokens of a teacher's pass, where a student drafts.
        """
        with torch.no_grad(), stopwatch.part("generation"):
            with stopwatch.part("encoder"):
                states = self._encode()
            passes = self._decode(states, tokens)
        return tokens / passes if passes else None

    def _encode(self) -> torch.Tensor:
        if self.graphed_encoder is not None:
            return self.graphed_encoder(self.window)
        return self.model.get_encoder()(self.window).last_hidden_state

    def _decode(self, states: torch.Tensor, tokens: int) -> int:
        if self.loop is None:
            self.model.generate(
                encoder_outputs=BaseModelOutput(last_hidden_state=states),
                return_timestamps=False,
                force_unique_generate_call=True,
                min_new_tokens=tokens,
                max_new_tokens=tokens,
            )
            return 0
        length = len(PROMPT) + tokens
        if self.batch_size > 1:
            self.loop.decode_batch(states, PROMPT, timestamps=False, max_length=length, ends=False)
            return 0
        found = self.loop.decode(states, PROMPT, timestamps=False, max_length=length, ends=False)
        return found.passes if found.drafted else 0

    def bytes_read(self, tokens: int) -> int:
        """Bytes that decoding ``tokens`` tokens one by one reads at least, for every window: weights and caches.

        Every weight of the decoder once a token, but for the cross-attention's key and value projections, which run
        once a window, and the positions, of which a token reads one; then, for each window, the keys and values of all
        layers, of the window and of the tokens so far.
        """
        itemsize = torch.empty(0, dtype=self.model.dtype).element_size()
        width, layers, frames = (self.shapes[name] for name in ("d_model", "decoder_layers", "max_source_positions"))
        once_a_window = layers * (2 * width * width + width)
        positions = self.shapes["max_target_positions"] * width
        weights = self.info.decoder_parameters - once_a_window - positions
        cross = layers * 2 * width * frames
        own = layers * 2 * width * (len(PROMPT) + (tokens + 1) / 2)
        return round(tokens * (self.weight_size * weights + self.batch_size * itemsize * (cross + own)))


class _ConvertedEngine(ShapeEngine):
    """The same weights in CTranslate2, through its ``encode`` and ``generate``."""

    def _set_up(self, pair: ShapePair, lane: LaneSpec) -> None:
        import ctranslate2
        from ctranslate2.converters.transformers import _MODEL_LOADERS

        from components.engines.ctranslate import RUNTIME, compute_type_of

        compute_type = compute_type_of(pair.settings.dtype, pair.device)
        vocabulary = [*SPECIAL, *(f"t{index}" for index in range(len(SPECIAL), self.shapes["vocab_size"]))]
        with torch.no_grad(), tempfile.TemporaryDirectory() as folder:
            plain = self.model if self.model.device.type == "cpu" else copy.deepcopy(self.model).cpu()
            spec = _MODEL_LOADERS["WhisperConfig"].get_model_spec(plain)
            spec.register_vocabulary(vocabulary)
            spec.config.suppress_ids, spec.config.suppress_ids_begin = [], []
            spec.config.alignment_heads, spec.config.lang_ids = [[0, 0]], []
            spec.validate()
            spec.optimize(quantization=compute_type)
            spec.save(folder)
            self.converted = ctranslate2.models.Whisper(
                folder, device=pair.device.kind, compute_type=compute_type, intra_threads=torch.get_num_threads()
            )
        self.runtime = RUNTIME
        self.info = self.info.model_copy(
            update={"lane_id": lane.lane_id, "dtype": self.converted.compute_type, "attention": RUNTIME}
        )
        if "int8" in self.converted.compute_type:
            self.weight_size = 1  # the caches stay as they are
        self.features = ctranslate2.StorageView.from_array(self.window.numpy())

    def write(self, tokens: int, stopwatch: Stopwatch) -> float | None:
        with stopwatch.part("generation"):
            with stopwatch.part("encoder"):
                states = self.converted.encode(self.features)
            self.converted.generate(
                states,
                [list(PROMPT)] * self.batch_size,
                beam_size=1,
                max_length=max(2 * tokens, tokens + len(PROMPT)),  # it stops at half
                suppress_blank=False,
                suppress_tokens=[END],
            )
        return None

    def reset_peak_memory(self) -> None:
        """CTranslate2 keeps no such figure."""

    def peak_memory_bytes(self) -> int | None:
        return None


class Copy:
    """A large copy on the device, for its memory bandwidth."""

    def __init__(self, device: Device, megabytes: int = 256) -> None:
        self.source = torch.zeros(megabytes << 20, dtype=torch.uint8, device=device.kind)
        self.target = torch.zeros_like(self.source)
        self.bytes_moved = 2 * self.source.numel()
        """Read and written by one run."""

    def run(self) -> None:
        self.target.copy_(self.source)
