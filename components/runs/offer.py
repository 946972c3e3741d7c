"""What may be chosen: pairs and lanes that the settings name and this machine can load, and how to run them."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, cast, get_args

from components.core import catalog
from components.core.errors import CheckpointError, LaneError, no_such
from components.core.languages import LANGUAGE_NAMES
from components.core.normalizers import DEFAULT
from components.core.normalizers import normalizer as find_normalizer
from components.core.settings import AUTO
from components.core.types import LongForm
from components.engines.base import DecodingOptions

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping, Sequence

    from components.core.settings import Hardware, Settings
    from components.core.types import LaneSpec


MAX_REPEATS = 100
"""Timed runs of a lane in one comparison; for more, a benchmark is the better tool."""


@dataclass(frozen=True)
class Choices:
    """What a caller chose, checked; the fields are those of ``compare.Session``."""

    pair: str
    lanes: tuple[LaneSpec, ...]
    options: DecodingOptions
    reference: str | None
    normalizer: str
    repeats: int | None
    hear_language: bool
    student_languages: tuple[str, ...]
    clip_id: str | None

    @property
    def arguments(self) -> dict[str, Any]:
        """Those of ``Session``, without clip and lanes."""
        return {
            "options": self.options,
            "pair_id": self.pair,
            "reference": self.reference,
            "normalizer": self.normalizer,
            "repeats": self.repeats,
            "hear_language": self.hear_language,
            "student_languages": self.student_languages,
        }


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
            raise CheckpointError(no_such("pair", pair, pairs))
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
            raise LaneError(no_such("lane", unknown[0], by_id))
        return tuple(by_id[lane] for lane in dict.fromkeys(lanes))

    def check(
        self,
        *,
        pair: str | None = None,
        lanes: Sequence[str] | None = None,
        reference: str = "",
        normalizer: str = DEFAULT,
        repeats: int | None = None,
        language: str | None = None,
        long_form: str = AUTO,
        timestamps: bool = True,
        hear_language: bool = True,
        clip_id: str | None = None,
    ) -> Choices:
        """Check a caller's choices; they are explained at ``Lab.compare_steps``.

        Raises:
            CheckpointError: the pair is not offered.
            LaneError: a lane, the language or the long form is not one of those there are, or ``repeats`` is too large.
            TextError: there is no such normaliser.
        """
        specs = self.choose(pair, lanes)
        pair = pair or self.default_pair
        if repeats is not None and not 1 <= repeats <= MAX_REPEATS:
            raise LaneError(f"Repeats must be a whole number from 1 to {MAX_REPEATS}.")
        _check_name("long form", long_form, (AUTO, *get_args(LongForm)))
        language = language or self.settings.language
        _check_name("language", language, (AUTO, *LANGUAGE_NAMES))
        if long_form == AUTO:
            long_form = self.settings.get_pair(pair).long_form
        options = DecodingOptions(
            None if language == AUTO else language, timestamps=timestamps, long_form=cast("LongForm", long_form)
        )
        return Choices(
            pair,
            specs,
            options,
            reference=reference.strip() or None,
            normalizer=find_normalizer(normalizer).name,
            repeats=repeats,
            hear_language=hear_language,
            student_languages=self.settings.get_pair(pair).student_languages,
            clip_id=clip_id,
        )

    def _lanes(self, pair: str) -> tuple[LaneSpec, ...]:
        return catalog.lane_specs(self.settings.get_pair(pair), self.settings.lanes)

    def _is_default(self, lane: LaneSpec) -> bool:
        return bool(self.settings.lanes) or catalog.LANES[lane.lane_id].default

    def _can_load(self, pair: str) -> bool:
        return not any(lane in self.unavailable for lane in self._lanes(pair) if self._is_default(lane))


def _check_name(what: str, chosen: str, choices: Sequence[str]) -> None:
    if chosen not in choices:
        raise LaneError(no_such(what, chosen, choices))
