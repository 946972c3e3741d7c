"""The command line: ``python -m components.distillation distil|export``. README.md beside this file has the recipe."""

from __future__ import annotations

import argparse
import os
import sys
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING, Any

from components.core.errors import WhisperSpaceError
from components.core.wording import duration

if TYPE_CHECKING:
    from collections.abc import Sequence


def load(checkpoint: str, dtype: str) -> tuple[Any, Any]:
    """A Whisper by folder or hub id, ``@revision`` allowed, and its processor."""
    import torch
    from transformers import logging

    from components.core.catalog import split_checkpoint
    from components.core.types import LaneSpec
    from components.engines.checkpoints import load_config, load_model, load_processor
    from components.engines.hub import fetch

    logging.set_verbosity_error()  # it wonders at settings that are meant
    name, revision = split_checkpoint(checkpoint)
    lane, token = LaneSpec("whisper", "teacher", "transformers", name, revision), os.environ.get("HF_TOKEN")
    fetch(name, revision, token)
    load_config(lane, token)
    model = load_model(lane, dtype=getattr(torch, dtype), attention="sdpa", token=token)
    return model, load_processor(lane, token)


def distil(args: argparse.Namespace) -> None:
    from accelerate import Accelerator

    from components.distillation.distil import Distillation, Settings, keep_settings
    from components.distillation.speech import installed, open_source
    from components.runs.shard import current_process

    chosen = {name: value for name, value in vars(args).items() if name in Settings.__dataclass_fields__}
    settings = Settings(**chosen | {"speech": tuple(args.speech)})
    current_process(os.environ)  # a process waits for the others as long as it takes
    accelerator = Accelerator(cpu=args.cpu)
    say = partial(accelerator.print, flush=True)
    voices = args.synthesizers or installed()
    sources = [open_source(named, voices, args.audio_column, args.text_column) for named in args.speech]
    args.output.mkdir(parents=True, exist_ok=True)
    if accelerator.is_main_process:
        keep_settings(settings, args.output)
    run = Distillation(settings, *load(settings.teacher, settings.dtype), args.output, accelerator)
    hours = run.collect(sources, args.at_least_hours)
    say(f"Found {hours:.2f} h of speech in {len(run.windows.listed)} windows.")
    if not (args.output / "state.pt").exists():
        say(f"Labelling and training will take about {duration(run.cost_s())} on this machine.")
    say("Labels: " + ", ".join(f"{count} {reason}" for reason, count in run.label().items()) + ".")
    run.train(args.save_every)
    result = run.finish()
    say(f"Done: agrees with the teacher at {result['held_out_agreement']:.1%} of the tokens of windows held out.")


def export(args: argparse.Namespace) -> None:
    import json

    from components.distillation.export import export as write
    from components.distillation.export import push

    if not (args.run_folder / "result.json").exists():
        raise WhisperSpaceError(
            f"{args.run_folder.name} holds no finished run. Name the --output of a `distil` that ended."
        )
    settings = json.loads((args.run_folder / "settings.json").read_text())
    model, processor = load(settings["teacher"], args.dtype)
    options = {"licence": args.licence, "layers_only": args.layers_only}
    print(json.dumps(write(model, processor, args.run_folder, args.output, **options)))
    if args.push_to:
        print(push(args.output, args.push_to, os.environ.get("HF_TOKEN"), private=args.private))


def parser() -> argparse.ArgumentParser:
    """The arguments of both steps; building it imports nothing heavy."""
    main = argparse.ArgumentParser(prog="python -m components.distillation", description=__doc__)
    commands = main.add_subparsers(required=True, metavar="distil|export")

    command = commands.add_parser("distil", help="train a student; the same command goes on with a run that stopped")
    add = command.add_argument
    add("--teacher", required=True, help="a Whisper: a folder or a hub id")
    add("--speech", nargs="+", required=True, metavar="SOURCE", help="manifest, folder, text file or ID[,CONFIG],SPLIT")
    add("--output", type=Path, required=True, help="everything the run writes")
    add("--layers", type=int, default=2, help="decoder layers of the student")
    add("--steps", type=int, default=2000)
    add("--batch-size", type=int, default=32, help="windows a step, over all processes")
    add("--at-once", type=int, default=8, help="windows in one pass: lower it where memory is short")
    add("--learning-rate", type=float, default=5e-4)
    add("--warm-up", type=int, default=50, help="steps until the learning rate is reached")
    add("--language", default="en", help="of all of the speech")
    add("--timestamps", type=float, default=0.33, help="share of the windows that are labelled with timestamps")
    add(
        "--people-share", type=float, default=0.5, help="share of recorded speech in a step, where texts are spoken too"
    )
    add("--copies", type=int, default=0, help="degraded copies of a window whose encoder states are kept on disk")
    add("--dtype", choices=("float32", "bfloat16"), default="float32", help="of the computing; weights stay float32")
    add("--seed", type=int, default=1)
    add("--synthesizers", nargs="+", default=[], help="for text files; those that are installed, where none is named")
    add("--audio-column", default="audio")
    add("--text-column", default="", help="a data set's known texts, against which labels are checked")
    add("--at-least-hours", type=float, default=1.0, help="less speech than this is refused")
    add("--save-every", type=float, default=120.0, metavar="SECONDS", help="what a kill loses at most")
    add("--cpu", action="store_true", help="even where there is a GPU")
    command.set_defaults(run=distil)

    command = commands.add_parser("export", help="write the checkpoint of a finished run, with its model card")
    add = command.add_argument
    add("run_folder", type=Path, metavar="RUN", help="the --output of distil")
    add("--output", type=Path, required=True)
    add("--licence", required=True, help="of the student, as the hub names it: what its sources allow")
    add("--layers-only", action="store_true", help="the decoder's layers in float16, to be grafted on the teacher")
    add("--dtype", choices=("float16", "float32"), default="float16")
    add("--push-to", metavar="ID", help="a model repository of the hub")
    add("--private", action="store_true")
    command.set_defaults(run=export)
    return main


def main(argv: Sequence[str] | None = None) -> int:
    """Run one step; a mistake is a sentence on standard error and exit status 2, an interruption 130."""
    args = parser().parse_args(argv)
    try:
        args.run(args)
    except WhisperSpaceError as error:
        print(error.message, file=sys.stderr)
        return 2
    except KeyboardInterrupt:
        print("Stopped. The same command goes on from what is saved.", file=sys.stderr)
        return 130
    return 0


if __name__ == "__main__":
    sys.exit(main())
