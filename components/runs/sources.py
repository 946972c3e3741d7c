"""Where the clips of a benchmark come from: a manifest, uploaded files, or a data set of the hub."""

from __future__ import annotations

import hashlib
import random
import unicodedata
from collections import Counter
from dataclasses import dataclass, field
from pathlib import Path
from types import MappingProxyType
from typing import TYPE_CHECKING, Any, Protocol

from components.core import catalog, manifests
from components.core.errors import ManifestError
from components.core.manifests import base_name, composed, open_text
from components.engines import hub

if TYPE_CHECKING:
    from collections.abc import Iterable, Iterator, Mapping, Sequence

DATASETS = "datasets==5.2.0"
"""What ``requirements.txt`` asks for."""


@dataclass(frozen=True)
class Item:
    """One clip to run.

    ``audio``: what ``core.audio.load_audio`` takes. ``text``, ``language``: see ``core.manifests.ManifestRow``.
    ``fault``: why it cannot be run, as a sentence; it is a failed row then, and the others go on.
    """

    clip_id: str
    audio: Path | bytes | Mapping[str, Any]
    text: str | None = None
    language: str | None = None
    fault: str | None = None


class Source(Protocol):
    """A data set. Reading it twice gives the same clips in the same order."""

    @property
    def name(self) -> str:
        """What the header of the rows calls it: rows of one file come from one data set."""

    def count(self) -> int | None:
        """How many clips there are, where that is known."""

    def items(self, seed: int | None = None) -> Iterator[Item]:
        """The clips, in an order shuffled by ``seed`` where one is given. Their audio is read as each is asked for."""


@dataclass(frozen=True)
class Manifest:
    """A list of clips, see ``core.manifests.read_manifest``."""

    path: Path

    @property
    def name(self) -> str:
        return "the shipped examples" if self.path.resolve() == catalog.EXAMPLES else composed(self.path.name)

    @property
    def state(self) -> str:
        """A digest of what it lists, which can change between two runs of one file of rows."""
        with self.path.open("rb") as file:
            return hashlib.file_digest(file, "sha256").hexdigest()[:16]

    def count(self) -> int:
        return sum(1 for _ in manifests.read_manifest(self.path))

    def items(self, seed: int | None = None) -> Iterator[Item]:
        rows: Iterable[manifests.ManifestRow] = manifests.read_manifest(self.path)
        for row in rows if seed is None else shuffled(rows, seed):
            yield Item(row.clip_id, _audio_of(row), row.text, row.language, row.fault)


def _audio_of(row: manifests.ManifestRow) -> Path | Mapping[str, Any]:
    path = _existing(row.audio)
    if not row.offset_s and row.duration_s is None:
        return path
    return {"path": path, "offset": row.offset_s, "duration": row.duration_s}


def _existing(path: Path) -> Path:
    """The file meant: a table may compose its characters otherwise than the disk, or use the slashes of Windows."""
    if path.exists():
        return path
    names = [str(path), str(path).replace("\\", "/")]
    others = (Path(unicodedata.normalize(form, name)) for name in names for form in ("NFC", "NFD"))
    return next((other for other in others if other.exists()), path)


@dataclass(frozen=True)
class Files:
    """Audio files, and what is said in them by name, with or without suffix; a clip is called as its file is.

    Names are compared as composed characters, without folders.

    Raises:
        ManifestError: two files have one name, or there is none.
    """

    paths: Sequence[Path]
    references: Mapping[str, str] = field(default_factory=dict)

    def __post_init__(self) -> None:
        if not self.paths:
            raise ManifestError("No files were given. Choose some, with speech in them.")
        names = [composed(path.stem) for path in self.paths]
        if twice := next((name for name, count in Counter(names).items() if count > 1), None):
            raise ManifestError(f"Two files are called {twice!r}. Rename one: clips are told apart by their names.")
        object.__setattr__(self, "references", {base_name(name): text for name, text in self.references.items()})
        if self.references and len(self._without_reference) == len(self.paths):
            raise ManifestError("The table of references names none of these files. Its first column is their names.")

    @property
    def name(self) -> str:
        return "uploaded files"

    @property
    def notes(self) -> tuple[str, ...]:
        """Which files have no reference, and which references no file."""
        if not self.references:
            return ()
        names = {composed(name) for path in self.paths for name in (path.name, path.stem)}
        nowhere = [name for name in self.references if name not in names]
        told = (
            ("No reference is given for", self._without_reference, "of these files"),
            ("No file is there for", nowhere, "rows of the table of references"),
        )
        return tuple(f"{start} {_counted(missing)} {end}." for start, missing, end in told if missing)

    @property
    def _without_reference(self) -> list[str]:
        return [composed(path.name) for path in self.paths if self._reference(path) is None]

    def _reference(self, path: Path) -> str | None:
        return self.references.get(composed(path.name), self.references.get(composed(path.stem)))

    def count(self) -> int:
        return len(self.paths)

    def items(self, seed: int | None = None) -> Iterator[Item]:
        for path in self.paths if seed is None else shuffled(self.paths, seed):
            yield Item(composed(path.stem) or "clip", path, self._reference(path))


def _counted(names: Sequence[str], shown: int = 5) -> str:
    rest = f" and {len(names) - shown} more" if len(names) > shown else ""
    return f"{len(names)} ({', '.join(names[:shown])}{rest})"


def read_references(path: Path) -> dict[str, str]:
    """A table of references: file name and text, as CSV or TSV, LJSpeech's table, or JSON lines as in a manifest.

    Names may have folders before them, with slashes of either kind. A first line that names its columns is left out.

    Raises:
        ManifestError: it is not such a table, a line of it is broken, or it names a file twice.
    """
    rows = _manifest_references(path) if path.suffix.lower() in {".jsonl", ".json"} else _cells(path)
    found: dict[str, str] = {}
    for number, row in enumerate(rows, start=1):
        if len(row) != 2 or not base_name(row[0]):
            raise ManifestError(f"Row {number} of the table of references needs two cells: a file name and its text.")
        name = base_name(row[0])
        if name in found:
            raise ManifestError(f"The table of references names {name} twice.")
        found[name] = row[1].strip()
    if not found:
        raise ManifestError("The table of references is empty.")
    return found


def _manifest_references(path: Path) -> list[list[str]]:
    """File name and text of each row that has one; whoever wrote the table is told of its first bad row."""
    rows = list(manifests.read_manifest(path))
    if fault := next((row.fault for row in rows if row.fault is not None), None):
        raise ManifestError(fault)
    return [[row.audio.name, row.text] for row in rows if row.text is not None]


def _cells(path: Path) -> list[list[str]]:
    try:
        with open_text(path) as file:
            rows = [cells for _, cells in manifests.read_table(file)]
        "".join(cell for row in rows for cell in row).encode()
    except (OSError, UnicodeError) as error:
        raise ManifestError("The table of references cannot be read. Save it as CSV in UTF-8.") from error
    if manifests.is_lj_speech(path):
        return [[row[0], row[-1]] for row in rows]
    named = {*manifests.AUDIO_FIELDS, "name", "clip_id", "clip"}
    return rows[1:] if rows and rows[0][0].strip().lower() in named else rows


@dataclass(frozen=True)
class HubDataSet:
    """A data set of the hub, or a folder of one, streamed by ``datasets``; its audio stays encoded until its turn.

    Without ``id_column``, clips are called by their ``id``, else by their file, else by their number.
    """

    path: str
    config: str | None = None
    split: str = "test"
    audio_column: str = "audio"
    text_column: str = "text"
    id_column: str | None = None
    token: str | None = field(default=None, repr=False)

    @property
    def name(self) -> str:
        return ", ".join(filter(None, (catalog.checkpoint_name(self.path), self.config, self.split)))

    def count(self) -> int | None:
        splits = getattr(self._open().info, "splits", None) or {}
        return splits[self.split].num_examples or None if self.split in splits else None

    def items(self, seed: int | None = None) -> Iterator[Item]:
        seen: set[str] = set()
        for number, row in enumerate(self._rows(seed), start=1):
            if number == 1:
                self._check_columns(row)
            item = self._item(number, row)
            if item.clip_id in seen:
                sentence = (
                    f"{self.name} repeats the clip id {item.clip_id!r}. Name a column of unique ids (--id-column)."
                )
                item = Item(f"{item.clip_id} ({self._number(number)})", b"", item.text, fault=sentence)
            seen.add(item.clip_id)
            yield item
        if not seen:
            raise ManifestError(f"{self.name} has no clips.")

    def _rows(self, seed: int | None) -> Iterator[dict[str, Any]]:
        data = self._open()
        if seed is not None:
            data = data.shuffle(seed=seed)
        rows = iter(data)
        while True:
            try:
                row = next(rows)
            except StopIteration:
                return
            except Exception as error:  # whatever the network, the formats or the hub come up with
                raise ManifestError(f"{self.name} broke off: it {_explanation(error)}") from error
            yield row

    def _open(self) -> Any:
        try:
            import datasets
        except ImportError as error:
            raise ManifestError(
                f"Data sets of the hub are read by the package datasets, which is not here. pip install {DATASETS}"
            ) from error
        datasets.disable_progress_bars()
        try:
            builder = datasets.load_dataset_builder(self.path, self.config, token=self.token or None)
            builder.config.decode_num_threads = 0  # else files of the hub are read ahead, by a step that decodes
            data = builder.as_streaming_dataset(split=self.split)
        except Exception as error:
            raise ManifestError(f"The data set {self.name} {_explanation(error)}") from error
        data = data.decode(False)
        audio = [column for column, kind in (data.features or {}).items() if isinstance(kind, datasets.Audio)]
        for column in audio:
            data = data.cast_column(column, _undecoded())
        return data

    def _check_columns(self, row: Mapping[str, Any]) -> None:
        for column in filter(None, (self.audio_column, self.text_column, self.id_column)):
            if column not in row:
                hint = " Where there are no texts, choose --text-column ''." if column == self.text_column else ""
                raise ManifestError(f"{self.name} has no column {column!r}. It has: {', '.join(row)}.{hint}")

    def _number(self, number: int) -> str:
        return f"{self.split}-{number:06}"

    def _item(self, number: int, row: Mapping[str, Any]) -> Item:
        audio, text = row.get(self.audio_column), row.get(self.text_column) if self.text_column else None
        file = audio if isinstance(audio, str) else audio.get("path") if isinstance(audio, dict) else None
        name = row.get(self.id_column) if self.id_column else row.get("id")
        if name is None or name == "":  # 0 is a name
            name = Path(base_name(str(file or ""))).stem
        clip_id = composed(str(name))[: manifests.MAX_ID] or self._number(number)
        try:
            content = self._content(audio)
            return Item(clip_id, content, None if text is None else _checked(str(text)))
        except ManifestError as error:
            return Item(clip_id, b"", None, fault=error.message)

    def _content(self, audio: Any) -> bytes | Mapping[str, Any]:
        """The audio of a row: encoded as it came, or as an array.

        Raises:
            ManifestError: there is none, or its file cannot be fetched.
        """
        if isinstance(audio, bytes):
            return audio
        if isinstance(audio, str) and audio:
            return self._fetch(audio)
        if isinstance(audio, dict):
            if audio.get("bytes") is not None:
                return audio["bytes"]
            if audio.get("array") is not None:
                return audio
            if audio.get("path"):
                return self._fetch(audio["path"])
        raise ManifestError(f"This row of {self.name} has no audio in its column {self.audio_column!r}.")

    def _fetch(self, file: str) -> bytes:
        """One clip of a data set whose audio stays in files of its own, there or on the hub."""
        import fsspec

        try:
            with fsspec.open(self._address(file)) as opened:
                return opened.read()
        except Exception as error:
            raise ManifestError(f"{base_name(file)}, a clip of {self.name}, {_explanation(error)}") from error

    def _address(self, file: str) -> str:
        if "://" in file or Path(file).is_absolute():
            return file
        here = _existing(Path(self.path) / file)
        return str(here) if Path(self.path).is_dir() else f"hf://datasets/{self.path}/{file}"


def _checked(text: str) -> str:
    try:
        text.encode()
    except UnicodeEncodeError as error:
        raise ManifestError("The text of this row is not valid UTF-8.") from error
    if len(text) > manifests.MAX_TEXT:
        raise ManifestError(f"The text of this row has {len(text):,} characters, more than {manifests.MAX_TEXT:,}.")
    return text


def data_set(path: str, **options: Any) -> Source:
    """A data set of the hub, or a folder of one; a folder like LJSpeech's is read from its ``metadata.csv``.

    Args:
        path: The id on the hub, or the folder.
        options: Those of ``HubDataSet``.
    """
    table = Path(path) / "metadata.csv"
    if table.is_file() and manifests.is_lj_speech(table):
        return Manifest(table)
    return HubDataSet(path, **options)


PRESETS: Mapping[str, HubDataSet] = MappingProxyType(
    {"librispeech": HubDataSet("hf-internal-testing/librispeech_asr_dummy", "clean", "validation", id_column="id")}
)
"""Data sets that visitors may choose. The first is the Distil-Whisper notebook's: 73 clips of LibriSpeech."""


def shuffled(things: Iterable[Any], seed: int) -> list[Any]:
    """In an order that is the same for the same seed."""
    listed = list(things)
    random.Random(seed).shuffle(listed)
    return listed


def _undecoded() -> Any:
    """The feature of audio that stays as it came: in its file, or in the row.

    The library's own, even where it decodes nothing, wants torchcodec for audio that lies in files.
    """
    import datasets

    class Undecoded(datasets.Audio):
        def encode_example(self, value: Any) -> Any:
            return {"bytes": None, "path": value} if isinstance(value, str) else value

    return Undecoded(decode=False)


def _explanation(error: Exception) -> str:
    """Why a data set cannot be opened or read, for a person; never a path of the server, which other messages hold."""
    from datasets import exceptions
    from huggingface_hub.errors import HFValidationError

    message = (str(error).strip() or type(error).__name__).splitlines()[0]
    sentences = (  # the first that applies
        ("is a gated dataset" in message, hub.NEEDS_TERMS),
        (isinstance(error, exceptions.DatasetNotFoundError | HFValidationError), hub.nowhere("data set")),
        (True, hub.why(error, "data set")),
        # No such configuration, split or files: the message lists those there are.
        (isinstance(error, exceptions.DatasetsError | ValueError), f"cannot be opened. {message}."),
        (isinstance(error, FileNotFoundError), "is not there."),
    )
    said = next((sentence for applies, sentence in sentences if applies and sentence), None)
    return said or f"cannot be read ({type(error).__name__}). The log says more."
