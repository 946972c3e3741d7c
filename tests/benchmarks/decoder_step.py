"""A token of our loop, of CTranslate2 and of Transformers' ``generate``: the same tokens, and milliseconds for each.

The teacher and the student in float32, on clips up to 30 s, alternated clip by clip, encoder left out.
"""

from __future__ import annotations

import sys
from dataclasses import replace

from components.core import catalog
from components.core.settings import CUSTOM_PAIR
from components.engines.base import DecodingOptions
from components.engines.pool import Pool
from components.runs.measure import measure, warm_up
from tests.benchmarks import common

GOAL_OVER_CTRANSLATE = 1.25
GOAL_STUDENT = 1.4
RUNTIMES = {"loop": "auto", "generate": "eager"}
MODELS = {"whisper": "faster-whisper", "distil": "faster-distil"}


def main() -> int:
    parser = common.parser(__doc__)
    parser.add_argument("--every", type=int, default=1, help="of so many clips one is taken")
    parser.add_argument("--dtype", default="float32")
    parser.add_argument("--loop-alone", action="store_true", help="leave the others out")
    options = parser.parse_args()
    settings = replace(common.settings(options), dtype=options.dtype)
    lanes = {lane.lane_id: lane for lane in catalog.lane_specs(settings.get_pair(CUSTOM_PAIR))}
    pools = {name: Pool(replace(settings, runtime=runtime)) for name, runtime in RUNTIMES.items()}
    engines = {}
    for model, faster in MODELS.items():
        engines[model, "loop"] = pools["loop"].get(lanes[model], beside=lanes.values())
        if not options.loop_alone:
            engines[model, "generate"] = pools["generate"].get(lanes[model], beside=lanes.values())
            engines[model, "ctranslate2"] = pools["loop"].get(lanes[faster], beside=lanes.values())

    clips = common.spoken_clips(options)[:: options.every]
    decoding = DecodingOptions()
    for engine in engines.values():
        warm_up(engine, clips[0], decoding)
    seconds, tokens = dict.fromkeys(engines, 0.0), dict.fromkeys(engines, 0)
    differing: dict[str, list[str]] = {model: [] for model in MODELS}
    for number, clip in enumerate(clips):
        written = {}
        for key in engines if number % 2 == 0 else reversed(engines):
            measured = measure(engines[key], clip, decoding)
            seconds[key] += measured.timing.decoder_time_s
            tokens[key] += measured.output.generated_tokens
            written[key] = [window.tokens for window in measured.output.windows]
        for model in MODELS:
            of_model = [each for (name, _), each in written.items() if name == model]
            if any(each != of_model[0] for each in of_model):
                differing[model].append(clip.clip_id)
        print(clip.clip_id, {f"{key[0]} {key[1]}": f"{1000 * seconds[key] / tokens[key]:.2f}" for key in seconds})

    ms = {key: 1000 * seconds[key] / tokens[key] for key in engines}
    ratios = {"student_over_teacher_in_the_loop": ms["whisper", "loop"] / ms["distil", "loop"]}
    if not options.loop_alone:
        ratios["loop_over_ctranslate2"] = ms["whisper", "loop"] / ms["whisper", "ctranslate2"]
        ratios["generate_over_loop"] = ms["whisper", "generate"] / ms["whisper", "loop"]
    result = {
        "goal": f"teacher's loop at most {GOAL_OVER_CTRANSLATE} times CTranslate2's; student at least {GOAL_STUDENT} "
        "times as fast; the same tokens",
        "clips": len(clips),
        "dtype": options.dtype,
        "ms_a_token": {model: {name: ms[model, name] for of, name in ms if of == model} for model in MODELS},
        "runtimes": {" ".join(key): engine.runtime for key, engine in engines.items()},
        "ratio": ratios,
        "clips_with_other_tokens": differing,
    }
    passed = (
        ratios["student_over_teacher_in_the_loop"] >= GOAL_STUDENT
        and ratios.get("loop_over_ctranslate2", 0) <= GOAL_OVER_CTRANSLATE
        and not any(differing.values())
    )
    return common.finish("decoder_step", options, result, passed=passed)


if __name__ == "__main__":
    sys.exit(main())
