"""Hub id -> its files in the local cache, whole and unaltered, before anything is loaded from them."""

from __future__ import annotations

import hashlib
import re
from pathlib import Path
from typing import TYPE_CHECKING, Any

from components.core.catalog import checkpoint_name
from components.core.errors import Cancelled, CheckpointError
from components.engines.checkpoints import explained

if TYPE_CHECKING:
    from collections.abc import Callable

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


def fetch(
    checkpoint: str,
    revision: str | None,
    token: str | None = None,
    *,
    progress: Callable[[float, int], None] | None = None,
    cancelled: Callable[[], bool] | None = None,
) -> None:
    """Download what is missing of a checkpoint, and compare new weights with the hash that the hub announces.

    The hub's own client compares sizes alone, and weights of the right size with wrong numbers in them load well. A
    folder is left alone; so is what the cache holds whole where the hub cannot be reached. What arrived before a
    download broke off is kept, and the next one goes on from there.

    Args:
        checkpoint: A hub id, or a folder.
        revision: A branch, a tag or a commit; ``None`` for ``main``.
        token: The hub's, for private and gated checkpoints.
        progress: Called with the fraction that is here, from 0 to 1, and the size of the whole in bytes.
        cancelled: Asked after every few megabytes.

    Raises:
        CheckpointError: not there, gated, not reachable, without safetensors, cut off or damaged.
        Cancelled: ``cancelled()`` turned true.
    """
    if Path(checkpoint).is_absolute() or Path(checkpoint).is_dir():
        return
    from huggingface_hub import constants, snapshot_download
    from huggingface_hub.file_download import repo_folder_name

    storage = Path(constants.HF_HUB_CACHE) / repo_folder_name(repo_id=checkpoint, repo_type="model")
    before = {blob.name for blob in storage.glob("blobs/*")}
    with explained(checkpoint):
        folder = snapshot_download(
            checkpoint,
            revision=revision,
            token=token,
            allow_patterns=list(FILES),
            tqdm_class=_reporter(progress, cancelled),
        )
    weights = [path for pattern in WEIGHTS for path in Path(folder).glob(pattern)]
    if not weights:
        raise CheckpointError(
            f"{checkpoint_name(checkpoint)} has no safetensors weights. Pickles are refused, since they can run code; "
            "convert them first."
        )
    for path in weights:
        blob = path.resolve()
        if blob.name not in before and not _intact(blob):
            path.unlink()
            blob.unlink(missing_ok=True)
            raise CheckpointError(
                f"{checkpoint_name(checkpoint)} arrived damaged: {path.name} does not have the hash that the hub "
                "announces, and was deleted. Try again to fetch it anew."
            )


def _intact(blob: Path) -> bool:
    """Whether a file of the cache holds what its name says: for large files that is their SHA-256."""
    if not re.fullmatch(r"[0-9a-f]{64}", blob.name):
        return True
    with blob.open("rb") as file:
        return hashlib.file_digest(file, "sha256").hexdigest() == blob.name


def _reporter(progress: Callable[[float, int], None] | None, cancelled: Callable[[], bool] | None) -> type:
    """A progress bar that draws nothing and tells instead; the hub's client makes one for the bytes, one for files."""
    from tqdm import tqdm

    class Reporter(tqdm):
        def __init__(self, *arguments: Any, **options: Any) -> None:
            self.counts_bytes = options.get("unit") == "B"
            super().__init__(*arguments, **options | {"disable": True})

        def update(self, n: float | None = 1) -> None:
            if cancelled is not None and cancelled():
                raise Cancelled
            self.n += n or 0  # which a bar that is not drawn does not count itself
            if progress is not None and self.counts_bytes and self.total:
                progress(min(1.0, self.n / self.total), int(self.total))

    return Reporter
