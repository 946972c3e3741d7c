"""The speculative lane is at least 1.3 times as fast as the teacher alone, in the same loop and runtime.

Generation time, encoder included, total over total, A B B A over every third clip up to 30 s. Transformers' own
assisted ``generate`` and its plain one run beside them once a clip, and are reported. About 60 s on two cores.
"""

from __future__ import annotations

import copy
import sys
from dataclasses import replace

import torch
from transformers import WhisperForCausalLM

from components.core import catalog
from components.core.settings import CUSTOM_PAIR
from components.engines.base import DecodingOptions
from components.engines.pool import Pool
from components.runs.measure import RequestStopwatch, measure, warm_up
from tests.benchmarks import common

GOAL = 1.3
OURS = ("teacher", "speculative")
THEIRS = ("transformers_plain", "transformers_assisted")
PARTS = ("encoder_time_s", "decoder_time_s", "generation_time_s")


def main() -> int:
    parser = common.parser(__doc__)
    parser.add_argument("--repeats", type=int, default=2)
    parser.add_argument("--every", type=int, default=3, help="of so many clips one is taken")
    parser.add_argument("--dtype", default="auto")
    parser.add_argument("--runtime", default="compiled", help="compiled is our own loop, as graphs where CUDA is")
    options = parser.parse_args()
    settings = replace(common.settings(options), dtype=options.dtype, runtime=options.runtime)
    pool, decoding = Pool(settings), DecodingOptions()
    *lanes, distil = catalog.lane_specs(settings.get_pair(CUSTOM_PAIR), ("whisper", "speculative", "distil"))
    engines = {name: pool.get(lane, beside=(*lanes, distil)) for name, lane in zip(OURS, lanes, strict=True)}
    teacher = engines["teacher"]
    student = _decoder_alone(pool.get(distil, beside=lanes).model)

    clips = common.spoken_clips(options)[:: options.every]
    for engine in engines.values():
        warm_up(engine, clips[0], decoding)
    for assistant in (None, student):
        _transformers(teacher, assistant, clips[0])
    totals = {name: dict.fromkeys(PARTS, 0.0) for name in OURS}
    seconds, theirs, rows, found = dict.fromkeys(OURS, 0.0), dict.fromkeys(THEIRS, 0.0), [], []
    for number, clip in enumerate(clips):
        row = dict.fromkeys(OURS, 0.0)
        for repeat in range(options.repeats):
            for name in OURS if (number + repeat) % 2 == 0 else reversed(OURS):
                measured = measure(engines[name], clip, decoding)
                for part in PARTS:
                    totals[name][part] += getattr(measured.timing, part)
                row[name] += measured.timing.generation_time_s
                if name == "speculative" and repeat == 0:
                    found.append(measured.output)
        for name, assistant in zip(THEIRS, (None, student), strict=True):
            theirs[name] += _transformers(teacher, assistant, clip)
        for name, value in row.items():
            seconds[name] += value
        rows.append({"clip_id": clip.clip_id, "ratio": row["teacher"] / row["speculative"]})
        print(f"{clip.clip_id}: {rows[-1]['ratio']:.2f}x", file=sys.stderr)

    ratio = seconds["teacher"] / seconds["speculative"]
    assisted_s = options.repeats * theirs["transformers_assisted"]
    result = {
        "goal": f"at least {GOAL} times",
        "ratio": {
            "teacher_in_the_same_loop": ratio,
            "decoder_alone": totals["teacher"]["decoder_time_s"] / totals["speculative"]["decoder_time_s"],
            "transformers_assisted_over_speculative": assisted_s / seconds["speculative"],
            "transformers_plain_over_assisted": theirs["transformers_plain"] / theirs["transformers_assisted"],
        },
        "runtime": {name: engine.runtime for name, engine in engines.items()},
        "dtype": teacher.info.dtype,
        "clips": len(clips),
        "repeats": options.repeats,
        "seconds": totals | theirs,
        "generated_tokens": sum(output.generated_tokens for output in found),
        "mean_acceptance_rate": sum(output.acceptance_rate for output in found) / len(found),
        "mean_tokens_per_pass": sum(output.tokens_per_pass for output in found) / len(found),
        "rows": rows,
    }
    return common.finish("speculative_speed", options, result, passed=ratio >= GOAL)


def _decoder_alone(model: object) -> WhisperForCausalLM:
    """A model of its own, since Transformers changes the one that it is given as an assistant."""
    student = WhisperForCausalLM(copy.deepcopy(model.config)).to(model.device, model.dtype).eval()
    student.model.decoder.load_state_dict(model.model.decoder.state_dict())
    student.proj_out.weight = student.model.decoder.embed_tokens.weight
    student.generation_config = copy.deepcopy(model.generation_config)
    return student


def _transformers(engine: object, assistant: object, clip: object) -> float:
    """Seconds of Transformers' ``generate``, encoder included, with an assistant or without."""
    features = engine.extractor(clip.samples, sampling_rate=clip.sampling_rate, return_tensors="pt")
    features = features["input_features"].to(engine.model.device, engine.model.dtype)
    helper = {} if assistant is None else {"assistant_model": assistant}
    stopwatch = RequestStopwatch(engine.synchronize)
    with torch.no_grad(), stopwatch.part("generation"):
        engine.model.generate(features, return_timestamps=True, force_unique_generate_call=True, **helper)
    return stopwatch.seconds["generation"]


if __name__ == "__main__":
    sys.exit(main())
