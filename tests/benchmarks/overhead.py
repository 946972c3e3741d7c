"""The stopwatch and everything around it may cost 2 % or 10 ms over a bare ``model.generate`` loop.

Three ways from the same samples to the same text, alternated: a bare loop of feature extractor, ``generate`` and
``decode``; the measured run, by its own end-to-end time; and a whole comparison of one lane, by the wall clock. The
figure is the median of the differences within a round.
"""

from __future__ import annotations

import sys
from dataclasses import replace
from time import perf_counter
from typing import TYPE_CHECKING, Any

import torch

from components.core.settings import CUSTOM_PAIR
from components.core.types import SAMPLING_RATE
from components.engines.base import DecodingOptions
from components.engines.pool import Pool
from components.runs.compare import compare
from components.runs.measure import measure, warm_up
from tests.benchmarks import common

if TYPE_CHECKING:
    from components.core.types import AudioClip

GOAL_SHARE, GOAL_S = 0.02, 0.010
OPTIONS = DecodingOptions()


def bare(engine: Any, clip: AudioClip) -> str:
    """The loop that anybody would write."""
    inputs = engine.extractor(clip.samples, sampling_rate=SAMPLING_RATE, return_tensors="pt")
    features = inputs.input_features.to(engine.model.device, engine.model.dtype)
    prompt = {"language": "en", "task": "transcribe"} if engine.special.languages else {}
    with torch.no_grad():
        tokens = engine.model.generate(features, return_timestamps=True, **prompt)
    return engine.tokenizer.batch_decode(tokens, skip_special_tokens=True)[0]


def main() -> int:
    parser = common.parser(__doc__)
    parser.add_argument("--repeats", type=int, default=40)
    options = parser.parse_args()

    lane, _ = common.lanes(options)
    clip = common.speech_clip(options)
    pool = Pool(replace(common.settings(options), runtime="eager"))  # what the bare loop runs
    engine = pool.get(lane)
    warm_up(engine, clip, OPTIONS)
    text = bare(engine, clip).strip()
    seconds: dict[str, list[float]] = {"bare": [], "measured": [], "comparison": []}

    def run(way: str) -> None:
        engine.synchronize()
        start_s = perf_counter()
        if way == "bare":
            written = bare(engine, clip).strip()
        elif way == "measured":
            measurement = measure(engine, clip, OPTIONS)
            written = measurement.output.transcript.text
        else:
            comparison = compare(clip, (lane,), pool, options=OPTIONS, pair_id=CUSTOM_PAIR, repeats=1)
            written = comparison.runs[0].text
        engine.synchronize()
        elapsed_s = perf_counter() - start_s
        seconds[way].append(measurement.timing.end_to_end_time_s if way == "measured" else elapsed_s)
        if written != text:
            raise SystemExit(f"{way} wrote “{written}”, the bare loop “{text}”")

    for repeat in range(options.repeats):
        for way in seconds if repeat % 2 == 0 else reversed(seconds):
            run(way)

    times = {way: common.middle(each) for way, each in seconds.items()}
    bare_s = times["bare"]["median_s"]
    # Of the differences within a round: what drifts over the rounds is in neither.
    extra = {
        way: common.middle([one - other for one, other in zip(seconds[way], seconds["bare"], strict=True)])
        for way in ("measured", "comparison")
    }
    overhead_s = {way: each["median_s"] for way, each in extra.items()}
    result = {
        "clip_id": clip.clip_id,
        "audio_length_s": clip.audio_length_s,
        "repeats": options.repeats,
        "goal": f"at most {GOAL_SHARE:.0%} or {1000 * GOAL_S:.0f} ms",
        "time": times,
        "overhead_s": extra,
        "overhead_share": {way: extra_s / bare_s for way, extra_s in overhead_s.items()},
    }
    passed = max(overhead_s.values()) <= max(GOAL_S, GOAL_SHARE * bare_s)
    return common.finish("overhead", options, result, passed=passed)


if __name__ == "__main__":
    sys.exit(main())
