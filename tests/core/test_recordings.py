"""Recordings as phones, messengers and editors leave them: read as far as they go, with a note of what was wrong."""

from __future__ import annotations

import io
import os
import struct
import subprocess
import sys
import threading
from typing import TYPE_CHECKING

import av
import numpy as np
import pytest
import soundfile

from components.core.audio import clip_name, load_audio
from components.core.caller import Caller
from components.core.errors import AudioError, Cancelled
from components.core.types import SAMPLING_RATE

if TYPE_CHECKING:
    from pathlib import Path

LENGTH_S = 2.0


def tone(rate: int = 16_000, *, seconds: float = LENGTH_S, level: float = 0.5, hz: float = 440) -> np.ndarray:
    return (level * np.sin(2 * np.pi * hz * np.arange(round(rate * seconds)) / rate)).astype(np.float32)


def wav(samples: np.ndarray, rate: int = 16_000, subtype: str = "PCM_16", file_format: str = "WAV") -> bytes:
    file = io.BytesIO()
    soundfile.write(file, samples, rate, format=file_format, subtype=subtype)
    return file.getvalue()


def encode(
    path: Path, codec: str, pieces: list[tuple[float, float]], *, video_s: float = 0, tracks: int = 1, **options: str
) -> Path:
    """A tone in the container that the name says; ``pieces``: starts and lengths in seconds, with nothing between."""
    rate = 48_000
    with av.open(str(path), "w", options=options) as container:
        picture = container.add_stream("mpeg4", rate=10, width=64, height=64, pix_fmt="yuv420p") if video_s else None
        streams = [container.add_stream(codec, rate=rate, layout="mono") for _ in range(tracks)]
        packets = []
        for index in range(round(10 * video_s)):
            frame = av.VideoFrame.from_ndarray(np.full((64, 64, 3), index % 256, np.uint8), format="rgb24")
            packets += picture.encode(frame)
        packets += picture.encode(None) if picture else []
        for number, stream in enumerate(streams):
            packets += _packets(stream, pieces, hz=440 * 2**number)
        for packet in sorted(packets, key=lambda packet: float((packet.pts or 0) * packet.time_base)):
            container.mux(packet)
    return path


def _packets(stream: av.AudioStream, pieces: list[tuple[float, float]], *, hz: float) -> list[av.Packet]:
    rate, size = stream.codec_context.sample_rate, stream.codec_context.frame_size or 1024
    packets = []
    for start_s, seconds in pieces:
        samples = tone(rate, seconds=seconds, hz=hz)
        for offset in range(0, len(samples) - size + 1, size):
            frame = av.AudioFrame.from_ndarray(samples[None, offset : offset + size], format="flt", layout="mono")
            frame.sample_rate = rate
            converted = av.AudioResampler(stream.codec_context.format, "mono", rate).resample(frame)[0]
            converted.pts = round(start_s * rate) + offset
            packets += stream.encode(converted)
    return packets + stream.encode(None)


def sounding(samples: np.ndarray, level: float = 0.05) -> list[tuple[float, float]]:
    """Starts and ends in seconds of what is not silence, rounded to a tenth."""
    blocks = np.abs(samples[: len(samples) // 160 * 160]).reshape(-1, 160).max(axis=1) > level
    edges = np.flatnonzero(np.diff(np.r_[False, blocks, False])) / 100
    return [(round(start, 1), round(stop, 1)) for start, stop in edges.reshape(-1, 2)]


def refused(source: object, sentence: str, **options: object) -> None:
    with pytest.raises(AudioError, match=sentence):
        load_audio(source, **options)


# -- channels and levels


@pytest.mark.parametrize(("left", "right", "kept"), [(1, -1, 0.5), (0.5, -1, 0.5), (1, -0.6, 0.5)])
@pytest.mark.parametrize("offset", [0, 0.1])
def test_where_channels_cancel_the_louder_one_is_taken(tmp_path, left, right, kept, offset):
    samples = np.stack([left * tone(), right * tone()], axis=1) + offset
    soundfile.write(tmp_path / "a.wav", samples, 16_000, subtype="FLOAT")
    for source in (tmp_path / "a.wav", (16_000, samples)):
        clip = load_audio(source)
        assert np.abs(clip.samples).max() == pytest.approx(kept, rel=0.05)
        assert any("cancel" in note for note in clip.notes)
        assert len(clip.notes) == 1 + bool(offset)


@pytest.mark.parametrize(
    "samples",
    [
        np.stack([tone(), np.zeros_like(tone())], axis=1),
        np.stack([tone(), tone(hz=700)], axis=1),
        np.stack([tone(), 0.3 * tone()], axis=1),
        np.random.default_rng(0).normal(0, 0.1, (32_000, 6)),
        np.zeros((32_000, 2)),
    ],
)
def test_other_channels_are_averaged(samples):
    clip = load_audio((16_000, samples))
    np.testing.assert_allclose(clip.samples, samples.mean(axis=1), atol=1e-6)
    assert clip.notes == ()


@pytest.mark.parametrize("offset", [0.2, -0.05, 0.9])
def test_a_constant_offset_is_removed(offset):
    clip = load_audio((16_000, 0.1 * tone() + offset))
    np.testing.assert_allclose(clip.samples, 0.1 * tone(), atol=1e-3)
    assert "offset" in clip.notes[0]


def test_an_offset_leaves_inserted_silence_alone(tmp_path):
    clip = load_audio(encode(tmp_path / "a.mkv", "pcm_s16le", [(2, 2)], video_s=4))
    assert not clip.samples[: round(1.9 * SAMPLING_RATE)].any()


@pytest.mark.parametrize("valid", [24, 20, 17, 8])
def test_fewer_valid_bits_than_stored(valid):
    data = bytearray(wav(tone(), subtype="PCM_32"))
    data[16:36] = struct.pack("<IHHIIHH", 40, 0xFFFE, 1, 16_000, 64_000, 4, 32)
    data[36:36] = struct.pack("<HHIHHIQ", 22, valid, 4, 1, 0, 0x00100000, 0x719B3800AA000080)
    clip = load_audio(bytes(data))
    np.testing.assert_allclose(clip.samples, tone(), atol=1e-4)


# -- times


@pytest.mark.parametrize(
    ("name", "codec"), [("a.mkv", "aac"), ("a.mp4", "aac"), ("a.mov", "pcm_s16le"), ("a.ts", "aac")]
)
def test_sound_that_starts_late_in_a_video(tmp_path, name, codec):
    clip = load_audio(encode(tmp_path / name, codec, [(4, LENGTH_S)], video_s=7))
    ((start, stop),) = sounding(clip.samples)
    assert start == pytest.approx(4, abs=0.11)
    assert stop == pytest.approx(6, abs=0.11)
    assert "starts 4.0 s" in clip.notes[0] or "starts 3.9 s" in clip.notes[0]


@pytest.mark.parametrize(("name", "codec"), [("a.mka", "flac"), ("a.m4a", "aac"), ("a.webm", "libopus")])
def test_sound_that_starts_late_alone(tmp_path, name, codec):
    clip = load_audio(encode(tmp_path / name, codec, [(4, LENGTH_S)]))
    assert sounding(clip.samples)[0][0] == pytest.approx(4, abs=0.11)


@pytest.mark.parametrize(("name", "codec"), [("a.webm", "libopus"), ("a.mkv", "pcm_s16le"), ("a.mp4", "aac")])
def test_gaps_inside(tmp_path, name, codec):
    clip = load_audio(encode(tmp_path / name, codec, [(0, 1), (3, 1), (4.5, 1)]))
    found = sounding(clip.samples)
    for (start, _), right in zip(found, (0, 3, 4.5), strict=True):
        assert start == pytest.approx(right, abs=0.15)
    assert clip.audio_length_s == pytest.approx(5.5, abs=0.2)
    assert any("no sound" in note for note in clip.notes)


def test_times_of_a_broadcast_cut_from_its_middle(tmp_path):
    clip = load_audio(encode(tmp_path / "a.webm", "libopus", [(5000, 1), (5002, 1)], live="1"))
    assert [start for start, _ in sounding(clip.samples)] == pytest.approx([0, 2], abs=0.11)
    assert any("jump by 5000 s" in note for note in clip.notes)


# -- damage


@pytest.mark.parametrize("share", [0.2, 0.5, 0.8])
@pytest.mark.parametrize("name", ["a.wav", "a.flac", "a.mp3", "a.aiff", "a.ogg"])
def test_a_file_cut_short_is_read_as_far_as_it_goes(tmp_path, name, share):
    noise = 0.1 * np.random.default_rng(0).standard_normal(10 * 16_000)  # FLAC would shrink a tone to a few blocks
    soundfile.write(tmp_path / name, noise, 16_000)
    data = (tmp_path / name).read_bytes()
    clip = load_audio(data[: int(len(data) * share)])
    assert clip.audio_length_s == pytest.approx(10 * share, abs=1.2)
    if name != "a.ogg":  # which says nowhere how long it is
        assert any("cut short" in note and "10.0 s" in note for note in clip.notes)


@pytest.mark.parametrize("share", [0.3, 0.7])
@pytest.mark.parametrize(
    ("name", "codec", "options"),
    [
        ("a.m4a", "aac", {"movflags": "faststart"}),
        ("a.webm", "libopus", {}),
        ("a.mp4", "aac", {"movflags": "frag_keyframe+empty_moov+default_base_moof", "frag_duration": "200000"}),
        ("a.aac", "aac", {}),
        ("a.mka", "flac", {}),
        ("a.mp4", "aac", {"movflags": "frag_keyframe+empty_moov", "frag_duration": "1000000"}),
    ],
)
def test_a_recording_cut_short(tmp_path, name, codec, options, share):
    data = encode(tmp_path / name, codec, [(0, 6)], **options).read_bytes()
    clip = load_audio(data[: int(len(data) * share)])
    assert clip.audio_length_s == pytest.approx(6 * share, abs=1.1)
    assert len(sounding(clip.samples)) == 1


@pytest.mark.parametrize("share", [0.3, 0.9])
def test_an_mp4_without_its_index_says_so(tmp_path, share):
    data = encode(tmp_path / "a.m4a", "aac", [(0, 6)]).read_bytes()
    refused(data[: int(len(data) * share)], "cut short")


@pytest.mark.parametrize(
    ("name", "codec"), [("a.webm", "libopus"), ("a.aac", "aac"), ("a.mp3", "mp3"), ("a.mkv", "flac")]
)
def test_broken_packets(tmp_path, name, codec):
    data = bytearray(encode(tmp_path / name, codec, [(0, 6)]).read_bytes())
    for share in (0.3, 0.6):
        at = int(len(data) * share)
        data[at : at + 400] = np.random.default_rng(1).bytes(400)
    clip = load_audio(bytes(data))
    assert clip.audio_length_s == pytest.approx(6, abs=0.7)
    # WebM goes on at the next cluster, some seconds later.
    assert sum(stop - start for start, stop in sounding(clip.samples)) > (2.5 if name == "a.webm" else 4)
    if codec != "flac":  # whose decoder takes noise for sound
        assert any("damaged" in note or "no sound" in note for note in clip.notes)


# -- more in a file than its header says


def test_recordings_one_after_another(tmp_path):
    for name, codec in (
        ("a.webm", "libopus"),
        ("a.mp3", "mp3"),
        ("a.mp4", "aac"),
        ("a.aac", "aac"),
        ("a.ogg", "libopus"),
    ):
        data = encode(tmp_path / name, codec, [(0, LENGTH_S)]).read_bytes()
        clip = load_audio(3 * data)
        assert clip.audio_length_s == pytest.approx(3 * LENGTH_S, abs=0.4), name
        assert len(sounding(clip.samples)) <= 3, name


@pytest.mark.parametrize("subtype", ["PCM_16", "FLOAT", "ULAW"])
def test_wav_after_wav(subtype):
    data = wav(tone(), subtype=subtype) + wav(tone(44_100), 44_100) + wav(tone(8_000), 8_000)
    clip = load_audio(data)
    assert clip.audio_length_s == pytest.approx(3 * LENGTH_S, abs=0.01)
    assert np.abs(clip.samples).max() < 0.6
    assert any("3 recordings" in note for note in clip.notes)


def test_flac_after_flac():
    data = wav(tone(), subtype="PCM_16", file_format="FLAC")
    assert load_audio(data * 2).audio_length_s == pytest.approx(2 * LENGTH_S, abs=0.01)


@pytest.mark.parametrize("announced", [0, 4, 8_000, 0x7FFF_FFFF, 0xFFFF_FFFF, 0xFFFF_FFF7])
def test_a_data_size_that_was_never_patched(announced):
    data = bytearray(wav(tone()))
    data[40:44] = struct.pack("<I", announced)
    clip = load_audio(bytes(data))
    np.testing.assert_allclose(clip.samples, tone(), atol=1e-4)
    assert any("header" in note for note in clip.notes) == (announced in {4, 8_000})


def test_chunks_behind_the_sound_are_no_sound():
    chunks = b"LIST" + struct.pack("<I", 20_000) + b"INFOICMT" + struct.pack("<I", 19_988) + b"x" * 19_988
    chunks += b"id3 " + struct.pack("<I", 5) + b"hello\0"
    for data in (wav(tone()) + chunks, wav(tone()) + b"TAG" + bytes(125)):
        clip = load_audio(data)
        assert clip.audio_length_s == LENGTH_S
        assert clip.notes == ()


# -- tracks


def test_one_of_several_sound_tracks(tmp_path):
    path = encode(tmp_path / "a.mkv", "aac", [(0, LENGTH_S)], tracks=3)
    assert "3 sound tracks" in load_audio(path).notes[0]
    for track in (1, 2, 3):
        clip = load_audio(path, track=track)
        spectrum = np.abs(np.fft.rfft(clip.samples))
        assert spectrum.argmax() / clip.audio_length_s == pytest.approx(440 * 2 ** (track - 1), abs=2)
        assert f"track {track} was used" in clip.notes[0]
    refused(path, "no sound track 4", track=4)
    refused(path, "no sound track 0", track=0)


# -- limits


def png(side: int) -> bytes:
    import zlib

    def chunk(name: bytes, content: bytes) -> bytes:
        return struct.pack(">I", len(content)) + name + content + struct.pack(">I", zlib.crc32(name + content))

    packer = zlib.compressobj(1)
    rows = b"".join(packer.compress(bytes(1 + 3 * side)) for _ in range(side)) + packer.flush()
    head = struct.pack(">IIBBBBB", side, side, 8, 2, 0, 0, 0)
    return b"\x89PNG\r\n\x1a\n" + chunk(b"IHDR", head) + chunk(b"IDAT", rows) + chunk(b"IEND", b"")


def flac_with_pictures(count: int, side: int) -> bytes:
    data = wav(tone(), file_format="FLAC")
    end = data.index(b"\xff\xf8", 4)
    picture = png(side)
    block = struct.pack(">II9sI", 3, 9, b"image/png", 0) + struct.pack(">IIII", side, side, 24, 0)
    block += struct.pack(">I", len(picture)) + picture
    blocks, position = [], 4
    while position < end:
        length = int.from_bytes(data[position + 1 : position + 4], "big")
        blocks.append((data[position] & 127, data[position + 4 : position + 4 + length]))
        position += 4 + length
    blocks += [(6, block)] * count
    blocks = [
        bytes([kind | 128 * (index == len(blocks) - 1)]) + len(content).to_bytes(3, "big") + content
        for index, (kind, content) in enumerate(blocks)
    ]
    return data[:4] + b"".join(blocks) + data[end:]


MEASURED = """
import resource, sys
from components.core.audio import load_audio
from components.core.errors import AudioError
load_audio((16000, __import__("numpy").zeros(16000)))
before = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
try:
    print(load_audio(sys.argv[1], max_audio_s=3600).audio_length_s)
except AudioError as error:
    print(error.message)
print((resource.getrusage(resource.RUSAGE_SELF).ru_maxrss - before) // 1024)
"""


def measured(path: Path) -> tuple[str, int]:
    """What came of a file in a process of its own, and how many MB more it took at its height."""
    done = subprocess.run([sys.executable, "-c", MEASURED, path], capture_output=True, text=True, check=True)
    said, megabytes = done.stdout.splitlines()
    return said, int(megabytes)


def test_pictures_are_never_decoded(tmp_path):
    (tmp_path / "a.flac").write_bytes(flac_with_pictures(3, 5_000))
    said, megabytes = measured(tmp_path / "a.flac")
    assert float(said) == LENGTH_S
    assert megabytes < 40


def test_a_long_file_costs_no_more_than_its_samples(tmp_path):
    with soundfile.SoundFile(tmp_path / "a.flac", "w", 8_000, 1) as file:
        for _ in range(20):
            file.write(tone(8_000, seconds=60))
    said, megabytes = measured(tmp_path / "a.flac")
    assert float(said) == 1200
    assert megabytes < 1200 * 16_000 * 4 / 1e6 + 100


def test_more_samples_a_second_than_anybody_records(tmp_path):
    soundfile.write(tmp_path / "a.flac", np.zeros((10_000, 8)), 655_350)
    refused(tmp_path / "a.flac", "8 channels at 655350 Hz")
    refused((768_000, np.zeros((10, 3))), "3 channels at 768000 Hz")


def test_more_recordings_in_a_file_than_can_be_meant():
    refused(wav(tone(seconds=0.001)) * 6_000, "5,000 recordings")


def test_a_clip_that_is_wanted_no_longer(tmp_path):
    path = encode(tmp_path / "a.mka", "flac", [(0, 4)])
    asked = []

    def cancelled() -> bool:
        asked.append(1)
        return len(asked) > 20

    with pytest.raises(Cancelled):
        load_audio(path, caller=Caller(cancelled=cancelled))
    assert len(asked) == 21


# -- what is given in place of a file


def test_a_folder_and_an_address(tmp_path):
    refused(tmp_path, "is a folder")
    for address in ("https://example.com/a.mp3", "s3://bucket/a.wav", "file:///tmp/a.wav"):
        refused(address, "is an address")
    refused("/dev/zero", "is a device")


def test_rows_of_data_sets(tmp_path):
    soundfile.write(tmp_path / "a.wav", tone(), 16_000)
    data = (tmp_path / "a.wav").read_bytes()
    rows = (
        {"array": tone().tolist(), "sampling_rate": 16_000, "path": "gone.wav"},
        {"array": np.stack([tone(), tone()]), "sampling_rate": 16_000},
        {"bytes": data, "path": None},
        {"bytes": None, "path": str(tmp_path / "a.wav")},
        {"path": tmp_path / "a.wav"},
    )
    for row in rows:
        np.testing.assert_allclose(load_audio(row).samples, tone(), atol=1e-4)
    refused({"array": tone(), "sampling_rate": None}, "rate of 0 Hz")
    refused({"bytes": None, "path": None}, "no audio yet")
    refused({"array": [[0.1], [0.1, 0.2]], "sampling_rate": 16_000}, "different lengths")


def test_a_clip_stays_as_it_is():
    clip = load_audio((16_000, tone()))
    assert load_audio(clip) is clip


def test_standard_input(tmp_path):
    script = "import sys; from components.core.audio import load_audio; c = load_audio(sys.argv[1]); "
    script += "print(c.clip_id, c.audio_length_s)"
    for name in ("-", "/dev/stdin", "/dev/fd/0"):
        run = subprocess.run([sys.executable, "-c", script, name], input=wav(tone()), capture_output=True, check=True)
        assert run.stdout.decode().split()[1] == "2.0"


def test_a_named_pipe(tmp_path, monkeypatch):
    os.mkfifo(tmp_path / "pipe.wav")
    writer = threading.Thread(target=(tmp_path / "pipe.wav").write_bytes, args=(wav(tone()),))
    writer.start()
    assert load_audio(tmp_path / "pipe.wav").audio_length_s == LENGTH_S
    writer.join()
    monkeypatch.setattr("components.core.audio.PATIENCE_S", 0.1)
    refused(tmp_path / "pipe.wav", "Nothing came out of the pipe")


def test_a_pipe_beyond_the_limit(tmp_path):
    os.mkfifo(tmp_path / "pipe.wav")

    def write() -> None:
        with pytest.raises(BrokenPipeError):
            (tmp_path / "pipe.wav").write_bytes(bytes(100_000_000))

    writer = threading.Thread(target=write)
    writer.start()
    refused(tmp_path / "pipe.wav", "came out of the pipe, the limit", max_audio_s=1)
    writer.join()


def test_names_of_clips(tmp_path):
    from pathlib import Path

    assert clip_name(Path("/a/cafe\u0301.wav")) == "café"
    assert clip_name(Path(os.fsdecode(b"/a/\xff\xe9.wav"))) == "??"
    soundfile.write(tmp_path / ("x" * 240 + ".wav"), tone(), 16_000)
    assert load_audio(tmp_path / ("x" * 240 + ".wav")).clip_id == "x" * 240
