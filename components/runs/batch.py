"""Several clips at a time through each lane."""

from __future__ import annotations

import logging
from collections import defaultdict
from typing import TYPE_CHECKING

from components.core.errors import Cancelled
from components.engines import device as devices
from components.runs.measure import measure_batch

if TYPE_CHECKING:
    from collections.abc import Sequence

    from components.core.types import Comparison
    from components.engines.base import DecodingOptions
    from components.runs.compare import Session

logger = logging.getLogger(__name__)


class Batches:
    """Batches of up to ``size`` clips. Where memory runs out, ``size`` is halved, for all that follows."""

    def __init__(self, size: int) -> None:
        self.size = size
        self._warm: set[str] = set()

    def run(self, sessions: Sequence[Session]) -> list[Comparison]:
        """Run clips through their lanes, with the timed runs of each lane alternating as for a single clip.

        Clips of one language share a batch. Its time is shared out by the length of their audio; what a batch is padded
        with, and a clip that is slow to decode, are paid for by all of it.

        Raises:
            Cancelled: the caller left.
        """
        alike: dict[DecodingOptions, list[Session]] = defaultdict(list)
        for session in sessions:
            if session.worth_asking:
                for _ in session.prepare():
                    pass
                alike[session.options].append(session)
        for group in alike.values():
            self._measure(group)
        return [session.result() for session in sessions]

    def _measure(self, sessions: Sequence[Session]) -> None:
        """Time every lane over clips that are decoded alike."""
        lane_ids = list(dict.fromkeys(lane.lane_id for session in sessions for lane in session.lanes))
        for number in range(sessions[0].repeats or 1):
            for lane_id in lane_ids if number % 2 == 0 else reversed(lane_ids):
                waiting = [each for each in sessions if any(entry.lane.lane_id == lane_id for entry in each.working())]
                while waiting:
                    waiting = waiting[self._run(lane_id, waiting[: self.size]) :]

    def _run(self, lane_id: str, sessions: Sequence[Session]) -> int:
        """Time one lane over one batch; returns how many clips are done: all of them, or none where memory ran out."""
        first = sessions[0]
        engine = first.entries[lane_id].engine
        clips = [session.clip for session in sessions]
        try:
            if len(sessions) > 1 and lane_id not in self._warm:
                measure_batch(engine, clips, first.options, first.caller)  # the shapes of a batch are new to it
                self._warm.add(lane_id)
            measured = measure_batch(engine, clips, first.options, first.caller)
        except Cancelled:
            raise
        except Exception as error:  # noqa: BLE001 - each clip that fails on its own notes why
            if len(sessions) > 1 and devices.is_out_of_memory(error):
                self._halve(sessions)
                return 0
            for session in sessions:
                self._run_alone(lane_id, session)
            return len(sessions)
        for session, measurement in zip(sessions, measured, strict=True):
            entry = session.entries[lane_id]
            entry.measurements.append(measurement)
            entry.batch_size = len(sessions)
        return len(sessions)

    @staticmethod
    def _run_alone(lane_id: str, session: Session) -> None:
        entry = session.entries[lane_id]
        with session.noting_failure(entry.lane):
            entry.measurements += measure_batch(entry.engine, [session.clip], session.options, session.caller)

    def _halve(self, sessions: Sequence[Session]) -> None:
        devices.detect().release_memory()
        self.size = max(1, len(sessions) // 2)
        note = f"Memory ran out with {len(sessions)} clips at a time; {self.size} at a time from here on."
        logger.warning(note)
        for session in sessions:
            session.notes.append(note)
