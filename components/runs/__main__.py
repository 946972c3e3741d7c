"""The command line: ``python -m components.runs compare|live|benchmark|report|rescore|models|speed``.

Progress goes to standard error, a table to standard output, and with ``--json`` the result as its last line.
"""

from __future__ import annotations

import argparse
import dataclasses
import json
import logging
import os
import sys
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING, Any, cast

from components.core.caller import Caller
from components.core.catalog import LANES, PAIRS
from components.core.errors import WhisperSpaceError
from components.core.normalizers import DEFAULT, NORMALIZERS
from components.core.settings import Settings
from components.core.types import WordErrors
from components.core.wording import counted
from components.engines.memory import keep_freed_memory

if TYPE_CHECKING:
    from collections.abc import Iterator, Mapping, Sequence

    from components.core.types import Live, Report
    from components.runs.lab import Lab
    from components.runs.sources import Source

FAILED = 2
"""Exit code where nothing came out: bad input, bad settings, or every lane failed."""

INTERRUPTED = 130

_DEFAULT = [lane.lane_id for lane in LANES.values() if lane.default]


def main(arguments: Sequence[str] | None = None) -> int:
    """Parse the command line, run it, return the exit code."""
    options = _parser().parse_args(arguments)
    keep_freed_memory()
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

    logged = argparse.ArgumentParser(add_help=False)
    logged.add_argument("--verbose", action="store_true", help="log what happens, and the cause of a failure")
    answered = argparse.ArgumentParser(add_help=False, parents=[logged])
    answered.add_argument("--json", action="store_true", help="print the result as JSON, as the last line")
    paired = argparse.ArgumentParser(add_help=False, parents=[answered])
    paired.add_argument("--pair", help=f"one of {', '.join(PAIRS)}, or custom, as the variables define it")
    scored = argparse.ArgumentParser(add_help=False)
    scored.add_argument(
        "--normalizer",
        choices=tuple(NORMALIZERS),
        default=DEFAULT,
        help=f"what words are compared as (default {DEFAULT}); whisper is that of published figures",
    )
    measured = argparse.ArgumentParser(add_help=False, parents=[paired, scored])
    measured.add_argument(
        "--lanes", type=_names, metavar="A,B", help=f"from {', '.join(LANES)}; {','.join(_DEFAULT)} unless given"
    )
    measured.add_argument(
        "--language", metavar="CODE", help="en, de, ..., or auto to detect it (default LANGUAGE, or en)"
    )

    _add_compare(commands.add_parser("compare", parents=[measured], help="one clip through the lanes"))
    _add_live(commands.add_parser("live", parents=[measured], help="one clip as if somebody were speaking it"))
    _add_benchmark(commands.add_parser("benchmark", parents=[measured], help="a whole data set through the lanes"))
    _add_rescore(
        commands.add_parser("rescore", parents=[answered, scored], help="a file of rows scored again; needs no weights")
    )
    _add_report(commands.add_parser("report", parents=[logged], help="a file of rows as JSON, CSV and one HTML page"))
    models = commands.add_parser("models", parents=[paired], help="parameters and layers; needs no weights")
    models.set_defaults(run=_models)
    _add_speed(commands.add_parser("speed", parents=[paired], help="latency of a pair's shapes here; needs no weights"))
    return parser


def _add_compare(parser: argparse.ArgumentParser) -> None:
    parser.add_argument("clip", metavar="CLIP", help="an audio file, or a video with sound; - reads standard input")
    parser.add_argument("--track", type=_positive, metavar="N", help="of several sound tracks (default the file's)")
    parser.add_argument("--reference", default="", metavar="TEXT", help="what was said, for the word error rate")
    parser.add_argument(
        "--repeats", type=int, metavar="N", help="timed runs of each lane (default: three to five, once where slow)"
    )
    parser.add_argument(
        "--long-form",
        choices=("auto", "sequential", "chunked"),
        default="auto",
        help="how clips over 30 s are cut (default auto: as suits the pair)",
    )
    parser.add_argument(
        "--timestamps", action=argparse.BooleanOptionalAction, default=True, help="decode with timestamps (default)"
    )
    parser.set_defaults(run=_compare)


def _add_live(parser: argparse.ArgumentParser) -> None:
    parser.add_argument("clip", metavar="CLIP", help="an audio file, or a video with sound")
    parser.add_argument("--reference", default="", metavar="TEXT", help="what was said, for the word error rate")
    parser.set_defaults(run=_live)


def _add_benchmark(parser: argparse.ArgumentParser) -> None:
    source = parser.add_mutually_exclusive_group(required=True)
    source.add_argument("--manifest", help='JSON lines or a table of "clip_id", "audio" and "text"')
    source.add_argument("--dataset", metavar="ID", help="a data set of the hub, or its folder; needs datasets")
    hub = parser.add_argument_group("with --dataset")
    hub.add_argument("--config", metavar="NAME", help="its configuration")
    hub.add_argument("--split", default="test", metavar="NAME", help="its split (default test)")
    hub.add_argument("--audio-column", default="audio", metavar="NAME", help="default audio")
    hub.add_argument("--text-column", default="text", metavar="NAME", help="the references (default text); '' for none")
    hub.add_argument("--id-column", metavar="NAME", help="unique names of the clips (default id, else the files)")
    parser.add_argument("--output", required=True, metavar="RUNS.jsonl", help="file that the rows are appended to")
    parser.add_argument("--repeats", type=int, default=1, metavar="N", help="timed runs of each lane (default 1)")
    parser.add_argument(
        "--batch-size", type=_positive, default=1, metavar="N", help="clips that go through a lane at once (default 1)"
    )
    parser.add_argument(
        "--live", action="store_true", help="each clip as if somebody were speaking it: lags, and words lost to live"
    )
    parser.add_argument("--resume", action="store_true", help="go on with an output that is there")
    parser.add_argument("--retry-failed", action="store_true", help="resume, and run what failed again")
    parser.add_argument("--limit", type=_positive, metavar="N", help="run the first N clips only")
    parser.add_argument("--shuffle", action="store_true", help="in a random order, the same for the same seed")
    parser.add_argument("--seed", type=int, default=0, metavar="N", help="of --shuffle (default 0)")
    parser.add_argument("--report", metavar="FOLDER", help="write report.json, report.csv and report.html there")
    parser.set_defaults(run=_benchmark)


def _add_rescore(parser: argparse.ArgumentParser) -> None:
    parser.add_argument("runs", metavar="RUNS.jsonl", help="what benchmark wrote")
    parser.add_argument("--output", metavar="FILE", help="where the rows go (default: in the place of the old ones)")
    parser.set_defaults(run=_rescore)


def _add_report(parser: argparse.ArgumentParser) -> None:
    parser.add_argument("runs", metavar="RUNS.jsonl", help="what benchmark wrote")
    parser.add_argument("folder", metavar="FOLDER", help="where report.json, report.csv and report.html go")
    parser.set_defaults(run=_report)


def _add_speed(parser: argparse.ArgumentParser) -> None:
    parser.add_argument("--lanes", type=_names, metavar="A,B", help=f"from {', '.join(LANES)}; all unless given")
    parser.add_argument("--limit", type=int, metavar="N", help="replay the first N of the notebook's 73 clips")
    parser.add_argument("--batch-size", type=_positive, default=1, metavar="N", help="clips at a time (default 1)")
    parser.add_argument("--page", metavar="FILE.html", help="write the charts there")
    parser.add_argument("--share", action="store_true", help="print the run as Markdown, to post beside others'")
    parser.set_defaults(run=_speed)


def _compare(options: argparse.Namespace) -> int:
    from components.report import text

    lab = _lab()
    names = ("reference", "pair", "lanes", "language", "normalizer", "repeats", "long_form", "timestamps")
    with _progress_bar() as caller:
        source = {"path": options.clip, "track": options.track}
        comparison = lab.compare(source, **_chosen(options, *names), caller=caller)
    print(text.comparison(comparison))
    _print_json(options, comparison.model_dump(mode="json"))
    return 0 if comparison.runs else FAILED


def _live(options: argparse.Namespace) -> int:
    from components.report import text

    lab = _lab()
    names = ("reference", "pair", "lanes", "language", "normalizer")
    with _progress_bar() as caller:
        *_, last = lab.live(options.clip, **_chosen(options, *names), caller=caller)
    result = cast("Live", last)
    print(text.live(result))
    _print_json(options, result.model_dump(mode="json"))
    return 0 if result.live.runs else FAILED


def _benchmark(options: argparse.Namespace) -> int:
    from components.engines.device import take_own_gpu
    from components.report import text
    from components.runs.shard import current_process

    take_own_gpu(os.environ)
    lab = _lab()
    process = current_process(os.environ)
    names = ("pair", "lanes", "language", "normalizer", "repeats", "batch_size", "limit", "retry_failed", "live")
    with _progress_bar() as caller:
        steps = lab.benchmark_steps(
            _source(options, lab.settings),
            options.output,
            **_chosen(options, *names),
            resume=options.resume or options.retry_failed,
            seed=options.seed if options.shuffle else None,
            process=process,
            caller=caller,
        )
        for _ in steps:
            pass
    if process.index:
        return 0  # the first process reports for all
    from components.runs.benchmark import read_report

    report = read_report(options.output)
    print(text.benchmark(report))
    if options.report:
        _write_report(report, options.report)
    _print_json(options, _totals(report))
    return 0 if report.summary.lanes else FAILED


def _totals(report: Report) -> dict[str, Any]:
    return {
        "pair": report.pair,
        **report.summary.model_dump(mode="json"),
        "machine": report.machine.model_dump(mode="json"),
    }


def _source(options: argparse.Namespace, settings: Settings) -> Source | str:
    if options.manifest:
        return options.manifest
    from components.runs.sources import data_set

    return data_set(
        options.dataset,
        config=options.config,
        split=options.split,
        audio_column=options.audio_column,
        text_column=options.text_column,
        id_column=options.id_column,
        token=settings.token,
    )


def _report(options: argparse.Namespace) -> int:
    from components.runs.benchmark import read_report

    _write_report(read_report(options.runs), options.folder)
    return 0


def _write_report(report: Report, folder: str) -> None:
    from components.report.files import write_report

    for path in write_report(report, folder):
        print(path)


def _rescore(options: argparse.Namespace) -> int:
    from components.runs.benchmark import read_report
    from components.runs.rescore import rescore

    result = rescore(options.runs, options.normalizer, options.output)
    print(f"{counted(result.rows, 'row')} scored with {result.normalizer}")
    for lane_id, errors in result.after.items():
        was = result.before.get(lane_id, WordErrors()).wer
        rates = ["no reference words" if rate is None else f"{rate:.2%}" for rate in (errors.wer, was)]
        print(f"{lane_id}: {rates[0]}, before {rates[1]}")
    if result.refused:
        print(f"warning: {counted(result.refused, 'row')} too long to be scored")
    if options.json:
        report = read_report(options.output or options.runs)
        _print_json(options, {"normalizer": result.normalizer, **_totals(report)})
    return 0


def _models(options: argparse.Namespace) -> int:
    from components.report import text

    models = _lab().models(options.pair)
    print(text.models(models))
    _print_json(options, models.model_dump(mode="json"))
    return 0


def _speed(options: argparse.Namespace) -> int:
    from components.core.errors import ManifestError
    from components.engines import device as devices
    from components.report import text
    from components.runs.speed import speed

    settings = Settings.from_env(os.environ)
    pair = options.pair or settings.resolve_pair(devices.detect().hardware)
    with _progress_bar() as caller:
        result = speed(
            pair, settings, lanes=options.lanes, limit=options.limit, batch_size=options.batch_size, caller=caller
        )
    print(text.speed([result]))
    if options.page:
        from components.report.pages import speed_page

        try:
            Path(options.page).write_text(speed_page([result]), encoding="utf-8")
        except OSError as error:
            raise ManifestError(f"{options.page} cannot be written: {error.strerror}.") from error
    if options.share:
        print(f"\n{text.speed_share(result)}")
    _print_json(options, result.model_dump(mode="json"))
    return 0


def _lab() -> Lab:
    """Everything that the machine's owner may choose: any pair of the catalogue, whatever visitors are offered."""
    settings = Settings.from_env(os.environ)
    settings = dataclasses.replace(settings, pairs=(*settings.pairs, *PAIRS))
    from components.runs.lab import Lab

    return Lab(settings)


@contextmanager
def _progress_bar() -> Iterator[Caller]:
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

        yield Caller(show)


def _chosen(options: argparse.Namespace, *names: str) -> dict[str, Any]:
    return {name: getattr(options, name) for name in names}


def _print_json(options: argparse.Namespace, result: Mapping[str, Any]) -> None:
    """The result as the last line, where ``--json`` asks for it."""
    if options.json:
        print(json.dumps(result, ensure_ascii=False, allow_nan=False))


def _positive(text: str) -> int:
    if not text.isdecimal() or not int(text):
        raise argparse.ArgumentTypeError("a whole number from 1")
    return int(text)


def _names(text: str) -> list[str]:
    return [name.strip() for name in text.split(",") if name.strip()]


if __name__ == "__main__":
    sys.exit(main())
