"""Bootstrap intervals of ratios over clips."""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np

if TYPE_CHECKING:
    from components.core.types import Interval

RESAMPLES = 1000
SEED = 0
CONFIDENCE = 0.95

BLOCK = 2_000_000
"""Indices drawn at a time, so that memory does not grow with the data set."""


def ratio_intervals(
    above: np.ndarray, below: np.ndarray, *, seed: int = SEED, resamples: int = RESAMPLES
) -> list[Interval | None]:
    """Percentile bootstrap intervals (95 %) of ratios of sums, all recomputed on the same resampled clips.

    Efron, "Bootstrap methods: another look at the jackknife" (1979).

    Args:
        above: Numerators, float64, shape ``(clips, ratios)``.
        below: Denominators, the same shape; zero on both sides where a clip does not count.
        seed: Of the resampling.
        resamples: How many.

    Returns:
        ``[low, high]`` for each ratio, ``None`` where fewer than two clips count.
    """
    clips, ratios = above.shape
    if clips < 2:
        return [None] * ratios
    rng = np.random.default_rng(seed)
    drawn = np.empty((resamples, ratios))
    at_once = max(1, BLOCK // clips)
    for start in range(0, resamples, at_once):
        indices = rng.integers(0, clips, size=(min(at_once, resamples - start), clips))
        for ratio in range(ratios):
            with np.errstate(divide="ignore", invalid="ignore"):
                drawn[start : start + len(indices), ratio] = above[:, ratio][indices].sum(1) / below[:, ratio][
                    indices
                ].sum(1)
    tail = 50 * (1 - CONFIDENCE)
    intervals: list[Interval | None] = []
    for ratio in range(ratios):
        finite = drawn[np.isfinite(drawn[:, ratio]), ratio]
        counting = np.count_nonzero(below[:, ratio])
        intervals.append(
            (float(np.percentile(finite, tail)), float(np.percentile(finite, 100 - tail)))
            if counting > 1 and len(finite)
            else None
        )
    return intervals
