"""The training loop that teacher and student share: bfloat16 weights with a float32 master copy, resumable state.

Pure bfloat16 with master weights (Micikevicius et al. 2018, section 3.1, with bfloat16 for their float16) trained
five times faster than autocast on a CPU, which spends its time converting.
"""

from __future__ import annotations

import json
import math
from dataclasses import asdict, dataclass
from typing import TYPE_CHECKING

import torch
from tqdm import tqdm

if TYPE_CHECKING:
    from collections.abc import Callable
    from pathlib import Path

    from torch import nn
    from transformers import PreTrainedModel

LOG_EVERY = 50


def training_device() -> torch.device:
    """The accelerator where there is one, else the CPU."""
    return torch.accelerator.current_accelerator(check_available=True) or torch.device("cpu")


@dataclass(frozen=True)
class Stage:
    """One leg of a training: its length, its windows, its losses and its learning rate.

    ``size`` short windows a batch of at most ``most`` sentences each. ``full`` is the share of batches of 30 s
    windows, a quarter as many, that the stage ends with; it rises from 0. ``shifted`` is the share of short batches
    that stand at a random offset among the encoder's positions, and with ``continued`` at about the decoder's
    positions that belong to it; ``timed`` asks for timestamps in half of the windows, and ``fresh_times`` starts their
    embeddings anew; they weigh ``times`` as much as words. ``warped`` is the share of windows with a stretched
    frequency axis. ``layers`` decoder layers, 0 for none; ``frozen_encoder`` leaves the encoder as it is. The loss is
    ``ctc`` times the CTC loss plus ``ce`` times the decoder's cross-entropy plus ``guided`` times the loss of
    attention that strays from where a token is heard: by its share of its sentence, or with ``aligned`` by the letters
    that the CTC head of the stages before hears. With ``encoded``, all batches are of ``size`` 30 s windows,
    out of so many that are drawn and encoded once, evenly up to ``most`` sentences unless that is 0; the encoder must
    be frozen. The learning rate rises over ``warmup`` steps, stays, and falls to ``final`` times its height along a
    cosine over the last ``decay`` steps.
    """

    name: str
    steps: int
    size: int
    most: int
    layers: int
    ctc: float
    ce: float
    learning_rate: float
    warmup: int = 100
    decay: int = 0
    final: float = 0.02
    full: float = 0.0
    shifted: float = 0.0
    timed: bool = False
    fresh_times: bool = False
    times: float = 1.0
    warped: float = 0.0
    guided: float = 0.0
    continued: bool = False
    frozen_encoder: bool = False
    aligned: bool = False
    encoded: int = 0

    def rate(self, step: int) -> float:
        """The learning rate of a step, counted from 0."""
        rising = min(1.0, (step + 1) / self.warmup)
        into = max(0.0, step - (self.steps - self.decay)) / self.decay if self.decay else 0.0
        falling = self.final + (1 - self.final) * 0.5 * (1 + math.cos(math.pi * into))
        return self.learning_rate * rising * falling


class MasterAdamW:
    """AdamW on a float32 copy of weights that compute in another dtype."""

    def __init__(self, module: nn.Module, *, weight_decay: float = 0.01) -> None:
        self.working: list[torch.Tensor] = [p for p in module.parameters() if p.requires_grad]
        self.master: list[torch.Tensor] = [p.detach().float().clone().requires_grad_() for p in self.working]
        groups = [
            {"params": [m for m in self.master if m.dim() > 1], "weight_decay": weight_decay},
            {"params": [m for m in self.master if m.dim() <= 1], "weight_decay": 0.0},
        ]
        self.adam = torch.optim.AdamW(groups, betas=(0.9, 0.98), eps=1e-8, fused=True)

    def step(self, learning_rate: float, clip: float = 1.0) -> float:
        """Apply the gradients that the working weights hold, clipped to a norm, and clear them; return the norm."""
        for master, working in zip(self.master, self.working, strict=True):
            master.grad = None if working.grad is None else working.grad.float()
            working.grad = None
        norm = torch.nn.utils.clip_grad_norm_(self.master, clip)
        for group in self.adam.param_groups:
            group["lr"] = learning_rate
        self.adam.step()
        self.copy_back()
        return float(norm)

    @torch.no_grad()
    def copy_back(self) -> None:
        torch._foreach_copy_(self.working, self.master)

    def state_dict(self) -> dict[str, object]:
        return {"master": self.master, "adam": self.adam.state_dict()}

    def load_state_dict(self, state: dict) -> None:
        with torch.no_grad():
            torch._foreach_copy_(self.master, state["master"])
        self.adam.load_state_dict(state["adam"])
        self.copy_back()


def attend_fast(model: PreTrainedModel) -> None:
    """Choose the attention that trains fastest where the model is: on a CPU eager, by a quarter over sdpa."""
    if model.device.type == "cpu":
        model.set_attn_implementation("eager")


def stays_with(path: Path, settings: dict[str, object]) -> None:
    """Write down what an output folder was made with, or check that it is the same.

    Raises:
        FileExistsError: the folder holds the work of other settings.
    """
    if path.exists() and json.loads(path.read_text()) != settings:
        raise FileExistsError(f"{path.parent} holds the work of other settings or inputs. Choose another --output.")
    path.write_text(json.dumps(settings))


def steps_done(state_path: Path) -> int:
    """How far a stage has come."""
    return torch.load(state_path, mmap=True, weights_only=True)["step"] if state_path.exists() else 0


def run_stage(
    stage: Stage,
    module: nn.Module,
    loss_of: Callable[[int], dict[str, torch.Tensor]],
    state_path: Path,
    *,
    save_every: int = 200,
) -> None:
    """Train a module for a stage, from where ``state_path`` left it.

    ``loss_of(step)`` gives the losses by name, ``"loss"`` the one to descend. State (master weights, moments,
    step) is written every ``save_every`` steps and at the end, under another name first, so that a kill at any moment
    leaves a whole file; the log beside it has a JSON line every 50 steps.
    """
    optimizer = MasterAdamW(module)
    done = 0
    if state_path.exists():
        state = torch.load(state_path, map_location="cpu", weights_only=True)
        optimizer.load_state_dict(state["optimizer"])
        done = state["step"]
    module.train()
    with (
        state_path.with_suffix(".log.jsonl").open("a") as log,
        tqdm(total=stage.steps, initial=done, desc=stage.name, unit="step", mininterval=5) as bar,
    ):
        if not done:
            log.write(json.dumps({"stage": asdict(stage)}) + "\n")
        for step in range(done, stage.steps):
            losses = loss_of(step)
            losses["loss"].backward()
            norm = optimizer.step(stage.rate(step))
            bar.update()
            if (step + 1) % LOG_EVERY == 0 or step + 1 == stage.steps:
                shown = {name: round(value.item(), 4) for name, value in losses.items()} | {"norm": round(norm, 3)}
                bar.set_postfix(shown)
                log.write(json.dumps({"step": step + 1, **shown}) + "\n")
                log.flush()
            if (step + 1) % save_every == 0 or step + 1 == stage.steps:
                partial = state_path.with_suffix(".part")
                torch.save({"step": step + 1, "optimizer": optimizer.state_dict()}, partial)
                partial.replace(state_path)
