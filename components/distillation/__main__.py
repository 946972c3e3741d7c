"""The recipe's command line: ``python -m components.distillation corpus|examples|teacher|distill|evaluate|export``.

Every step is seeded, resumes where it stopped and writes its settings beside its output.
"""

from __future__ import annotations

import argparse
import json
import sys
from pathlib import Path

from components.core.errors import WhisperSpaceError

EXAMPLES = Path("examples/audio")
CHECKPOINTS = Path("examples/checkpoints")


def corpus(args: argparse.Namespace) -> None:
    from components.distillation.corpus import make_corpus
    from components.distillation.examples import texts

    settings = {"seed": args.seed, "count": args.count, "most": args.most}
    print(make_corpus(args.split, **settings, output=args.output, kept_out=texts()))


def examples(args: argparse.Namespace) -> None:
    from components.distillation.examples import write_examples

    print(write_examples(args.output))


def teacher(args: argparse.Namespace) -> None:
    from components.distillation.teacher import FURTHER, STAGES, train_teacher, with_steps
    from components.distillation.tokenizer import language_tokenizer

    stages = with_steps(FURTHER if args.start else STAGES, dict(args.steps))
    tokenizer = language_tokenizer()
    train_teacher(args.manifest, tokenizer, args.output, seed=args.seed, stages=stages, start=args.start)


def distill(args: argparse.Namespace) -> None:
    from dataclasses import replace

    from components.distillation.distill import STAGE, distil
    from components.distillation.teacher import load_teacher
    from components.distillation.windows import load_utterances

    model, processor = load_teacher(str(args.teacher))
    stage = replace(STAGE, layers=args.layers, steps=args.steps or STAGE.steps, size=args.batch_size)
    student = distil(
        model,
        processor,
        load_utterances(args.manifest),
        args.output,
        seed=args.seed,
        count=args.labels,
        stage=stage,
        threshold=args.wer_threshold,
        language=args.language,
    )
    student.save_pretrained(args.output / "student")
    processor.save_pretrained(args.output / "student")
    processor.feature_extractor.save_pretrained(args.output / "student")


def evaluate(args: argparse.Namespace) -> None:
    from components.distillation.evaluate import evaluate_pair

    report = evaluate_pair(args.manifest, str(args.teacher), str(args.student), args.output)
    print(json.dumps(report))


def export(args: argparse.Namespace) -> None:
    from components.distillation.export import export_pair

    export_pair(args.teacher, args.student, args.output, report=args.report)


def parser() -> argparse.ArgumentParser:
    """The arguments of every step; building it imports nothing heavy."""

    def steps(text: str) -> tuple[str, int]:
        name, _, count = text.partition("=")
        return name, int(count)

    main = argparse.ArgumentParser(prog="python -m components.distillation", description=__doc__)
    commands = main.add_subparsers(required=True, metavar="corpus|examples|teacher|distill|evaluate|export")

    command = commands.add_parser("corpus", help="speak sentences of the declared language: clips and a manifest")
    command.add_argument("--split", choices=("train", "dev", "test", "open"), required=True)
    command.add_argument("--seed", type=int, default=0)
    command.add_argument("--count", type=int, default=100, help="clips")
    command.add_argument("--most", type=int, default=1, help="sentences a clip of train or open, at most")
    command.add_argument("--output", type=Path, required=True)
    command.set_defaults(run=corpus)

    command = commands.add_parser("examples", help="rebuild the shipped clips")
    command.add_argument("--output", type=Path, default=EXAMPLES)
    command.set_defaults(run=examples)

    command = commands.add_parser("teacher", help="train the teacher on a corpus")
    command.add_argument("--manifest", type=Path, nargs="+", required=True)
    command.add_argument("--output", type=Path, required=True, help="state, logs and settings")
    command.add_argument("--seed", type=int, default=1)
    command.add_argument("--start", help="go on from this teacher of the same tokens: a folder or a hub id")
    command.add_argument("--steps", type=steps, nargs="*", default=[], metavar="STAGE=N", help="other stage lengths")
    command.set_defaults(run=teacher)

    command = commands.add_parser("distill", help="distil a student from any Whisper teacher")
    command.add_argument("--teacher", default=CHECKPOINTS / "teacher", help="a folder or a hub id")
    command.add_argument("--manifest", type=Path, nargs="+", required=True)
    command.add_argument("--output", type=Path, required=True, help="labels, state, and the student in student/")
    command.add_argument("--layers", type=int, default=2, help="decoder layers of the student")
    command.add_argument("--labels", type=int, default=1600, help="windows of 30 s that the teacher labels")
    command.add_argument("--steps", type=int, default=None)
    command.add_argument("--batch-size", type=int, default=16)
    command.add_argument("--wer-threshold", type=float, default=0.10)
    command.add_argument("--language", default="en")
    command.add_argument("--seed", type=int, default=1)
    command.set_defaults(run=distill)

    command = commands.add_parser("evaluate", help="word errors of teacher and student on a manifest")
    command.add_argument("--manifest", type=Path, required=True)
    command.add_argument("--teacher", default=CHECKPOINTS / "teacher")
    command.add_argument("--student", default=CHECKPOINTS / "student")
    command.add_argument("--output", type=Path, required=True, help="rows, as JSON lines")
    command.set_defaults(run=evaluate)

    command = commands.add_parser("export", help="write both checkpoints as the repository ships them")
    command.add_argument("--teacher", type=Path, required=True, help="the output of the step teacher")
    command.add_argument("--student", type=Path, default=None, help="the output of the step distill")
    command.add_argument("--report", type=Path, default=None, help="figures for the model cards, as JSON")
    command.add_argument("--output", type=Path, default=CHECKPOINTS)
    command.set_defaults(run=export)
    return main


def main(argv: list[str] | None = None) -> int:
    """Run one step; a mistake is a sentence on standard error and exit status 2, an interruption 130."""
    args = parser().parse_args(argv)
    try:
        args.run(args)
    except (WhisperSpaceError, FileExistsError, FileNotFoundError, ValueError, RuntimeError) as error:
        print(f"{type(error).__name__}: {error}", file=sys.stderr)
        return 2
    except KeyboardInterrupt:
        print("Stopped. The same command goes on from what is saved.", file=sys.stderr)
        return 130
    return 0


if __name__ == "__main__":
    sys.exit(main())
