"""Whisper's special tokens: what stands before a transcript, which tokens are times, how long a frame is."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any

from components.core.catalog import checkpoint_name
from components.core.errors import CheckpointError
from components.core.fitting import MULTILINGUAL_VOCABULARY
from components.core.types import WINDOW_S

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence

FRAME_S = 0.01
"""Seconds of a feature frame: 160 samples at 16 kHz."""

TIMESTAMP_S = 0.02
"""Seconds between two timestamp tokens."""

TIMESTAMPS = round(WINDOW_S / TIMESTAMP_S) + 1
"""Timestamp tokens, ``<|0.00|>`` to ``<|30.00|>``."""

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


TOKENS = {
    "decoder_start_token_id": "<|startoftranscript|>",
    "eos_token_id": "<|endoftext|>",
    "no_timestamps_token_id": "<|notimestamps|>",
}
"""Special tokens that every checkpoint needs, by the names of their ids in its generation config."""


def decoding_rules(model: Any, tokenizer: Any, checkpoint: str) -> dict[str, Any]:
    """What a loaded checkpoint says of its vocabulary: ``GENERATION_FIELDS``, with gaps filled where that is safe.

    Raises:
        CheckpointError: it is multilingual and lists no languages, or names other special tokens than the tokenizer.
    """
    theirs = model.generation_config
    rules = {name: getattr(theirs, name, None) for name in GENERATION_FIELDS}
    for name, token in TOKENS.items():
        theirs_id, known = rules[name], tokenizer.convert_tokens_to_ids(token)
        if theirs_id not in (None, known, [known]):
            raise CheckpointError(
                f"The generation_config.json of {checkpoint_name(checkpoint)} is another model's: its {name} is "
                f"{theirs_id}, and {token} is {known} in the tokenizer. Copy the one of the Whisper checkpoint that it "
                "was made from."
            )
        rules[name] = known
    if rules["is_multilingual"] is None:
        rules["is_multilingual"] = model.config.vocab_size >= MULTILINGUAL_VOCABULARY
    if not rules["is_multilingual"]:
        rules["lang_to_id"] = rules["task_to_id"] = None  # Transformers would detect a language and prompt with it
    elif not rules["lang_to_id"] or not rules["task_to_id"]:
        raise CheckpointError(
            f"The generation_config.json of {checkpoint_name(checkpoint)} is missing or outdated: it "
            "lists no languages. Copy the one of the Whisper checkpoint that it was made from."
        )
    return rules


@dataclass(frozen=True)
class SpecialTokens:
    """The special tokens of one checkpoint, as ids.

    ``languages``: code -> token, empty for an English-only checkpoint; ``transcribe``: the task's token, where there
    are languages.
    """

    start: int
    end: int
    no_timestamps: int
    languages: Mapping[str, int] = field(default_factory=dict)
    transcribe: int | None = None

    @classmethod
    def of(cls, rules: Mapping[str, Any]) -> SpecialTokens:
        """From ``decoding_rules``."""
        languages, tasks = rules["lang_to_id"] or {}, rules["task_to_id"] or {}
        return cls(
            start=rules["decoder_start_token_id"],
            end=rules["eos_token_id"],
            no_timestamps=rules["no_timestamps_token_id"],
            languages={name.strip("<|>"): token for name, token in languages.items()},
            transcribe=tasks.get("transcribe"),
        )

    @property
    def first_timestamp(self) -> int:
        return self.no_timestamps + 1

    @property
    def last_timestamp(self) -> int:
        """Ids after it, which some fine-tuned checkpoints have, are words."""
        return self.no_timestamps + TIMESTAMPS

    def is_timestamp(self, token: int) -> bool:
        return self.first_timestamp <= token <= self.last_timestamp

    def has_words_after(self, tokenizer: Any) -> bool:
        """Whether there are words after the timestamps, where Transformers and CTranslate2 take them for times."""
        return len(tokenizer) > self.last_timestamp + 1

    def seconds(self, token: int) -> float:
        """The time that a timestamp token stands for, from the start of its window."""
        return (token - self.first_timestamp) * TIMESTAMP_S

    def words(self, tokens: Sequence[int]) -> list[int]:
        """The tokens without the timestamps among them."""
        return [token for token in tokens if not self.is_timestamp(token)]

    def prompt(self, language: str | None, *, timestamps: bool) -> list[int]:
        """Tokens before the transcript: its start, language and task where there are several, whether with times."""
        prompt = [self.start]
        if self.transcribe is not None and language is not None:
            prompt += [self.languages[language], self.transcribe]
        if not timestamps:
            prompt.append(self.no_timestamps)
        return prompt
