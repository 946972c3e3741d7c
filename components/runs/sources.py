"""Where the clips of a benchmark come from: a manifest, uploaded files, or a data set of the hub."""

from __future__ import annotations

import csv
import random
from dataclasses import dataclass, field
from pathlib import Path, PurePath
from types import MappingProxyType
from typing import TYPE_CHECKING, Any, Protocol

from components.core import catalog, files
from components.core.errors import ManifestError

if TYPE_CHECKING:
    from collections.abc import Iterable, Iterator, Mapping, Sequence

DATASETS = "datasets==5.2.0"
"""What ``requirements.txt`` asks for."""


@dataclass(frozen=True)
class Item:
    """One clip to run. ``audio``: what ``core.audio.load_audio`` takes; ``text``: see ``core.files.ManifestRow``."""

    clip_id: str
    audio: Path | bytes
    text: str | None = None


class Source(Protocol):
    """A data set. Reading it twice gives the same clips in the same order."""

    @property
    def name(self) -> str:
        """What the header of the rows calls it: rows of one file come from one data set."""

    def count(self) -> int | None:
        """How many clips there are, where that is known; looks for mistakes in the whole of it, where it can."""

    def items(self, seed: int | None = None) -> Iterator[Item]:
        """The clips, in an order shuffled by ``seed`` where one is given. Their audio is read as each is asked for."""


@dataclass(frozen=True)
class Manifest:
    """JSON lines, see ``core.files.read_manifest``."""

    path: Path

    @property
    def name(self) -> str:
        return "the shipped examples" if self.path.resolve() == catalog.EXAMPLES else self.path.name

    def count(self) -> int:
        return sum(1 for _ in files.read_manifest(self.path))

    def items(self, seed: int | None = None) -> Iterator[Item]:
        rows: Iterable[files.ManifestRow] = files.read_manifest(self.path)
        for row in rows if seed is None else _shuffled(rows, seed):
            yield Item(row.clip_id, row.audio, row.text)


@dataclass(frozen=True)
class Files:
    """Audio files, and what is said in them by name, with or without suffix; a clip is called as its file is.

    Raises:
        ManifestError: two files have one name, or there is none.
    """

    paths: Sequence[Path]
    references: Mapping[str, str] = field(default_factory=dict)

    def __post_init__(self) -> None:
        if not self.paths:
            raise ManifestError("No files were given. Choose some, with speech in them.")
        names = [path.stem for path in self.paths]
        if twice := next((name for name in names if names.count(name) > 1), None):
            raise ManifestError(f"Two files are called {twice!r}. Rename one: clips are told apart by their names.")
        known = {*names, *(path.name for path in self.paths)}
        if self.references and not known & set(self.references):
            raise ManifestError("The table of references names none of these files. Its first column is their names.")

    @property
    def name(self) -> str:
        return "uploaded files"

    def count(self) -> int:
        return len(self.paths)

    def items(self, seed: int | None = None) -> Iterator[Item]:
        for path in self.paths if seed is None else _shuffled(self.paths, seed):
            yield Item(path.stem, path, self.references.get(path.name, self.references.get(path.stem)))


def read_references(path: Path) -> dict[str, str]:
    """A table of references: file name and text, as CSV, TSV, or JSON lines as in a manifest.

    A first line that names its columns is left out.

    Raises:
        ManifestError: it is not such a table, or names a file twice.
    """
    if path.suffix.lower() in {".jsonl", ".json"}:
        rows = [[row.audio.name, row.text] for row in files.read_manifest(path) if row.text is not None]
    else:
        try:
            with path.open(encoding="utf-8-sig", newline="") as file:
                first = file.readline()
                file.seek(0)
                delimiter = next((character for character in first if character in "\t;,"), ",")
                rows = [row for row in csv.reader(file, delimiter=delimiter) if any(cell.strip() for cell in row)]
        except (OSError, UnicodeDecodeError, csv.Error) as error:
            raise ManifestError("The table of references cannot be read. Save it as CSV in UTF-8.") from error
        if rows and rows[0][0].strip().lower() in {"file", "filename", "file_name", "name", "audio", "clip_id", "clip"}:
            rows = rows[1:]
    found: dict[str, str] = {}
    for number, row in enumerate(rows, start=1):
        if len(row) != 2 or not row[0].strip():
            raise ManifestError(f"Row {number} of the table of references needs two cells: a file name and its text.")
        name = PurePath(row[0].strip()).name
        if name in found:
            raise ManifestError(f"The table of references names {name} twice.")
        found[name] = row[1].strip()
    if not found:
        raise ManifestError("The table of references is empty.")
    return found


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
            item = self._item(number, row)
            if item.clip_id in seen:
                raise ManifestError(
                    f"{self.name} repeats the clip id {item.clip_id!r}. Name a column of unique ids (--id-column)."
                )
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

    def _item(self, number: int, row: dict[str, Any]) -> Item:
        for column in filter(None, (self.audio_column, self.text_column, self.id_column)):
            if column not in row:
                hint = " Where there are no texts, choose --text-column ''." if column == self.text_column else ""
                raise ManifestError(f"{self.name} has no column {column!r}. It has: {', '.join(row)}.{hint}")
        audio = row[self.audio_column]
        if not isinstance(audio, dict) or not {"bytes", "path"} & set(audio):
            raise ManifestError(f"The column {self.audio_column!r} of {self.name} holds no audio.")
        text = row[self.text_column] if self.text_column else None
        file = audio.get("path") or ""
        name = row[self.id_column] if self.id_column else row.get("id")
        if name is None or name == "":  # 0 is a name
            name = PurePath(file).stem
        content = audio.get("bytes")
        if content is None:
            content = self._fetch(file)
        return Item(str(name or f"{self.split}-{number:06}"), content, None if text is None else str(text))

    def _fetch(self, file: str) -> bytes:
        """One clip of a data set whose audio stays in files of its own, there or on the hub."""
        import fsspec

        try:
            with fsspec.open(file) as opened:
                return opened.read()
        except Exception as error:
            raise ManifestError(f"{PurePath(file).name}, a clip of {self.name}, {_explanation(error)}") from error


PRESETS: Mapping[str, HubDataSet] = MappingProxyType(
    {"librispeech": HubDataSet("hf-internal-testing/librispeech_asr_dummy", "clean", "validation", id_column="id")}
)
"""Data sets that visitors may choose. The first is the Distil-Whisper notebook's: 73 clips of LibriSpeech."""


def _shuffled(things: Iterable[Any], seed: int) -> list[Any]:
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
    import httpx2  # what the hub's client speaks with
    from datasets import exceptions
    from huggingface_hub import errors as hub

    causes: list[BaseException] = []
    cause: BaseException | None = error
    while cause is not None:
        causes.append(cause)
        cause = cause.__cause__ or cause.__context__
    status = next((each.response.status_code for each in causes if isinstance(each, hub.HfHubHTTPError)), None)
    message = (str(error).strip() or type(error).__name__).splitlines()[0]
    gone = exceptions.DatasetNotFoundError | hub.HFValidationError | hub.RepositoryNotFoundError
    no_way = ConnectionError | httpx2.TransportError | hub.OfflineModeIsEnabled
    sentences = (  # the first that applies
        (
            isinstance(error, hub.GatedRepoError) or "is a gated dataset" in message,
            "is gated. Accept its terms on the hub, then set HF_TOKEN.",
        ),
        (
            isinstance(error, gone),
            "is neither a folder here nor a data set on the hub. If it is private, set HF_TOKEN.",
        ),
        (status in {401, 403}, "may not be read with this HF_TOKEN, says the hub. Set one that may."),
        (status == 429, "is refused for now: the hub has had too many requests. Try again in a few minutes."),
        (
            status not in {None, 404},
            f"cannot be fetched: the hub answers with error {status}. Try again later.",
        ),
        (
            any(isinstance(each, no_way) for each in causes),
            "cannot be fetched: the hub cannot be reached. Check the connection and try again.",
        ),
        # No such configuration, split or files: the message lists those there are.
        (isinstance(error, exceptions.DatasetsError | ValueError), f"cannot be opened. {message}."),
        (isinstance(error, FileNotFoundError), "is not there."),
    )
    said = next((sentence for applies, sentence in sentences if applies), None)
    return said or f"cannot be read ({type(error).__name__}). The log says more."
