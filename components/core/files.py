"""Files of rows, the JSON lines that a benchmark writes. Read line by line, never as a whole."""

from __future__ import annotations

import json
import os
from pathlib import Path
from typing import TYPE_CHECKING, Any

from pydantic import ValidationError

from components.core.errors import ManifestError
from components.core.types import ROWS_FORMAT, LaneFailure, LaneRun, Row, RowsHeader

if TYPE_CHECKING:
    from collections.abc import Iterator, Mapping


def private(path: str, flags: int) -> int:
    """``opener`` of a file that, where it is made, only its owner may read: texts are somebody's words."""
    return os.open(path, flags, 0o600)


def to_line(row: Row | RowsHeader | Mapping[str, Any]) -> str:
    """One line of a file of rows, newline included."""
    if isinstance(row, RowsHeader):
        row = row.to_json()
    elif isinstance(row, LaneRun | LaneFailure):
        row = row.model_dump(mode="json")
    return json.dumps(row, ensure_ascii=False, allow_nan=False) + "\n"


def read_rows(path: str | Path) -> tuple[RowsHeader, Iterator[Row]]:
    """Read a file of rows: its header now, its rows as they are asked for. A torn last line is left out.

    Raises:
        ManifestError: the file cannot be read, has no header of ours, or a whole line is not a row; the latter as the
            rows are read.
    """
    path = Path(path)
    lines = _json_lines(path, torn_end=True)
    _, header = next(lines, (0, {}))
    if header.get("format") != ROWS_FORMAT:
        raise ManifestError(f"{path.name} is not a file of runs: its first line is not their header.")
    try:
        return RowsHeader.model_validate(header), (parse_row(row) for _, row in lines)
    except ValidationError as error:
        raise ManifestError(f"The header of {path.name} is not complete: {_first_fault(error)}.") from error


def parse_row(row: Mapping[str, Any]) -> Row:
    """The row of a JSON object, of this version or an older one.

    Raises:
        ManifestError: it lacks a field, or one is of the wrong kind.
    """
    kind: type[LaneRun | LaneFailure] = LaneFailure if "message" in row else LaneRun
    try:
        return kind.model_validate(row)
    except ValidationError as error:
        raise ManifestError(f"A row of the runs is not complete: {_first_fault(error)}.") from error


def _first_fault(error: ValidationError) -> str:
    fault = error.errors(include_url=False)[0]
    return f"{'.'.join(map(str, fault['loc']))}: {fault['msg']}"


def _json_lines(path: Path, *, torn_end: bool = False) -> Iterator[tuple[int, dict[str, Any]]]:
    """Line numbers and objects, blank lines left out; with ``torn_end`` also a last line that was never finished."""
    try:
        with path.open("rb") as file:  # bytes: a torn line may end within a character
            for number, line in enumerate(file, start=1):
                if not line.strip() or (torn_end and not line.endswith(b"\n")):
                    continue
                text = line.decode("utf-8")
                try:
                    row = json.loads(text)
                except ValueError as error:
                    raise ManifestError(f"Line {number} of {path.name} is not JSON.") from error
                if not isinstance(row, dict):
                    raise ManifestError(f"Line {number} of {path.name} is not a JSON object.")
                yield number, row
    except OSError as error:
        raise ManifestError(f"{path.name} is not there or cannot be read.") from error
    except UnicodeDecodeError as error:
        raise ManifestError(f"{path.name} is not text in UTF-8.") from error
