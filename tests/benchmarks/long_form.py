"""Beyond 30 s: windows that overlap and are merged (``chunked``) beside windows one after another (``sequential``).

Word errors of both ways for teacher and student, within a point; Transformers' own pipeline, which merges chunks too,
beside them. Clips with a text and over 30 s.
"""

from __future__ import annotations

import sys
from dataclasses import replace

from transformers import pipeline

from components.core import audio
from components.core.manifests import read_manifest
from components.core.types import WINDOW_S
from components.engines.base import DecodingOptions
from components.engines.pool import Pool
from components.runs.measure import measure
from tests.benchmarks import common

WER_POINTS = 1.0
WAYS = ("sequential", "chunked")


def main() -> int:
    options = common.parser(__doc__).parse_args()
    settings = common.settings(options)
    pool = Pool(replace(settings, runtime="eager"))  # the pipeline borrows the model
    rows, errors = [], {}
    for lane in common.lanes(options):
        engine = pool.get(lane)
        theirs = pipeline(
            "automatic-speech-recognition",
            model=engine.model,
            tokenizer=engine.tokenizer,
            feature_extractor=engine.extractor,
            chunk_length_s=WINDOW_S,
        )
        for row in read_manifest(options.manifest):
            clip = audio.load_audio(row.audio, clip_id=row.clip_id)
            if clip.audio_length_s <= WINDOW_S or not row.text:
                continue
            texts, looped = {}, {}
            for way in WAYS:
                output = measure(engine, clip, DecodingOptions(long_form=way)).output
                texts[way], looped[way] = output.transcript.text, output.looped
            texts["pipeline"] = theirs(clip.samples.copy(), return_timestamps=True, generate_kwargs={"language": "en"})[
                "text"
            ]
            found = {way: common.word_errors(row.text, text) for way, text in texts.items()}
            for way, each in found.items():
                errors.setdefault((lane.lane_id, way), []).append(each)
            rows.append(
                {
                    "clip_id": clip.clip_id,
                    "lane": lane.lane_id,
                    "audio_length_s": clip.audio_length_s,
                    "wer": {way: each.wer for way, each in found.items()},
                    "looped": looped,
                }
            )
            print(rows[-1], file=sys.stderr)
    wers = {
        lane_id: {way: common.wer(errors[lane_id, way]) for of, way in errors if of == lane_id}
        for lane_id in dict.fromkeys(of for of, _ in errors)
    }
    passed = all(each["chunked"] - each["sequential"] <= WER_POINTS / 100 for each in wers.values())
    result = {"goal": f"chunked at most {WER_POINTS:g} point above sequential", "wer": wers, "rows": rows}
    return common.finish("long_form", options, result, passed=passed and bool(rows))


if __name__ == "__main__":
    sys.exit(main())
