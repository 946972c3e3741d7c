"""Training windows: spoken sentences packed one after another, with their times, and what a model is to write for them.

Short windows hold one to a few sentences and are padded to the longest of the batch; 30 s windows are filled.
Everything drawn for a batch follows from the seed and the step, so a resumed training sees the same batches.
"""

from __future__ import annotations

import itertools
import json
import math
import random
from dataclasses import dataclass, replace
from functools import cache
from typing import TYPE_CHECKING, NamedTuple

import numpy as np
import soundfile
import torch

from components.core.types import MAX_TOKENS, SAMPLING_RATE, WINDOW_S
from components.distillation.degrade import coloured_noise
from components.distillation.language import plain
from components.distillation.tokenizer import NUM_TIMESTAMPS, TIMESTAMP_STEP_S

if TYPE_CHECKING:
    from collections.abc import Sequence
    from pathlib import Path

    from transformers import WhisperFeatureExtractor, WhisperTokenizer

    from components.distillation.training import Stage

ALPHABET = " abcdefghijklmnopqrstuvwxyz'"
"""What the CTC head spells; its index 0 is the blank, so a character's index is its place here plus one."""

IGNORED = -100
FULL_SCALE = 32768
ZEROS_SHARE = 0.25
"""Of the padded windows: how many are padded as Transformers pads the last window of long audio."""

FEW_SHARE, FEW = 0.6, (1, 1, 1, 2, 2, 3, 4, 6, 8)
"""Most clips are short: how many full windows hold a few sentences and silence, and how many those are."""

EVEN_FEW_SHARE = 0.9
"""The same share where each number of sentences is drawn as often."""

MOST_PAUSE_S = 1.0
"""Between two utterances: clips, or parts of them."""

PROMPT = 2
"""Decoder positions that a window's prompt takes, whatever is said to have gone before it."""
TOKENS_A_SECOND = (5.0, 9.0)
"""How many are written, of slow and of fast speech."""

TIME_GRID = 5
"""Timestamps are taught to this many of their steps of 20 ms: fewer times to tell apart, each seen more often."""

WARPS = tuple(round(0.84 + 0.02 * k, 2) for k in range(18))
"""Factors by which the frequency axis is stretched, for shorter and longer vocal tracts."""

SORTED_BATCHES = 4
"""Short windows are sorted by length within this many batches, to pad little."""


class Segment(NamedTuple):
    """A sentence, in seconds from the start of what it stands in; ``letters_s``: when each character is heard."""

    start_s: float
    end_s: float
    text: str
    letters_s: tuple[float, ...] | None = None

    def later(self, seconds: float) -> Segment:
        """The same sentence, said later."""
        letters_s = self.letters_s and tuple(seconds + s for s in self.letters_s)
        return Segment(self.start_s + seconds, self.end_s + seconds, self.text, letters_s)

    def heard_s(self, first: int, last: int) -> float:
        """When the characters from ``first`` to before ``last`` are heard: by their share where no letter is known."""
        first, last = max(first, 0), max(last, 1)
        if self.letters_s is not None:
            return sum(self.letters_s[first:last]) / (last - first)
        return self.start_s + (self.end_s - self.start_s) * (first + last) / 2 / len(self.text)


@dataclass(frozen=True)
class Utterance:
    """int16 ``(n,)`` at 16 kHz, and what is said in it, by one voice."""

    samples: np.ndarray
    segments: tuple[Segment, ...]

    def part(self, first: int, last: int) -> Utterance:
        """Its segments from ``first`` to before ``last``, cut out in the middle of the pauses."""
        segments, ends = self.segments, [0.0]
        ends += [(a.end_s + b.start_s) / 2 for a, b in itertools.pairwise(segments)]
        ends += [len(self.samples) / SAMPLING_RATE]
        start, stop = round(ends[first] * SAMPLING_RATE), round(ends[last] * SAMPLING_RATE)
        kept = tuple(segment.later(-start / SAMPLING_RATE) for segment in segments[first:last])
        return Utterance(self.samples[start:stop], kept)


@dataclass(frozen=True)
class Window:
    """float32 ``(n,)`` at 16 kHz, and its segments.

    ``cut_s`` is where a sentence begins that the window's end cuts off; the last ``padding`` samples are silence that
    fills the window.
    """

    samples: np.ndarray
    segments: tuple[Segment, ...]
    cut_s: float | None = None
    padding: int = 0

    @property
    def text(self) -> str:
        return " ".join(segment.text for segment in self.segments)


@dataclass(frozen=True)
class Batch:
    """Tensors of B windows.

    ``features``: float32 ``(B, n_mels, frames)``, or with ``encoded`` encoder states ``(B, frames / 2, d_model)``;
    ``decoder_input_ids`` and ``labels``: int64 ``(B, T)``, labels shifted and ``IGNORED`` on prompt and padding;
    ``places``: float32 ``(B, T)``, about when each label is heard, in seconds from the window's start, NaN where
    nothing is; ``characters``: int64 ``(sum(character_lengths),)``. ``offset``: the encoder position that the windows
    start at; ``positions``: int64 ``(1, T)``, the decoder's.
    """

    features: torch.Tensor
    decoder_input_ids: torch.Tensor
    labels: torch.Tensor
    places: torch.Tensor
    characters: torch.Tensor
    character_lengths: torch.Tensor
    texts: tuple[str, ...]
    positions: torch.Tensor
    offset: int = 0
    encoded: bool = False

    def to(self, device: torch.device) -> Batch:
        """The same batch with its tensors on a device."""
        return replace(
            self,
            features=self.features.to(device),
            decoder_input_ids=self.decoder_input_ids.to(device),
            labels=self.labels.to(device),
            places=self.places.to(device),
            positions=self.positions.to(device),
            characters=self.characters.to(device),
        )


def load_utterances(manifests: Sequence[Path]) -> list[Utterance]:
    """Every clip of the manifests, held in memory as int16: 115 MB an hour.

    Of a clip that leaves no room for a pause in a window, the sentences that do.
    """
    longest_s = WINDOW_S - MOST_PAUSE_S
    utterances = []
    for manifest in manifests:
        for line in manifest.read_text().splitlines():
            row = json.loads(line)
            samples, _ = soundfile.read(manifest.parent / row["audio"], dtype="int16")
            segments = tuple(Segment(s["start_s"], s["end_s"], s["text"]) for s in row["segments"])
            utterance = Utterance(samples, segments)
            held = sum(segment.end_s < longest_s for segment in segments)
            utterance = utterance.part(0, held)
            utterances.append(replace(utterance, samples=utterance.samples[: round(longest_s * SAMPLING_RATE)]))
    return utterances


def _drawn(utterances: Sequence[Utterance], rng: random.Random, sentences: int) -> list[Utterance]:
    """Utterances of so many sentences together; of one that has more, as many of them as are wanted."""
    drawn = []
    while sentences > 0:
        utterance = rng.choice(utterances)
        has = len(utterance.segments)
        if has > sentences:
            first = rng.randint(0, has - sentences)
            utterance = utterance.part(first, first + sentences)
        drawn.append(utterance)
        sentences -= max(has, 1)
    return drawn


def short_windows(utterances: Sequence[Utterance], rng: random.Random, count: int, most: int) -> list[Window]:
    """Windows of one to ``most`` sentences each, end to end, fewer where 30 s hold no more."""
    sizes = [rng.randint(1, most) for _ in range(count)]
    return [_noisy(_joined(_drawn(utterances, rng, size), rng, WINDOW_S), rng) for size in sizes]


def full_window(
    utterances: Sequence[Utterance], rng: random.Random, few_share: float = FEW_SHARE, few: Sequence[int] = FEW
) -> Window:
    """A 30 s window: silence or noise alone (one in 16), ``few`` sentences (``few_share``), or as many as it holds.

    A full one ends in a sentence that is cut off, as sequential long-form decoding will meet it.
    """
    size = int(WINDOW_S * SAMPLING_RATE)
    if rng.random() < 1 / 16:
        level = rng.choice((0.0, 10 ** rng.uniform(-5, -1)))
        noise = np.random.default_rng(rng.getrandbits(32))
        samples = level * 0.3 * coloured_noise(size, rng.choice((0.0, 0.5, 1.0)), noise)
        return Window(np.clip(samples, -1, 1).astype(np.float32), ())
    count = rng.choice(few) if rng.random() < few_share else 20
    window = _joined(_drawn(utterances, rng, count), rng)
    kept = tuple(s for s in window.segments if s.end_s < WINDOW_S - 0.1)
    cut = next((s.start_s for s in window.segments if s.end_s >= WINDOW_S - 0.1), None)
    samples = window.samples[:size]
    if cut is not None and cut > WINDOW_S - 0.3:  # too little of it is heard
        samples, cut = samples[: int(cut * SAMPLING_RATE)], None
    padding = size - len(samples)
    return _noisy(Window(np.pad(samples, (0, padding)), kept, cut, padding), rng)


def even_window(utterances: Sequence[Utterance], rng: random.Random, most: int) -> Window:
    """A 30 s window that holds 1 to ``most`` sentences, each number as often, as far as they fit.

    One in ten is full of them, and one in 16 silence or noise.

    As full ones are always written with timestamps, windows of many sentences are seldom written without them
    otherwise: a teacher was at 5 % word errors with timestamps and at 15 % without.
    """
    return full_window(utterances, rng, EVEN_FEW_SHARE, range(1, most + 1))


def _joined(utterances: Sequence[Utterance], rng: random.Random, longest_s: float = math.inf) -> Window:
    pieces: list[np.ndarray] = []
    segments: list[Segment] = []
    at = 0
    level = 10 ** (rng.uniform(-12, 6) / 20)
    for utterance in utterances:
        start_s = at / SAMPLING_RATE
        if pieces and start_s + len(utterance.samples) / SAMPLING_RATE + MOST_PAUSE_S > longest_s:
            break
        segments += [segment.later(start_s) for segment in utterance.segments]
        pause = np.zeros(int(rng.choice((0.0, rng.uniform(0, MOST_PAUSE_S))) * SAMPLING_RATE), np.float32)
        pieces += [utterance.samples.astype(np.float32) * (level / FULL_SCALE), pause]
        at += len(utterance.samples) + len(pause)
    return Window(np.clip(np.concatenate(pieces), -1, 1), tuple(segments))


def _noisy(window: Window, rng: random.Random) -> Window:
    """A noise floor over the whole window, for half of them."""
    if rng.random() < 0.5:
        return window
    noise = np.random.default_rng(rng.getrandbits(32))
    level = float(np.abs(window.samples).max()) * 10 ** (-rng.uniform(30, 70) / 20)
    samples = window.samples + level * coloured_noise(len(window.samples), rng.choice((0.0, 0.5)), noise)
    return replace(window, samples=samples.astype(np.float32))


class Batches:
    """Batches of windows for a step: ``Batches(...)(step)`` is the same whenever it is asked for."""

    def __init__(
        self,
        utterances: Sequence[Utterance],
        tokenizer: WhisperTokenizer,
        extractor: WhisperFeatureExtractor,
        *,
        seed: str,
        stage: Stage,
    ) -> None:
        self.utterances, self.tokenizer, self.extractor = utterances, tokenizer, extractor
        self.seed, self.stage = seed, stage
        self._pool: tuple[int, list[list[Window]]] = (-1, [])

    def __call__(self, step: int) -> Batch:
        rng = random.Random(f"{self.seed}-{step}")
        stage, offset, skipped = self.stage, 0, 0
        if rng.random() < stage.full * step / stage.steps:
            windows = [full_window(self.utterances, rng) for _ in range(max(stage.size // 4, 1))]
        else:
            windows = self._short(step)
            if rng.random() < stage.shifted:
                longest = max(len(window.samples) for window in windows) / SAMPLING_RATE
                offset = rng.randint(0, max(0, int((WINDOW_S - longest) / TIMESTAMP_STEP_S) - 1))
                skipped = int(offset * TIMESTAMP_STEP_S * rng.uniform(*TOKENS_A_SECOND)) if stage.continued else 0
        timestamps = drawn_timestamps(windows, stage, rng)
        features = window_features(windows, self.extractor, rng, stage.warped)
        return collate(windows, features, timestamps, self.tokenizer, offset=offset, skipped=skipped)

    def _short(self, step: int) -> list[Window]:
        pool = step // SORTED_BATCHES
        if self._pool[0] != pool:
            rng = random.Random(f"{self.seed}-pool-{pool}")
            size = self.stage.size
            windows = short_windows(self.utterances, rng, SORTED_BATCHES * size, self.stage.most)
            windows.sort(key=lambda window: len(window.samples))
            batches = [windows[i : i + size] for i in range(0, len(windows), size)]
            rng.shuffle(batches)
            self._pool = (pool, batches)
        return self._pool[1][step % SORTED_BATCHES]


def drawn_timestamps(windows: Sequence[Window], stage: Stage, rng: random.Random) -> list[bool]:
    """Which windows are written with timestamps: all that end in a cut, and half of the rest in a timed stage."""
    return [window.cut_s is not None or (stage.timed and rng.random() < 0.5) for window in windows]


def window_features(
    windows: Sequence[Window], extractor: WhisperFeatureExtractor, rng: random.Random, warped: float = 0.0
) -> torch.Tensor:
    """float32 ``(B, n_mels, frames)``, augmented; ``warped``: the share whose frequency axis is stretched."""
    features = augment(log_mel([window.samples for window in windows], extractor), rng, warped)
    for row, window in enumerate(windows):  # the last window of long audio is filled with zeros, not with silence
        if window.padding >= extractor.hop_length and rng.random() < ZEROS_SHARE:
            features[row, :, -(window.padding // extractor.hop_length) :] = 0
    return features


def collate(
    windows: Sequence[Window],
    features: torch.Tensor,
    timestamps: Sequence[bool],
    tokenizer: WhisperTokenizer,
    *,
    offset: int = 0,
    skipped: int = 0,
    encoded: bool = False,
) -> Batch:
    """A batch of windows and their features; ``timestamps`` says for each window whether it is written with them.

    ``offset``: encoder positions, of 20 ms, that went before the windows; their times count from there.
    ``skipped``: decoder positions left out after the prompt, as if that many tokens had gone before, too.
    ``encoded``: the features are encoder states.
    """
    offset_s = offset * TIMESTAMP_STEP_S
    targets = [
        target_tokens(window, tokenizer, timestamps=timed, offset_s=offset_s)
        for window, timed in zip(windows, timestamps, strict=True)
    ]
    width = max(len(ids) for ids, _ in targets) - 1
    inputs = torch.full((len(targets), width), tokenizer.eos_token_id)
    labels = torch.full((len(targets), width), IGNORED)
    places = torch.full((len(targets), width), torch.nan)
    for row, ((ids, heard_s), timed) in enumerate(zip(targets, timestamps, strict=True)):
        prompt = prompt_length(timestamps=timed)
        inputs[row, : len(ids) - 1] = torch.tensor(ids[:-1])
        labels[row, prompt - 1 : len(ids) - 1] = torch.tensor(ids[prompt:])
        places[row, : len(ids) - 1] = torch.tensor(heard_s[1:])
    positions = torch.arange(width)
    positions[PROMPT:] += min(skipped, MAX_TOKENS - width)
    texts = tuple(window.text for window in windows)
    characters = [spelled(text) for text in texts]
    return Batch(
        features,
        inputs,
        labels,
        places,
        torch.tensor([c for text in characters for c in text], dtype=torch.long),
        torch.tensor([len(text) for text in characters]),
        texts,
        positions[None],
        offset,
        encoded,
    )


def spelled(text: str) -> list[int]:
    """A text as the CTC head spells it: indices of its letters and spaces."""
    return [ALPHABET.index(letter) + 1 for letter in plain(text)]


def prompt_length(*, timestamps: bool) -> int:
    """How many tokens of ``target_tokens`` are given to a model rather than written by it."""
    return 1 if timestamps else 2


def log_mel(clips: Sequence[np.ndarray], extractor: WhisperFeatureExtractor) -> torch.Tensor:
    """float32 ``(B, n_mels, frames)`` of clips ``(n,)``, silent to the longest; an even number of frames."""
    size = -(-max(map(len, clips)) // (2 * extractor.hop_length)) * 2 * extractor.hop_length
    samples = np.stack([np.pad(clip, (0, size - len(clip))) for clip in clips])
    return torch.from_numpy(extractor._torch_extract_fbank_features(samples))  # noqa: SLF001 - its batched form


def target_tokens(
    window: Window, tokenizer: WhisperTokenizer, *, timestamps: bool, offset_s: float = 0.0
) -> tuple[list[int], list[float]]:
    """What a model writes for a window that stands at ``offset_s``, and about when each token is heard.

    The tokens have prompt and end token. With timestamps each sentence stands between its start and its end, and a
    sentence that the window cuts off is given by its start alone (Radford et al. 2022, section 2.3). A window without
    speech is ``<|0.00|>``. Prompt and end token are heard nowhere: NaN; the rest in seconds from the window's start.
    """
    start = tokenizer.convert_tokens_to_ids("<|startoftranscript|>")
    zero = tokenizer.convert_tokens_to_ids("<|0.00|>")
    heard: list[tuple[int, float]] = [(start, math.nan)]
    if not timestamps:
        heard.append((zero - 1, math.nan))
    elif not window.segments and window.cut_s is None:
        heard.append((zero, math.nan))

    def add_time(seconds: float) -> None:
        if timestamps:
            grid = TIME_GRID * round((offset_s + seconds) / (TIME_GRID * TIMESTAMP_STEP_S))
            heard.append((zero + min(grid, NUM_TIMESTAMPS - 1), seconds))

    for segment in window.segments:
        encoded = tokenizer(f" {segment.text}", add_special_tokens=False, return_offsets_mapping=True)
        add_time(segment.start_s)
        for token, (first, last) in zip(encoded["input_ids"], encoded["offset_mapping"], strict=True):
            heard.append((token, segment.heard_s(first - 1, last - 1)))  # without the space before the text
        add_time(segment.end_s)
    if window.cut_s is not None:
        add_time(window.cut_s)
    heard.append((tokenizer.eos_token_id, math.nan))
    return [token for token, _ in heard], [seconds for _, seconds in heard]


def augment(features: torch.Tensor, rng: random.Random, warped: float = 0.0) -> torch.Tensor:
    """A random channel (a smooth curve over the mel bins, about 10 dB) and SpecAugment's masks (Park et al. 2019).

    A share ``warped`` of the windows has its frequency axis stretched, as by another vocal tract (Jaitly and Hinton
    2013). ``features``: float32 ``(B, n_mels, frames)``, in Whisper's scale of 40 dB a unit; a new tensor is returned.
    """
    generator = torch.Generator().manual_seed(rng.getrandbits(32))
    batch, n_mels, frames = features.shape
    place = torch.linspace(0, torch.pi, n_mels)
    curves = torch.stack([torch.cos(k * place) for k in (1, 2, 3)])  # (3, n_mels)
    weights = 0.09 * torch.randn(batch, 3, generator=generator)
    features = features + (weights @ curves)[..., None]
    for row in range(batch):
        if rng.random() < warped:
            features[row] = _warp(n_mels, rng.choice(WARPS)) @ features[row]
        if rng.random() < 0.5:
            low, wide = rng.randrange(n_mels - 10), rng.randint(1, 10)
            features[row, low : low + wide] = features[row].mean()
            at, long = rng.randrange(max(frames - 20, 1)), rng.randint(1, 12)
            features[row, :, at : at + long] = features[row].mean()
    return features


@cache
def _warp(n_mels: int, factor: float) -> torch.Tensor:
    """float32 ``(n_mels, n_mels)`` that reads each mel bin at ``factor`` times its frequency, interpolated linearly."""
    from transformers.audio_utils import hertz_to_mel, mel_to_hertz

    bins = np.linspace(0, hertz_to_mel(SAMPLING_RATE / 2, mel_scale="slaney"), n_mels + 2)[1:-1]
    sources = hertz_to_mel(factor * mel_to_hertz(bins, mel_scale="slaney"), mel_scale="slaney")
    place = np.clip(np.interp(sources, bins, np.arange(n_mels)), 0, n_mels - 1)
    low = np.minimum(place.astype(int), n_mels - 2)
    matrix = np.zeros((n_mels, n_mels), np.float32)
    matrix[np.arange(n_mels), low] = 1 - (place - low)
    matrix[np.arange(n_mels), low + 1] = place - low
    return torch.from_numpy(matrix)
