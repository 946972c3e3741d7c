"""Nouns as a visit, a benchmark and a speed run make them."""

from __future__ import annotations

from components.core.types import (
    ClipFigures,
    Comparison,
    LaneRun,
    LaneTotals,
    Machine,
    Report,
    Segment,
    SpeedLane,
    SpeedRun,
    Summary,
    Timing,
    WordErrors,
)

HOSTILE = "</script><img src=x onerror=alert(1)>"

MACHINE = Machine(
    device="cpu",
    device_name="AMD EPYC",
    platform="Linux x86_64",
    python="3.11.7",
    libraries={"torch": "2.13.0"},
    threads=2,
)


def timing(encoder_s: float, decoder_s: float) -> Timing:
    generation_s = encoder_s + decoder_s
    return Timing(
        feature_time_s=0.01,
        encoder_time_s=encoder_s,
        decoder_time_s=decoder_s,
        generation_time_s=generation_s,
        end_to_end_time_s=generation_s + 0.02,
    )


def make_run(lane_id: str, *repeats: tuple[float, float], text: str = "some words", **changes) -> LaneRun:
    """A row whose first repeat counts; nothing was timed without repeats."""
    timings = tuple(timing(*each) for each in repeats)
    fields = {
        "clip_id": "clip.wav",
        "lane_id": lane_id,
        "checkpoint": "openai/whisper-base" if lane_id == "whisper" else "examples/checkpoints/distil-base",
        "text": text,
        "segments": (Segment(start_s=0, end_s=2, text=text),),
        "language": "en",
        "audio_length_s": 5.0,
        "generated_tokens": 12,
        "repeats": timings,
        "dtype": "float32",
        "attention": "sdpa",
        "runtime": "eager",
    }
    return LaneRun(**(fields | (timings[0].model_dump() if timings else {}) | changes))


def make_comparison(*runs: LaneRun, **changes) -> Comparison:
    fields = {"clip_id": "clip.wav", "audio_length_s": 5.0, "pair": "base", "language": "en", "machine": MACHINE}
    return Comparison(**(fields | {"runs": runs} | changes))


def make_clip(clip_id: str, lane_id: str, encoder_s: float | None, decoder_s: float = 0.0, **changes) -> ClipFigures:
    generation_s = None if encoder_s is None else encoder_s + decoder_s
    fields = {
        "clip_id": clip_id,
        "lane_id": lane_id,
        "audio_length_s": 5.0,
        "encoder_time_s": encoder_s,
        "decoder_time_s": None if encoder_s is None else decoder_s,
        "generation_time_s": generation_s,
        "rtfx": 5.0 / generation_s if generation_s else None,
        "generated_tokens": 12,
        "wer": None,
        "words_from_baseline": None,
        "warnings": (),
    }
    return ClipFigures(**(fields | changes))


def make_totals(clips: list[ClipFigures], **changes) -> LaneTotals:
    def total(field: str) -> float:
        return sum(getattr(clip, field) or 0.0 for clip in clips)

    fields = {
        "clips": len(clips),
        "audio_length_s": total("audio_length_s"),
        "encoder_time_s": total("encoder_time_s"),
        "decoder_time_s": total("decoder_time_s"),
        "generation_time_s": total("generation_time_s"),
        "median_generation_time_s": 0.5,
        "p90_generation_time_s": 0.9,
        "rtfx": 10.0,
        "generated_tokens": 12 * len(clips),
        "ms_per_token": 10.0,
        "word_errors": WordErrors(),
        "wer_interval": None,
        "insertion_rate": None,
        "repeated_5_grams": 0,
        "suspect_clips": 0,
    }
    return LaneTotals(**(fields | changes))


def make_report(clips: list[ClipFigures], **changes) -> Report:
    """A report of these clips, its total speed-up counted from them, with an interval a tenth around it."""
    lanes = {lane: [clip for clip in clips if clip.lane_id == lane] for lane in dict.fromkeys(c.lane_id for c in clips)}
    totals = {lane: make_totals(each, **changes.pop(lane, {})) for lane, each in lanes.items()}
    timed = {clip.clip_id for clip in clips if clip.lane_id == "distil" and clip.generation_time_s}
    seconds = {lane: sum(c.generation_time_s or 0 for c in each if c.clip_id in timed) for lane, each in lanes.items()}
    speed_up = {}
    if seconds.get("whisper") and seconds.get("distil"):
        speed_up["distil"] = seconds["whisper"] / seconds["distil"]
    summary = {
        "clips": len({clip.clip_id for clip in clips}),
        "lanes": totals,
        "failures": {},
        "speed_up": speed_up,
        "speed_up_interval": {lane: (0.9 * ratio, 1.1 * ratio) for lane, ratio in speed_up.items()},
        "qoi": {},
        "differ_most": (),
        "warnings": (),
        "processes": 1,
        "resamples": 1000,
        "seed": 0,
    }
    fields = {"data": "examples", "checkpoints": {"whisper": "a/b", "distil": "c/d"}, "settings": {"repeats": 1}}
    summary |= changes.pop("summary", {})
    return Report(
        **({"pair": "base", "machine": MACHINE, "summary": Summary(**summary), "clips": clips} | fields | changes)
    )


def make_speed(pair: str = "large-v2", batch_size: int = 1, **changes) -> SpeedRun:
    lanes = tuple(
        SpeedLane(
            lane_id=lane,
            encoder_time_s=0.5,
            decoder_time_s=decoder_s,
            generation_time_s=0.5 + decoder_s,
            generated_tokens=1000,
            ms_per_token=decoder_s,
            peak_memory_bytes=None,
            ratio=4.5 / (0.5 + decoder_s),
            bandwidth_fraction=0.25,
            tokens_per_pass=None,
            dtype="float16",
            attention="sdpa",
            runtime="compiled",
            note="",
            batch_size=batch_size,
        )
        for lane, decoder_s in (("whisper", 4.0), ("distil", 0.5))
    )
    fields = {
        "pair": pair,
        "clips": 73,
        "lanes": lanes,
        "failures": (),
        "bandwidth_bytes_per_s": 2.8e12,
        "notebook": {},
    }
    return SpeedRun(**(fields | {"machine": MACHINE} | changes))
