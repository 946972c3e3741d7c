"""What a benchmark's own work costs: ten thousand rows in batches, of engines with next to nothing to do.

Processor time, not the clock. Of it, reading a clip and finding the speech in it are told apart: PyAV and the Silero
detector do that. Memory is that of the process, from a quarter of the rows to the end. About a minute on two cores.
"""

from __future__ import annotations

import gc
import json
import random
import sys
import tempfile
import time
from pathlib import Path

import numpy as np
import psutil
import soundfile

from components.core import audio
from components.core.speech import find_speech
from components.core.types import SAMPLING_RATE
from components.engines import pool
from components.runs.lab import Lab
from tests.benchmarks import common
from tests.runs.trivial import WORDS
from tests.runs.voice import spoken

GOAL_MS, GROWTH_GOAL_BYTES = 1.0, 50_000_000
LANES = 2


def main() -> int:
    parser = common.parser(__doc__)
    parser.add_argument("--rows", type=int, default=10_000)
    parser.add_argument("--batch-size", type=int, default=16)
    options = parser.parse_args()
    pool.BACKENDS["whisper"] = "tests.runs.trivial:TrivialEngine"
    lab, clips, process = Lab(common.settings(options)), options.rows // LANES, psutil.Process()
    with tempfile.TemporaryDirectory() as folder:
        manifest = write_clips(Path(folder), clips)
        output, memory = Path(folder) / "rows.jsonl", []
        lab.benchmark(manifest, Path(folder) / "first.jsonl", limit=40)  # imports, and what is made once
        began_s = time.process_time()
        for number, _ in enumerate(lab.benchmark_steps(manifest, output, batch_size=options.batch_size), start=1):
            if number in {clips // 4, clips}:
                gc.collect()
                memory.append(process.memory_info().rss)
        whole_ms = 1000 * (time.process_time() - began_s) / options.rows
        reading_ms = read_ms(Path(folder) / "clip.wav")
    own_ms = whole_ms - reading_ms
    growth = memory[-1] - memory[0]
    result = {
        "goal": f"under {GOAL_MS:g} ms a row of our own, memory flat to {GROWTH_GOAL_BYTES // 10**6} MB",
        "rows": options.rows,
        "batch_size": options.batch_size,
        "ms_a_row": {"whole": whole_ms, "reading_and_finding_speech": reading_ms, "own": own_ms},
        "memory_growth_bytes": growth,
    }
    return common.finish("rows", options, result, passed=own_ms < GOAL_MS and growth <= GROWTH_GOAL_BYTES)


def write_clips(folder: Path, count: int) -> Path:
    """A manifest of one clip of speech, each time with another text of ten words."""
    rng = random.Random(1)
    soundfile.write(folder / "clip.wav", spoken(np.random.default_rng(0)), SAMPLING_RATE)
    rows = [
        {"clip_id": f"clip-{number}", "audio": "clip.wav", "text": " ".join(rng.choices(WORDS, k=10))}
        for number in range(count)
    ]
    manifest = folder / "manifest.jsonl"
    manifest.write_text("".join(json.dumps(row) + "\n" for row in rows))
    return manifest


def read_ms(clip: Path, times: int = 500) -> float:
    """Milliseconds of processor time a row: a clip is read once for all lanes."""
    began_s = time.process_time()
    for _ in range(times):
        find_speech(audio.load_audio(clip))
    return 1000 * (time.process_time() - began_s) / (times * LANES)


if __name__ == "__main__":
    sys.exit(main())
