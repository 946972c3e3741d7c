"""``DTYPE=bfloat16`` is at least 1.4 times as fast as float32 on a CPU that has it; WER within 0.5 points.

Speed on the shapes of small.en, both lanes, the dtypes alternated clip by clip; words on the shipped clips.
"""

from __future__ import annotations

import sys
from dataclasses import replace

from components.core import audio, catalog
from components.core.settings import Settings
from components.engines.base import DecodingOptions
from components.engines.device import detect
from components.engines.pool import Pool
from components.engines.shapes import ShapePair
from components.runs.measure import RequestStopwatch, measure
from components.runs.speed import notebook_tokens
from tests.benchmarks import common

GOAL = 1.4
WER_POINTS = 0.5
DTYPES = ("float32", "bfloat16")


def main() -> int:
    parser = common.parser(__doc__)
    parser.add_argument("--limit", type=int, default=20, help="clips of the notebook for the speed")
    options = parser.parse_args()
    pair = catalog.get_pair("small.en")
    shapes = [catalog.architecture(checkpoint) for checkpoint in (pair.teacher, pair.student)]
    lanes = dict(zip(("teacher", "student"), catalog.lane_specs(pair, ("whisper", "distil")), strict=True))
    models = {dtype: ShapePair(*shapes, Settings(dtype=dtype), detect()) for dtype in DTYPES}
    engines = {(dtype, role): models[dtype].engine(lane, role) for role, lane in lanes.items() for dtype in DTYPES}
    seconds = {role: dict.fromkeys(DTYPES, 0.0) for role in lanes}
    for engine in engines.values():
        engine.write(20, RequestStopwatch(engine.synchronize))
    for number, clip in enumerate(notebook_tokens(options.limit)):
        for dtype, role in engines if number % 2 == 0 else reversed(engines):
            stopwatch = RequestStopwatch(engines[dtype, role].synchronize)
            engines[dtype, role].write(clip[role], stopwatch)
            seconds[role][dtype] += stopwatch.seconds["generation"]
    ratio = {role: each["float32"] / each["bfloat16"] for role, each in seconds.items()}

    wer = {}
    for lane in common.lanes(options):
        for dtype in DTYPES:
            engine = Pool(replace(common.settings(options), dtype=dtype)).get(lane)
            errors = [
                common.word_errors(
                    row.text, measure(engine, audio.load_audio(row.audio), DecodingOptions()).output.transcript.text
                )
                for row in common.read_manifest(options.manifest)
                if row.text
            ]
            wer.setdefault(lane.lane_id, {})[dtype] = common.wer(errors)
    result = {
        "goal": f"at least {GOAL} times; WER within {WER_POINTS} points",
        "ratio": ratio,
        "seconds": seconds,
        "wer": wer,
    }
    passed = ratio["teacher"] >= GOAL and all(common.within(each, WER_POINTS) for each in wer.values())
    return common.finish("bfloat16", options, result, passed=passed)


if __name__ == "__main__":
    sys.exit(main())
