"""LaneSpec -> Engine: each checkpoint is loaded once and kept while there is memory for it."""

from __future__ import annotations

import importlib
import logging
import threading
from collections import OrderedDict
from typing import TYPE_CHECKING, cast

from components.core.catalog import checkpoint_name
from components.core.errors import LaneError, WhisperSpaceError, no_such
from components.engines import device as devices
from components.engines.checkpoints import Models, assistant_lane, teacher_of

if TYPE_CHECKING:
    from collections.abc import Callable, Collection

    from components.core.settings import Settings
    from components.core.types import LaneSpec
    from components.engines.base import Engine
    from components.engines.device import Device

logger = logging.getLogger(__name__)

BACKENDS = {
    "whisper": "components.engines.whisper:WhisperEngine",
    "speculative": "components.engines.speculative:SpeculativeEngine",
    "ctranslate": "components.engines.ctranslate:CTranslateEngine",
}
"""Backend -> ``module:class``, imported on first use. A lane may also name its class so itself. See ``base.Engine``."""

SHARING = {"whisper", "speculative"}
"""Backends whose engines share the pool's models: for them a model that is loaded takes no further memory."""

HEADROOM = 1.2
"""Memory to have free per byte of parameters: activations and the KV cache need some, too."""

Key = tuple[str, str, str | None, str | None]


class Pool:
    """Loaded engines. Lanes with the same backend and checkpoint share one."""

    def __init__(self, settings: Settings, device: Device | None = None) -> None:
        self.settings = settings
        self.device = device or devices.detect()
        self._engines: OrderedDict[Key, Engine] = OrderedDict()  # least recently used first
        self._lock = threading.Lock()
        self.models = Models()

    def get(self, lane: LaneSpec, *, beside: Collection[LaneSpec] = ()) -> Engine:
        """The engine of a lane; the first call loads it, while other threads wait.

        ``beside``: lanes of the same comparison, whose engines are kept. Where memory is short, other engines are
        unloaded, least recently used first.

        Raises:
            CheckpointError: the checkpoint cannot be loaded.
            LaneError: the backend is unknown or cannot run here, or there is not enough memory.
        """
        key = _key(lane)
        with self._lock:
            if key not in self._engines:
                self._engines[key] = self._load(lane, keep={_key(other) for other in beside})
            self._engines.move_to_end(key)
            return self._engines[key]

    def loaded(self, lane: LaneSpec) -> Engine | None:
        """The engine of a lane if it is loaded; never waits."""
        return self._engines.get(_key(lane))

    def missing(self, lane: LaneSpec) -> list[LaneSpec]:
        """What has to be loaded before a lane can run: its checkpoint, its assistant's, and the teachers of both."""
        return [] if self.loaded(lane) is not None else self._missing(lane)

    def stamp(self, lane: LaneSpec) -> dict[str, str]:
        """Device, dtype, attention and runtime of a lane: as used if it is loaded, else as they will be tried."""
        if (engine := self.loaded(lane)) is not None:
            info, runtime = engine.info, engine.runtime
            return {
                "device": info.device or self.device.kind,
                "dtype": info.dtype or "",
                "attention": info.attention or "",
                "runtime": runtime,
            }
        dtype = devices.resolve_dtype(self.settings.dtype, self.device)
        stamp = {
            "device": self.device.kind,
            "dtype": str(dtype).removeprefix("torch."),
            "attention": devices.attention_candidates(self.settings.attention, self.device, dtype)[0],
            "runtime": self.settings.runtime,
        }
        try:
            expected = getattr(_backend(lane), "expected", None)
            return stamp if expected is None else stamp | expected(self.settings, self.device)
        except LaneError:
            return stamp  # it cannot run here; ``get`` says why

    def preparation(self, lane: LaneSpec) -> str:
        """A long step that the first ``get`` takes, such as a conversion, for a person; empty where there is none."""
        if self.loaded(lane) is not None:
            return ""
        try:
            prepare = getattr(_backend(lane), "preparation", None)
            return "" if prepare is None else prepare(lane, self.settings, self.device)
        except (WhisperSpaceError, OSError):
            return ""  # ``get`` says why

    def unload(self) -> None:
        """Free everything."""
        with self._lock:
            self._evict(keep=set(), until=lambda: False)

    def _load(self, lane: LaneSpec, keep: set[Key]) -> Engine:
        make = _backend(lane)
        self.device.release_memory()
        self._evict(keep, until=lambda: self.device.available_memory_bytes() >= self._needed_bytes(lane))
        needed, available = self._needed_bytes(lane), self.device.available_memory_bytes()
        if available < needed:
            raise LaneError(
                f"{checkpoint_name(lane.checkpoint)} needs about {needed / 1e9:.1f} GB of memory, and "
                f"{available / 1e9:.1f} GB are free. Choose a smaller pair or a machine with more memory."
            )
        try:
            return make(lane, self.settings, self.device, self.models)
        except Exception as error:
            self.device.release_memory()
            if not devices.is_out_of_memory(error):
                raise
            raise LaneError(
                f"Memory ran out while {checkpoint_name(lane.checkpoint)} was loaded. "
                "Choose a smaller pair or a machine with more memory."
            ) from error

    def _missing(self, lane: LaneSpec) -> list[LaneSpec]:
        parts = [lane] if lane.assistant is None else [lane, assistant_lane(lane)]
        there = {(part.checkpoint, part.revision) for part in parts}
        teachers = [teacher for part in parts if (teacher := teacher_of(part)) is not None]
        parts += [teacher for teacher in teachers if (teacher.checkpoint, teacher.revision) not in there]
        return [part for part in parts if lane.backend not in SHARING or not self.models.holds(part)]

    def _needed_bytes(self, lane: LaneSpec) -> float:
        from components.engines.checkpoints import load_config
        from components.engines.counting import model_info

        infos = [model_info(part, load_config(part, self.settings.token)) for part in self._missing(lane)]
        parameters = sum(info.num_parameters for info in infos)
        return HEADROOM * parameters * devices.resolve_dtype(self.settings.dtype, self.device).itemsize

    def _evict(self, keep: set[Key], until: Callable[[], bool]) -> None:
        for key in [key for key in self._engines if key not in keep]:
            if until():
                return
            logger.info("unloading %s", checkpoint_name(key[1]))
            self._engines.pop(key).unload()


def _key(lane: LaneSpec) -> Key:
    return lane.backend, lane.checkpoint, lane.revision, lane.assistant


def _backend(lane: LaneSpec) -> Callable[[LaneSpec, Settings, Device, Models], Engine]:
    module, found, name = BACKENDS.get(lane.backend, lane.backend).partition(":")
    if not found:
        raise LaneError(no_such("backend", lane.backend, BACKENDS))
    try:
        engine = getattr(importlib.import_module(module), name)
    except ImportError as error:
        raise LaneError(
            f"{lane.label} cannot run here: {error.name or 'what it needs'} is not installed, or does not load."
        ) from error
    return cast("Callable[[LaneSpec, Settings, Device, Models], Engine]", engine)
