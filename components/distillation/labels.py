"""What the teacher writes of each window, greedily: the student's labels, less those that would teach it wrong."""

from __future__ import annotations

import json
import random
from dataclasses import asdict, dataclass
from typing import TYPE_CHECKING, Any

import torch
from tqdm import tqdm

from components.core.errors import SettingsError
from components.core.scoring import warning_signs, word_errors
from components.core.types import SAMPLING_RATE
from components.distillation.speech import whole_lines
from components.engines.prompt import SpecialTokens, decoding_rules

if TYPE_CHECKING:
    from collections.abc import Iterator, Sequence
    from pathlib import Path

    import numpy as np

    from components.distillation.speech import Windows

FURTHEST = 0.3
"""The highest word error rate of a label against a known text: past it the teacher misheard."""

GROUP = 8
"""Windows that are labelled together."""


@dataclass(frozen=True)
class Label:
    """``prompt`` and ``tokens`` of a window, the end token apart; ``dropped``: why it is not trained on, else empty."""

    window: int
    prompt: list[int]
    tokens: list[int]
    text: str
    dropped: str


class Labeller:
    """The teacher and its processor; writes with timestamps in ``timestamps`` of the windows, drawn by their number."""

    def __init__(self, teacher: Any, processor: Any, language: str, timestamps: float, seed: int) -> None:
        self.teacher, self.processor, self.language = teacher, processor, language
        self.timestamps, self.seed = timestamps, seed
        self.tokenizer, self.end = processor.tokenizer, teacher.config.eos_token_id
        self.special = SpecialTokens.of(decoding_rules(teacher, self.tokenizer, teacher.name_or_path))

    def label(self, windows: Windows, indexes: Sequence[int]) -> Iterator[Label]:
        """Labels of some windows, which are encoded together."""
        for timed in (False, True):
            chosen = [index for index in indexes if self._timed(index) == timed]
            if not chosen:
                continue
            for index, tokens in zip(chosen, self.write(windows, chosen, timed=timed), strict=True):
                text = self.tokenizer.decode([token for token in tokens if token < self.end])
                dropped = self.fault(tokens, text, windows.listed[index].text)
                yield Label(index, self.prompt(timed=timed), tokens, text.strip(), dropped)

    @torch.inference_mode()
    def write(self, windows: Windows, indexes: Sequence[int], *, timed: bool) -> list[list[int]]:
        """What the model writes of some windows: tokens without prompt and end."""
        model = self.teacher
        features = extract([windows.samples(index) for index in indexes], self.processor, model)
        prompt = self.prompt(timed=timed)
        known = {"language": self.language, "task": "transcribe"} if model.generation_config.is_multilingual else {}
        rows = model.generate(
            features,
            return_timestamps=timed,
            do_sample=False,
            num_beams=1,
            max_length=model.config.max_target_positions,
            force_unique_generate_call=True,  # else it goes through the windows that timestamps tell of
            **known,
        )
        written = [row[len(prompt) :] for row in rows.tolist()]
        return [row[: row.index(self.end)] if self.end in row else row for row in written]

    def prompt(self, *, timed: bool) -> list[int]:
        """See ``SpecialTokens.prompt``.

        Raises:
            SettingsError: the model does not know the language.
        """
        if self.language not in (self.special.languages or {"en"}):
            raise SettingsError(f"The teacher does not know the language {self.language}. Choose another --language.")
        return self.special.prompt(self.language, timestamps=timed)

    def fault(self, tokens: Sequence[int], text: str, known: str | None = None) -> str:
        """``empty``, ``loop`` or ``far``: a model wrote nothing, did not stop, or misheard what is ``known``."""
        if not text.strip():
            return "empty"
        ended = len(tokens) + 4 < self.teacher.config.max_target_positions
        if warning_signs(text, len(tokens), ended=ended):
            return "loop"
        rate = word_errors(known, text, self.language)[2].wer if known else None
        return "far" if rate is not None and rate > FURTHEST else ""

    def _timed(self, index: int) -> bool:
        return random.Random(f"timestamps-{self.seed}-{index}").random() < self.timestamps


def extract(samples: Sequence[np.ndarray], processor: Any, model: Any) -> torch.Tensor:
    """Log-mel features ``(windows, bins, frames)`` on the model's device and in its dtype."""
    found = processor.feature_extractor(list(samples), sampling_rate=SAMPLING_RATE, return_tensors="pt")
    return found.input_features.to(model.device, model.dtype)


def read_labels(output: Path) -> dict[int, Label]:
    """The labels in a folder by window, of however many processes; a line that was cut off is left out."""
    labels = {row.window: row for path in sorted(output.glob("labels-*.jsonl")) for row in whole_lines(path, Label)}
    return dict(sorted(labels.items()))


def label_windows(labeller: Labeller, windows: Windows, output: Path, share: tuple[int, int]) -> None:
    """Label every ``share[1]``-th group of windows from ``share[0]`` on.

    Groups are the same whatever was done before: a window's label never depends on where a run was interrupted.
    """
    known = read_labels(output)
    groups = [range(start, min(start + GROUP, len(windows.listed))) for start in range(0, len(windows.listed), GROUP)]
    missing = [group for group in groups[share[0] :: share[1]] if not known.keys() >= set(group)]
    with (output / f"labels-{share[0]}.jsonl").open("a") as file:
        file.write("\n" if file.tell() else "")  # so that a line cut off stands alone
        for group in tqdm(missing, "Labelling", disable=share[0] > 0):
            for label in labeller.label(windows, group):
                file.write(json.dumps(asdict(label)) + "\n")
            file.flush()
