"""The nouns as JSON: what scripts see, what older files hold, and what is refused."""

from __future__ import annotations

import json

import pytest
from pydantic import ValidationError

from components.core.types import (
    Comparison,
    LaneFailure,
    LaneRun,
    Machine,
    ModelInfo,
    Models,
    Segment,
    Timing,
    WordErrors,
)

ROW = {
    "clip_id", "lane_id", "checkpoint", "text", "segments", "language", "audio_length_s", "generated_tokens",
    "feature_time_s", "encoder_time_s", "decoder_time_s", "generation_time_s", "end_to_end_time_s", "rtfx", "repeats",
    "dtype", "attention", "runtime", "reference", "normalized_reference", "normalized_text", "word_errors", "warnings",
    "acceptance_rate", "tokens_per_pass", "peak_memory_bytes",
}  # fmt: skip
COMPARISON = {"clip_id", "audio_length_s", "pair", "runs", "failures", "speed_up", "machine"}
MODEL = {
    "lane_id", "checkpoint", "num_parameters", "encoder_parameters", "decoder_parameters", "encoder_layers",
    "decoder_layers", "dtype", "device", "attention",
}  # fmt: skip

MACHINE = Machine(
    device="cpu", device_name="Some CPU", platform="Linux", python="3.11", libraries={"torch": "2.13.0"}, threads=2
)


def timing(generation_time_s=2.0, encoder_time_s=0.5):
    return Timing(
        feature_time_s=0.1,
        encoder_time_s=encoder_time_s,
        decoder_time_s=generation_time_s - encoder_time_s,
        generation_time_s=generation_time_s,
        end_to_end_time_s=generation_time_s + 0.2,
    )


def lane_run(lane_id="whisper", *repeats, **changes):
    fields = {
        "clip_id": "clip",
        "lane_id": lane_id,
        "checkpoint": "owner/name",
        "text": "Grüße “you”.",
        "segments": (Segment(start_s=0.0, end_s=1.5, text="Grüße"), Segment(start_s=1.5, end_s=3.0, text="“you”.")),
        "language": "en",
        "audio_length_s": 3.0,
        **(dict(repeats[0]) if repeats else {}),
        "repeats": repeats,
        "generated_tokens": 9,
        "dtype": "float32",
        "attention": "sdpa",
        "runtime": "eager",
        "reference": "Grüße you",
        "normalized_reference": "grüße you",
        "normalized_text": "grüße you",
        "word_errors": WordErrors(substitutions=1, reference_words=2),
        "warnings": ("A sign.",),
        "peak_memory_bytes": 123,
    }
    return LaneRun(**(fields | changes))


def comparison(*runs, **changes):
    return Comparison(
        **{"clip_id": "clip", "audio_length_s": 3.0, "pair": "base", "runs": runs, "machine": MACHINE} | changes
    )


@pytest.mark.parametrize("repeats", [(), (timing(), timing())])
def test_a_row_survives_its_way_through_json(repeats):
    run = lane_run("whisper", *repeats)
    row = json.loads(json.dumps(run.model_dump(mode="json"), allow_nan=False))
    assert set(row) > ROW
    assert LaneRun.model_validate(row) == run
    assert run.timing == (timing() if repeats else None)
    assert row["rtfx"] == (1.5 if repeats else None)
    assert row["word_errors"]["wer"] == 0.5


def test_a_row_of_an_older_version_is_read():
    run = lane_run("whisper", timing())
    row = run.model_dump(mode="json")
    old = {name: row[name] for name in ROW}
    old["word_errors"] = {
        name: row["word_errors"][name] for name in WordErrors.model_fields if name not in {"unit", "normalizer"}
    }
    assert LaneRun.model_validate(old) == run


@pytest.mark.parametrize(
    "change",
    [
        {"generation_time_s": float("nan")},
        {"generation_time_s": float("inf")},
        {"encoder_time_s": -1.0},
        {"generated_tokens": "many"},
        {"generated_tokens": 10**30},
        {"clip_id": "x" * 5000},
        {"segments": [{"start_s": 0}]},
        {"text": None},
    ],
)
def test_what_is_no_row_is_refused(change):
    with pytest.raises(ValidationError):
        LaneRun.model_validate(lane_run("whisper", timing()).model_dump(mode="json") | change)


def test_a_comparison_has_the_shape_of_the_contract():
    failure = LaneFailure(clip_id="clip", lane_id="speculative", message="It failed.")
    made = comparison(lane_run("whisper", timing(2.0)), lane_run("distil", timing(0.5)), failures=(failure,))
    answer = made.model_dump(mode="json")
    assert json.loads(json.dumps(answer)) == answer
    assert set(answer) >= COMPARISON
    assert answer["speed_up"] == {"distil": 4.0}
    assert answer["failures"] == [{"clip_id": "clip", "lane_id": "speculative", "message": "It failed."}]
    assert answer["machine"]["libraries"] == {"torch": "2.13.0"}
    assert Comparison.model_validate(answer) == made


def test_a_speed_ups_range_is_that_of_its_rounds():
    whisper = lane_run("whisper", timing(2.0), timing(3.0), timing(2.0))
    distil = lane_run("distil", timing(1.0), timing(1.0), timing(0.5))
    made = comparison(whisper, distil, lane_run("speculative"))
    assert made.speed_up_range("distil") == (2.0, 4.0, 3)
    assert made.speed_up_range("speculative") is None
    assert made.speed_up_range("whisper") is None
    assert comparison(distil).speed_up_range("distil") is None


def test_word_errors_add_up_and_say_where_they_do_not_mix():
    words = WordErrors(substitutions=1, reference_words=4, normalizer="ours-2")
    total = sum((words, words), WordErrors())
    assert (total.wer, total.unit, total.normalizer) == (0.25, "word", "ours-2")
    characters = WordErrors(insertions=1, reference_words=2, unit="character", normalizer="ours-2")
    assert (words + characters).unit == "mixed"
    assert WordErrors().wer is None


def test_models_are_compared_as_fractions():
    def info(lane_id, *counts):
        return ModelInfo(lane_id=lane_id, checkpoint="a/b", **dict(zip(COUNTS, counts, strict=True)))

    teacher = info("whisper", 1_543_304_960, 636_784_640, 906_520_320, 32, 32)
    student = info("distil", 756_220_160, 636_784_640, 119_435_520, 32, 2)
    answer = Models(pair="large-v2", lanes=(teacher, student)).model_dump(mode="json")
    assert answer["parameter_ratio"] == pytest.approx(0.49000047275167184, abs=1e-14)
    assert answer["decoder_parameter_ratio"] == pytest.approx(0.13175161920253482, abs=1e-14)
    assert set(answer) == {"pair", "lanes", "parameter_ratio", "decoder_parameter_ratio"}
    assert set(answer["lanes"][0]) == MODEL
    assert Models(pair="large-v2", lanes=(teacher,)).parameter_ratio is None


COUNTS = ("num_parameters", "encoder_parameters", "decoder_parameters", "encoder_layers", "decoder_layers")
