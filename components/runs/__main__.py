"""The command line: ``python -m components.runs compare|benchmark|models``.

Progress goes to standard error, a table to standard output, and with ``--json`` the result as its last line.
"""

from __future__ import annotations

import argparse
import dataclasses
import json
import logging
import os
import sys
from collections import Counter
from contextlib import contextmanager
from typing import TYPE_CHECKING, Any

from components.core.catalog import LANES, PAIRS
from components.core.errors import WhisperSpaceError
from components.core.settings import Settings

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator, Mapping, Sequence

    from components.core.types import Comparison
    from components.runs.lab import Lab

FAILED = 2
"""Exit code where nothing came out: bad input, bad settings, or every lane failed."""

INTERRUPTED = 130

_DEFAULT = [lane.lane_id for lane in LANES.values() if lane.default]


def main(arguments: Sequence[str] | None = None) -> int:
    """Parse the command line, run it, return the exit code."""
    options = _parser().parse_args(arguments)
    for stream in (sys.stdout, sys.stderr):
        if hasattr(stream, "reconfigure"):
            stream.reconfigure(errors="backslashreplace")  # a terminal that lacks a character is no reason to stop
    # What is raised has its sentence for a person; the causes are for those who ask for them.
    logging.basicConfig(level=logging.INFO if options.verbose else logging.CRITICAL)
    os.environ.setdefault("TRANSFORMERS_VERBOSITY", "warning" if options.verbose else "error")
    try:
        return options.run(options)
    except WhisperSpaceError as error:
        print(f"error: {error.message}", file=sys.stderr)
        return FAILED
    except KeyboardInterrupt:
        print("interrupted", file=sys.stderr)
        return INTERRUPTED


def _parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(
        prog="python -m components.runs",
        description="Compare Whisper and Distil-Whisper: words, latency, parameters.",
        epilog="Variables (PAIR, LANES, LANGUAGE, DTYPE, ...) are read as the Space reads them.",
    )
    commands = parser.add_subparsers(required=True, metavar="COMMAND")

    common = argparse.ArgumentParser(add_help=False)
    common.add_argument("--pair", help=f"one of {', '.join(PAIRS)}, or custom, as the variables define it")
    common.add_argument("--json", action="store_true", help="print the result as JSON, as the last line")
    common.add_argument("--verbose", action="store_true", help="log what happens, and the cause of a failure")

    lanes = argparse.ArgumentParser(add_help=False)
    lanes.add_argument(
        "--lanes", type=_names, metavar="A,B", help=f"from {', '.join(LANES)}; {','.join(_DEFAULT)} unless given"
    )
    lanes.add_argument("--repeats", type=int, default=1, metavar="N", help="timed runs of each lane (default 1)")

    compare = commands.add_parser("compare", parents=[common, lanes], help="one clip through the lanes")
    compare.add_argument("clip", metavar="CLIP", help="an audio file, or a video with sound")
    compare.add_argument("--reference", default="", metavar="TEXT", help="what was said, for the word error rate")
    compare.add_argument(
        "--long-form",
        choices=("sequential", "chunked"),
        default="sequential",
        help="how clips over 30 s are cut (default sequential)",
    )
    compare.add_argument(
        "--timestamps", action=argparse.BooleanOptionalAction, default=True, help="decode with timestamps (default)"
    )
    compare.set_defaults(run=_compare)

    benchmark = commands.add_parser("benchmark", parents=[common, lanes], help="a whole data set through the lanes")
    benchmark.add_argument("--manifest", required=True, help='JSON lines of "clip_id", "audio" and "text"')
    benchmark.add_argument("--output", required=True, metavar="RUNS.jsonl", help="file that the rows are appended to")
    benchmark.add_argument("--resume", action="store_true", help="go on with an output that is there")
    benchmark.set_defaults(run=_benchmark)

    models = commands.add_parser("models", parents=[common], help="parameters and layers; needs no weights")
    models.set_defaults(run=_models)
    return parser


def _compare(options: argparse.Namespace) -> int:
    from components.core.records import comparison_to_json

    lab = _lab()
    with _progress() as progress:
        comparison = lab.compare(
            options.clip,
            reference=options.reference,
            pair=options.pair,
            lanes=options.lanes,
            repeats=options.repeats,
            long_form=options.long_form,
            timestamps=options.timestamps,
            progress=progress,
        )
    _print_comparison(comparison)
    if options.json:
        _print_json(comparison_to_json(comparison))
    return 0 if comparison.runs else FAILED


def _benchmark(options: argparse.Namespace) -> int:
    lab = _lab()
    with _progress() as progress:
        report = lab.benchmark(
            options.manifest,
            options.output,
            pair=options.pair,
            lanes=options.lanes,
            repeats=options.repeats,
            resume=options.resume,
            progress=progress,
        )
    from components.core.records import machine_to_json

    summary: dict[str, Any] = report.summary
    print(f"{summary['clips']} clips, pair {report.pair_id}, {report.machine.device_name}")
    rows = [
        (
            lane_id,
            totals["clips"],
            f"{totals['encoder_time_s']:.2f}",
            f"{totals['decoder_time_s']:.2f}",
            f"{totals['generation_time_s']:.2f}",
            _or_dash(totals["rtfx"], ".1f"),
            totals["generated_tokens"],
            _or_dash(totals["word_errors"]["wer"], ".2%"),
            _or_dash(summary["speed_up"].get(lane_id), ".2f", "x"),
            summary["failures"].get(lane_id, 0),
        )
        for lane_id, totals in summary["lanes"].items()
    ]
    _print_table(
        ("lane", "clips", "encoder s", "decoder s", "generation s", "RTFx", "tokens", "WER", "speed-up", "failures"),
        rows,
    )
    for (lane_id, message), clips in Counter((each.lane_id, each.message) for each in report.failures).items():
        print(f"{lane_id} failed on {clips} of them: {message}")
    if options.json:
        _print_json({"pair": report.pair_id, **summary, "machine": machine_to_json(report.machine)})
    return 0 if report.runs else FAILED


def _models(options: argparse.Namespace) -> int:
    from components.core.records import models_to_json

    lab = _lab()
    models = models_to_json(options.pair or lab.default_pair, lab.models(options.pair))
    rows = [
        (
            model["lane_id"],
            model["checkpoint"],
            f"{model['num_parameters']:,}",
            f"{model['encoder_parameters']:,}",
            f"{model['decoder_parameters']:,}",
            model["encoder_layers"],
            model["decoder_layers"],
        )
        for model in models["lanes"]
    ]
    print(f"pair {models['pair']}")
    _print_table(("lane", "checkpoint", "parameters", "encoder", "decoder", "encoder layers", "decoder layers"), rows)
    if models["parameter_ratio"] is not None and models["decoder_parameter_ratio"] is not None:
        print(
            f"The student has {models['parameter_ratio']:.6%} of the teacher's parameters, "
            f"and {models['decoder_parameter_ratio']:.6%} of its decoder's."
        )
    if options.json:
        _print_json(models)
    return 0


def _lab() -> Lab:
    """Everything that the machine's owner may choose: any pair of the catalogue, whatever visitors are offered."""
    settings = Settings.from_env(os.environ)
    settings = dataclasses.replace(settings, pairs=(*settings.pairs, *PAIRS))
    from components.runs.lab import Lab

    return Lab(settings)


@contextmanager
def _progress() -> Iterator[Callable[[float, str], None]]:
    """A bar on standard error."""
    from tqdm import tqdm
    from transformers.utils.logging import disable_progress_bar

    disable_progress_bar()  # Transformers' own, one for every load
    with tqdm(
        total=1.0, file=sys.stderr, leave=False, bar_format="{percentage:3.0f}% |{bar:20}| {elapsed} {desc}"
    ) as bar:

        def show(fraction: float, what: str) -> None:
            bar.n = fraction
            bar.set_description_str(what)

        yield show


def _print_comparison(comparison: Comparison) -> None:
    machine = comparison.machine
    print(
        f"{comparison.clip_id}, {comparison.audio_length_s:.1f} s, pair {comparison.pair_id}, "
        f"{machine.device} ({machine.device_name})"
    )
    rows = []
    for run in comparison.runs:
        timing, errors = run.timing, run.word_errors
        rows.append(
            (
                run.lane_id,
                _or_dash(timing.encoder_time_s if timing else None, ".3f"),
                _or_dash(timing.decoder_time_s if timing else None, ".3f"),
                _or_dash(timing.generation_time_s if timing else None, ".3f"),
                _or_dash(run.rtfx, ".1f"),
                run.generated_tokens,
                _or_dash(errors.wer if errors else None, ".2%"),
                _or_dash(comparison.speed_up.get(run.lane_id), ".2f", "x"),
                f"{run.dtype}, {run.attention}, {run.runtime}",
            )
        )
    _print_table(("lane", "encoder s", "decoder s", "generation s", "RTFx", "tokens", "WER", "speed-up", "how"), rows)
    for run in comparison.runs:
        print(f"\n{run.lane_id}: {run.transcript.text}")
        for warning in run.warnings:
            print(f"  warning: {warning}")
    for failure in comparison.failures:
        print(f"\n{failure.lane_id} failed: {failure.message}")


def _print_table(header: Sequence[str], rows: Sequence[Sequence[object]]) -> None:
    lines = [tuple(map(str, row)) for row in (header, *rows)]
    widths = [max(map(len, column)) for column in zip(*lines, strict=True)]
    for line in lines:
        print("  ".join(cell.ljust(width) for cell, width in zip(line, widths, strict=True)).rstrip())


def _or_dash(value: float | None, form: str, unit: str = "") -> str:
    return "-" if value is None else f"{value:{form}}{unit}"


def _print_json(value: Mapping[str, Any]) -> None:
    print(json.dumps(value, ensure_ascii=False, allow_nan=False))


def _names(text: str) -> list[str]:
    return [name.strip() for name in text.split(",") if name.strip()]


if __name__ == "__main__":
    sys.exit(main())
