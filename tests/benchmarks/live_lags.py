"""How far each model lies behind somebody who speaks, and what live costs in words, over the clips of a manifest.

The clips need not all run at once: --seconds ends a part, and the next call goes on with the same --rows.
"""

from __future__ import annotations

import sys
from pathlib import Path
from time import monotonic

from components.core.files import read_rows
from components.core.settings import CUSTOM_PAIR
from components.core.types import LaneRun
from components.report import text
from components.runs.benchmark import read_report
from components.runs.lab import Lab
from tests.benchmarks import common


def main() -> int:
    parser = common.parser(__doc__)
    parser.add_argument("--rows", type=Path, required=True, metavar="RUNS.jsonl", help="what is measured, as rows")
    parser.add_argument("--seconds", type=float, default=1e9, help="begin no clip after so many seconds")
    options = parser.parse_args()

    lab, started = Lab(common.settings(options)), monotonic()
    for step in lab.benchmark_steps(
        options.manifest, options.rows, pair=CUSTOM_PAIR, lanes=("whisper", "distil"), live=True, resume=True, seed=0
    ):
        if monotonic() - started > options.seconds:
            print(f"{step.number} of {step.total} clips are done; call it again to go on")
            break
    report = read_report(options.rows)
    print(text.benchmark(report))
    lanes = report.summary.lanes
    result = {
        "goal": "every lane's compute lag stays under 4 s on 95 of 100 passes",
        "clips": report.summary.clips,
        "audio_length_s": sum(clip.audio_length_s for clip in report.clips if clip.lane_id == "whisper"),
        "first_commit_s": {lane: common.middle(firsts(options.rows, lane)) for lane in lanes},
        "lanes": {lane: totals.live.model_dump(mode="json") for lane, totals in lanes.items() if totals.live},
    }
    passed = all(totals.live is not None and (totals.live.compute_p95_s or 0.0) < 4.0 for totals in lanes.values())
    return common.finish("live_lags", options, result, passed=passed)


def firsts(rows: Path, lane_id: str) -> list[float]:
    """When the first words of each clip were committed, in seconds after its start."""
    own = (row for row in read_rows(rows)[1] if isinstance(row, LaneRun) and row.lane_id == lane_id)
    return [row.lags.first_commit_s for row in own if row.lags is not None and row.lags.first_commit_s is not None]


if __name__ == "__main__":
    sys.exit(main())
