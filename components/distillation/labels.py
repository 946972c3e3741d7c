"""Pseudo-labels: what the teacher writes for the windows that a student is to learn from, and how far off it is.

Nearly every label is known without writing it token by token. Shown a draft, here what was said, one pass gives the
token that the teacher would write after each beginning of it; where these are the draft again, the draft is what
greedy decoding writes. Where they are not, they are the next draft (Jacobi decoding, Santilli et al. 2023,
arXiv:2305.10427). What does not settle in a few passes is written by ``generate``.
"""

from __future__ import annotations

import json
import random
from typing import TYPE_CHECKING

import torch
from torch.nn.utils.rnn import pad_sequence
from tqdm import tqdm

from components.core.scoring import word_errors
from components.distillation.teacher import decode
from components.distillation.windows import even_window, prompt_length, target_tokens
from components.engines.decoding import TokenRules

if TYPE_CHECKING:
    from collections.abc import Iterator, Sequence
    from pathlib import Path

    from transformers import WhisperForConditionalGeneration, WhisperProcessor

    from components.distillation.windows import Utterance, Window

LABELLED_MOST = 10
"""Sentences in a window to label: of full ones a small teacher gets too few within the threshold."""
LABELLED_TOGETHER = 8
"""Batches whose windows are sorted by length before the teacher labels them."""
DRAFTS = 3
"""Passes before ``generate`` is asked."""


def draw_window(utterances: Sequence[Utterance], seed: int, index: int) -> Window:
    """The training window of an index; the same for labelling and for training."""
    return even_window(utterances, random.Random(f"distil-{seed}-{index}"), LABELLED_MOST)


def features_of(windows: Sequence[Window], processor: WhisperProcessor, dtype: torch.dtype) -> torch.Tensor:
    """Log-mel features ``(B, n_mels, 3000)`` of 30 s windows."""
    samples = [window.samples for window in windows]
    return processor.feature_extractor(samples, sampling_rate=16_000, return_tensors="pt").input_features.to(dtype)


def prompt_ids(teacher: WhisperForConditionalGeneration, language: str, *, timestamps: bool) -> list[int]:
    """What ``generate`` writes before the first token: start, language and task where it has them, no timestamps."""
    config = teacher.generation_config
    ids = [teacher.config.decoder_start_token_id]
    if getattr(config, "is_multilingual", False):
        ids += [config.lang_to_id[f"<|{language}|>"], config.task_to_id["transcribe"]]
    return ids if timestamps else [*ids, config.no_timestamps_token_id]


@torch.no_grad()
def pseudo_label(
    teacher: WhisperForConditionalGeneration,
    processor: WhisperProcessor,
    utterances: Sequence[Utterance],
    path: Path,
    *,
    seed: int,
    count: int,
    size: int = 16,
    language: str = "en",
) -> list[dict]:
    """The teacher's own text, decoded greedily, of ``count`` windows; half of the batches with timestamps.

    Each line of ``path`` has the window's index, the prompt, the tokens with the end token, and the WER against
    what was said; lines that stand already are kept, so labelling resumes.
    """
    rows = [json.loads(line) for line in path.read_text().splitlines()] if path.exists() else []
    stand = {row["window"] for row in rows}
    with path.open("a") as lines, tqdm(total=count, initial=len(rows), desc="pseudo-label", unit="window") as bar:
        for number, batch in enumerate(_labelling_batches(utterances, seed, count, size)):
            windows = {k: window for k, window in batch.items() if k not in stand}
            if not windows:
                continue
            timestamps = bool((number + number // LABELLED_TOGETHER) % 2)  # both for short and for long ones
            prompt = prompt_ids(teacher, language, timestamps=timestamps)
            features = features_of(list(windows.values()), processor, teacher.dtype).to(teacher.device)
            given = prompt_length(timestamps=timestamps)
            drafts = [
                target_tokens(window, processor.tokenizer, timestamps=timestamps)[0][given:]
                for window in windows.values()
            ]
            labels = settled(teacher, features, prompt, drafts, timestamps=timestamps)
            left = [place for place, label in enumerate(labels) if label is None]
            if left:
                written = _generated(teacher, features[left], prompt, language, timestamps=timestamps)
                for place, label in zip(left, written, strict=True):
                    labels[place] = label
            for (k, window), tokens in zip(windows.items(), labels, strict=True):
                text = processor.tokenizer.decode(tokens, skip_special_tokens=True)
                row = {"window": k, "prompt": prompt, "tokens": tokens, "wer": _wer(window.text, text, window)}
                lines.write(json.dumps(row) + "\n")
                rows.append(row)
            lines.flush()
            bar.update(len(windows))
    return rows


@torch.no_grad()
def settled(
    teacher: WhisperForConditionalGeneration,
    features: torch.Tensor,
    prompt: Sequence[int],
    drafts: Sequence[Sequence[int]],
    *,
    timestamps: bool,
) -> list[list[int] | None]:
    """What ``generate`` would write greedily for each of B windows, end token included, where ``DRAFTS`` passes tell.

    ``features``: ``(B, n_mels, 3000)``; ``drafts``: guesses at it, each with its end token.
    """
    device, end = features.device, teacher.config.eos_token_id
    hidden = teacher.get_encoder()(features).last_hidden_state
    rules = TokenRules(
        teacher.generation_config,
        prompt_length=len(prompt),
        timestamps=timestamps,
        vocabulary=teacher.config.vocab_size,
        device=device,
    )
    found: list[list[int] | None] = [None] * len(drafts)
    open_drafts = dict(enumerate(map(list, drafts)))
    for _ in range(DRAFTS):
        sequences = [torch.tensor([*prompt, *draft], device=device) for draft in open_drafts.values()]
        inputs = pad_sequence(sequences, batch_first=True, padding_value=end)
        logits = decode(teacher, inputs[:, :-1], hidden[list(open_drafts)])
        following = {}
        for (row, draft), tokens, written in zip(open_drafts.items(), sequences, logits, strict=True):
            positions = torch.arange(len(prompt), len(tokens), device=device)
            best = rules.scores(written[positions - 1], tokens, positions).argmax(-1).tolist()
            if best == draft:
                found[row] = draft
            else:
                following[row] = [*_until(best, end), end][: teacher.config.max_target_positions - len(prompt)]
        open_drafts = following
        if not open_drafts:
            break
    return found


def _generated(
    teacher: WhisperForConditionalGeneration,
    features: torch.Tensor,
    prompt: list[int],
    language: str,
    *,
    timestamps: bool,
) -> list[list[int]]:
    """What ``generate`` writes greedily for each window, without the prompt, with the end token."""
    config = teacher.generation_config
    kwargs = {"language": language, "task": "transcribe"} if getattr(config, "is_multilingual", False) else {}
    outputs = teacher.generate(features, return_timestamps=timestamps, num_beams=1, do_sample=False, **kwargs)
    return [
        [
            *_until(ids[len(prompt) :] if ids[: len(prompt)] == prompt else ids, config.eos_token_id),
            teacher.config.eos_token_id,
        ]
        for ids in outputs.tolist()
    ]


def _labelling_batches(
    utterances: Sequence[Utterance], seed: int, count: int, size: int
) -> Iterator[dict[int, Window]]:
    """Windows by index, those of a batch about equally long to write: a batch ends with its longest."""
    for first in range(0, count, LABELLED_TOGETHER * size):
        indices = range(first, min(first + LABELLED_TOGETHER * size, count))
        windows = {k: draw_window(utterances, seed, k) for k in indices}
        ordered = sorted(indices, key=lambda k: len(windows[k].text))
        for k in range(0, len(ordered), size):
            yield {index: windows[index] for index in ordered[k : k + size]}


def _until(tokens: list[int], end: int | list[int]) -> list[int]:
    ends = {end} if isinstance(end, int) else set(end)
    return tokens[: next((k for k, token in enumerate(tokens) if token in ends), len(tokens))]


def _wer(said: str, written: str, window: Window) -> float:
    """Word error rate of a label; for a window without speech 0 or 1, whether anything was written."""
    _, _, errors = word_errors(said, written, "en")
    if errors.wer is None:
        return float(bool(written.strip()) and window.cut_s is None)
    return errors.wer
