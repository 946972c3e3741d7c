"""The offline pair's tokenizer: a small byte-level BPE with Whisper's special tokens and timestamps.

Token order is Whisper's: byte-level text, ``<|endoftext|>``, ``<|startoftranscript|>``, the language and task
tokens, ``<|notimestamps|>``, then 1,501 timestamps from ``<|0.00|>`` in steps of 20 ms, which are not special.
Few merges keep the tokens short, as open text would have them: about three letters each.
"""

from __future__ import annotations

import json
import random
from typing import TYPE_CHECKING

from tokenizers import AddedToken, Tokenizer, models, pre_tokenizers, trainers

from components.distillation.language import sentences

if TYPE_CHECKING:
    from collections.abc import Iterable

    from transformers import WhisperTokenizer

MERGES = 192
TIMESTAMP_STEP_S = 0.02
NUM_TIMESTAMPS = 1501
SPECIAL_TOKENS = (
    "<|endoftext|>",
    "<|startoftranscript|>",
    "<|en|>",
    "<|translate|>",
    "<|transcribe|>",
    "<|startoflm|>",
    "<|startofprev|>",
    "<|nospeech|>",
    "<|notimestamps|>",
)


def train_tokenizer(texts: Iterable[str], merges: int = MERGES) -> WhisperTokenizer:
    """Learn the merges from texts and add Whisper's tokens. Every byte is in the vocabulary: no text is unknown."""
    from transformers import WhisperTokenizer

    bpe = Tokenizer(models.BPE())
    bpe.pre_tokenizer = pre_tokenizers.ByteLevel(add_prefix_space=False)
    alphabet = sorted(pre_tokenizers.ByteLevel.alphabet())
    trainer = trainers.BpeTrainer(vocab_size=len(alphabet) + merges, initial_alphabet=alphabet, show_progress=False)
    bpe.train_from_iterator((f" {text}" for text in texts), trainer)
    model = json.loads(bpe.to_str())["model"]

    tokenizer = WhisperTokenizer(
        vocab=model["vocab"], merges=[tuple(m) for m in model["merges"]], pad_token=SPECIAL_TOKENS[0]
    )
    special = [AddedToken(token, special=True, normalized=False) for token in SPECIAL_TOKENS]
    tokenizer.add_special_tokens({"additional_special_tokens": special})
    times = (f"<|{i * TIMESTAMP_STEP_S:.2f}|>" for i in range(NUM_TIMESTAMPS))
    tokenizer.add_tokens([AddedToken(time, special=False, normalized=False) for time in times])
    return tokenizer


def language_tokenizer() -> WhisperTokenizer:
    """The offline pair's own: merges learnt from 20,000 training sentences of the declared language."""
    return train_tokenizer(sentences("train", random.Random("bpe"), 20_000))
