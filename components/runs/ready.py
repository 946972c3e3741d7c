"""Getting models ready: fetched, loaded and warm before anything is timed."""

from __future__ import annotations

import logging
from typing import TYPE_CHECKING

from components.core import catalog
from components.core.audio import load_audio
from components.core.caller import NOBODY, Caller
from components.core.errors import CheckpointError, WhisperSpaceError
from components.core.fitting import check_fit
from components.core.manifests import read_manifest
from components.core.settings import CUSTOM_PAIR
from components.core.speech import find_speech
from components.core.types import BASELINE_LANE, STUDENT_LANE
from components.engines import device as devices
from components.engines.base import DecodingOptions
from components.engines.checkpoints import load_kind
from components.engines.hub import Downloads
from components.engines.pool import SHARING
from components.runs.measure import warm_up

if TYPE_CHECKING:
    from collections.abc import Iterable, Sequence

    from components.core.settings import Settings
    from components.core.types import LaneSpec
    from components.engines.pool import Pool

logger = logging.getLogger(__name__)

WARM_UP_MANIFEST = catalog.EXAMPLES
"""Its first clip with words in it is what engines are warmed up on before anybody asks."""


class Ready:
    """Fetches, loads and warms the models of a pool.

    ``unavailable``: lanes that cannot be loaded in this process, and why, for a person. ``before_launch``: whether
    models are loaded before the page is launched, in the thread that imported ``spaces``. So ZeroGPU wants it: it hands
    requests what is on the device at the launch, and lends the GPU itself within requests alone.
    """

    def __init__(self, settings: Settings, pool: Pool) -> None:
        self.settings = settings
        self.pool = pool
        self.downloads = Downloads(settings.token)
        self.unavailable: dict[LaneSpec, str] = {}
        self.before_launch = devices.zero_gpu()
        self._fits = False

    def check_fit(self, pair: str) -> None:
        """Refuse the pair of the variables where its two checkpoints are of different kinds.

        A checkpoint that cannot be reached is no reason: its lane fails with a sentence of its own.

        Raises:
            CheckpointError: they do not fit each other.
        """
        if pair != CUSTOM_PAIR or self._fits:
            return
        kinds = []
        for lane in catalog.lane_specs(self.settings.get_pair(CUSTOM_PAIR), (BASELINE_LANE, STUDENT_LANE)):
            try:
                kinds.append(load_kind(lane, self.settings.token))
            except CheckpointError:
                return
        check_fit(*kinds)
        self._fits = True

    def fetch(
        self, lanes: Iterable[LaneSpec], caller: Caller = NOBODY, *, limit: int | None = None
    ) -> tuple[list[LaneSpec], dict[LaneSpec, str]]:
        """Have the lanes' files here. Returns the lanes that have them, and for each other one the reason.

        Raises:
            BusyError: ``limit`` others wait for downloads already.
            Cancelled: the caller left.
        """
        ready, refused = [], {}
        for lane in lanes:
            if lane in self.unavailable:
                refused[lane] = self.unavailable[lane]
                continue
            try:
                for part in self.pool.missing(lane):
                    self.downloads.fetch(part.checkpoint, part.revision, caller, limit=limit)
                ready.append(lane)
            except CheckpointError as error:
                logger.warning("%s cannot be fetched: %s", lane.lane_id, error.message, exc_info=error.__cause__)
                refused[lane] = error.message
        return ready, refused

    def leave_out_what_needs_the_gpu(self, lanes: Iterable[LaneSpec]) -> None:
        """On ZeroGPU: note the lanes whose backend loads its models itself, which it could do within requests alone."""
        self.unavailable |= {
            lane: f"{lane.label} needs the GPU to be loaded, and ZeroGPU lends it within requests alone."
            for lane in lanes
            if lane.backend not in SHARING
        }

    def load(self, lanes: Sequence[LaneSpec]) -> dict[LaneSpec, str]:
        """Load and warm lanes that are fetched. Returns those that could not be, and why; that is logged, too."""
        refused = {}
        for lane in lanes:
            try:
                self._load(lane)
            except WhisperSpaceError as error:
                logger.warning("%s is not ready: %s", lane.label, error.message)
                refused[lane] = error.message
        return refused

    def _load(self, lane: LaneSpec) -> None:
        engine = self.pool.get(lane)
        if self.before_launch:
            return  # there is no GPU yet, and each process warms its own copy
        rows = read_manifest(WARM_UP_MANIFEST) if WARM_UP_MANIFEST.exists() else ()
        if spoken := next((row for row in rows if row.text), None):
            clip = load_audio(spoken.audio)
            find_speech(clip)  # loads its detector, which the first visitor would wait for
            warm_up(engine, clip, DecodingOptions(self.settings.language))
