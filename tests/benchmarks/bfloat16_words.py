"""``DTYPE=bfloat16`` keeps the word error rate of float32 within 0.5 points on the shipped clips, for both models.

About 110 s on two cores.
"""

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
DTYPES = ("float32", "bfloat16")


def main() -> int:
    options = common.parser(__doc__).parse_args()
    pools = {dtype: Pool(replace(common.settings(options), dtype=dtype)) for dtype in DTYPES}
    errors = {lane: {dtype: [] for dtype in DTYPES} for lane in common.lanes(options)}
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
    return common.finish("bfloat16_words", options, result, passed=passed)


if __name__ == "__main__":
    sys.exit(main())
