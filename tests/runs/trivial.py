"""A real engine with next to nothing to do: what is left is what the pipeline costs."""

from __future__ import annotations

import zlib
from typing import TYPE_CHECKING

from components.core.types import ModelInfo, Segment, Transcript
from components.engines.base import EngineOutput

if TYPE_CHECKING:
    from collections.abc import Sequence

    from components.core.caller import Caller
    from components.core.settings import Settings
    from components.core.types import AudioClip, LaneSpec
    from components.engines.base import DecodingOptions, Stopwatch
    from components.engines.device import Device

WORDS = ("red", "green", "blue", "house", "river", "stone", "cloud", "bread", "paper", "glass")


class TrivialEngine:
    """Writes words that the samples decide, the same every time; the student leaves one out now and then."""

    runtime = "eager"
    runtime_note = ""
    warm = False

    def __init__(self, lane: LaneSpec, settings: Settings, device: Device, *_: object) -> None:
        self.info = ModelInfo(
            lane_id=lane.lane_id,
            checkpoint=lane.checkpoint,
            num_parameters=1,
            encoder_parameters=1,
            decoder_parameters=1,
            encoder_layers=1,
            decoder_layers=1,
            dtype="float32",
            device=device.kind,
            attention="none",
        )

    def transcribe(
        self, clip: AudioClip, _options: DecodingOptions, stopwatch: Stopwatch, _caller: Caller | None = None
    ) -> EngineOutput:
        with stopwatch.part("features"):
            chance = zlib.crc32(clip.samples.tobytes())
        with stopwatch.part("generation"):
            with stopwatch.part("encoder"):
                words = [WORDS[(chance >> shift) % 10] for shift in range(0, 30, 3)]
            if self.info.lane_id == "distil":
                words = words[chance % 3 :]
            text = " ".join(words)
        return EngineOutput(Transcript(text, (Segment(start_s=0.0, end_s=1.0, text=text),), "en"), len(words) + 1)

    def transcribe_batch(
        self, clips: Sequence[AudioClip], options: DecodingOptions, stopwatch: Stopwatch, caller: Caller
    ) -> list[EngineOutput]:
        return [self.transcribe(clip, options, stopwatch, caller) for clip in clips]

    def synchronize(self) -> None: ...

    def reset_peak_memory(self) -> None: ...

    def peak_memory_bytes(self) -> int | None:
        return None

    def unload(self) -> None: ...


def without_times(row: dict) -> dict:
    """A row's JSON without what depends on the clock."""
    timed = {"rtfx", "repeats", "token_times_s", "busy"}
    return {key: value for key, value in row.items() if not key.endswith("_time_s") and key not in timed}


if __name__ == "__main__":  # the command line, with this engine behind every lane
    import sys

    from components.engines import pool
    from components.runs.__main__ import main

    pool.BACKENDS["whisper"] = "tests.runs.trivial:TrivialEngine"
    sys.exit(main())
