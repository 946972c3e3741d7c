"""Manifests: the clips of a data set, where their audio lies, and what is said in them. A bad row is a row."""

from __future__ import annotations

import codecs
import csv
import json
import math
import re
import stat
import unicodedata
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any, TextIO

from components.core.errors import ManifestError

if TYPE_CHECKING:
    from collections.abc import Iterator, Mapping

# What the fields are called: ours first, then NeMo's and those of the hub's data sets.
ID_FIELDS = ("clip_id", "id", "audio_id", "utt_id", "utterance_id", "key")
AUDIO_FIELDS = ("audio", "audio_filepath", "file", "file_name", "filename", "path", "audio_path", "wav")
TEXT_FIELDS = (
    *("text", "sentence", "transcription", "transcript", "reference"),
    *("raw_transcription", "raw_text", "normalized_text"),
)
LANGUAGE_FIELDS = ("language", "lang", "locale")

MAX_ID = 1_000
MAX_TEXT = 1_000_000
"""Characters."""

_BYTE_ORDER_MARKS = (
    (codecs.BOM_UTF8, "utf-8-sig"),
    (codecs.BOM_UTF32_LE, "utf-32"),
    (codecs.BOM_UTF32_BE, "utf-32"),
    (codecs.BOM_UTF16_LE, "utf-16"),
    (codecs.BOM_UTF16_BE, "utf-16"),
)


@dataclass(frozen=True)
class ManifestRow:
    """One clip of a data set.

    ``text``: its reference, empty where nothing is said, ``None`` where none is known. ``offset_s``, ``duration_s``:
    the part of the file that is the clip, in seconds. ``fault``: why the clip cannot be run, as a sentence.
    """

    clip_id: str
    audio: Path
    text: str | None = None
    language: str | None = None
    offset_s: float = 0.0
    duration_s: float | None = None
    fault: str | None = None


class _Fault(Exception):  # noqa: N818 - what is wrong with one row
    pass


def read_manifest(path: str | Path) -> Iterator[ManifestRow]:
    """Read a manifest row by row; audio is relative to it.

    JSON lines or a list of JSON objects, a table (CSV, TSV) whose first line names its columns, or LJSpeech's
    ``metadata.csv``. Fields go by our names (``clip_id``, ``audio``, ``text``, ``language``), by NeMo's
    (``audio_filepath``, ``text``, ``duration``, ``offset``) or by those of the hub (``file``, ``sentence``,
    ``transcription``); others are ignored. Without an id, a clip is called by its file. ``text`` may be empty (nothing
    is said), or missing or null (no reference). A row that is wrong, or repeats an id, comes with its ``fault``.
    Whether the audio is there is not looked at: a clip that is missing is a failure of that clip.

    Raises:
        ManifestError: the file cannot be read, lists nothing, or no row of it can be used.
    """
    path = Path(path)
    seen: set[str] = set()
    first_fault = ""
    usable = False
    waiting: list[ManifestRow] = []  # bad rows, until a good one shows that this is a manifest
    for number, fields in _rows(path):
        row = _row(path, number, fields, seen)
        seen.add(row.clip_id)
        first_fault = first_fault or row.fault or ""
        usable = usable or row.fault is None
        waiting.append(row)
        if usable:
            yield from waiting
            waiting.clear()
    if not usable:
        raise ManifestError(first_fault or f"{path.name} lists no clips.")


def open_text(path: Path) -> TextIO:
    """A text file in UTF-8, UTF-16 or UTF-32, with or without a byte order mark, and any line ends.

    Bytes that are no UTF-8 become lone surrogates, as in the names of files.

    Raises:
        ManifestError: it is not there, no file, or cannot be opened.
    """
    try:
        kind = path.stat().st_mode
        if stat.S_ISDIR(kind):
            raise ManifestError(f"{path.name} is a folder. Give the manifest in it.")
        if not stat.S_ISREG(kind):
            raise ManifestError(f"{path.name} is no file, and has to be read more than once. Save it as one.")
        with path.open("rb") as file:
            start = file.read(4096)
        return path.open(encoding=_encoding(start), errors="surrogateescape", newline=None)
    except (OSError, ValueError) as error:
        raise ManifestError(f"{path.name} is not there or cannot be read.") from error


def delimiter_of(line: str) -> str:
    """What stands between the cells of a table: the first that its first line holds."""
    return next((character for character in line if character in "\t;,|"), ",")


def read_table(file: TextIO) -> Iterator[tuple[int, list[str]]]:
    """Line numbers and cells of a table; a ``|`` is LJSpeech's, which quotes nothing."""
    first = file.readline()
    file.seek(0)
    delimiter = delimiter_of(first)
    csv.field_size_limit(MAX_TEXT)
    reader = csv.reader(file, delimiter=delimiter, quoting=csv.QUOTE_NONE if delimiter == "|" else csv.QUOTE_MINIMAL)
    while True:
        try:
            cells = next(reader)
        except StopIteration:
            return
        except csv.Error:
            cells = ["", "", ""]
        if any(cell.strip() for cell in cells):
            yield reader.line_num, cells


def is_lj_speech(path: Path) -> bool:
    """Whether a table is LJSpeech's: ``id|text|text with its numbers spelled``, and no header."""
    try:
        with open_text(path) as file:
            cells = file.readline().rstrip("\n").split("|")
    except (ManifestError, UnicodeError):
        return False
    return len(cells) in {2, 3} and not _names_columns(cells)


def composed(name: str) -> str:
    """A name in composed characters, with nothing in it that cannot be written as UTF-8 on one line."""
    name = unicodedata.normalize("NFC", name).encode("utf-8", "replace").decode()
    return "".join(character if character.isprintable() else " " for character in name).strip()


def base_name(path: str) -> str:
    """The last part of a path with slashes of either kind, composed."""
    return composed(re.split(r"[\\/]", path.strip())[-1])


def _encoding(start: bytes) -> str:
    for mark, encoding in _BYTE_ORDER_MARKS:
        if start.startswith(mark):
            return encoding
    even, odd = start[::2].count(0), start[1::2].count(0)
    if max(even, odd) > len(start) / 8:
        return "utf-16-le" if odd > even else "utf-16-be"
    return "utf-8"


def _rows(path: Path) -> Iterator[tuple[int, dict[str, Any] | str]]:
    """Line numbers and the fields of each row, or what is wrong with it."""
    try:
        with open_text(path) as file:
            first = next((line for line in file if line.strip()), "").strip()
            file.seek(0)
            if first.startswith("["):
                yield from _json_list(path, file)
            elif first and not first.startswith("{") and (path.suffix.lower() in {".csv", ".tsv"} or "|" in first):
                yield from _table_rows(path, file)
            else:
                yield from _json_lines(path, file)
    except UnicodeError as error:
        raise ManifestError(f"{path.name} is not text in UTF-8 or UTF-16.") from error


def _json_lines(path: Path, file: TextIO) -> Iterator[tuple[int, dict[str, Any] | str]]:
    for number, line in enumerate(file, start=1):
        if line.strip():
            yield number, _parsed(path, number, line)


def _parsed(path: Path, number: int, line: str) -> dict[str, Any] | str:
    try:
        row = json.loads(line)
    except (ValueError, RecursionError):
        return f"Line {number} of {path.name} is not JSON."
    return row if isinstance(row, dict) else f"Line {number} of {path.name} is not a JSON object."


def _json_list(path: Path, file: TextIO) -> Iterator[tuple[int, dict[str, Any] | str]]:
    try:
        rows = json.load(file)
    except (ValueError, RecursionError):
        file.seek(0)
        yield from _json_lines(path, file)
        return
    for number, row in enumerate(rows, start=1):
        yield number, row if isinstance(row, dict) else f"Entry {number} of {path.name} is not a JSON object."


def _table_rows(path: Path, file: TextIO) -> Iterator[tuple[int, dict[str, Any] | str]]:
    rows = read_table(file)
    number, cells = next(rows, (1, []))
    names = [cell.strip().lower() for cell in cells]
    if _names_columns(cells):
        for number, cells in rows:
            yield number, dict(zip(names, cells, strict=False))
    elif is_lj_speech(path):
        yield number, _of_lj_speech(cells)
        for number, cells in rows:
            yield number, _of_lj_speech(cells)
    else:
        raise ManifestError(
            f"The first line of {path.name} should name its columns: {AUDIO_FIELDS[0]}, {TEXT_FIELDS[0]} and, if you "
            f"like, {ID_FIELDS[0]}."
        )


def _names_columns(cells: list[str]) -> bool:
    return any(cell.strip().lower() in AUDIO_FIELDS for cell in cells)


def _of_lj_speech(cells: list[str]) -> dict[str, Any]:
    name = cells[0].strip()
    return {"clip_id": name, "audio": f"wavs/{name}.wav" if name else "", "text": cells[-1].strip()}


def _row(path: Path, number: int, fields: dict[str, Any] | str, seen: set[str]) -> ManifestRow:
    """The row of these fields; ``seen`` holds the ids before it."""
    where = f"Line {number} of {path.name}"
    spare_id = f"line-{number}"
    if isinstance(fields, str):
        return ManifestRow(spare_id, path.parent, fault=fields)
    fields = {name.lower(): value for name, value in fields.items()}
    clip_id, audio, text = "", None, None
    try:
        named = _first(fields, ID_FIELDS)
        audio = _audio(where, fields)
        clip_id = _clip_id(where, named, audio, seen)
        text = _text(where, _first(fields, TEXT_FIELDS))
        language = _language(where, _first(fields, LANGUAGE_FIELDS))
        _check_new(where, clip_id, seen)
        offset_s, duration_s = (_seconds(where, fields, name) for name in ("offset", "duration"))
        return ManifestRow(clip_id, path.parent / audio, text, language, offset_s or 0.0, duration_s)
    except _Fault as fault:
        if not clip_id or clip_id in seen:
            clip_id = f"{clip_id} ({spare_id})" if clip_id else spare_id
        return ManifestRow(clip_id, path.parent, text, fault=str(fault))


def _first(fields: Mapping[str, Any], names: tuple[str, ...]) -> Any:
    return next((fields[name] for name in names if fields.get(name) is not None), None)


def _audio(where: str, fields: Mapping[str, Any]) -> str:
    audio = _first(fields, AUDIO_FIELDS)
    if isinstance(audio, dict):
        audio = audio.get("path")
    if not isinstance(audio, str) or not audio.strip():
        raise _Fault(f"{where} needs an audio: the name of a file ({', '.join(AUDIO_FIELDS[:4])}).")
    return audio


def _clip_id(where: str, named: Any, audio: str, seen: set[str]) -> str:
    if isinstance(named, bool) or not isinstance(named, str | int | None):
        raise _Fault(f"{where}: clip_id must be text or a whole number.")
    if named is not None and (clip_id := composed(str(named))):
        return clip_id[:MAX_ID]
    parts = [composed(part) for part in re.split(r"[\\/]", audio)]
    stem = Path(parts.pop() or "clip").stem or "clip"
    while stem in seen and parts:  # the same name in another folder
        stem = f"{parts.pop()}/{stem}"
    number, clip_id = 1, stem[-MAX_ID:]
    while clip_id in seen:  # another part of the same file
        number += 1
        clip_id = f"{stem[-MAX_ID:]}-{number}"
    return clip_id


def _text(where: str, text: Any) -> str | None:
    if isinstance(text, int) and not isinstance(text, bool):
        text = str(text)
    if not isinstance(text, str | None):
        raise _Fault(f"{where}: text, the reference, must be text or null.")
    if text is None:
        return None
    if len(text) > MAX_TEXT:
        raise _Fault(f"{where}: its text has {len(text):,} characters, more than {MAX_TEXT:,}.")
    try:
        text.encode()
    except UnicodeEncodeError as error:
        raise _Fault(f"{where}: its text is not valid UTF-8.") from error
    return text


def _language(where: str, language: Any) -> str | None:
    if not isinstance(language, str | None):
        raise _Fault(f"{where}: language must be a code of Whisper's, or null.")
    return language


def _check_new(where: str, clip_id: str, seen: set[str]) -> None:
    if clip_id in seen:
        raise _Fault(f"{where} repeats the clip id {clip_id!r}. Make each its own.")


def _seconds(where: str, fields: Mapping[str, Any], name: str) -> float | None:
    value = fields.get(name)
    if value is None or value == "":
        return None
    try:
        seconds = float(value)
    except (TypeError, ValueError, OverflowError):
        seconds = math.nan
    if isinstance(value, bool) or not 0 <= seconds < 1e9:
        raise _Fault(f"{where}: {name} must be a number of seconds.")
    return seconds
