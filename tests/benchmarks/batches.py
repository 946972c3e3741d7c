"""Several clips at a time write the words of one at a time, in float32; and how much faster they are.

Clips up to 30 s, sorted by length, in batches of 1, 4, 8 and 16, the sizes alternated. Both models in our own loop, and
the Faster-Whisper lanes, where they are asked for.
"""

from __future__ import annotations

import sys
from dataclasses import replace
from typing import TYPE_CHECKING

from components.core import catalog
from components.core.settings import CUSTOM_PAIR
from components.engines.base import DecodingOptions, Engine
from components.engines.pool import Pool
from components.runs.measure import measure_batch, warm_up
from tests.benchmarks import common

if TYPE_CHECKING:
    from components.core.types import AudioClip

SIZES = (1, 4, 8, 16)


def main() -> int:
    parser = common.parser(__doc__)
    parser.add_argument("--clips", type=int, default=64, help="at most so many")
    parser.add_argument("--lanes", nargs="+", default=["whisper", "distil"])
    parser.add_argument("--repeats", type=int, default=1)
    parser.add_argument("--dtype", default="float32")
    options = parser.parse_args()
    settings = replace(common.settings(options), dtype=options.dtype)
    pool, decoding = Pool(settings), DecodingOptions()
    clips = common.spoken_clips(options)[: options.clips]
    clips.sort(key=lambda clip: clip.audio_length_s)
    audio_s = sum(clip.audio_length_s for clip in clips)

    table, words = {}, {}
    for lane in catalog.lane_specs(settings.get_pair(CUSTOM_PAIR), options.lanes):
        engine = pool.get(lane)
        warm_up(engine, clips[0], decoding)
        seconds, texts = dict.fromkeys(SIZES, 0.0), {}
        for repeat in range(options.repeats):
            for size in SIZES if repeat % 2 == 0 else reversed(SIZES):
                texts[size], took_s = _run(engine, clips, size, decoding)
                seconds[size] += took_s
        words[lane.lane_id] = {size: sum(map(str.__eq__, texts[1], texts[size])) for size in SIZES}
        table[lane.lane_id] = {
            size: {
                "generation_s": seconds[size] / options.repeats,
                "times_real_time": options.repeats * audio_s / seconds[size],
                "over_one_at_a_time": seconds[1] / seconds[size],
                "runtime": engine.runtime,
            }
            for size in SIZES
        }
        print(lane.lane_id, words[lane.lane_id], table[lane.lane_id], file=sys.stderr)
    result = {
        "goal": "float32: the same words at every size",
        "clips": len(clips),
        "audio_s": audio_s,
        "dtype": options.dtype,
        "repeats": options.repeats,
        "same_words": words,
        "speed": table,
    }
    same = all(count == len(clips) for lane in words.values() for count in lane.values())
    return common.finish("batches", options, result, passed=same)


def _run(engine: Engine, clips: list[AudioClip], size: int, decoding: DecodingOptions) -> tuple[list[str], float]:
    """Texts of all clips, so many at a time, and the seconds of generation."""
    texts, seconds = [], 0.0
    for start in range(0, len(clips), size):
        measured = measure_batch(engine, clips[start : start + size], decoding)
        texts += [each.output.transcript.text for each in measured]
        seconds += sum(each.timing.generation_time_s for each in measured)
    return texts, seconds


if __name__ == "__main__":
    sys.exit(main())
