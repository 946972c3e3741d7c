"""Fewer bits keep float32's word error rate within 0.5 points, for both models in Transformers' or our own loop."""

from __future__ import annotations

import sys
from dataclasses import replace

from components.core import audio
from components.core.manifests import read_manifest
from components.engines.base import DecodingOptions
from components.engines.pool import Pool
from components.runs.measure import measure
from tests.benchmarks import common

WER_POINTS = 0.5
EXACT = "float32"


def main() -> int:
    parser = common.parser(__doc__)
    parser.add_argument("--dtypes", nargs="+", default=["bfloat16", "int8"])
    options = parser.parse_args()
    dtypes = [EXACT, *options.dtypes]
    pools = {dtype: Pool(replace(common.settings(options), dtype=dtype)) for dtype in dtypes}
    errors = {lane: {dtype: [] for dtype in dtypes} for lane in common.lanes(options)}
    for row in read_manifest(options.manifest):
        if not row.text:
            continue
        clip = audio.load_audio(row.audio, clip_id=row.clip_id)
        for lane, each in errors.items():
            for dtype, found in each.items():
                output = measure(pools[dtype].get(lane), clip, DecodingOptions()).output
                found.append(common.word_errors(row.text, output.transcript.text))
        print(clip.clip_id, file=sys.stderr)
    wer = {lane.lane_id: {dtype: common.wer(found) for dtype, found in each.items()} for lane, each in errors.items()}
    result = {"goal": f"WER within {WER_POINTS} points", "wer": wer}
    passed = all(common.within(each, WER_POINTS) for each in wer.values())
    return common.finish("dtype_words", options, result, passed=passed)


if __name__ == "__main__":
    sys.exit(main())
