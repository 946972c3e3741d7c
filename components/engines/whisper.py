"""The Transformers lane: a Whisper checkpoint in plain PyTorch, greedy, one window at a time.

Each window's encoder runs by itself, under the stopwatch, and ``generate`` goes on from its output. So encoder and
decoder are timed apart for every window of long audio, and all state belongs to the request: two requests on one
model do not see each other.
"""

from __future__ import annotations

import contextlib
import logging
import math
from contextvars import ContextVar
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any

import torch
from torch.nn import functional
from transformers import GenerationConfig, StoppingCriteria, StoppingCriteriaList
from transformers.models.whisper.tokenization_whisper import TO_LANGUAGE_CODE
from transformers.pipelines.automatic_speech_recognition import chunk_iter

from components.core.catalog import checkpoint_name
from components.core.errors import Cancelled, CheckpointError, LaneError
from components.core.types import SAMPLING_RATE, Segment, Transcript
from components.engines.base import EngineOutput
from components.engines.checkpoints import Models, load_config, load_processor
from components.engines.counting import model_info
from components.engines.decoding import GraphedEncoder, Loop
from components.engines.device import DEFAULT_ATTENTION, attention_candidates, is_out_of_memory, resolve_dtype

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator

    import numpy as np

    from components.core.settings import Settings
    from components.core.types import AudioClip, LaneSpec
    from components.engines.base import DecodingOptions, Stopwatch
    from components.engines.device import Device

logger = logging.getLogger(__name__)

CHUNK_S = 15.0
"""Seconds of a chunk in chunked long-form: of 15 and 30 the length that suits the student (arXiv 2311.00430, 5.3)."""

STRIDE_S = CHUNK_S / 6
"""Seconds that a chunk shares with each neighbour; Transformers' own default."""

BLOCK_FRAMES = 6_000
"""Frames whose features are extracted at once: a minute of audio, tens of milliseconds of work."""

EDGE_FRAMES = 2
"""Frames to extract beyond an inner edge; the Fourier window reaches 200 samples to each side, a frame has 160."""

FRAME_S = 0.01
"""Seconds of a feature frame: 160 samples at 16 kHz."""

TIMESTAMP_S = 0.02
"""Seconds between two timestamp tokens."""

MULTILINGUAL_VOCABULARY = 51_865
"""Tokens of the smallest multilingual Whisper; its English-only kin have one less."""

GENERATION_FIELDS = (
    "alignment_heads",
    "begin_suppress_tokens",
    "bos_token_id",
    "decoder_start_token_id",
    "eos_token_id",
    "is_multilingual",
    "lang_to_id",
    "max_initial_timestamp_index",
    "no_timestamps_token_id",
    "pad_token_id",
    "prev_sot_token_id",
    "suppress_tokens",
    "task_to_id",
)
"""What is taken from a checkpoint's generation config: its vocabulary. How to decode is the same for every lane."""

_cancelled: ContextVar[Callable[[], bool] | None] = ContextVar("cancelled", default=None)
"""The running request's; a context variable, since the hooks that read it sit on a model that requests share."""

_unavailable: dict[str, str] = {}
"""Attention kernels that failed to load in this process, and the kind of error."""


def _raise_if_cancelled(*_: object) -> None:
    cancelled = _cancelled.get()
    if cancelled is not None and cancelled():
        raise Cancelled


class _StopWhenCancelled(StoppingCriteria):
    """Asked after every token. Raises, so that the device is free at once and no half transcript goes on."""

    def __call__(self, input_ids: torch.Tensor, _scores: torch.Tensor, **_: Any) -> torch.Tensor:
        _raise_if_cancelled()
        return torch.zeros(len(input_ids), dtype=torch.bool, device=input_ids.device)


@dataclass
class _Request:
    """What belongs to one transcription alone."""

    options: DecodingOptions
    stopwatch: Stopwatch
    audio_length_s: float
    language: str | None
    generated_tokens: int = 0
    ended: bool = True
    passes: int = 0
    drafted: int = 0
    accepted: int = 0
    segments: list[Segment] = field(default_factory=list)


class WhisperEngine:
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
        self.runtime_note = ""
        self.loop: Loop | None = None

        config = load_config(lane, settings.token)
        dtype = resolve_dtype(settings.dtype, device)
        self.processor = load_processor(lane, settings.token)
        self.model: Any = self.models.get(
            lane, dtype=dtype, attention=DEFAULT_ATTENTION, device=device, token=settings.token
        )
        self._set_attention(attention_candidates(settings.attention, device, dtype))
        self._set_generation_config()

        self.encoder = self.model.get_encoder()
        for layer in self.encoder.layers:  # a large encoder takes seconds on a CPU: too long to wait for a token
            if _raise_if_cancelled not in layer._forward_pre_hooks.values():  # noqa: SLF001 - engines share encoders
                layer.register_forward_pre_hook(_raise_if_cancelled)
        self.window_frames = self.encoder.conv1.stride[0] * self.encoder.conv2.stride[0] * config.max_source_positions
        self.info = model_info(lane, config).model_copy(
            update={
                "dtype": str(self.model.dtype).removeprefix("torch."),
                "device": device.kind,
                "attention": self.model.config._attn_implementation,  # noqa: SLF001 - what runs, whatever was asked for
            }
        )
        self.encode: Callable[[torch.Tensor], Any] = self.encoder
        self._set_runtime(settings)

    @staticmethod
    def expected(settings: Settings, device: Device) -> dict[str, str]:
        """What will run, before it is loaded, where that is not what the settings say."""
        unavailable = settings.runtime == "compiled" and device.graphs_unavailable()
        return {"runtime": "loop"} if unavailable else {}

    # -- the Engine protocol

    def transcribe(
        self,
        clip: AudioClip,
        options: DecodingOptions,
        stopwatch: Stopwatch,
        *,
        cancelled: Callable[[], bool] | None = None,
    ) -> EngineOutput:
        """Transcribe one clip: up to 30 s in one window, longer ones sequentially or in chunks.

        Raises:
            Cancelled: within one token, or one encoder layer, of ``cancelled()`` turning true.
            LaneError: the checkpoint does not know the language.
        """
        request = _Request(options, stopwatch, clip.audio_length_s, self._language(options.language))
        with torch.no_grad(), _cancellable(cancelled):
            if len(clip.samples) > self.window_samples and options.long_form == "chunked":
                text = self._transcribe_chunks(clip, request)
            elif len(clip.samples) > self.window_samples or options.timestamps:
                text = self._transcribe_windows(clip, request)
            else:
                tokens = self._decode_window(self._features(clip, request), request, timestamps=False)
                text = self._text(tokens)
        segments = tuple(request.segments) if options.timestamps else ()
        return EngineOutput(
            Transcript(text, segments, request.language or "en"),
            request.generated_tokens,
            request.ended,
            acceptance_rate=request.accepted / request.drafted if request.drafted else None,
            tokens_per_pass=request.generated_tokens / request.passes if request.drafted else None,
        )

    def synchronize(self) -> None:
        self.device.synchronize()

    def reset_peak_memory(self) -> None:
        self.device.reset_peak_memory()

    def peak_memory_bytes(self) -> int | None:
        return self.device.peak_memory_bytes()

    def unload(self) -> None:
        del self.model, self.encoder, self.encode, self.loop
        self.device.release_memory()

    # -- audio to windows

    @property
    def window_samples(self) -> int:
        return self.processor.feature_extractor.hop_length * self.window_frames

    def _features(self, clip: AudioClip, request: _Request) -> torch.Tensor:
        """Log-mel features of the whole clip, shape ``(1, n_mels, frames)``, padded with silence to one window."""
        request.stopwatch.start("features")
        if len(clip.samples) <= self.window_samples:
            features = self._extract(clip.samples, padding="max_length")
        else:
            features = self._extract_blocks(clip.samples)
        features = features.to(self.model.device, self.model.dtype)
        request.stopwatch.stop("features")
        return features

    def _extract(self, samples: np.ndarray, padding: str) -> torch.Tensor:
        return self.processor.feature_extractor(
            samples, sampling_rate=SAMPLING_RATE, padding=padding, truncation=False, return_tensors="pt"
        )["input_features"]

    def _extract_blocks(self, samples: np.ndarray) -> torch.Tensor:
        """Features of a long clip, block by block: the spectrogram of an hour at once takes gigabytes and seconds.

        Equal to those of the whole. Frames at an inner edge see the samples beyond it; and the floor of each block,
        8 below its loudest in log10 and so 2 after scaling, only gives way to the whole clip's, which is higher.
        """
        hop = self.processor.feature_extractor.hop_length
        frames = len(samples) // hop
        blocks = []
        for start in range(0, frames, BLOCK_FRAMES):
            _raise_if_cancelled()
            end = min(start + BLOCK_FRAMES, frames)
            left = min(start, EDGE_FRAMES)
            right = len(samples) if end == frames else (end + EDGE_FRAMES) * hop
            block = self._extract(samples[(start - left) * hop : right], padding="do_not_pad")
            blocks.append(block[..., left : left + end - start])
        features = torch.cat(blocks, dim=-1)
        return features.clamp_(min=float(features.max()) - 2)

    def _transcribe_windows(self, clip: AudioClip, request: _Request) -> str:
        """Sequential long-form (Whisper paper, 3.8): each window starts where the last timestamp of the one before is.

        The same windows as ``generate`` makes, except that none starts after the end of a short clip, in the silence
        that it was padded with, where models invent words.
        """
        features = self._features(clip, request)
        frames = features.shape[-1]
        content_frames = min(frames, math.ceil(clip.audio_length_s / FRAME_S))
        text_tokens: list[int] = []
        seek = 0
        while seek < content_frames:
            _raise_if_cancelled()
            window = features[:, :, seek : seek + self.window_frames]
            length = window.shape[-1]
            tokens = self._decode_window(
                functional.pad(window, (0, self.window_frames - length)), request, timestamps=True
            )
            parts, step = self._split(tokens, seek, length)
            for start_s, end_s, part in parts:
                text_tokens += part
                self._add_segment(request, start_s, end_s, self._text(part))
            seek += max(int(step), 1)
        return self._text(text_tokens)

    def _transcribe_chunks(self, clip: AudioClip, request: _Request) -> str:
        """Chunked long-form: chunks with overlaps, cut and merged by the code of Transformers' pipeline."""
        extractor, tokenizer = self.processor.feature_extractor, self.processor.tokenizer
        chunk, stride = int(CHUNK_S * SAMPLING_RATE), int(STRIDE_S * SAMPLING_RATE)
        outputs: list[dict[str, Any]] = []
        chunks = chunk_iter(clip.samples, extractor, chunk, stride, stride, self.model.dtype)
        while (item := self._next_chunk(chunks, request)) is not None:
            _raise_if_cancelled()
            tokens = self._decode_window(item["input_features"], request, timestamps=request.options.timestamps)
            strides_s = tuple(samples / SAMPLING_RATE for samples in item["stride"])
            outputs.append({"tokens": torch.tensor([tokens]), "stride": strides_s})
        text, merged = tokenizer._decode_asr(  # noqa: SLF001 - the pipeline's own merging
            outputs,
            return_timestamps=request.options.timestamps or None,
            return_language=None,
            time_precision=TIMESTAMP_S,
        )
        for part in merged.get("chunks", ()):
            start_s, end_s = part["timestamp"]
            last_end_s = request.segments[-1].end_s if request.segments else 0.0
            start_s = last_end_s if start_s is None else start_s
            self._add_segment(request, start_s, request.audio_length_s if end_s is None else end_s, part["text"])
        return text.strip()

    def _next_chunk(self, chunks: Iterator[dict[str, Any]], request: _Request) -> dict[str, Any] | None:
        """Cut one chunk and extract its features, within the clock."""
        request.stopwatch.start("features")
        item = next(chunks, None)
        if item is not None:
            item["input_features"] = item["input_features"].to(self.model.device)
        request.stopwatch.stop("features")
        return item

    # -- windows to tokens

    def _decode_window(self, window: torch.Tensor, request: _Request, *, timestamps: bool) -> list[int]:
        """Greedy tokens of one window, shape ``(1, n_mels, window_frames)``: prompt excluded, end-of-text included."""
        request.stopwatch.start("generation")
        request.stopwatch.start("encoder")
        encoder_outputs = self.encode(window)
        request.stopwatch.stop("encoder")
        if self.multilingual and request.language is None:
            request.language = self._detect_language(encoder_outputs)
        sequence = self._generate(encoder_outputs, request, timestamps=timestamps)
        request.stopwatch.stop("generation")
        tokens = sequence[0, self._prompt_length(timestamps=timestamps) :].tolist()
        request.generated_tokens += len(tokens)
        request.ended &= bool(tokens) and tokens[-1] == self.end_token
        return tokens

    def _generate(self, encoder_outputs: Any, request: _Request, *, timestamps: bool) -> torch.Tensor:
        """Decode from the encoder's output: int64, shape ``(1, prompt + tokens)``."""
        if self.loop is not None:
            return self._generate_by_loop(self.loop, encoder_outputs.last_hidden_state, request, timestamps=timestamps)
        prompt: dict[str, Any] = {}
        if self.multilingual:
            prompt = {"language": request.language, "task": "transcribe"}
        if request.options.max_new_tokens is not None:
            prompt["max_new_tokens"] = request.options.max_new_tokens
        if _cancelled.get() is not None:
            prompt["stopping_criteria"] = StoppingCriteriaList([_StopWhenCancelled()])
        return self.model.generate(
            encoder_outputs=encoder_outputs,
            return_timestamps=timestamps,
            force_unique_generate_call=True,  # this window, once: seeking on is done here
            condition_on_prev_tokens=False,
            **prompt,
        )

    def _generate_by_loop(
        self, loop: Loop, encoder_states: torch.Tensor, request: _Request, *, timestamps: bool
    ) -> torch.Tensor:
        """Decode with our own loop: the same tokens as ``generate``."""
        config = self.model.generation_config
        prompt = [config.decoder_start_token_id]
        if self.multilingual:
            prompt += [config.lang_to_id[f"<|{request.language}|>"], config.task_to_id["transcribe"]]
        if not timestamps:
            prompt.append(config.no_timestamps_token_id)
        limit = request.options.max_new_tokens
        max_length = config.max_length if limit is None else min(config.max_length, len(prompt) + limit)
        found = loop.decode(
            encoder_states, prompt, timestamps=timestamps, max_length=max_length, check=_raise_if_cancelled
        )
        request.passes += found.passes
        request.drafted += found.drafted
        request.accepted += found.accepted
        return torch.tensor([prompt + found.tokens])

    def _split(self, tokens: list[int], seek: int, length: int) -> tuple[list[tuple[float, float, list[int]]], int]:
        """Cut a window's tokens at their timestamps, by Transformers' own rule.

        ``seek``: the window's first frame, ``length``: its frames of audio. Returns ``(start_s, end_s, tokens)`` of
        each segment, and the frames to move on by.
        """
        sequence = torch.tensor(tokens[:-1] if tokens and tokens[-1] == self.end_token else tokens, dtype=torch.long)
        segments, step = self.model._retrieve_segment(  # noqa: SLF001 - pinned, and parity with generate is tested
            seek_sequence=sequence,
            seek_outputs=[None],
            time_offset=torch.tensor([seek * FRAME_S], dtype=torch.float64),
            timestamp_begin=self.first_timestamp,
            seek_num_frames=[length],
            time_precision=TIMESTAMP_S,
            time_precision_features=FRAME_S,
            input_stride=self.window_frames // self.model.config.max_source_positions,
            prev_idx=0,
            idx=0,
            return_token_timestamps=False,
            decoder_input_ids=sequence[None, :0],
        )
        return [(float(part["start"]), float(part["end"]), part["tokens"].tolist()) for part in segments], int(step)

    def _add_segment(self, request: _Request, start_s: float, end_s: float, text: str) -> None:
        """Keep a segment that says something; a model's times may run past the end of the clip."""
        if text := text.strip():
            last_s = request.audio_length_s
            start_s, end_s = round(min(start_s, last_s), 2), round(min(end_s, last_s), 2)
            request.segments.append(Segment(start_s=start_s, end_s=end_s, text=text))

    def _text(self, tokens: list[int]) -> str:
        words = [token for token in tokens if token < self.first_timestamp]
        return self.processor.tokenizer.decode(words, skip_special_tokens=True).strip()

    # -- vocabulary and language

    @property
    def end_token(self) -> int:
        return self.model.generation_config.eos_token_id

    @property
    def first_timestamp(self) -> int:
        return self.model.generation_config.no_timestamps_token_id + 1

    @property
    def multilingual(self) -> bool:
        return self.model.generation_config.is_multilingual

    def _prompt_length(self, *, timestamps: bool) -> int:
        """Start of transcript, language and task where there are several, and "no timestamps" where none is wanted."""
        return 1 + 2 * self.multilingual + (not timestamps)

    def _language(self, language: str | None) -> str | None:
        """Check the language; an English-only checkpoint takes none."""
        if not self.multilingual:
            return "en"
        if language is None:
            return None
        code = TO_LANGUAGE_CODE.get(language.lower(), language.lower())
        known = self.model.generation_config.lang_to_id
        if f"<|{code}|>" not in known:
            choices = ", ".join(sorted(token.strip("<|>") for token in known))
            raise LaneError(f"{checkpoint_name(self.lane.checkpoint)} does not know “{language}”. It knows: {choices}.")
        return code

    def _detect_language(self, encoder_outputs: Any) -> str:
        detected = int(self.model.detect_language(encoder_outputs=encoder_outputs)[0])
        known = self.model.generation_config.lang_to_id
        return next(token for token, index in known.items() if index == detected).strip("<|>")

    # -- loading

    def _set_runtime(self, settings: Settings) -> None:
        if settings.runtime == "compiled":
            self._use_loop(graphs=True)

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
        with torch.no_grad(), _cancellable(None):
            self.loop = Loop(self.model, student, device=self.device, graphs=graphs)
            if graphs:
                self.encode = GraphedEncoder(self.encoder, self.window_frames, self.device)
                for timestamps in (True, False):
                    self.loop.prepare(self._prompt_length(timestamps=timestamps), timestamps=timestamps)

    def _set_attention(self, candidates: tuple[str, ...]) -> None:
        """Take the first kernel that works here. Only ``auto`` has more than one; why the first fails is noted."""
        for attention in candidates:
            reason = _try_attention(self.model, attention)
            if reason is None:
                break
            if attention == candidates[-1]:
                raise LaneError(
                    f"The attention kernel {attention} cannot be used here ({reason}). "
                    "Set ATTENTION=auto, or install what it needs."
                )
            self.runtime_note += f" {attention} is not available here ({reason})."
        self.runtime_note = self.runtime_note.strip()

    def _set_generation_config(self) -> None:
        """Keep the checkpoint's vocabulary and drop its habits: greedy, no fallback, no conditioning, one limit."""
        theirs = self.model.generation_config
        kept = {name: getattr(theirs, name) for name in GENERATION_FIELDS if getattr(theirs, name, None) is not None}
        tokenizer, config = self.processor.tokenizer, self.model.config
        kept.setdefault("no_timestamps_token_id", tokenizer.convert_tokens_to_ids("<|notimestamps|>"))
        kept.setdefault("is_multilingual", config.vocab_size >= MULTILINGUAL_VOCABULARY)
        if kept["is_multilingual"] and not {"lang_to_id", "task_to_id"} <= kept.keys():
            raise CheckpointError(
                f"The generation_config.json of {checkpoint_name(self.lane.checkpoint)} is missing or outdated: it "
                "lists no languages. Copy the one of the Whisper checkpoint that it was made from."
            )
        if not kept["is_multilingual"]:
            kept.pop("lang_to_id", None)  # Transformers would detect a language and prompt with it
            kept.pop("task_to_id", None)
        self.model.generation_config = GenerationConfig(
            **kept, num_beams=1, do_sample=False, max_length=config.max_target_positions
        )


def _try_attention(model: Any, attention: str) -> str | None:
    """Set an attention kernel; the kind of error where that fails, else ``None``.

    A kernel that failed once is not tried again: Transformers notes it as loaded before it loads it, so that the
    second model to ask for it would be told that all is well.
    """
    if attention not in _unavailable:
        try:
            model.set_attn_implementation(attention)
        except Exception as error:
            if is_out_of_memory(error):
                raise
            logger.warning("%s is not available", attention, exc_info=True)
            _unavailable[attention] = type(error).__name__
    return _unavailable.get(attention)


@contextlib.contextmanager
def _cancellable(cancelled: Callable[[], bool] | None) -> Iterator[None]:
    token = _cancelled.set(cancelled)
    try:
        yield
    finally:
        _cancelled.reset(token)
