"""Distil a student from any Whisper, as Distil-Whisper was made (Gandhi et al. 2023, arXiv 2311.00430).

The encoder and the embeddings are the teacher's, frozen. The decoder keeps a few of the teacher's layers, which learn
what the teacher wrote (cross-entropy with its greedy labels) and how sure it was (Kullback-Leibler divergence from its
distribution). Every step depends on the settings, the windows and the state before it alone, so that a run that was
killed goes on as if it had not been.
"""

from __future__ import annotations

import copy
import json
import math
import time
from collections import Counter
from dataclasses import asdict, dataclass
from typing import TYPE_CHECKING, Any

import numpy as np
import torch
from safetensors.torch import load_file, save_file
from torch.nn.functional import cross_entropy, kl_div, log_softmax
from torch.nn.utils import clip_grad_norm_
from torch.nn.utils.rnn import pad_sequence
from tqdm import tqdm

from components.core.errors import ManifestError, SettingsError
from components.distillation.degrade import degrade
from components.distillation.labels import Labeller, extract, label_windows, read_labels
from components.distillation.speech import Windows

if TYPE_CHECKING:
    from collections.abc import Sequence
    from pathlib import Path

    from components.distillation.labels import Label
    from components.distillation.speech import Speech

    Heard = tuple[torch.Tensor, torch.Tensor]

CE_WEIGHT, KL_WEIGHT, TEMPERATURE = 0.8, 1.0, 2.0
"""The loss is ``CE_WEIGHT * CE + KL_WEIGHT * KL * TEMPERATURE**2``, as in Distil-Whisper's code."""

HELD_OUT_SHARE, HELD_OUT_MOST = 0.02, 64
"""Windows that are kept for judging: never trained on."""

AVERAGE_DECAY = 0.99
"""The student is an exponential moving average of the weights over about a hundred steps."""


@dataclass(frozen=True)
class Settings:
    """What a run depends on; it goes on in the same folder with the same settings alone."""

    teacher: str
    speech: tuple[str, ...]
    layers: int = 2
    steps: int = 2000
    batch_size: int = 32
    at_once: int = 8
    learning_rate: float = 5e-4
    warm_up: int = 50
    language: str = "en"
    timestamps: float = 0.33
    people_share: float = 0.5
    copies: int = 0
    dtype: str = "float32"
    seed: int = 1


def shrink(teacher: Any, layers: int) -> Any:
    """The teacher with evenly spaced decoder layers, first and last among them; it shares encoder and embeddings.

    Raises:
        SettingsError: the teacher has fewer, or fewer than two are wanted.
    """
    decoder, of = teacher.model.decoder, len(teacher.model.decoder.layers)
    if not 2 <= layers <= of:
        raise SettingsError(f"--layers is {layers}; the teacher has {of} decoder layers. Choose 2 to {of}.")
    memo = {id(parameter): parameter for parameter in teacher.parameters()}
    memo |= {id(own): copy.deepcopy(own) for own in (decoder.layers, decoder.layer_norm)}
    student = copy.deepcopy(teacher, memo)
    kept = [student.model.decoder.layers[round(number * (of - 1) / (layers - 1))] for number in range(layers)]
    student.model.decoder.layers = torch.nn.ModuleList(kept)
    for number, layer in enumerate(kept):
        layer.self_attn.layer_idx = layer.encoder_attn.layer_idx = number
    student.config.decoder_layers = layers
    student.generation_config.alignment_heads = None  # of layers that are gone
    return student.requires_grad_(False)


def trained(student: Any) -> dict[str, torch.nn.Parameter]:
    """The parameters that are trained, by their names in the checkpoint: decoder layers and last layer norm."""
    names = ("model.decoder.layers.", "model.decoder.layer_norm.")
    return {name: parameter for name, parameter in student.named_parameters() if name.startswith(names)}


class Distillation:
    """A run in a folder: windows, labels, the state to go on from and at last the student's layers."""

    def __init__(self, settings: Settings, teacher: Any, processor: Any, output: Path, accelerator: Any) -> None:
        self.settings, self.processor, self.output, self.accelerator = settings, processor, output, accelerator
        self.share = accelerator.process_index, accelerator.num_processes
        self.teacher = teacher.to(accelerator.device).eval().requires_grad_(False)
        self.student = shrink(self.teacher, settings.layers)
        self.trained = trained(self.student)
        for parameter in self.trained.values():
            parameter.requires_grad_(True)
        self.labeller = Labeller(teacher, processor, settings.language, settings.timestamps, settings.seed)
        self.windows = Windows(output)
        self.labels: dict[int, Label] = {}

    def collect(self, sources: Sequence[Speech], at_least_hours: float) -> float:
        """Write the windows of all sources; returns the hours of speech in them.

        Raises:
            ManifestError: there is less than ``at_least_hours``: a student of too little speech writes nothing.
        """
        if self.accelerator.is_main_process:
            for _ in tqdm(self.windows.collect(sources, self.settings.seed), "Reading", unit=" windows"):
                pass
        self.accelerator.wait_for_everyone()
        self.windows = Windows(self.output)
        if (hours := self.windows.hours()) < at_least_hours:
            raise ManifestError(
                f"There is only {hours:.2f} h of speech; at least {at_least_hours:g} h is needed. Under an hour, a "
                "student of two layers learns to write nothing. Add sources to --speech."
            )
        return hours

    def label(self) -> dict[str, int]:
        """Label every window, each process its share; returns how many labels were kept, and dropped by reason.

        Raises:
            ManifestError: too few are left to train on and to judge by.
        """
        label_windows(self.labeller, self.windows, self.output, self.share)
        self.accelerator.wait_for_everyone()
        self.labels = read_labels(self.output)
        counts = dict(Counter(label.dropped or "kept" for label in self.labels.values()))
        if counts.get("kept", 0) < 2:
            raise ManifestError(f"Too few of {len(self.labels)} labels can be trained on: {counts}. Check --language.")
        return counts

    def held_out(self) -> list[int]:
        """Windows to judge by, spread over all of them."""
        kept = [index for index, label in self.labels.items() if not label.dropped]
        count = min(max(round(len(kept) * HELD_OUT_SHARE), 1), HELD_OUT_MOST)
        return kept[:: len(kept) // count][:count]

    def batch(self, step: int) -> list[tuple[int, int]]:
        """The windows of a step and which degraded copy of each: every window once before any comes again."""
        held, settings = set(self.held_out()), self.settings
        kept = [index for index, label in self.labels.items() if not label.dropped and index not in held]
        people = [index for index in kept if not self.windows.listed[index].spoken]
        spoken = [index for index in kept if self.windows.listed[index].spoken]
        size = settings.batch_size
        of_people = size if not spoken else 0 if not people else round(size * settings.people_share)
        return self._drawn(people, step, of_people) + self._drawn(spoken, step, size - of_people)

    def _drawn(self, indexes: list[int], step: int, size: int) -> list[tuple[int, int]]:
        drawn = []
        for position in range(step * size, (step + 1) * size):
            epoch, offset = divmod(position, len(indexes))
            order = np.random.default_rng([self.settings.seed, epoch]).permutation(len(indexes))
            drawn.append((indexes[order[offset]], epoch % self.settings.copies if self.settings.copies else epoch))
        return drawn

    @torch.no_grad()
    def heard(self, drawn: Sequence[tuple[int, int]]) -> Heard:
        """What encoder and teacher make of degraded copies of some windows, in the run's dtype.

        Returns:
            The encoder's states ``(windows, frames, width)``, and the teacher's last hidden states ``(labelled
            positions of all, width)``: the student's projection, which is the teacher's, makes its logits of them.
        """
        if not self.settings.copies:
            return self._hear(drawn)
        stored = [self._stored(each) for each in drawn]
        return torch.cat([states for states, _ in stored]), torch.cat([hidden for _, hidden in stored])

    def _stored(self, drawn: tuple[int, int]) -> Heard:
        path = self.output / "states" / f"{drawn[0]:06}-{drawn[1]}.safetensors"
        if path.exists():
            stored = load_file(path, device=str(self.accelerator.device))
            return stored["states"], stored["hidden"]
        states, hidden = self._hear([drawn])
        path.parent.mkdir(exist_ok=True)
        partial = path.with_suffix(f".{self.accelerator.process_index}")
        save_file({"states": states.cpu().contiguous(), "hidden": hidden.cpu().contiguous()}, partial)
        partial.replace(path)
        return states, hidden

    def _hear(self, drawn: Sequence[tuple[int, int]]) -> Heard:
        seeds = [[self.settings.seed, index, number] for index, number in drawn]
        heard = [degrade(self.windows.samples(seed[1]), np.random.default_rng(seed)) for seed in seeds]
        states = self.teacher.model.encoder(extract(heard, self.processor, self.teacher)).last_hidden_state
        inputs, places, _ = self._tokens([index for index, _ in drawn])
        hidden = self.teacher.model.decoder(input_ids=inputs, encoder_hidden_states=states, use_cache=False)
        return states, hidden.last_hidden_state.flatten(0, 1)[places]

    def _tokens(self, indexes: Sequence[int]) -> tuple[torch.Tensor, torch.Tensor, torch.Tensor]:
        """The decoder's input ``(windows, length)``, padded; which of its positions are labelled, and with what."""
        labels, end, device = [self.labels[index] for index in indexes], self.labeller.end, self.accelerator.device
        read = [torch.tensor(label.prompt + label.tokens, device=device) for label in labels]
        due = [torch.tensor([-1] * (len(label.prompt) - 1) + label.tokens + [end], device=device) for label in labels]
        inputs = pad_sequence(read, batch_first=True, padding_value=end)
        targets = pad_sequence(due, batch_first=True, padding_value=-1).flatten()
        places = (targets >= 0).nonzero()[:, 0]
        return inputs, places, targets[places]

    def losses(self, drawn: Sequence[tuple[int, int]], heard: Heard | None = None) -> tuple[torch.Tensor, int]:
        """The loss summed over the labelled positions of windows, and at how many the student agrees with the label."""
        states, hidden = heard or self.heard(drawn)
        inputs, places, targets = self._tokens([index for index, _ in drawn])
        decoder, project = self.student.model.decoder, self.student.proj_out
        own = decoder(input_ids=inputs, encoder_hidden_states=states, use_cache=False).last_hidden_state
        written = project(own.flatten(0, 1)[places]).float()
        with torch.no_grad():
            aim = log_softmax(project(hidden).float() / TEMPERATURE, -1)
        divergence = kl_div(log_softmax(written / TEMPERATURE, -1), aim, log_target=True, reduction="sum")
        loss = CE_WEIGHT * cross_entropy(written, targets, reduction="sum") + KL_WEIGHT * divergence * TEMPERATURE**2
        return loss, int((written.argmax(-1) == targets).sum())

    def train(self, save_every_s: float) -> None:
        """From the last saved state to the last step; every process computes the same weights."""
        settings, (index, count) = self.settings, self.share
        state, saved = State(self.trained, settings, self.output), time.monotonic()
        steps = range(state.step, settings.steps)
        bar = tqdm(steps, "Training", initial=state.step, total=settings.steps, disable=index > 0)
        for step in bar:
            batch = self.batch(step)
            positions = sum(len(self.labels[index].tokens) + 1 for index, _ in batch)
            total = torch.zeros(2, device=self.accelerator.device)
            mine = batch[index::count]
            for start in range(0, len(mine), settings.at_once):
                loss, right = self.losses(mine[start : start + settings.at_once])
                (loss / positions).backward()
                total += torch.stack([loss.detach(), loss.new_tensor(right)])
            self._reduce_gradients()
            state.update()
            loss, right = (self.accelerator.reduce(total, "sum") / positions).tolist()
            bar.set_postfix_str(f"loss {loss:.3f}, agrees with the teacher at {right:.1%} of the tokens", refresh=False)
            if index == 0 and (time.monotonic() - saved > save_every_s or state.step == settings.steps):
                state.save()
                saved = time.monotonic()
        self.accelerator.wait_for_everyone()
        copy_all(state.averaged, list(self.trained.values()))

    def _reduce_gradients(self) -> None:
        """Sum over the processes; one that had no window of this step has no gradient."""
        parameters = list(self.trained.values())
        own = [torch.zeros_like(each) if each.grad is None else each.grad for each in parameters]
        flat = self.accelerator.reduce(torch.cat([each.flatten().float() for each in own]), "sum")
        for parameter, part in zip(parameters, flat.split([each.numel() for each in own]), strict=True):
            parameter.grad = part.view_as(parameter).to(parameter.dtype)

    def finish(self) -> dict[str, Any]:
        """Judge the student on the windows held out, and write ``layers.safetensors`` and ``result.json``."""
        with torch.no_grad():
            right = sum(self.losses([(index, 0)])[1] for index in self.held_out())
        agreement = right / sum(len(self.labels[index].tokens) + 1 for index in self.held_out())
        result = {
            "hours": round(self.windows.hours(), 2),
            "hours_of_synthesizers": round(self.windows.hours(spoken=True), 2),
            "labels": Counter(label.dropped or "kept" for label in self.labels.values()),
            "held_out": self.held_out(),
            "held_out_agreement": round(agreement, 4),
        }
        if self.accelerator.is_main_process:
            weights = {name: parameter.detach().cpu().contiguous() for name, parameter in self.trained.items()}
            save_file(weights, self.output / "layers.partial")
            (self.output / "layers.partial").replace(self.output / "layers.safetensors")
            (self.output / "result.json").write_text(json.dumps(result, indent=1))
        self.accelerator.wait_for_everyone()
        return result

    def cost_s(self) -> float:
        """About how long labelling and training will take from here: a few windows are labelled and trained on."""
        few = list(range(min(self.settings.at_once, len(self.windows.listed))))
        times = [time.monotonic()]
        self.labels = {label.window: label for label in self.labeller.label(self.windows, few)}
        times.append(time.monotonic())
        heard = self._hear([(index, 0) for index in few])
        times.append(time.monotonic())
        self.losses([(index, 0) for index in few], heard)[0].backward()
        times.append(time.monotonic())
        for parameter in self.trained.values():
            parameter.grad = None
        every, trained_on = len(self.windows.listed), self.settings.batch_size * self.settings.steps
        heard_anew = min(trained_on, self.settings.copies * every) if self.settings.copies else trained_on
        counts = every - len(read_labels(self.output)), heard_anew, trained_on
        cost = sum(count * (times[part + 1] - times[part]) for part, count in enumerate(counts))
        return cost / len(few) / self.share[1]


class State:
    """Weights in float32, their moving average and the optimiser's state; what a run goes on from."""

    def __init__(self, parameters: dict[str, torch.nn.Parameter], settings: Settings, output: Path) -> None:
        self.parameters, self.settings, self.path = list(parameters.values()), settings, output / "state.pt"
        self.step = 0
        self.weights = [parameter.detach().float().clone() for parameter in self.parameters]
        self.averaged = [weight.clone() for weight in self.weights]
        self.optimizer = torch.optim.AdamW(self.weights, lr=settings.learning_rate, betas=(0.9, 0.98), weight_decay=0)
        if self.path.exists():
            saved = torch.load(self.path, map_location=self.parameters[0].device, weights_only=True)
            self.step = saved["step"]
            self.optimizer.load_state_dict(saved["optimizer"])
            copy_all(saved["weights"], self.weights)
            copy_all(saved["averaged"], self.averaged)
            copy_all(self.weights, self.parameters)

    def update(self) -> None:
        """One step of AdamW with the parameters' gradients: warm-up, then a cosine down to a fiftieth."""
        settings = self.settings
        for weight, parameter in zip(self.weights, self.parameters, strict=True):
            weight.grad, parameter.grad = None if parameter.grad is None else parameter.grad.float(), None
        clip_grad_norm_(self.weights, 1.0)
        left = 0.5 * (1 + math.cos(math.pi * self.step / settings.steps))
        warm = min(1.0, (self.step + 1) / max(settings.warm_up, 1))
        self.optimizer.param_groups[0]["lr"] = settings.learning_rate * warm * (0.02 + 0.98 * left)
        self.optimizer.step()
        self.step += 1
        decay = min(AVERAGE_DECAY, (1 + self.step) / (10 + self.step))
        for average, weight in zip(self.averaged, self.weights, strict=True):
            average.lerp_(weight, 1 - decay)
        copy_all(self.weights, self.parameters)

    def save(self) -> None:
        state = {"step": self.step, "weights": self.weights, "averaged": self.averaged}
        partial = self.path.with_suffix(".partial")
        torch.save(state | {"optimizer": self.optimizer.state_dict()}, partial)
        partial.replace(self.path)


@torch.no_grad()
def copy_all(values: Sequence[torch.Tensor], into: Sequence[torch.Tensor]) -> None:
    """Copy tensors into others of their shapes, whatever the dtypes."""
    for tensor, value in zip(into, values, strict=True):
        tensor.copy_(value)


def keep_settings(settings: Settings, output: Path) -> None:
    """Write the settings beside the output, or find the same there.

    Raises:
        SettingsError: the folder holds a run with others.
    """
    path = output / "settings.json"
    mine = json.loads(json.dumps(asdict(settings)))
    theirs = json.loads(path.read_text()) if path.exists() else mine
    if differing := sorted(name for name in mine if theirs.get(name) != mine[name]):
        raise SettingsError(f"{output.name} holds a run with another {', '.join(differing)}. Choose another --output.")
    if not path.exists():
        path.write_text(json.dumps(mine, indent=1))
