"""Faster-Whisper writes Transformers' words: in float32 the same on every clip up to 30 s.

Beyond 30 s, and in int8 on every clip, WER within 0.5 points. Both models of the pair. About 100 s on two cores.
"""

from __future__ import annotations

import sys
from dataclasses import replace

from components.core import audio, catalog, scoring
from components.core.manifests import read_manifest
from components.core.settings import CUSTOM_PAIR
from components.core.speech import find_speech
from components.core.types import WINDOW_S
from components.engines.base import DecodingOptions
from components.engines.pool import Pool
from components.runs.measure import measure
from tests.benchmarks import common

WER_POINTS = 0.5
PAIRS = (("whisper", "faster-whisper"), ("distil", "faster-distil"))


def main() -> int:
    options = common.parser(__doc__).parse_args()
    settings = common.settings(options)
    lanes = {lane.lane_id: lane for lane in catalog.lane_specs(settings.get_pair(CUSTOM_PAIR))}
    pools = {dtype: Pool(replace(settings, dtype=dtype)) for dtype in ("float32", "int8")}
    rows, errors = [], {}
    for row in read_manifest(options.manifest):
        clip = audio.load_audio(row.audio, clip_id=row.clip_id)
        if not find_speech(clip).worth_asking:
            continue
        long = clip.audio_length_s > WINDOW_S
        for plain, faster in PAIRS:
            texts = {
                (plain, "float32"): _text(pools["float32"], lanes[plain], clip),
                (faster, "float32"): _text(pools["float32"], lanes[faster], clip),
                (faster, "int8"): _text(pools["int8"], lanes[faster], clip),
            }
            words = {key: scoring.normalise(text, "en") for key, text in texts.items()}
            rows.append(
                {
                    "clip_id": clip.clip_id,
                    "lane": faster,
                    "audio_length_s": clip.audio_length_s,
                    "same_words": words[plain, "float32"] == words[faster, "float32"],
                    "same_words_int8": words[plain, "float32"] == words[faster, "int8"],
                }
            )
            for key, text in texts.items() if row.text else ():
                errors.setdefault((key, long), []).append(common.word_errors(row.text, text))
        print(f"{clip.clip_id}: {[row['same_words'] for row in rows[-2:]]}", file=sys.stderr)

    def wer(lane: str, dtype: str, lengths: tuple[bool, ...]) -> float | None:
        return common.wer([error for long in lengths for error in errors.get(((lane, dtype), long), [])])

    checks = {}
    for plain, faster in PAIRS:
        checks[f"{faster}, float32, beyond {WINDOW_S:.0f} s"] = {
            plain: wer(plain, "float32", (True,)),
            faster: wer(faster, "float32", (True,)),
        }
        checks[f"{faster}, int8, all clips"] = {
            plain: wer(plain, "float32", (True, False)),
            faster: wer(faster, "int8", (True, False)),
        }
    short = [row for row in rows if row["audio_length_s"] <= WINDOW_S]
    result = {
        "goal": f"float32: the same words up to {WINDOW_S:.0f} s; beyond, and in int8: WER within {WER_POINTS} points",
        "same_words": {"of": len(short), "float32": sum(row["same_words"] for row in short)},
        "wer": checks,
        "within": {name: common.within(each, WER_POINTS) for name, each in checks.items()},
        "rows": rows,
    }
    passed = bool(short) and all(row["same_words"] for row in short) and all(result["within"].values())
    return common.finish("faster_whisper_words", options, result, passed=passed)


def _text(pool: Pool, lane: object, clip: object) -> str:
    return measure(pool.get(lane), clip, DecodingOptions()).output.transcript.text


if __name__ == "__main__":
    sys.exit(main())
