"""The Transformers lane: a Whisper checkpoint in plain PyTorch, greedy.

Each window's encoder runs by itself, under the stopwatch, and ``generate`` goes on from its output. So encoder and
decoder are timed apart for every window of long audio.
"""

from __future__ import annotations

import logging
from typing import TYPE_CHECKING, Any

import torch
from transformers import GenerationConfig, StoppingCriteria, StoppingCriteriaList, modeling_flash_attention_utils
from transformers.modeling_outputs import BaseModelOutput

from components.core.caller import NOBODY
from components.core.errors import LaneError
from components.core.settings import AUTO
from components.engines.checkpoints import Models, load_config, load_processor
from components.engines.counting import model_info
from components.engines.decoding import Decoded, GraphedEncoder, Loop
from components.engines.device import DEFAULT_ATTENTION, attention_candidates, is_out_of_memory, resolve_dtype
from components.engines.linear import has_fbgemm
from components.engines.prompt import SpecialTokens, decoding_rules
from components.engines.windowed import WindowedEngine, check_caller, running

if TYPE_CHECKING:
    from components.core.settings import Settings
    from components.core.types import LaneSpec
    from components.engines.device import Device
    from components.engines.windowed import Task

logger = logging.getLogger(__name__)

INT8 = "int8_float32"
"""The dtype of a lane whose decoder has its weights in eight bits, and computes the rest in float32; CTranslate2's
name of it."""


def runs_loop(settings: Settings, device: Device) -> bool:
    """Whether our own loop decodes: where it is asked for, and by default in float32 on a CPU.

    There it writes the tokens of ``generate``, and takes about half the time.
    """
    if settings.runtime != AUTO:
        return settings.runtime == "compiled"
    is_float32 = resolve_dtype(settings.dtype, device) == torch.float32
    return device.kind == "cpu" and is_float32 and settings.attention in {AUTO, DEFAULT_ATTENTION}


def computes_in_int8(settings: Settings, device: Device) -> bool:
    """Whether our own loop reads the decoder's weights in eight bits."""
    return settings.dtype == "int8" and device.kind == "cpu" and has_fbgemm()


class _StopWhenCancelled(StoppingCriteria):
    """Asked after every token. Raises, so that the device is free at once and no half transcript goes on."""

    def __call__(self, input_ids: torch.Tensor, _scores: torch.Tensor, **_: Any) -> torch.Tensor:
        check_caller()
        return torch.zeros(len(input_ids), dtype=torch.bool, device=input_ids.device)


class WhisperEngine(WindowedEngine):
    """A Whisper checkpoint on a device; see ``engines.base.Engine``.

    Raises, when made:
        CheckpointError: the checkpoint cannot be loaded.
        LaneError: the attention kernel that was asked for by name is not available.
    """

    def __init__(self, lane: LaneSpec, settings: Settings, device: Device, models: Models | None = None) -> None:
        self.lane = lane
        self.device = device
        self.models = models or Models()
        self.runtime = "eager"
        self.loop: Loop | None = None

        config = load_config(lane, settings.token)
        dtype = resolve_dtype(settings.dtype, device)
        processor: Any = load_processor(lane, settings.token)
        self.extractor, self.tokenizer = processor.feature_extractor, processor.tokenizer
        self.model: Any = self.models.get(
            lane, dtype=dtype, attention=DEFAULT_ATTENTION, device=device, token=settings.token
        )
        self._set_attention(attention_candidates(settings.attention, device, dtype))
        self._set_generation_config()

        self.encoder = self.model.get_encoder()
        for layer in self.encoder.layers:  # a large encoder takes seconds on a CPU: too long to wait for a token
            if check_caller not in layer._forward_pre_hooks.values():  # noqa: SLF001 - engines share encoders
                layer.register_forward_pre_hook(check_caller)
        self.window_frames = self.encoder.conv1.stride[0] * self.encoder.conv2.stride[0] * config.max_source_positions
        self.max_length = config.max_target_positions
        self.place = {"device": self.model.device, "dtype": self.model.dtype}
        self.info = model_info(lane, config).model_copy(
            update={
                "dtype": str(self.model.dtype).removeprefix("torch."),
                "device": device.kind,
                "attention": self.model.config._attn_implementation,  # noqa: SLF001 - what runs, whatever was asked for
            }
        )
        self.int8 = computes_in_int8(settings, device)
        self.graphed_encoder: GraphedEncoder | None = None
        self._set_runtime(settings)

    @staticmethod
    def expected(settings: Settings, device: Device) -> dict[str, str]:
        """What will run, before it is loaded, where that is not what the settings say."""
        if not runs_loop(settings, device):
            return {"runtime": "eager"}
        int8 = {"dtype": INT8} if computes_in_int8(settings, device) else {}
        return int8 | {"runtime": "loop" if settings.runtime == AUTO or device.graphs_unavailable() else "compiled"}

    def unload(self) -> None:
        del self.model, self.encoder, self.graphed_encoder, self.loop
        self.device.release_memory()

    # -- one pass

    def encode(self, windows: torch.Tensor) -> torch.Tensor:
        """States of shape ``(n, max_source_positions, d_model)``, in the model's dtype."""
        if self.graphed_encoder is not None and len(windows) == 1:
            return self.graphed_encoder(windows)
        return self.encoder(windows).last_hidden_state

    def decode(self, states: torch.Tensor, count: int, task: Task) -> list[Decoded]:
        if self.loop is not None:
            return self._decode_by_loop(self.loop, states, count, task)
        options: dict[str, Any] = {}
        if task.language is not None:
            options |= {"language": task.language, "task": "transcribe"}
        if task.limit < self.max_length - len(task.prompt):
            options["max_new_tokens"] = task.limit
        sequences = self.model.generate(
            encoder_outputs=BaseModelOutput(last_hidden_state=states),
            attention_mask=torch.ones(count, self.window_frames, dtype=torch.long, device=states.device),
            return_timestamps=task.timestamps,
            force_unique_generate_call=True,  # these windows, once: seeking on is done here
            condition_on_prev_tokens=False,
            stopping_criteria=StoppingCriteriaList([_StopWhenCancelled()]),
            **options,
        )
        return [Decoded(self._up_to_end(tokens)) for tokens in sequences[:, len(task.prompt) :].tolist()]

    def language_probabilities(self, states: torch.Tensor) -> dict[str, float]:
        start = torch.tensor([[self.special.start]], device=states.device)
        logits = self.model(encoder_outputs=BaseModelOutput(last_hidden_state=states), decoder_input_ids=start).logits
        codes, tokens = zip(*self.special.languages.items(), strict=True)
        probabilities = logits[0, -1].float().index_select(0, torch.tensor(tokens, device=states.device)).softmax(dim=0)
        return dict(zip(codes, probabilities.tolist(), strict=True))

    def _decode_by_loop(self, loop: Loop, states: torch.Tensor, count: int, task: Task) -> list[Decoded]:
        """Decode with our own loop: the same tokens as ``generate``. With drafts or graphs one window at a time."""
        options: dict[str, Any] = {
            "timestamps": task.timestamps,
            "max_length": len(task.prompt) + task.limit,
            "check": check_caller,
        }
        with loop.lock:
            if count > 1 and not loop.draft_tokens and not loop.graphs:
                return loop.decode_batch(states, task.prompt, **options)
            options |= {"clock": task.clock, "draft": task.draft, "content_s": task.content_s}
            return [loop.decode(window, task.prompt, **options) for window in states.split(1)]

    def _up_to_end(self, tokens: list[int]) -> list[int]:
        """Without the padding after the end token, in a batch whose windows end at different lengths."""
        return tokens[: tokens.index(self.special.end) + 1] if self.special.end in tokens else tokens

    # -- loading

    def _set_runtime(self, settings: Settings) -> None:
        if runs_loop(settings, self.device):
            self._use_loop(graphs=settings.runtime == "compiled")
        elif self.special.has_words_after(self.tokenizer):
            self._use_loop(graphs=False)
            self.runtime_note += " Its vocabulary goes on after the timestamps, so that our own loop ran."

    def _use_loop(self, student: Any = None, *, graphs: bool) -> None:
        """Decode with our own loop, as graphs where they are wanted and can be had; captured before any clock."""
        reason = self.device.graphs_unavailable() if graphs else ""
        graphs = graphs and not reason
        self.runtime = "compiled" if graphs else "loop"
        if reason:
            self.runtime_note += f" compiled is not available ({reason}); a plain greedy loop ran."
        if graphs:
            self.runtime_note += f" The decoder's attention is {DEFAULT_ATTENTION}."
        self.runtime_note = self.runtime_note.strip()
        if self.int8:
            self.info = self.info.model_copy(update={"dtype": INT8})
        with torch.no_grad(), running(NOBODY):
            self.loop = Loop(
                self.model, student, device=self.device, graphs=graphs, draft_ids=self._draft_ids(), int8=self.int8
            )
            if graphs:
                self.graphed_encoder = GraphedEncoder(self.encoder, self.window_frames, self.device)
                language = next(iter(self.special.languages), None)
                for timestamps in (True, False):
                    prompt = self.special.prompt(language, timestamps=timestamps)
                    self.loop.prepare(len(prompt), timestamps=timestamps)
                if failure := self.loop.fusion_failure:
                    self.runtime_note += f" Its kernels are not joined ({failure})."

    def _draft_ids(self) -> torch.Tensor | None:
        """The tokens that a student chooses from while it drafts; ``None`` for all."""
        return None

    def _set_attention(self, candidates: tuple[str, ...]) -> None:
        """Take the first kernel that works here. Only ``auto`` has more than one; why the first fails is noted."""
        for attention in candidates:
            reason = self._try_attention(attention)
            if reason is None:
                break
            if attention == candidates[-1]:
                raise LaneError(
                    f"The attention kernel {attention} cannot be used here ({reason}). "
                    "Set ATTENTION=auto, or install what it needs."
                )
            self.runtime_note += f" {attention} is not available here ({reason})."
        self.runtime_note = self.runtime_note.strip()

    def _try_attention(self, attention: str) -> str | None:
        """Set an attention kernel; the kind of error where that fails, else ``None``. One that failed stays failed."""
        unavailable = self.models.unavailable_attention
        if attention not in unavailable:
            try:
                self.model.set_attn_implementation(attention)
            except Exception as error:
                if is_out_of_memory(error):
                    raise
                logger.warning("%s is not available", attention, exc_info=True)
                unavailable[attention] = type(error).__name__
                # Transformers notes a kernel as loaded before it loads it, and would tell the next model that it is.
                modeling_flash_attention_utils._loaded_implementation = None  # noqa: SLF001
        return unavailable.get(attention)

    def _set_generation_config(self) -> None:
        """Keep the checkpoint's vocabulary and drop its habits: greedy, no fallback, no conditioning, one limit."""
        rules = decoding_rules(self.model, self.tokenizer, self.lane.checkpoint)
        self.special = SpecialTokens.of(rules)
        self.model.generation_config = GenerationConfig(
            **{name: value for name, value in rules.items() if value is not None},
            num_beams=1,
            do_sample=False,
            max_length=self.model.config.max_target_positions,
        )
