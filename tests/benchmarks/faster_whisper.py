"""Faster-Whisper writes Transformers' words; int8 is at least twice as fast as plain float32 on a CPU.

Words in float32 on every clip up to 30 s, WER within 0.5 points beyond and in int8; speed on the shapes of small.en,
with random weights, the lanes alternated.
"""

from __future__ import annotations

import sys
from dataclasses import replace

from components.core import audio, catalog, scoring
from components.core.settings import CUSTOM_PAIR, Settings
from components.core.types import WINDOW_S
from components.engines.base import DecodingOptions
from components.engines.pool import Pool
from components.runs.measure import measure
from components.runs.speed import speed
from tests.benchmarks import common

GOAL = 2.0
WER_POINTS = 0.5


def main() -> int:
    parser = common.parser(__doc__)
    parser.add_argument("--limit", type=int, default=20, help="clips of the notebook for the speed")
    options = parser.parse_args()
    settings = common.settings(options)
    specs = {
        lane.lane_id: lane
        for lane in catalog.lane_specs(
            settings.get_pair(CUSTOM_PAIR), ("whisper", "distil", "faster-whisper", "faster-distil")
        )
    }
    pools = {dtype: Pool(replace(settings, dtype=dtype)) for dtype in ("float32", "int8")}
    rows, errors = [], {}
    for row in common.read_manifest(options.manifest):
        clip = audio.load_audio(row.audio, clip_id=row.clip_id)
        if audio.is_silent(clip.samples):
            continue
        for plain, faster in (("whisper", "faster-whisper"), ("distil", "faster-distil")):
            texts = {
                plain: _text(pools["float32"], specs[plain], clip),
                faster: _text(pools["float32"], specs[faster], clip),
                f"{faster} int8": _text(pools["int8"], specs[faster], clip),
            }
            same = scoring.normalise(texts[plain], "en") == scoring.normalise(texts[faster], "en")
            rows.append({"clip_id": clip.clip_id, "lane": faster, "long": clip.audio_length_s > WINDOW_S, "same": same})
            for name, text in texts.items() if row.text else ():
                errors.setdefault(name, []).append(common.word_errors(row.text, text))
    wer = {name: common.wer(found) for name, found in errors.items()}
    shapes = speed("small.en", Settings(dtype="int8"), lanes=["whisper", "faster-whisper"], limit=options.limit)
    ratio = next(lane["ratio"] for lane in shapes["lanes"] if lane["lane_id"] == "faster-whisper")
    result = {
        "goal": f"int8 at least {GOAL} times; words equal up to {WINDOW_S:.0f} s; WER within {WER_POINTS} points",
        "ratio": ratio,
        "wer": wer,
        "rows": rows,
        "small.en": shapes,
    }
    teacher, student = ({name: value for name, value in wer.items() if kind in name} for kind in ("whisper", "distil"))
    words = all(row["same"] for row in rows if not row["long"])
    passed = words and ratio >= GOAL and all(common.within(each, WER_POINTS) for each in (teacher, student))
    return common.finish("faster_whisper", options, result, passed=passed)


def _text(pool: Pool, lane: object, clip: object) -> str:
    return measure(pool.get(lane), clip, DecodingOptions()).output.transcript.text


if __name__ == "__main__":
    sys.exit(main())
