"""The speculative lane beside the teacher in the same loop: the same tokens on every clip, in less decoder time.

Alternated clip by clip, A B B A; totals are sums over the clips. Beyond 30 s, where one other token would move every
window that follows, tokens are compared all the same. About 5 s a clip on two cores.
"""

from __future__ import annotations

import sys
from dataclasses import replace

from components.core import catalog
from components.core.settings import CUSTOM_PAIR
from components.core.speech import find_speech
from components.engines.base import DecodingOptions
from components.engines.pool import Pool
from components.runs.measure import measure, warm_up
from tests.benchmarks import common

GOAL = 1.3
LANES = ("whisper", "speculative")
PARTS = ("encoder_time_s", "decoder_time_s", "generation_time_s")


def main() -> int:
    parser = common.parser(__doc__)
    parser.add_argument("--repeats", type=int, default=2)
    parser.add_argument("--every", type=int, default=1, help="of so many clips one is taken")
    parser.add_argument("--dtype", default="float32")
    parser.add_argument("--runtime", default="compiled", help="compiled is our own loop, as graphs where CUDA is")
    options = parser.parse_args()
    settings = replace(common.settings(options), dtype=options.dtype, runtime=options.runtime)
    pool, decoding = Pool(settings), DecodingOptions()
    lanes = catalog.lane_specs(settings.get_pair(CUSTOM_PAIR), LANES)
    engines = {lane.lane_id: pool.get(lane, beside=lanes) for lane in lanes}

    clips = [clip for clip in common.clips(options) if find_speech(clip).worth_asking][:: options.every]
    for engine in engines.values():
        warm_up(engine, clips[0], decoding)
    rows = []
    for number, clip in enumerate(clips):
        seconds = {lane: dict.fromkeys(PARTS, 0.0) for lane in LANES}
        outputs = {}
        for repeat in range(options.repeats):
            for lane in LANES if (number + repeat) % 2 == 0 else reversed(LANES):
                measured = measure(engines[lane], clip, decoding)
                outputs[lane] = measured.output
                for part in PARTS:
                    seconds[lane][part] += getattr(measured.timing, part)
        tokens = {lane: [window.tokens for window in output.windows] for lane, output in outputs.items()}
        drafted = outputs["speculative"]
        rows.append(
            {
                "clip_id": clip.clip_id,
                "audio_length_s": clip.audio_length_s,
                "tokens_identical": tokens["speculative"] == tokens["whisper"],
                "generated_tokens": drafted.generated_tokens,
                "acceptance_rate": drafted.acceptance_rate,
                "tokens_per_pass": drafted.tokens_per_pass,
                "seconds": seconds,
            }
        )
        print(f"{clip.clip_id}: decoder {_ratio([rows[-1]], 'decoder_time_s'):.2f} times", file=sys.stderr, flush=True)

    differing = [row["clip_id"] for row in rows if not row["tokens_identical"]]
    ratio = _ratio(rows, "decoder_time_s")
    total_tokens = sum(row["generated_tokens"] for row in rows)
    result = {
        "goal": f"the same tokens on every clip, decoder at least {GOAL} times as fast",
        "clips": len(rows),
        "repeats": options.repeats,
        "dtype": engines["whisper"].info.dtype,
        "runtime": {name: engine.runtime for name, engine in engines.items()},
        "ratio": {part.removesuffix("_time_s"): _ratio(rows, part) for part in PARTS},
        "clips_with_other_tokens": differing,
        "mean_acceptance_rate": sum(row["acceptance_rate"] for row in rows) / len(rows),
        "tokens_per_pass": total_tokens / sum(row["generated_tokens"] / row["tokens_per_pass"] for row in rows),
        "rows": rows,
    }
    return common.finish("speculative", options, result, passed=ratio >= GOAL and not differing)


def _ratio(rows: list[dict], part: str) -> float:
    """The teacher's time over the speculative lane's."""
    teacher, speculative = (sum(row["seconds"][lane][part] for row in rows) for lane in LANES)
    return teacher / speculative


if __name__ == "__main__":
    sys.exit(main())
