"""A finished run -> a checkpoint that any Whisper library loads, with its model card; or the decoder's layers alone."""

from __future__ import annotations

import json
import re
from pathlib import Path
from typing import Any

from safetensors.torch import load_file, save_file

from components.core.errors import CheckpointError, SettingsError
from components.core.scoring import word_errors
from components.core.types import WordErrors
from components.distillation.distil import copy_all, shrink, trained
from components.distillation.labels import Labeller, read_labels
from components.distillation.speech import Windows

CARD = Path(__file__).with_name("card.md")

MOST_FAULTS = 0.02
"""The share of the windows held out that a student may leave empty or loop on."""


def load_student(teacher: Any, run: Path) -> Any:
    """The student of a finished run, grafted on its teacher."""
    student = shrink(teacher, json.loads((run / "settings.json").read_text())["layers"])
    weights = load_file(run / "layers.safetensors")
    copy_all([weights[name] for name in trained(student)], list(trained(student).values()))
    return student.eval()


def judge(student: Any, processor: Any, run: Path) -> dict[str, Any]:
    """Let the student write the windows held out; its word errors against what its teacher wrote of them.

    Raises:
        CheckpointError: it leaves windows empty, or repeats itself.
    """
    settings, result = (json.loads((run / name).read_text()) for name in ("settings.json", "result.json"))
    labels, windows = read_labels(run), Windows(run)
    labeller = Labeller(student, processor, settings["language"], 0.0, settings["seed"])
    errors, faults = WordErrors(), {"empty": 0, "loop": 0}
    for index in result["held_out"]:
        (tokens,) = labeller.write(windows, [index], timed=False)
        text = processor.tokenizer.decode(tokens, skip_special_tokens=True)
        errors += word_errors(labels[index].text, text, settings["language"])[2]
        if fault := labeller.fault(tokens, text):
            faults[fault] += 1
    count = len(result["held_out"])
    if sum(faults.values()) > MOST_FAULTS * count:
        raise CheckpointError(
            f"This student is not exported: of {count} windows that it was not trained on it left {faults['empty']} "
            f"empty and repeated itself in {faults['loop']}. Train it on more speech, or for more steps."
        )
    return {"windows": count, "wer": errors.wer, **faults}


def export(teacher: Any, processor: Any, run: Path, output: Path, *, licence: str, layers_only: bool) -> dict[str, Any]:
    """Write the student of a run to the folder ``output``; returns its figures.

    With ``layers_only``, each of the decoder's layers goes to a file of its own in float16 and everything else stays
    with the teacher. Else the folder is complete, in the teacher's dtype.

    Raises:
        CheckpointError: the student writes nothing or loops. Nothing is written then.
        SettingsError: ``output`` holds something.
    """
    if output.exists() and any(output.iterdir()):
        raise SettingsError(f"{output.name} is not empty. Choose another --output.")
    student = load_student(teacher, run)
    figures = judge(student, processor, run)
    output.mkdir(parents=True, exist_ok=True)
    settings = json.loads((run / "settings.json").read_text())
    if layers_only:
        _save_layers(student, settings["teacher"], output)
    else:
        student.save_pretrained(output)
        processor.save_pretrained(output)
        processor.feature_extractor.save_pretrained(output)  # preprocessor_config.json, which others look for
    (output / "README.md").write_text(card(settings, json.loads((run / "result.json").read_text()), figures, licence))
    return figures


def _save_layers(student: Any, teacher: str, output: Path) -> None:
    config = student.config.to_dict() | {"distilled_from": teacher}
    (output / "config.json").write_text(json.dumps(config, indent=2, default=str) + "\n")
    weights = {name: parameter.detach().half().contiguous() for name, parameter in trained(student).items()}
    last = student.config.decoder_layers - 1
    for number in range(last + 1):
        names = [name for name in weights if int((re.findall(r"layers\.(\d+)", name) or [last])[0]) == number]
        save_file({name: weights[name] for name in names}, output / f"decoder-{number}.safetensors")


def card(settings: dict, result: dict, figures: dict, licence: str) -> str:
    """The model card: ``card.md`` filled in."""
    labels = ", ".join(f"{count} {reason}" for reason, count in result["labels"].items())
    said = settings | result | figures | {"labels": labels, "licence": licence, "wer": figures["wer"] or 0.0}
    return CARD.read_text(encoding="utf-8").format(**said, sources=", ".join(settings["speech"]))


def push(folder: Path, repository: str, token: str | None, *, private: bool) -> str:
    """Upload a folder to a model repository of the hub, made where it is missing; returns its address."""
    from huggingface_hub import HfApi

    api = HfApi(token=token)
    api.create_repo(repository, private=private, exist_ok=True)
    return api.upload_folder(repo_id=repository, folder_path=folder).commit_url
