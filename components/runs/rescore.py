"""A file of rows scored again, by another normaliser or a newer one; no model is asked."""

from __future__ import annotations

import contextlib
import json
import os
from collections import defaultdict
from pathlib import Path
from typing import TYPE_CHECKING, Any, NamedTuple

from components.core import scoring
from components.core.errors import ManifestError, TextError
from components.core.files import parse_row, private, read_rows, to_line
from components.core.normalizers import DEFAULT
from components.core.normalizers import normalizer as find_normalizer
from components.core.types import LaneRun, WordErrors
from components.runs.rowfile import lock_rows

if TYPE_CHECKING:
    from collections.abc import Iterator


class Rescored(NamedTuple):
    """What became of a file: word errors by lane as they were and as they are.

    ``rows``: how many have a reference; ``refused``: how many of them are too long to be scored.
    """

    normalizer: str
    rows: int
    refused: int
    before: dict[str, WordErrors]
    after: dict[str, WordErrors]


def rescore(rows: str | Path, normalizer: str = DEFAULT, output: str | Path | None = None) -> Rescored:
    """Score every row of a file that has a reference, line by line; all its other fields are kept as they are.

    Args:
        rows: The file.
        normalizer: One of ``normalizers.NORMALIZERS``.
        output: Where the rows go; ``None`` puts them in the place of the old ones, all at once or not at all.

    Raises:
        TextError: there is no such normaliser.
        ManifestError: the file cannot be read or is being written, has a row that is not whole, or ``output`` is there
            already or cannot be written.
    """
    chosen, rows = find_normalizer(normalizer), Path(rows)
    read_rows(rows)  # refuses what is no file of rows
    target = rows if output is None else Path(output)
    if target != rows and target.exists():
        raise ManifestError(f"{target.name} is there already. Choose another name.")
    scores = _Scores(chosen.name)
    new = target.with_name(f"{target.name}.new")
    try:
        with rows.open("rb") as old, contextlib.ExitStack() as stack:
            if target == rows:
                lock_rows(stack.enter_context(rows.open("ab", buffering=0)), rows.name)
            with open(new, "w", encoding="utf-8", newline="\n", opener=private) as file:
                header = json.loads(next(old))
                header["settings"] = {**header["settings"], "normalizer": chosen.version}
                file.write(to_line(header))
                file.writelines(scores.again(line) for line in old if line.strip() and line.endswith(b"\n"))
                file.flush()
                os.fsync(file.fileno())
            new.replace(target)
    except OSError as error:
        raise ManifestError(f"{target.name} cannot be written: {error.strerror or error}.") from error
    finally:
        new.unlink(missing_ok=True)
    return Rescored(chosen.version, scores.rows, scores.refused, dict(scores.before), dict(scores.after))


class _Scores:
    """Scores lines, and adds up what they were and what they are."""

    def __init__(self, normalizer: str) -> None:
        self._normalizer = normalizer
        self.rows = self.refused = 0
        self.before: defaultdict[str, WordErrors] = defaultdict(WordErrors)
        self.after: defaultdict[str, WordErrors] = defaultdict(WordErrors)

    def again(self, line: bytes) -> str:
        """The line of a row, its fields of scoring made anew; a failure, or a row without a reference, as it was."""
        try:
            fields = json.loads(line)
        except ValueError as error:
            raise ManifestError("A line of the runs is not JSON.") from error
        row = parse_row(fields)
        if not isinstance(row, LaneRun) or row.reference is None:
            return line.decode()
        self.rows += 1
        if row.word_errors is not None:
            self.before[row.lane_id] += row.word_errors
        return to_line(fields | dict(self._scored(row)))

    def _scored(self, row: LaneRun) -> Iterator[tuple[str, Any]]:
        try:
            score = self._score(row, row.text)
            offline = self._score(row, row.live.offline_text).errors if row.live and row.live.offline_text else None
        except TextError:
            self.refused += 1
            yield from dict.fromkeys(("normalized_reference", "normalized_text", "word_errors")).items()
            yield from (("normalizer", ""), ("dropped", 0))
            return
        self.after[row.lane_id] += score.errors
        yield "normalized_reference", score.normalized_reference
        yield "normalized_text", score.normalized_text
        yield "word_errors", score.errors.model_dump(mode="json")
        yield "normalizer", score.errors.normalizer
        yield "dropped", score.dropped
        if row.live is not None:
            yield "live", row.live.model_copy(update={"offline_errors": offline}).model_dump(mode="json")

    def _score(self, row: LaneRun, text: str) -> scoring.Score:
        return scoring.word_errors(row.reference or "", text, row.language, self._normalizer)
