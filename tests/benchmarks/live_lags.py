"""How far each model lies behind somebody who speaks, and what live costs in words, over the clips of a manifest.

The clips need not all run at once: --seconds ends a part, and the next call goes on with the same --rows.
"""

from __future__ import annotations

import sys
from pathlib import Path
from time import monotonic
from typing import TYPE_CHECKING, Any

from components.core.files import read_rows
from components.core.settings import CUSTOM_PAIR
from components.core.speech import find_speech
from components.core.types import LaneRun
from components.report import text
from components.runs.benchmark import read_report
from components.runs.lab import Lab
from tests.benchmarks import common

if TYPE_CHECKING:
    from collections.abc import Iterable, Mapping

    from components.core.types import Report


def main() -> int:
    parser = common.parser(__doc__)
    parser.add_argument("--rows", type=Path, required=True, metavar="RUNS.jsonl", help="what is measured, as rows")
    parser.add_argument("--seconds", type=float, default=1e9, help="begin no clip after so many seconds")
    options = parser.parse_args()

    lab, started = Lab(common.settings(options)), monotonic()
    begins_s = {
        clip.clip_id: min((start_s for start_s, _ in find_speech(clip).spans), default=0.0)
        for clip in common.clips(options)
    }
    for step in lab.benchmark_steps(
        options.manifest, options.rows, pair=CUSTOM_PAIR, lanes=("whisper", "distil"), live=True, resume=True, seed=0
    ):
        if step.rows:
            common.save("live_lags", options, figures(read_report(options.rows), options.rows, begins_s))
        if monotonic() - started > options.seconds:
            print(f"{step.number} of {step.total} clips are done; call it again to go on")
            break
    report = read_report(options.rows)
    print(text.benchmark(report))
    passed = all(
        totals.live is not None and (totals.live.compute_p95_s or 0.0) < 4.0 for totals in report.summary.lanes.values()
    )
    return common.finish("live_lags", options, figures(report, options.rows, begins_s), passed=passed)


def figures(report: Report, rows: Path, begins_s: Mapping[str, float]) -> dict[str, Any]:
    """What the rows so far add up to. ``begins_s``: clip -> where speech begins in it, in seconds."""
    lanes = report.summary.lanes
    firsts_s = {lane: firsts(rows, lane) for lane in lanes}
    return {
        "goal": "every lane's compute lag stays under 4 s on 95 of 100 passes",
        "clips": report.summary.clips,
        "audio_length_s": sum(clip.audio_length_s for clip in report.clips if clip.lane_id == "whisper"),
        "first_commit_s": {lane: spread(found.values()) for lane, found in firsts_s.items()},
        "first_commit_after_speech_s": {
            lane: spread(first - begins_s[clip] for clip, first in found.items()) for lane, found in firsts_s.items()
        },
        "lanes": {lane: totals.live.model_dump(mode="json") for lane, totals in lanes.items() if totals.live},
    }


def firsts(rows: Path, lane_id: str) -> dict[str, float]:
    """Clip -> when its first words were committed, in seconds after its start."""
    own = (row for row in read_rows(rows)[1] if isinstance(row, LaneRun) and row.lane_id == lane_id)
    found = ((row.clip_id, row.lags.first_commit_s) for row in own if row.lags is not None)
    return {clip: first_s for clip, first_s in found if first_s is not None}


def spread(seconds: Iterable[float]) -> dict[str, float]:
    """Median, quartiles and the largest; nothing of fewer than two."""
    listed = sorted(seconds)
    return common.middle(listed) | {"largest_s": listed[-1]} if len(listed) > 1 else {}


if __name__ == "__main__":
    sys.exit(main())
