"""Reports and speed runs as files: written for programs, tables and people, and opened again with care."""

from __future__ import annotations

import csv
import io
import json
import logging
import math
from functools import cache
from pathlib import Path
from typing import TYPE_CHECKING, Any, TypeVar

from pydantic import BaseModel, ValidationError

from components.core.catalog import LANES, ROOT
from components.core.errors import ManifestError
from components.core.files import private
from components.core.types import Report, SpeedRun
from components.report.columns import CLIP_FIELDS, clip_values, run_name

if TYPE_CHECKING:
    from components.core.types import ClipFigures, LaneFailure

logger = logging.getLogger(__name__)

Noun = TypeVar("Noun", bound=BaseModel)

MAX_REPORT_BYTES = 100_000_000
"""A report has about 300 bytes a clip and lane, so this is some 300,000 rows."""
MAX_SPEED_BYTES = 1_000_000
"""A speed run has a few thousand."""

SAVED_SPEED = ROOT / "tests" / "benchmarks" / "results"
"""Where the project's own measurements lie; those that are a speed run are drawn on the page."""

SPEED_SCHEMA = SAVED_SPEED / "schema" / "speed.json"
"""JSON schema of a speed run, for other programs."""

FORMULA_SIGNS = tuple("=+-@\t\r\n＝＋－＠")  # noqa: RUF001 - spreadsheets of the far East take the wide ones
"""A cell of a CSV that starts with one of these is run by spreadsheets."""

BYTE_ORDER_MARK = "\ufeff"
"""Without it Excel takes a CSV for the machine's old 8-bit encoding."""


def to_json(noun: BaseModel) -> str:
    return json.dumps(noun.model_dump(mode="json"), ensure_ascii=False, allow_nan=False, indent=1) + "\n"


def to_csv(report: Report) -> str:
    """The figures of each clip and lane, a line each, then the failures; times in seconds.

    Texts that a spreadsheet would run as a formula get an apostrophe before them.
    """
    text = io.StringIO()
    text.write(BYTE_ORDER_MARK)
    writer = csv.writer(text, lineterminator="\r\n")
    writer.writerow(CLIP_FIELDS)
    rows: tuple[ClipFigures | LaneFailure, ...] = (*report.clips, *report.failures)
    for row in rows:
        writer.writerow([_harmless(value) for value in clip_values(row)])
    return text.getvalue()


def _harmless(value: Any) -> Any:
    return f"'{value}" if isinstance(value, str) and value.startswith(FORMULA_SIGNS) else value


def contents(report: Report) -> dict[str, str]:
    """File name -> text of each form of a report."""
    from components.report.pages import report_page

    return {"report.json": to_json(report), "report.csv": to_csv(report), "report.html": report_page(report)}


def write_report(report: Report, folder: str | Path) -> list[Path]:
    """Write ``report.json``, ``report.csv`` and ``report.html`` into a folder, made where it is not there.

    Raises:
        ManifestError: the folder cannot be written.
    """
    folder = Path(folder)
    try:
        folder.mkdir(parents=True, exist_ok=True)
        paths = []
        for name, text in contents(report).items():
            with open(folder / name, "w", encoding="utf-8", newline="", opener=private) as file:
                file.write(text)
            paths.append(folder / name)
    except OSError as error:
        raise ManifestError(f"The report cannot be written to {folder.name}: {error.strerror}.") from error
    return paths


def open_report(path: str | Path) -> Report:
    """A report that was saved as ``report.json``.

    Raises:
        ManifestError: it is none, too large, or has figures that no report has.
    """
    path = Path(path)
    sentence = f"{path.name} is not a saved report. Choose a report.json, or a benchmark's file of rows (RUNS.jsonl)."
    report = _parsed(Report, _read(path, MAX_REPORT_BYTES, sentence), sentence)
    if not all(_plain(value) for value in report.settings.values()):
        raise ManifestError(sentence)
    return report


def _plain(value: Any) -> bool:
    """Whether a benchmark can have had this setting: a text, a finite number, nothing, or a list or table of these."""
    if isinstance(value, list | dict):
        values = value.values() if isinstance(value, dict) else value
        return all(not isinstance(each, list | dict) and _plain(each) for each in values)
    return value is None or isinstance(value, str | int) or (isinstance(value, float) and math.isfinite(value))


def open_speed(path: str | Path) -> SpeedRun:
    """A speed run that was saved.

    Raises:
        ManifestError: it is none, too large, or has lanes or figures that no run has.
    """
    path = Path(path)
    return read_speed(_read(path, MAX_SPEED_BYTES, _no_speed(path.name)), path.name)


def read_speed(text: str, name: str = "This") -> SpeedRun:
    """A speed run from its JSON, or from all that ``speed --json`` printed: a table, then the JSON as the last line.

    Raises:
        ManifestError: it is none, or has lanes or figures that no run has.
    """
    sentence = _no_speed(name)
    if not text.lstrip().startswith("{"):
        text = text.rstrip().rpartition("\n")[2]
    run = _parsed(SpeedRun, text, sentence)
    lanes = {lane.lane_id for lane in run.lanes}
    if not lanes or lanes - LANES.keys():
        raise ManifestError(sentence)
    return run


def _no_speed(name: str) -> str:
    return f"{name} is not a saved speed run. Make one with `python -m components.runs speed --json > run.json`."


@cache
def saved_speed() -> tuple[tuple[str, SpeedRun], ...]:
    """The speed runs that came with the project, each with a name for people, by pair and machine."""
    found = []
    for path in sorted(SAVED_SPEED.glob("speed_*.json")):
        try:
            run = open_speed(path)
        except ManifestError as error:  # one bad file must not keep the page from opening
            logger.warning("%s", error.message)
        else:
            found.append((run_name(run), run))
    return tuple(found)


def _read(path: Path, most: int, sentence: str) -> str:
    """The text of a file of at most so many bytes."""
    try:
        with path.open("rb") as file:
            data = file.read(most + 1)
        if len(data) > most:
            raise ManifestError(f"{path.name} is too large: at most {most // 1_000_000} MB are read.")
        return data.decode("utf-8-sig")
    except (OSError, UnicodeDecodeError) as error:
        raise ManifestError(sentence) from error


def _parsed(kind: type[Noun], text: str, sentence: str) -> Noun:
    """A noun from JSON that anybody may have written."""
    try:
        return kind.model_validate_json(text, strict=True)
    except ValidationError as error:  # what is nested too deep to parse included
        raise ManifestError(sentence) from error
