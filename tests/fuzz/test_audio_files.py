"""Files of twelve containers that were damaged at random: a clip or a sentence, never another error, little memory.

FUZZ_FILES is how many; what came of each container is printed.
"""

from __future__ import annotations

import io
import json
import os
import subprocess
import sys
from collections import Counter
from pathlib import Path

import av
import numpy as np
import pytest
import soundfile

from components.core.audio import load_audio
from components.core.errors import AudioError
from components.core.types import SAMPLING_RATE

COUNT = int(os.environ.get("FUZZ_FILES", "40"))
FOUND = (782, 894)
"""Seeds of files that once ended in another error: of ``ts``, in which a stream begins later."""

LENGTH_S = 4.0
MAX_AUDIO_S = 600.0
MAX_EXTRA_BYTES = 200_000_000
SOUNDFILE = {
    "wav": ("WAV", "PCM_16"),
    "float.wav": ("WAV", "FLOAT"),
    "aiff": ("AIFF", "PCM_24"),
    "flac": ("FLAC", "PCM_24"),
    "au": ("AU", "ULAW"),
    "ogg": ("OGG", "VORBIS"),
}
PYAV = {  # codec, options
    "opus.ogg": ("libopus", {}),
    "mp3": ("mp3", {}),
    "m4a": ("aac", {"movflags": "faststart"}),
    "fragments.mp4": ("aac", {"movflags": "frag_keyframe+empty_moov", "frag_duration": "500000"}),
    "aac": ("aac", {}),
    "webm": ("libopus", {}),
    "mkv": ("pcm_s16le", {}),
    "avi": ("mp3", {}),
    "ts": ("aac", {}),
    "caf": ("pcm_s16be", {}),
}
EXTREMES = (b"\0\0\0\0", b"\xff\xff\xff\xff", b"\xff\xff\xff\x7f", b"\0\0\0\x80", b"\x01\0\0\0", b"\x7f\xff\xff\xff")


def flip(rng: np.random.Generator, data: bytearray) -> bytearray:
    for position in rng.integers(len(data), size=rng.integers(1, 64)):
        data[position] ^= int(rng.integers(1, 256))
    return data


def cut(rng: np.random.Generator, data: bytearray) -> bytearray:
    return data[: rng.integers(len(data))]


def drop(rng: np.random.Generator, data: bytearray) -> bytearray:
    start = rng.integers(len(data))
    del data[start : start + rng.integers(1, 512)]
    return data


def insert(rng: np.random.Generator, data: bytearray) -> bytearray:
    start = rng.integers(len(data))
    data[start:start] = rng.bytes(int(rng.integers(1, 512)))
    return data


def spoil_header(rng: np.random.Generator, data: bytearray) -> bytearray:
    start = rng.integers(4, 400)
    data[start : start + 4] = EXTREMES[rng.integers(len(EXTREMES))]
    return data


def repeat(rng: np.random.Generator, data: bytearray) -> bytearray:
    start = rng.integers(len(data))
    return data[:start] + data[start // 2 : start] * int(rng.integers(1, 4)) + data[start:]


def other_type(rng: np.random.Generator, data: bytearray) -> bytearray:
    """The beginning of another kind of file."""
    start = (b"RIFF\xff\xff\xff\xffWAVE", b"OggS", b"fLaC", b"\0\0\0\x20ftyp", b"\x1a\x45\xdf\xa3", b"ID3\4\0\0")
    found = start[rng.integers(len(start))]
    data[: len(found)] = found
    return data


MUTATIONS = (flip, cut, drop, insert, spoil_header, spoil_header, repeat, other_type)


def encoded(folder: Path, codec: str, name: str, options: dict[str, str], samples: np.ndarray) -> bytes:
    file = folder / name
    container_format = {"m4a": "mp4", "mp4": "mp4", "aac": "adts", "mkv": "matroska", "ts": "mpegts"}
    suffix = name.rpartition(".")[2]
    with av.open(str(file), "w", format=container_format.get(suffix, suffix), options=options) as container:
        stream = container.add_stream(codec, rate=48_000, layout="mono")
        stream.codec_context.open()  # which tells the length of its frames
        frame = av.AudioFrame.from_ndarray(samples[None].astype(np.float32), format="flt", layout="mono")
        frame.sample_rate = SAMPLING_RATE
        resampler = av.AudioResampler(stream.format, "mono", 48_000, stream.codec_context.frame_size or 1024)
        for part in resampler.resample(frame) + resampler.resample(None):
            container.mux(stream.encode(part))
        container.mux(stream.encode(None))
    return file.read_bytes()


@pytest.fixture(scope="module")
def files(speechlike_clip, tmp_path_factory) -> dict[str, bytes]:
    samples = np.resize(speechlike_clip.samples, round(LENGTH_S * SAMPLING_RATE))
    folder = tmp_path_factory.mktemp("files")
    found = {}
    for name, (container, encoding) in SOUNDFILE.items():
        file = io.BytesIO()
        soundfile.write(file, samples, SAMPLING_RATE, format=container, subtype=encoding)
        found[name] = file.getvalue()
    return found | {name: encoded(folder, codec, name, options, samples) for name, (codec, options) in PYAV.items()}


def mutated(data: bytes, seed: int) -> bytes:
    rng = np.random.default_rng(seed)
    damaged = bytearray(data)
    for mutation in rng.choice(len(MUTATIONS), size=rng.integers(1, 4)):
        if damaged:
            damaged = MUTATIONS[mutation](rng, damaged)
    return bytes(damaged)


def main() -> None:
    """Read the files that the arguments name, and write a line of JSON for each: what came of it, and its memory."""
    import resource

    load_audio((SAMPLING_RATE, np.zeros(SAMPLING_RATE)))
    for name in sys.argv[1:]:
        before = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
        try:
            clip = load_audio(name, max_audio_s=MAX_AUDIO_S)
            peak = float(np.abs(clip.samples).max())
            came = {"s": clip.audio_length_s, "peak": peak, "type": str(clip.samples.dtype), "notes": clip.notes}
        except AudioError as error:
            came = {"refused": error.message}
        except Exception as error:  # noqa: BLE001 - the very thing looked for
            came = {"error": repr(error)}
        grown = 1024 * (resource.getrusage(resource.RUSAGE_SELF).ru_maxrss - before)
        print(json.dumps({"name": Path(name).name, "bytes": grown, **came}), flush=True)


def test_a_damaged_file_gives_a_clip_or_a_sentence(files, tmp_path):
    names = []
    for seed in sorted({*range(COUNT), *FOUND}):
        kind = list(files)[seed % len(files)]
        names.append(tmp_path / f"{seed}.{kind}")
        names[-1].write_bytes(mutated(files[kind], seed))
    done = subprocess.run(
        [sys.executable, "-m", "tests.fuzz.test_audio_files", *names], stdout=subprocess.PIPE, text=True, check=False
    )
    results = [json.loads(line) for line in done.stdout.splitlines()]
    assert (done.returncode, len(results)) == (0, len(names))
    counts: Counter[tuple[str, str]] = Counter()
    for result in results:
        assert "error" not in result, result
        assert result["bytes"] < MAX_EXTRA_BYTES, result
        if "refused" in result:
            assert result["refused"].endswith("."), result
        else:
            assert result["type"] == "float32", result
            assert 0 < result["s"] <= MAX_AUDIO_S, result
            assert result["peak"] <= 1, result
        kind = result["name"].partition(".")[2]
        came = "refused" if "refused" in result else "read with a note" if result["notes"] else "read"
        counts[kind, came] += 1
    for (kind, came), count in sorted(counts.items()):
        print(f"{kind}: {came} {count}")
    print("most memory more", max(result["bytes"] for result in results) // 1_000_000, "MB")
    assert sum(count for (_, came), count in counts.items() if came == "read with a note") > COUNT // 10
    assert sum(count for (_, came), count in counts.items() if came == "refused") < COUNT // 2


def test_undamaged_each_is_read_whole(files):
    for name, data in files.items():
        clip = load_audio(data)
        assert clip.audio_length_s == pytest.approx(LENGTH_S, abs=0.15), name
        assert clip.notes == (), name


if __name__ == "__main__":
    main()
