"""Distil a student from a Whisper teacher, as Distil-Whisper was (Gandhi et al. 2023, arXiv:2311.00430).

- "Shrink and fine-tune": the encoder is copied whole and frozen; the decoder keeps layers picked evenly from the
  teacher's, first and last for two.
- "Pseudo labelling": the student learns what the teacher writes, not what was said.
- "Kullback-Leibler divergence": and the teacher's distribution over each token. The loss is
  ``alpha_kl * KL + alpha_pl * cross-entropy`` with the paper's 0.8 and 1.0.
- "Pseudo-label selection: WER threshold": labels too far from the reference are left out; 10 % as in the paper.

Beyond the paper, teacher and student hear each window with SpecAugment's masks and another channel, some by another
vocal tract, while the label is that of the window as it is.

The teacher may be any Whisper: a folder or a hub id.
"""

from __future__ import annotations

import copy
import hashlib
import json
import random
from dataclasses import dataclass
from typing import TYPE_CHECKING

import torch
from torch import nn
from torch.nn.functional import cross_entropy, kl_div, log_softmax, softmax
from torch.nn.utils.rnn import pad_sequence

from components.distillation.labels import draw_window, features_of, pseudo_label
from components.distillation.teacher import decode, encode, keep_layers
from components.distillation.training import Stage, attend_fast, run_stage, stays_with, training_device
from components.distillation.windows import IGNORED, augment

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence
    from pathlib import Path

    from transformers import WhisperForConditionalGeneration, WhisperProcessor

    from components.distillation.windows import Utterance

ALPHA_KL = 0.8
ALPHA_PL = 1.0
WER_THRESHOLD = 0.10
STUDENT_LAYERS = 2
REMEMBERED_BYTES = 6 * 2**30

STAGE = Stage(
    "distil",
    1200,
    size=16,
    most=0,
    layers=STUDENT_LAYERS,
    ctc=0.0,
    ce=ALPHA_PL,
    learning_rate=5e-4,
    decay=1000,
    warped=0.5,
)


def fingerprint(model: nn.Module) -> str:
    """A digest of the start of every tensor, which another training would have changed."""
    digest = hashlib.sha256()
    for name, tensor in model.state_dict().items():
        digest.update(name.encode() + tensor.flatten()[:64].float().cpu().numpy().tobytes())
    return digest.hexdigest()


def shrink(
    teacher: WhisperForConditionalGeneration, student_layers: int = STUDENT_LAYERS
) -> WhisperForConditionalGeneration:
    """A student that is the teacher with evenly spaced decoder layers only; its encoder and embeddings are copies.

    Raises:
        ValueError: the student would have more layers than the teacher, or fewer than two.
    """
    student = copy.deepcopy(teacher)
    keep_layers(student, student_layers)
    student.generation_config.alignment_heads = None
    return student


@dataclass(frozen=True)
class Lesson:
    """What the student needs of a labelled window, in bfloat16.

    ``hidden``: encoder states ``(frames, d_model)``; ``input_ids`` and ``labels``: int64 ``(T,)``, labels shifted
    and ``IGNORED`` on the prompt; ``aimed``: the teacher's logits ``(labelled positions, vocabulary)``.
    """

    hidden: torch.Tensor
    input_ids: torch.Tensor
    labels: torch.Tensor
    aimed: torch.Tensor

    @property
    def nbytes(self) -> int:
        return self.hidden.nbytes + self.aimed.nbytes


class Lessons:
    """Lessons by label, remembered: encoder and teacher are frozen and a window is always the same.

    What the teacher wrote of a window as it is, both hear with masks and another channel, ``warped`` of the windows by
    another vocal tract: the student is to do as its teacher does with voices that neither was trained on.

    A small teacher's fit in memory, and a step costs the student alone; past ``REMEMBERED_BYTES`` they are computed
    again each time.
    """

    def __init__(
        self,
        teacher: WhisperForConditionalGeneration,
        processor: WhisperProcessor,
        utterances: Sequence[Utterance],
        seed: int,
        warped: float = 0.0,
    ) -> None:
        self.teacher, self.processor, self.utterances, self.seed = teacher, processor, utterances, seed
        self.warped = warped
        self._remembered: dict[int, Lesson] = {}
        self._nbytes = 0

    @torch.no_grad()
    def __call__(self, row: Mapping) -> Lesson:
        """The lesson of a line of ``labels.jsonl``."""
        if row["window"] in self._remembered:
            return self._remembered[row["window"]]
        window = draw_window(self.utterances, self.seed, row["window"])
        rng = random.Random(f"lesson-{self.seed}-{row['window']}")
        heard = augment(features_of([window], self.processor, torch.float32), rng, self.warped)
        features = heard.to(self.teacher.device, self.teacher.dtype)
        tokens = torch.tensor(row["prompt"] + row["tokens"])
        labels = tokens[1:].clone()
        labels[: len(row["prompt"]) - 1] = IGNORED
        hidden = encode(self.teacher.get_encoder(), features)
        logits = decode(self.teacher, tokens[None, :-1].to(hidden.device), hidden)
        lesson = Lesson(hidden[0], tokens[:-1], labels, logits[0, len(row["prompt"]) - 1 :])
        if self._nbytes + lesson.nbytes <= REMEMBERED_BYTES:
            self._remembered[row["window"]] = lesson
            self._nbytes += lesson.nbytes
        return lesson


def distillation_losses(student: WhisperForConditionalGeneration, lessons: Sequence[Lesson]) -> dict[str, torch.Tensor]:
    """KL divergence from the teacher and cross-entropy with its labels, over the labelled positions of a batch."""
    device = student.device
    hidden = torch.stack([lesson.hidden for lesson in lessons])
    end = student.config.eos_token_id
    inputs = pad_sequence([lesson.input_ids for lesson in lessons], batch_first=True, padding_value=end).to(device)
    labels = pad_sequence([lesson.labels for lesson in lessons], batch_first=True, padding_value=IGNORED).to(device)
    written = decode(student, inputs, hidden)[labels != IGNORED].float()
    aimed = torch.cat([lesson.aimed for lesson in lessons]).float()
    kl = kl_div(log_softmax(written, -1), softmax(aimed, -1), reduction="batchmean")
    pl = cross_entropy(written, labels[labels != IGNORED])
    return {"kl": kl, "pl": pl, "loss": ALPHA_KL * kl + ALPHA_PL * pl}


def distil(
    teacher: WhisperForConditionalGeneration,
    processor: WhisperProcessor,
    utterances: Sequence[Utterance],
    output: Path,
    *,
    seed: int = 1,
    count: int = 1600,
    stage: Stage = STAGE,
    threshold: float = WER_THRESHOLD,
    language: str = "en",
) -> WhisperForConditionalGeneration:
    """Label, filter, train; every step resumes from what ``output`` holds. Returns the student in float32.

    Raises:
        ValueError: the filter leaves fewer windows than a batch.
        FileExistsError: ``output`` holds work of another teacher, corpus or settings.
    """
    output.mkdir(parents=True, exist_ok=True)
    stays_with(
        output / "settings.json",
        {
            "teacher": fingerprint(teacher),
            "utterances": [len(utterances), sum(len(utterance.samples) for utterance in utterances)],
            "seed": seed,
            "layers": stage.layers,
            "language": language,
        },
    )
    teacher.to(training_device())
    labelled = pseudo_label(
        teacher, processor, utterances, output / "labels.jsonl", seed=seed, count=count, language=language
    )
    rows = [row for row in labelled if row["wer"] <= threshold]
    kept = {"labelled": len(labelled), "kept": len(rows), "threshold": threshold, "seed": seed}
    (output / "distil.json").write_text(json.dumps(kept))
    if len(rows) < stage.size:
        raise ValueError(f"Only {len(rows)} of {len(labelled)} labels are within a WER of {threshold:.0%}: too few.")
    student = shrink(teacher, stage.layers).to(torch.bfloat16)
    student.get_encoder().requires_grad_(False)
    attend_fast(student)
    lessons = Lessons(copy.deepcopy(teacher).to(torch.bfloat16), processor, utterances, seed, stage.warped)

    def loss_of(step: int) -> dict[str, torch.Tensor]:
        chosen = random.Random(f"{seed}-distil-{step}").sample(rows, stage.size)
        return distillation_losses(student, [lessons(row) for row in chosen])

    run_stage(stage, student, loss_of, output / "distil.pt")
    student.float().get_encoder().load_state_dict(teacher.get_encoder().state_dict())  # not through bfloat16
    return student.cpu()
