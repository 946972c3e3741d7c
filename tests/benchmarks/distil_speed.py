"""The student's decoder must be at least 4 times and its generation at least 2.3 times as fast as the teacher's.

Both in plain Transformers, batch 1, alternated over every clip that is not silence; total over total.
"""

from __future__ import annotations

import sys

from components.core.settings import CUSTOM_PAIR
from components.engines.base import DecodingOptions
from components.engines.pool import Pool
from components.runs.compare import compare
from tests.benchmarks import common

GOALS = {"decoder_time_s": 4.0, "generation_time_s": 2.3}
PARTS = ("feature_time_s", "encoder_time_s", "decoder_time_s", "generation_time_s")


def main() -> int:
    parser = common.parser(__doc__)
    parser.add_argument("--repeats", type=int, default=2)
    options = parser.parse_args()

    lanes = common.lanes(options)
    pool = Pool(common.settings(options))
    totals = {lane.lane_id: dict.fromkeys(PARTS, 0.0) | {"generated_tokens": 0} for lane in lanes}
    rows = []
    for clip in common.clips(options):
        comparison = compare(clip, lanes, pool, options=DecodingOptions(), pair_id=CUSTOM_PAIR, repeats=options.repeats)
        if comparison.failures:
            raise SystemExit(comparison.failures[0].message)
        if not comparison.speed_up:
            continue  # silence
        for run in comparison.runs:
            for part in PARTS:
                totals[run.lane_id][part] += getattr(run.timing, part)
            totals[run.lane_id]["generated_tokens"] += run.generated_tokens
        speed_up = comparison.speed_up["distil"]
        rows.append({"clip_id": clip.clip_id, "audio_length_s": clip.audio_length_s, "speed_up": speed_up})
        print(f"{clip.clip_id}: {clip.audio_length_s:.1f} s, {speed_up:.2f}x", file=sys.stderr)

    ratios = {part: totals["whisper"][part] / totals["distil"][part] for part in GOALS}
    tokens = {lane_id: total["generated_tokens"] for lane_id, total in totals.items()}
    per_token = (totals["whisper"]["decoder_time_s"] / tokens["whisper"]) / (
        totals["distil"]["decoder_time_s"] / tokens["distil"]
    )
    result = {
        "clips": len(rows),
        "repeats": options.repeats,
        "goal": {part: f"at least {goal} times" for part, goal in GOALS.items()},
        "ratio": ratios | {"decoder_time_per_token_s": per_token},
        "totals": totals,
        "rows": rows,
    }
    return common.finish(
        "distil_speed", options, result, passed=all(ratios[part] >= goal for part, goal in GOALS.items())
    )


if __name__ == "__main__":
    sys.exit(main())
