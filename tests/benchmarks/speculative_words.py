"""The speculative lane writes the teacher's own greedy tokens: on every clip up to 30 s, in float32.

Beyond 30 s, where one other token moves every window that follows, WER within 0.5 points. Tokens are compared window by
window with those of plain ``generate``. About 100 s on two cores.
"""

from __future__ import annotations

import sys
from dataclasses import replace

from components.core import audio, catalog
from components.core.manifests import read_manifest
from components.core.settings import CUSTOM_PAIR
from components.core.speech import find_speech
from components.core.types import WINDOW_S
from components.engines.base import DecodingOptions
from components.engines.pool import Pool
from components.runs.measure import measure
from tests.benchmarks import common

WER_POINTS = 0.5
LANES = ("whisper", "speculative")


def main() -> int:
    options = common.parser(__doc__).parse_args()
    settings = replace(common.settings(options), dtype="float32", runtime="eager")
    pool = Pool(settings)
    engines = {lane.lane_id: pool.get(lane) for lane in catalog.lane_specs(settings.get_pair(CUSTOM_PAIR), LANES)}
    rows, errors = [], {True: {name: [] for name in LANES}, False: {name: [] for name in LANES}}
    drafts, tokens, passes = [], 0, 0.0
    for row in read_manifest(options.manifest):
        clip = audio.load_audio(row.audio, clip_id=row.clip_id)
        if not find_speech(clip).worth_asking:
            continue
        long, windows = clip.audio_length_s > WINDOW_S, {}
        for name, engine in engines.items():
            output = measure(engine, clip, DecodingOptions()).output
            windows[name] = [window.tokens for window in output.windows]
            if row.text:
                errors[long][name].append(common.word_errors(row.text, output.transcript.text))
        tokens += output.generated_tokens
        passes += output.generated_tokens / output.tokens_per_pass
        drafts.append(output.acceptance_rate)
        same = windows["speculative"] == windows["whisper"]
        rows.append({"clip_id": clip.clip_id, "audio_length_s": clip.audio_length_s, "tokens_identical": same})
        print(f"{clip.clip_id}: {'same' if same else 'OTHER'} tokens", file=sys.stderr)
    wer = {
        name: {lane: common.wer(found) for lane, found in errors[long].items()}
        for name, long in (("up_to_30_s", False), ("beyond", True))
    }
    short = [row["tokens_identical"] for row in rows if row["audio_length_s"] <= WINDOW_S]
    result = {
        "goal": f"tokens identical on every clip up to {WINDOW_S:.0f} s; beyond, WER within {WER_POINTS} points",
        "identical": {"clips": len(short), "of_them_identical": sum(short)},
        "wer": wer,
        "tokens_per_pass": tokens / passes,
        "mean_acceptance_rate": sum(drafts) / len(drafts),
        "rows": rows,
    }
    passed = bool(short) and all(short) and common.within(wer["beyond"], WER_POINTS)
    return common.finish("speculative_words", options, result, passed=passed)


if __name__ == "__main__":
    sys.exit(main())
