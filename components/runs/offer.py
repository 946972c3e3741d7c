"""What may be chosen: pairs and lanes that the settings name and this machine can load."""

from __future__ import annotations

from typing import TYPE_CHECKING

from components.core import catalog
from components.core.errors import CheckpointError, LaneError

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping, Sequence

    from components.core.settings import Hardware, Settings
    from components.core.types import LaneSpec


class Offer:
    """The choices of one deployment.

    Args:
        settings: What the variables say.
        hardware: What this machine is.
        available: Whether a checkpoint is here or can be fetched.
        unavailable: Lanes that cannot be loaded here, and why; it may change.
    """

    def __init__(
        self,
        settings: Settings,
        hardware: Hardware,
        available: Callable[[str], bool],
        unavailable: Mapping[LaneSpec, str],
    ) -> None:
        self.settings = settings
        self.hardware = hardware
        self.available = available
        self.unavailable = unavailable

    @property
    def default_pair(self) -> str:
        return self.settings.resolve_pair(self.hardware)

    @property
    def pairs(self) -> tuple[str, ...]:
        """The default pair, and the others whose two models can be loaded."""
        pairs = self.settings.resolve_pairs(self.hardware, self.available)
        return tuple(pair for pair in pairs if pair == self.default_pair or self._can_load(pair))

    def lanes(self, pair: str | None = None) -> tuple[LaneSpec, ...]:
        """The lanes of a pair, of the default one unless given.

        Raises:
            CheckpointError: the pair is not offered; the message lists those that are.
        """
        pair, pairs = pair or self.default_pair, self.pairs
        if pair not in pairs:
            raise CheckpointError(f"There is no pair called “{pair}” here. Choose one of: {', '.join(pairs)}.")
        return tuple(lane for lane in self._lanes(pair) if lane not in self.unavailable or self._is_default(lane))

    def choose(self, pair: str | None = None, lanes: Sequence[str] | None = None) -> tuple[LaneSpec, ...]:
        """Check a choice of pair and lanes. Without lanes: those that ``LANES`` names, else the pair's two models.

        Raises:
            CheckpointError: the pair is not offered.
            LaneError: a lane is not offered.
        """
        offered = self.lanes(pair)
        if not lanes:
            return tuple(lane for lane in offered if self._is_default(lane))
        by_id = {lane.lane_id: lane for lane in offered}
        if unknown := [lane for lane in lanes if lane not in by_id]:
            raise LaneError(f"There is no lane called “{unknown[0]}” here. Choose from: {', '.join(by_id)}.")
        return tuple(by_id[lane] for lane in dict.fromkeys(lanes))

    def _lanes(self, pair: str) -> tuple[LaneSpec, ...]:
        return catalog.lane_specs(self.settings.get_pair(pair), self.settings.lanes)

    def _is_default(self, lane: LaneSpec) -> bool:
        return bool(self.settings.lanes) or catalog.LANES[lane.lane_id].default

    def _can_load(self, pair: str) -> bool:
        return not any(lane in self.unavailable for lane in self._lanes(pair) if self._is_default(lane))
