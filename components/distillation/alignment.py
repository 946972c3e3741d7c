"""When each letter is heard: the likeliest path of the CTC head through what was said (forced alignment).

A synthesizer tells where a sentence starts and ends, not where its words are. The CTC head of a trained encoder does:
of all ways to spell the sentence over its frames (Graves et al. 2006), the likeliest is found by Viterbi's algorithm.
"""

from __future__ import annotations

from dataclasses import replace
from typing import TYPE_CHECKING

import numpy as np
import torch
from torch.nn.functional import log_softmax
from torch.nn.utils.rnn import pad_sequence
from tqdm import tqdm

from components.distillation.language import plain
from components.distillation.tokenizer import TIMESTAMP_STEP_S
from components.distillation.windows import FULL_SCALE, Segment, Utterance, log_mel, spelled

if TYPE_CHECKING:
    from collections.abc import Callable, Sequence

    from transformers import WhisperFeatureExtractor

BATCH = 64


def letter_frames(log_probs: torch.Tensor, texts: Sequence[Sequence[int]]) -> list[np.ndarray]:
    """The frame in the middle of each letter's stay, on the likeliest path of its row.

    ``log_probs``: ``(B, frames, letters + 1)`` on the CPU, index 0 the blank; ``texts``: each row's letters. Returns a
    float64 array ``(len(letters),)`` a row, not decreasing, all NaN where the frames are too few for the letters.
    """
    rows, frames, _ = log_probs.shape
    paths = []  # blank, letter, blank, letter, ..., blank
    for letters in texts:
        path = torch.zeros(2 * len(letters) + 1, dtype=torch.long)
        path[1::2] = torch.tensor(letters, dtype=torch.long)
        paths.append(path)
    lengths = torch.tensor([len(path) for path in paths])
    states = pad_sequence(paths, batch_first=True)  # (B, S)
    emitted = log_probs.float().gather(2, states[:, None].expand(-1, frames, -1))  # (B, frames, S)
    worst = -1e30
    skips = torch.zeros_like(states, dtype=torch.bool)  # a blank may be left out between two different letters
    skips[:, 2:] = (states[:, 2:] != 0) & (states[:, 2:] != states[:, :-2])
    best = torch.full(states.shape, worst)
    best[:, :2] = emitted[:, 0, :2]
    came = torch.zeros((frames, *states.shape), dtype=torch.int8)
    for frame in range(1, frames):
        step = torch.cat([best.new_full((rows, 1), worst), best[:, :-1]], 1)
        skip = torch.cat([best.new_full((rows, 2), worst), best[:, :-2]], 1).masked_fill(~skips, worst)
        best, choice = torch.stack([best, step, skip]).max(0)
        came[frame] = choice
        best = best + emitted[:, frame]
    ends = torch.stack([lengths - 1, (lengths - 2).clamp(min=0)], 1)
    final, which = best.gather(1, ends).max(1)
    at = ends.gather(1, which[:, None])[:, 0]
    visited = torch.empty((frames, rows), dtype=torch.long)
    for frame in range(frames - 1, -1, -1):
        visited[frame] = at
        at = at - came[frame].long().gather(1, at[:, None])[:, 0]
    found = []
    for row, letters in enumerate(texts):
        if final[row] <= worst / 2:
            found.append(np.full(len(letters), np.nan))
            continue
        stays = visited[:, row].numpy()
        found.append(np.array([np.flatnonzero(stays == 2 * k + 1).mean() for k in range(len(letters))]))
    return found


@torch.no_grad()
def align(
    spell: Callable[[torch.Tensor], torch.Tensor], utterances: Sequence[Utterance], extractor: WhisperFeatureExtractor
) -> list[Utterance]:
    """The same utterances, their segments with the time of each character of the text.

    ``spell``: log-mel features ``(B, n_mels, frames)`` to the CTC head's logits ``(B, frames / 2, letters + 1)``. A
    character that the head does not spell takes its time from its neighbours. A segment whose letters do not fit into
    its frames stays as it was.
    """
    places = [(k, i) for k, utterance in enumerate(utterances) for i in range(len(utterance.segments))]
    sentences = [utterances[k].part(i, i + 1) for k, i in places]
    order = sorted(range(len(sentences)), key=lambda n: len(sentences[n].samples))
    aligned = [list(utterance.segments) for utterance in utterances]
    for first in tqdm(range(0, len(order), BATCH), desc="align", unit="batch", mininterval=5):
        some = order[first : first + BATCH]
        samples = [sentences[n].samples.astype(np.float32) / FULL_SCALE for n in some]
        log_probs = log_softmax(spell(log_mel(samples, extractor)).float(), -1).cpu()
        texts = [spelled(sentences[n].segments[0].text) for n in some]
        for n, found in zip(some, letter_frames(log_probs, texts), strict=True):
            if np.isnan(found).any():
                continue
            k, i = places[n]
            earlier_s = utterances[k].segments[i].start_s - sentences[n].segments[0].start_s
            aligned[k][i] = _timed(utterances[k].segments[i], earlier_s + (found + 0.5) * TIMESTAMP_STEP_S)
    return [replace(utterance, segments=tuple(s)) for utterance, s in zip(utterances, aligned, strict=True)]


def _timed(segment: Segment, times_s: np.ndarray) -> Segment:
    letters = plain(segment.text)
    letters_s = np.interp(np.arange(len(segment.text)), _places(segment.text, letters), times_s)
    return segment._replace(letters_s=tuple(np.round(letters_s, 3).tolist()))


def _places(text: str, letters: str) -> list[int]:
    """Where each of the letters, a text made plain, stands in the text."""
    places, at = [], 0
    for letter in letters:
        while text[at].lower() != letter:
            at += 1
        places.append(at)
        at += 1
    return places
