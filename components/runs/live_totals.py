"""Live rows -> lags over all passes, and what live costs in words against the whole recordings at once."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import numpy as np

from components.core.types import LiveTotals, WordErrors
from components.runs.intervals import ratio_intervals

if TYPE_CHECKING:
    from collections.abc import Sequence

    from components.core.types import LiveFigures


def lag_figures(lags_s: np.ndarray) -> dict[str, Any]:
    """Medians, 95th percentiles and maxima, as ``Lags`` and ``LiveTotals`` name them; ``None`` without a pass.

    ``lags_s``: compute and policy lag of each pass, in seconds, shape ``(passes, 2)``.
    """
    figures: dict[str, Any] = {}
    for kind, column in zip(("compute", "policy"), lags_s.T, strict=True):
        figures |= {
            f"{kind}_median_s": float(np.median(column)) if len(column) else None,
            f"{kind}_p95_s": float(np.percentile(column, 95)) if len(column) else None,
            f"{kind}_max_s": float(column.max()) if len(column) else None,
        }
    return figures


def live_totals(
    clips: Sequence[tuple[LiveFigures, WordErrors | None]], *, seed: int, resamples: int
) -> LiveTotals | None:
    """One lane's live runs; ``None`` where there are none.

    Args:
        clips: For each, its lags and words at once, and the word errors of its live words.
        seed: Of the resampling of the clips.
        resamples: How many.
    """
    if not clips:
        return None
    lags_s = np.array([lag for live, _ in clips for lag in live.pass_lags_s], dtype=np.float64).reshape(-1, 2)
    both = [(errors, live.offline_errors) for live, errors in clips if errors is not None and live.offline_errors]
    more = np.array([[errors.edits - offline.edits] for errors, offline in both], dtype=np.float64).reshape(-1, 1)
    words = np.array([[errors.reference_words] for errors, _ in both], dtype=np.float64).reshape(-1, 1)
    return LiveTotals(
        passes=len(lags_s),
        **lag_figures(lags_s),
        word_errors=sum((errors for errors, _ in both), WordErrors()),
        offline_errors=sum((offline for _, offline in both), WordErrors()),
        wer_difference=float(more.sum() / words.sum()) if words.sum() else None,
        wer_difference_interval=ratio_intervals(more, words, seed=seed, resamples=resamples)[0],
    )
