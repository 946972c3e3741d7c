"""What all backends share: clips cut into windows, windows encoded and decoded under the stopwatch, text put together.

A backend adds ``encode`` and ``decode``. All state belongs to the request, so two requests on one model do not see
each other; clips of a batch are decoded side by side, window by window.
"""

from __future__ import annotations

import abc
import contextlib
import math
from contextvars import ContextVar
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any

import torch
from torch.nn import functional
from transformers.models.whisper.tokenization_whisper import TO_LANGUAGE_CODE

from components.core.caller import NOBODY, Caller
from components.core.catalog import checkpoint_name
from components.core.errors import LaneError
from components.core.speech import find_speech
from components.core.types import SAMPLING_RATE, Segment, Transcript
from components.engines import longform
from components.engines.base import EngineOutput, OnDevice, Window
from components.engines.prompt import FRAME_S, TIMESTAMP_S

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator, Sequence

    import numpy as np

    from components.core.types import AudioClip, LaneSpec, ModelInfo
    from components.engines.base import DecodingOptions, Stopwatch
    from components.engines.decoding import Decoded
    from components.engines.prompt import SpecialTokens

BLOCK_FRAMES = 6_000
"""Frames whose features are extracted at once: a minute of audio, tens of milliseconds of work."""

EDGE_FRAMES = 2
"""Frames to extract beyond an inner edge; the Fourier window reaches 200 samples to each side, a frame has 160."""

_caller: ContextVar[Caller] = ContextVar("caller", default=NOBODY)
"""The running request's; a context variable, since the hooks that read it sit on a model that requests share."""


def check_caller(*_: object) -> None:
    """Stop the running request if its caller has left; also as a hook of PyTorch's.

    Raises:
        Cancelled: it has.
    """
    _caller.get().check()


@contextlib.contextmanager
def running(caller: Caller) -> Iterator[None]:
    """Make ``check_caller`` ask this caller."""
    token = _caller.set(caller)
    try:
        yield
    finally:
        _caller.reset(token)


@dataclass(frozen=True)
class Task:
    """How to decode the windows of one pass: the same for all of them."""

    prompt: list[int]
    language: str | None
    timestamps: bool
    limit: int
    """Tokens to write at most."""
    content_s: float
    """Seconds of audio in the longest window; what follows is padding."""
    draft: tuple[int, ...] = ()
    clock: Callable[[], float] | None = None


@dataclass
class _Job:
    """One clip on its way through its windows; ``features`` gives a window's, shape ``(1, n_mels, window_frames)``."""

    clip: AudioClip
    language: str
    timestamps: bool
    windows: longform.Windows
    features: Callable[[longform.Span], torch.Tensor]
    span: longform.Span | None = None
    written: longform.Written = ("", [])
    decoded: list[tuple[longform.Span, Decoded]] = field(default_factory=list)

    def send(self, tokens: list[int] | None) -> None:
        """Hand over the tokens of the window, and go on to the next."""
        try:
            self.span = next(self.windows) if tokens is None else self.windows.send(tokens)
        except StopIteration as end:
            self.span, self.written = None, end.value


class WindowedEngine(OnDevice, abc.ABC):
    """The part of ``engines.base.Engine`` that does not depend on what computes."""

    lane: LaneSpec
    info: ModelInfo
    runtime: str
    runtime_note: str = ""
    warm: bool = False

    special: SpecialTokens
    extractor: Any
    """Transformers' Whisper feature extractor."""
    tokenizer: Any
    window_frames: int
    place: dict[str, Any]
    """Where the encoder wants its features, and in which dtype: arguments of ``Tensor.to``."""
    max_length: int
    """Tokens that fit into the decoder, prompt included."""

    # -- what a backend does

    @abc.abstractmethod
    def encode(self, windows: torch.Tensor) -> Any:
        """Run the encoder over windows: features of shape ``(n, n_mels, window_frames)``."""

    @abc.abstractmethod
    def decode(self, states: Any, count: int, task: Task) -> list[Decoded]:
        """Write greedily what ``count`` windows say, from what ``encode`` returned."""

    @abc.abstractmethod
    def language_probabilities(self, states: Any) -> dict[str, float]:
        """Code -> probability, of the one window encoded in ``states``."""

    # -- the Engine protocol

    def transcribe(
        self, clip: AudioClip, options: DecodingOptions, stopwatch: Stopwatch, caller: Caller = NOBODY
    ) -> EngineOutput:
        """Transcribe one clip: up to 30 s in one window, longer ones sequentially or in chunks.

        Raises:
            Cancelled: the caller left.
            LaneError: the checkpoint does not know the language.
        """
        return self.transcribe_batch([clip], options, stopwatch, caller)[0]

    def transcribe_batch(
        self, clips: Sequence[AudioClip], options: DecodingOptions, stopwatch: Stopwatch, caller: Caller = NOBODY
    ) -> list[EngineOutput]:
        """Transcribe clips side by side. Times are those of the batch; times of single tokens only for one clip.

        Raises:
            Cancelled: the caller left.
            LaneError: the checkpoint does not know the language.
        """
        known = self._language(options.language)
        languages = [known or self.detect_language(clip, caller)[0] for clip in clips]
        with torch.no_grad(), running(caller):
            jobs = [
                self._job(clip, language, options, stopwatch) for clip, language in zip(clips, languages, strict=True)
            ]
            for job in jobs:
                job.send(None)
            while waiting := [job for job in jobs if job.span is not None]:
                first = waiting[0]
                alike = [job for job in waiting if (job.language, job.timestamps) == (first.language, first.timestamps)]
                self._run(alike, options, stopwatch, alone=len(jobs) == 1)
        return [self._output(job, options) for job in jobs]

    def detect_language(self, clip: AudioClip, caller: Caller = NOBODY) -> tuple[str, float]:
        """The language of the first window: Whisper's choice among its language tokens, and its probability.

        Raises:
            Cancelled: the caller left.
        """
        if not self.special.languages:
            return "en", 1.0
        with torch.no_grad(), running(caller):
            window = self._extract(clip.samples[: self.window_samples], padding="max_length").to(**self.place)
            probabilities = self.language_probabilities(self.encode(window))
        best = max(probabilities, key=lambda code: probabilities[code])
        return best, probabilities[best]

    # -- one pass

    def _run(self, jobs: list[_Job], options: DecodingOptions, stopwatch: Stopwatch, *, alone: bool) -> None:
        """Encode and decode the next window of each clip."""
        check_caller()
        spans = [job.span for job in jobs if job.span is not None]
        windows = torch.cat([job.features(span) for job, span in zip(jobs, spans, strict=True)])
        task = self._task(jobs, options, stopwatch, alone=alone)
        with stopwatch.part("generation"):
            with stopwatch.part("encoder"):
                states = self.encode(windows)
            found = self.decode(states, len(jobs), task)
        for job, span, decoded in zip(jobs, spans, found, strict=True):
            job.decoded.append((span, decoded))
            job.send(decoded.tokens)

    def _task(self, jobs: list[_Job], options: DecodingOptions, stopwatch: Stopwatch, *, alone: bool) -> Task:
        first = jobs[0]
        prompt = self.special.prompt(first.language, timestamps=first.timestamps)
        room = self.max_length - len(prompt)
        return Task(
            prompt,
            first.language if self.special.languages else None,
            first.timestamps,
            content_s=max(min(job.span.end_s, job.clip.audio_length_s) - job.span.start_s for job in jobs if job.span),
            limit=room if options.max_new_tokens is None else min(room, options.max_new_tokens),
            draft=options.draft if alone and not first.decoded else (),
            clock=(lambda: stopwatch.elapsed_s("generation")) if alone else None,
        )

    # -- clips to windows

    @property
    def window_samples(self) -> int:
        return self.extractor.hop_length * self.window_frames

    def _job(self, clip: AudioClip, language: str, options: DecodingOptions, stopwatch: Stopwatch) -> _Job:
        long = len(clip.samples) > self.window_samples
        speech = _speech(clip)
        if long and options.long_form == "chunked":
            frames = math.ceil(len(clip.samples) / self.extractor.hop_length)
            windows = longform.chunked(
                frames, speech, self.special, lambda written: self._merged(written, clip, options)
            )
            return _Job(
                clip, language, options.timestamps, windows, lambda span: self._chunk_features(clip, span, stopwatch)
            )
        with stopwatch.part("features"):
            features = self._features(clip)
        frames = features.shape[-1]
        content_frames = min(frames, math.ceil(clip.audio_length_s / FRAME_S))
        if long or options.timestamps:
            windows = longform.sequential(frames, content_frames, self.window_frames, speech, self.special, self.text)
        else:
            windows = longform.single(content_frames, self.text)

        def cut(span: longform.Span) -> torch.Tensor:
            window = features[:, :, span.start : span.start + self.window_frames]
            return functional.pad(window, (0, self.window_frames - window.shape[-1]))

        return _Job(clip, language, long or options.timestamps, windows, cut)

    def _features(self, clip: AudioClip) -> torch.Tensor:
        """Log-mel features of the whole clip, shape ``(1, n_mels, frames)``, padded with silence to one window."""
        if len(clip.samples) > self.window_samples:
            return self._extract_blocks(clip.samples).to(**self.place)
        return self._extract(clip.samples, padding="max_length").to(**self.place)

    def _chunk_features(self, clip: AudioClip, span: longform.Span, stopwatch: Stopwatch) -> torch.Tensor:
        hop = self.extractor.hop_length
        with stopwatch.part("features"):
            samples = clip.samples[span.start * hop : span.stop * hop]
            return self._extract(samples, padding="max_length").to(**self.place)

    def _extract(self, samples: np.ndarray, padding: str) -> torch.Tensor:
        return self.extractor(
            samples, sampling_rate=SAMPLING_RATE, padding=padding, truncation=False, return_tensors="pt"
        )["input_features"]

    def _extract_blocks(self, samples: np.ndarray) -> torch.Tensor:
        """Features of a long clip, block by block: the spectrogram of an hour at once takes gigabytes and seconds.

        Equal to those of the whole. Frames at an inner edge see the samples beyond it; and the floor of each block,
        8 below its loudest in log10 and so 2 after scaling, only gives way to the whole clip's, which is higher.
        """
        hop = self.extractor.hop_length
        frames = len(samples) // hop
        blocks = []
        for start in range(0, frames, BLOCK_FRAMES):
            check_caller()
            end = min(start + BLOCK_FRAMES, frames)
            left = min(start, EDGE_FRAMES)
            right = len(samples) if end == frames else (end + EDGE_FRAMES) * hop
            block = self._extract(samples[(start - left) * hop : right], padding="do_not_pad")
            blocks.append(block[..., left : left + end - start])
        features = torch.cat(blocks, dim=-1)
        return features.clamp_(min=float(features.max()) - 2)

    # -- tokens to text

    def text(self, tokens: Sequence[int]) -> str:
        """What tokens say, timestamps and other special tokens left out."""
        return self.tokenizer.decode(self.special.words(tokens), skip_special_tokens=True).strip()

    def _merged(
        self, written: list[tuple[list[int], longform.Shared]], clip: AudioClip, options: DecodingOptions
    ) -> longform.Written:
        """Merge overlapping chunks by the code of Transformers' pipeline."""
        outputs = [{"tokens": torch.tensor([tokens]), "stride": shared} for tokens, shared in written]
        text, merged = self.tokenizer._decode_asr(  # noqa: SLF001 - the pipeline's own merging
            outputs,
            return_timestamps=options.timestamps or None,
            return_language=None,
            time_precision=TIMESTAMP_S,
        )
        segments: list[Segment] = []
        for part in merged.get("chunks", ()):
            start_s, end_s = part["timestamp"]
            start_s = (segments[-1].end_s if segments else 0.0) if start_s is None else start_s
            end_s = clip.audio_length_s if end_s is None else end_s
            segments.append(Segment(start_s=start_s, end_s=end_s, text=part["text"]))
        return text.strip(), segments

    def _output(self, job: _Job, options: DecodingOptions) -> EngineOutput:
        text, segments = job.written
        found = [decoded for _, decoded in job.decoded]
        windows = tuple(self._window(job.clip, span, decoded) for span, decoded in job.decoded)
        tokens, drafted = sum(len(each.tokens) for each in found), sum(each.drafted for each in found)
        shown = _shown(segments, job.clip.audio_length_s)
        timed = bool(found) and all(len(each.times_s) == len(each.tokens) for each in found)
        return EngineOutput(
            Transcript(text=text, segments=shown if options.timestamps else (), language=job.language),
            tokens,
            all(window.ended for window in windows),
            acceptance_rate=sum(each.accepted for each in found) / drafted if drafted else None,
            tokens_per_pass=tokens / sum(each.passes for each in found) if drafted else None,
            windows=windows,
            token_times_s=tuple(time for each in found for time in each.times_s) if timed else None,
            warnings=(*_loops(windows), *_gaps(shown, tokens, _speech(job.clip))),
        )

    def _window(self, clip: AudioClip, span: longform.Span, decoded: Decoded) -> Window:
        ended = bool(decoded.tokens) and decoded.tokens[-1] == self.special.end
        end_s = round(min(span.end_s, clip.audio_length_s), 2)
        looped = longform.repeats_itself(self.text(decoded.tokens))
        return Window(round(span.start_s, 2), end_s, tuple(decoded.tokens), ended, looped)

    def _language(self, language: str | None) -> str | None:
        """A language as a code; an English-only checkpoint takes none.

        Raises:
            LaneError: the checkpoint does not know it.
        """
        known = self.special.languages
        if not known:
            return "en"
        if language is None:
            return None
        code = TO_LANGUAGE_CODE.get(language.lower(), language.lower())
        if code not in known:
            choices = ", ".join(sorted(known))
            raise LaneError(f"{checkpoint_name(self.lane.checkpoint)} does not know “{language}”. It knows: {choices}.")
        return code


def _shown(segments: Sequence[Segment], audio_length_s: float) -> tuple[Segment, ...]:
    """The segments that say something; a model's times may run past the end of the clip."""
    return tuple(
        Segment(
            start_s=round(min(each.start_s, audio_length_s), 2),
            end_s=round(min(each.end_s, audio_length_s), 2),
            text=text,
        )
        for each in segments
        if (text := each.text.strip())
    )


def _speech(clip: AudioClip) -> list[longform.Span]:
    """Where there is speech in a clip, in frames; empty where none was found, so that nothing is known."""
    spans = find_speech(clip).spans
    return [longform.Span(math.floor(start_s / FRAME_S), math.ceil(end_s / FRAME_S)) for start_s, end_s in spans]


def _loops(windows: Sequence[Window]) -> Iterator[str]:
    looped = [f"{_clock(window.start_s)} to {_clock(window.end_s)}" for window in windows if window.looped]
    if looped:
        more = f" and {len(looped) - 3} more" if len(looped) > 3 else ""
        yield f"It repeats itself over and over at {', '.join(looped[:3])}{more}: the time this took is no measure."


def _gaps(segments: Sequence[Segment], tokens: int, speech: Sequence[longform.Span]) -> Iterator[str]:
    """Warn of speech that nothing was written for: by the segments, or by the number of tokens where there are none."""
    whole_s = sum(span.stop - span.start for span in speech) * FRAME_S
    missed_s = longform.uncovered_s(segments, speech)
    if segments and missed_s > (1 - longform.MIN_COVERED) * whole_s:
        ends = f", and ends at {_clock(segments[-1].end_s)}" if segments[-1].end_s < speech[-1].start_s else ""
        yield f"It wrote nothing for {missed_s:.0f} of {whole_s:.0f} s of speech{ends}."
    if not segments and tokens < longform.MIN_TOKENS_PER_S * whole_s:
        yield f"It wrote only {tokens} tokens for {whole_s:.0f} s of speech."


def _clock(seconds: float) -> str:
    return f"{int(seconds) // 60}:{int(seconds) % 60:02}"
