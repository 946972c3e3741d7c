"""What rows add up to. A sample is one clip as it went through some lanes, once."""

from __future__ import annotations

from typing import TYPE_CHECKING

from components.core.types import BASELINE_LANE

if TYPE_CHECKING:
    from collections.abc import Iterable

    from components.core.types import LaneRun

Sample = dict[str, "LaneRun"]
"""The timed and untimed rows of one sample, by lane id, in the order they came."""


def samples(rows: Iterable[LaneRun]) -> list[Sample]:
    """Group rows, in order, into samples: a new one starts with another clip, or where a lane comes again."""
    found: list[Sample] = []
    clip_id = None
    for row in rows:
        if not found or row.clip_id != clip_id or row.lane_id in found[-1]:
            found.append({})
            clip_id = row.clip_id
        found[-1][row.lane_id] = row
    return found


def lanes_of(rows: Iterable[LaneRun]) -> list[str]:
    """Lane ids in the order they first appear."""
    return list(dict.fromkeys(row.lane_id for row in rows))


def generation_time_s(row: LaneRun | None) -> float | None:
    """Seconds of encoder and decoder, or ``None`` where nothing was timed."""
    return row.timing.generation_time_s if row is not None and row.timing is not None else None


def speed_ups(rows: Iterable[LaneRun], lane_id: str) -> list[float | None]:
    """Each sample's generation time in the baseline lane over that in ``lane_id``; ``None`` where one is missing."""
    ratios: list[float | None] = []
    for sample in samples(rows):
        baseline = generation_time_s(sample.get(BASELINE_LANE))
        lane = generation_time_s(sample.get(lane_id))
        ratios.append(baseline / lane if baseline and lane else None)
    return ratios


def total_speed_up(rows: Iterable[LaneRun], lane_id: str) -> float | None:
    """Total over total, as in the Distil-Whisper notebook, over the samples that both lanes finished."""
    baseline_s = lane_s = 0.0
    for sample in samples(rows):
        baseline, lane = generation_time_s(sample.get(BASELINE_LANE)), generation_time_s(sample.get(lane_id))
        if baseline and lane:
            baseline_s += baseline
            lane_s += lane
    return baseline_s / lane_s if lane_s else None


def decoder_share(rows: Iterable[LaneRun], lane_id: str) -> float | None:
    """The decoder's part of a lane's generation time over all its rows, as a fraction."""
    timings = [row.timing for row in rows if row.lane_id == lane_id and row.timing is not None]
    total_s = sum(timing.generation_time_s for timing in timings)
    return sum(timing.decoder_time_s for timing in timings) / total_s if total_s else None
