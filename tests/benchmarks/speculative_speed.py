"""The speculative lane writes the teacher's tokens, and is at least 1.3 times as fast as the teacher in the same loop.

Over every clip that is not silence: tokens against plain ``generate`` up to 30 s, words beyond. Teacher and speculative
lane both in our own loop, alternated; Transformers' own assisted ``generate`` is timed beside them, and reported.
"""

from __future__ import annotations

import sys
from dataclasses import replace

import torch
from transformers import WhisperForCausalLM

from components.core import audio, catalog
from components.core.settings import CUSTOM_PAIR
from components.core.types import WINDOW_S
from components.engines.base import DecodingOptions
from components.engines.device import detect
from components.engines.pool import Pool
from components.runs.measure import RequestStopwatch, measure, warm_up
from tests.benchmarks import common

GOAL = 1.3
WER_POINTS = 0.5


class Tokens:
    """Keeps the tokens that an engine writes, window by window."""

    def __init__(self, engine: object) -> None:
        self.windows: list[list[int]] = []
        generate = engine._generate

        def kept(*arguments: object, **options: object) -> torch.Tensor:
            sequence = generate(*arguments, **options)
            self.windows.append(sequence[0].tolist())
            return sequence

        engine._generate = kept


def main() -> int:  # noqa: C901 - a straight line of steps
    parser = common.parser(__doc__)
    parser.add_argument("--repeats", type=int, default=2)
    options = parser.parse_args()
    decoding, settings = DecodingOptions(), common.settings(options)
    ids = ("whisper", "speculative")
    teacher, assisted = catalog.lane_specs(settings.get_pair(CUSTOM_PAIR), ids)
    plain = Pool(replace(settings, dtype="float32")).get(teacher)
    pool = Pool(replace(settings, dtype="float32", runtime="compiled"))
    engines = {"teacher": pool.get(teacher), "speculative": pool.get(assisted)}
    # A model of its own, decoder alone: Transformers changes the one that it is given as an assistant.
    student = WhisperForCausalLM.from_pretrained(options.student, dtype=torch.float32).to(detect().kind)
    written = {name: Tokens(engine) for name, engine in (("plain", plain), *engines.items())}

    seconds = dict.fromkeys((*engines, "speculative_short", "transformers_assisted_short"), 0.0)
    rows, errors = [], {name: [] for name in ("plain", "speculative")}
    accepted = []
    for row in common.read_manifest(options.manifest):
        clip = audio.load_audio(row.audio, clip_id=row.clip_id)
        if audio.is_silent(clip.samples):
            continue
        for engine in (plain, *engines.values()):
            warm_up(engine, clip, decoding)
        for kept in written.values():
            kept.windows.clear()
        last: dict[str, float] = {}
        texts = {"plain": measure(plain, clip, decoding).output.transcript.text}
        for repeat in range(options.repeats):
            for name in engines if repeat % 2 == 0 else reversed(engines):
                measured = measure(engines[name], clip, decoding)
                last[name] = measured.timing.generation_time_s
                seconds[name] += last[name]
                texts[name] = measured.output.transcript.text
                if name == "speculative" and measured.output.acceptance_rate is not None:
                    accepted.append(measured.output.acceptance_rate)
            if clip.audio_length_s <= WINDOW_S:  # one window, so that both do the same
                seconds["speculative_short"] += last["speculative"]
                seconds["transformers_assisted_short"] += _transformers(plain, student, clip)
        count = len(written["plain"].windows)
        same = written["speculative"].windows[:count] == written["plain"].windows
        rows.append({"clip_id": clip.clip_id, "audio_length_s": clip.audio_length_s, "tokens_identical": same})
        if row.text:
            for name, found in errors.items():
                found.append(common.word_errors(row.text, texts[name]))
        print(f"{clip.clip_id}: {'same' if same else 'OTHER'} tokens", file=sys.stderr)

    wer = {name: common.wer(found) for name, found in errors.items()}
    ratio = seconds["teacher"] / seconds["speculative"]
    short = [row for row in rows if row["audio_length_s"] <= WINDOW_S]
    result = {
        "goal": f"at least {GOAL} times; tokens identical up to {WINDOW_S:.0f} s; WER within {WER_POINTS} points",
        "ratio": {"teacher_in_the_same_loop": ratio, "transformers_assisted": _over(seconds)},
        "seconds": seconds,
        "acceptance_rate": sum(accepted) / len(accepted) if accepted else None,
        "wer": wer,
        "rows": rows,
    }
    passed = ratio >= GOAL and all(row["tokens_identical"] for row in short) and common.within(wer, WER_POINTS)
    return common.finish("speculative_speed", options, result, passed=passed)


def _over(seconds: dict[str, float]) -> float | None:
    short = seconds["speculative_short"]
    return seconds["transformers_assisted_short"] / short if short else None


def _transformers(engine: object, student: object, clip: object) -> float:
    """Seconds of Transformers' assisted ``generate``, encoder included."""
    features = engine.processor.feature_extractor(clip.samples, sampling_rate=clip.sampling_rate, return_tensors="pt")
    features = features["input_features"].to(engine.model.device)
    stopwatch = RequestStopwatch(engine.synchronize)
    with torch.no_grad():
        stopwatch.start("generation")
        engine.model.generate(features, assistant_model=student, return_timestamps=True)
        stopwatch.stop("generation")
    return stopwatch.seconds["generation"]


if __name__ == "__main__":
    sys.exit(main())
