"""Write a checkpoint as the field's tools expect it: float16 safetensors, processor, generation config, model card.

Transformers, its pipeline, ``generate`` with an assistant, and Faster-Whisper after its converter load the folder
unchanged.
"""

from __future__ import annotations

import copy
import json
from typing import TYPE_CHECKING

from transformers import GenerationConfig, WhisperFeatureExtractor, WhisperForConditionalGeneration, WhisperProcessor

from components.distillation.card import card
from components.distillation.teacher import trained_teacher
from components.distillation.tokenizer import language_tokenizer

if TYPE_CHECKING:
    from pathlib import Path

    from transformers import WhisperTokenizer

MAX_SHARD_SIZE = "9MB"
"""A Space stores files over 10 MB apart."""


def generation_config(tokenizer: WhisperTokenizer, decoder_layers: int) -> GenerationConfig:
    """English only; nothing suppressed, so that a window without speech may end at once.

    ``alignment_heads`` names every head of the last layer: the ones word timestamps are read from.
    """
    start, no_timestamps = tokenizer.convert_tokens_to_ids(["<|startoftranscript|>", "<|notimestamps|>"])
    end = tokenizer.eos_token_id
    return GenerationConfig(
        decoder_start_token_id=start,
        bos_token_id=end,
        eos_token_id=end,
        pad_token_id=end,
        no_timestamps_token_id=no_timestamps,
        prev_sot_token_id=tokenizer.convert_tokens_to_ids("<|startofprev|>"),
        is_multilingual=False,
        max_length=448,
        max_initial_timestamp_index=50,
        return_timestamps=False,
        suppress_tokens=[],
        begin_suppress_tokens=[],
        alignment_heads=[[decoder_layers - 1, head] for head in range(3)],
    )


def export(model: WhisperForConditionalGeneration, tokenizer: WhisperTokenizer, folder: Path, card: str) -> None:
    """Save a model of the offline pair in float16 with all that loads it; ``model`` itself is left as it was."""
    folder.mkdir(parents=True, exist_ok=True)
    for old in folder.glob("*.safetensors*"):
        old.unlink()
    model = copy.deepcopy(model).half()
    model.generation_config = generation_config(tokenizer, model.config.decoder_layers)
    model.save_pretrained(folder, max_shard_size=MAX_SHARD_SIZE)
    extractor = WhisperFeatureExtractor()
    WhisperProcessor(extractor, tokenizer).save_pretrained(folder)
    extractor.save_pretrained(folder)  # the processor alone writes no preprocessor_config.json, which CTranslate2 wants
    tokenizer.save_pretrained(folder)
    (folder / "README.md").write_text(card)


def export_pair(teacher: Path, student: Path | None, output: Path, *, report: Path | None = None) -> None:
    """Write ``output/teacher`` and, once it is distilled, ``output/student``.

    ``teacher`` is the folder of the step of that name, ``student`` that of ``distill``; ``report`` holds the figures
    for the cards: ``evaluate``'s results by name.
    """
    tokenizer = language_tokenizer()
    figures = json.loads(report.read_text(encoding="utf-8")) if report else {}
    export(trained_teacher(teacher, tokenizer), tokenizer, output / "teacher", card("teacher", figures))
    if student is not None:
        model = WhisperForConditionalGeneration.from_pretrained(student / "student")
        export(model, tokenizer, output / "student", card("student", figures))
