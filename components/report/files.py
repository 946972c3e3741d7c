"""A report as files: JSON for programs, CSV for tables, one HTML page for people."""

from __future__ import annotations

import csv
import io
import json
from pathlib import Path
from typing import TYPE_CHECKING

from components.core.errors import ManifestError
from components.core.types import ClipFigures
from components.report.page import report_page

if TYPE_CHECKING:
    from components.core.types import Report


def to_json(report: Report) -> str:
    return json.dumps(report.model_dump(mode="json"), ensure_ascii=False, allow_nan=False, indent=1) + "\n"


def to_csv(report: Report) -> str:
    """The figures of each clip and lane, a line each; times in seconds, warnings joined by semicolons."""
    text = io.StringIO()
    writer = csv.DictWriter(text, list(ClipFigures.model_fields), lineterminator="\n")
    writer.writeheader()
    for clip in report.clips:
        # A cell that starts like a formula would be one to a spreadsheet.
        name = clip.clip_id
        safe = f"'{name}" if name[:1] in {"=", "+", "-", "@", "\t", "\r"} else name
        writer.writerow({**dict(clip), "clip_id": safe, "warnings": "; ".join(clip.warnings)})
    return text.getvalue()


def contents(report: Report) -> dict[str, str]:
    """File name -> text of each form of a report."""
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
            (folder / name).write_text(text, encoding="utf-8")
            paths.append(folder / name)
    except OSError as error:
        raise ManifestError(f"The report cannot be written to {folder.name}: {error.strerror}.") from error
    return paths
