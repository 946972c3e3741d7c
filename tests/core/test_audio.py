"""Every file here is written by soundfile or PyAV in the test itself, and read back by the one decoder."""

from __future__ import annotations

import io
import struct
import tracemalloc
from fractions import Fraction
from typing import TYPE_CHECKING

import av
import numpy as np
import pytest
import soundfile

from components.core import audio
from components.core.audio import load_audio
from components.core.errors import AudioError
from components.core.types import SAMPLING_RATE

if TYPE_CHECKING:
    from pathlib import Path

LENGTH_S = 2.0
TONE_HZ = 440


def _tone(rate: int, *, seconds: float = LENGTH_S, level: float = 0.5) -> np.ndarray:
    """Float32 sine, shape ``(n,)``."""
    return (level * np.sin(2 * np.pi * TONE_HZ * np.arange(round(rate * seconds)) / rate)).astype(np.float32)


def _encode(path: Path, codec: str, *, rate: int, layout: str = "stereo", video: bool = False, **options: str) -> Path:
    """Write a tone with PyAV, in the container that the name of the file says."""
    with av.open(str(path), "w", options=options) as container:
        stream = container.add_stream(codec, rate=rate, layout=layout)
        if video:
            picture = container.add_stream("mpeg4", rate=10, width=64, height=64, pix_fmt="yuv420p")
            for index in range(round(10 * LENGTH_S)):
                frame = av.VideoFrame.from_ndarray(np.full((64, 64, 3), index, np.uint8), format="rgb24")
                container.mux(picture.encode(frame))
            container.mux(picture.encode(None))
        frame = av.AudioFrame.from_ndarray(_tone(rate)[None], format="flt", layout="mono")
        frame.sample_rate = rate
        resampler = av.AudioResampler(
            stream.codec_context.format, layout, rate, stream.codec_context.frame_size or 1024
        )
        for part in resampler.resample(frame) + resampler.resample(None):
            container.mux(stream.encode(part))
        container.mux(stream.encode(None))
    return path


def _assert_tone(samples: np.ndarray, *, seconds: float = LENGTH_S, level: float | None = 0.5) -> None:
    """Mono float32 at 16 kHz of the right length, and nothing but the tone, whatever the codec did to its phase."""
    assert samples.dtype == np.float32
    assert samples.ndim == 1
    assert len(samples) == pytest.approx(
        seconds * SAMPLING_RATE, abs=0.05 * SAMPLING_RATE
    )  # a codec pads to whole blocks
    assert np.abs(samples).max() <= 1
    middle = samples[len(samples) // 4 : -len(samples) // 4]
    spectrum = np.abs(np.fft.rfft(middle * np.hanning(len(middle)))) ** 2
    peak = spectrum.argmax()
    assert peak * SAMPLING_RATE / len(middle) == pytest.approx(TONE_HZ, abs=2)
    assert spectrum[max(0, peak - 8) : peak + 9].sum() > 0.99 * spectrum.sum()
    if level is not None:
        assert np.abs(middle).max() == pytest.approx(level, rel=0.1)


@pytest.mark.parametrize("subtype", ["PCM_U8", "PCM_16", "PCM_24", "PCM_32", "FLOAT", "DOUBLE"])
@pytest.mark.parametrize("rate", [8_000, 16_000, 44_100, 96_000])
def test_wav_of_every_sample_format(tmp_path, subtype, rate):
    path = tmp_path / "tone.wav"
    soundfile.write(path, _tone(rate), rate, subtype=subtype)
    clip = load_audio(path)
    assert clip.clip_id == "tone"
    assert len(clip.samples) == LENGTH_S * SAMPLING_RATE
    _assert_tone(clip.samples)


@pytest.mark.parametrize("subtype", ["PCM_16", "PCM_24", "FLOAT", "DOUBLE"])
def test_16_khz_mono_comes_through_unchanged(tmp_path, subtype):
    tone = _tone(SAMPLING_RATE)
    soundfile.write(tmp_path / "tone.wav", tone, SAMPLING_RATE, subtype=subtype)
    tolerance = {"PCM_16": 2**-15, "PCM_24": 2**-23, "FLOAT": 0, "DOUBLE": 0}[subtype]
    np.testing.assert_allclose(load_audio(tmp_path / "tone.wav").samples, tone, rtol=0, atol=tolerance)


@pytest.mark.parametrize(
    ("name", "kind", "rate"),
    [
        ("tone.flac", ("FLAC", "PCM_24"), 44_100),
        ("tone.ogg", ("OGG", "VORBIS"), 44_100),
        ("tone.opus", ("OGG", "OPUS"), 48_000),
        ("tone.mp3", ("MP3", "MPEG_LAYER_III"), 44_100),
        ("tone.aiff", ("AIFF", "PCM_16"), 22_050),
    ],
)
@pytest.mark.parametrize("channels", [1, 2])
def test_files_that_soundfile_writes(tmp_path, name, kind, rate, channels):
    samples = np.repeat(_tone(rate)[:, None], channels, axis=1)
    soundfile.write(tmp_path / name, samples, rate, format=kind[0], subtype=kind[1])
    _assert_tone(load_audio(tmp_path / name).samples)


@pytest.mark.parametrize(
    ("name", "codec", "video"),
    [
        ("tone.m4a", "aac", False),
        ("tone.aac", "aac", False),
        ("tone.webm", "libopus", False),
        ("tone.mp4", "aac", True),
        ("tone.mkv", "aac", True),
        ("tone.mov", "pcm_s16le", True),
        ("tone.avi", "mp3", True),
    ],
)
def test_files_that_pyav_writes(tmp_path, name, codec, video):
    _assert_tone(load_audio(_encode(tmp_path / name, codec, rate=48_000, video=video)).samples, level=None)


@pytest.mark.parametrize(
    ("name", "codec", "options"),
    [
        ("live.webm", "libopus", {"live": "1"}),
        ("live.mp4", "aac", {"movflags": "frag_keyframe+empty_moov+default_base_moof", "frag_duration": "200000"}),
        ("live.mp3", "mp3", {"write_xing": "0"}),
    ],
)
def test_recordings_without_a_length(tmp_path, name, codec, options):
    _assert_tone(load_audio(_encode(tmp_path / name, codec, rate=48_000, **options)).samples, level=None)


@pytest.mark.parametrize("channels", [1, 2, 3, 6, 7, 8, 9, 24])
def test_channels_are_averaged(tmp_path, channels):
    samples = np.zeros((16_000, channels), np.float32)
    samples[:, 0] = _tone(16_000, seconds=1)
    soundfile.write(tmp_path / "many.wav", samples, 16_000, subtype="FLOAT")
    for source in (tmp_path / "many.wav", (16_000, samples)):
        np.testing.assert_allclose(load_audio(source).samples, samples[:, 0] / channels, atol=1e-6)


@pytest.mark.parametrize("announced", [0xFFFFFFF7, 0xFFFFFFFF, 0x7FFFF000, 0])
def test_a_streamed_wav_with_a_bogus_length(announced):
    file = io.BytesIO()
    soundfile.write(file, _tone(48_000), 48_000, format="WAV", subtype="PCM_16")
    data = bytearray(file.getvalue())
    data[4:8] = data[data.index(b"data") + 4 : data.index(b"data") + 8] = struct.pack("<I", announced)
    _assert_tone(load_audio(bytes(data)).samples)


def test_a_path_its_text_and_its_bytes_are_the_same(tmp_path):
    path = tmp_path / "tone.flac"
    soundfile.write(path, _tone(44_100), 44_100)
    clips = [load_audio(path), load_audio(str(path)), load_audio(path.read_bytes())]
    assert [clip.clip_id for clip in clips] == ["tone", "tone", "clip"]
    assert load_audio(path, clip_id="mine").clip_id == "mine"
    for clip in clips[1:]:
        np.testing.assert_array_equal(clip.samples, clips[0].samples)
    assert not clips[0].samples.flags.writeable


def test_a_name_is_never_an_address(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    for name in ("data:audio", "concat:a|b", "tone%03d.wav", "http:x"):
        soundfile.write(tmp_path / name, _tone(16_000), 16_000, format="WAV")
        _assert_tone(load_audio(name).samples)


@pytest.mark.parametrize("dtype", ["int8", "int16", "int32", "int64", "uint8", "uint16", "uint32"])
@pytest.mark.parametrize("rate", [16_000, 48_000])
def test_arrays_of_integers(dtype, rate):
    kind = np.iinfo(dtype)
    full = 2.0 ** (min(kind.bits, 32) - 1)
    samples = (np.round(_tone(rate) * (full - 1)) + (full if kind.min == 0 else 0)).astype(dtype)
    kept = samples.copy()
    _assert_tone(load_audio((rate, samples)).samples)
    np.testing.assert_array_equal(samples, kept)


def test_a_list_of_16_bit_numbers_is_taken_for_what_it_is():
    tone = np.round(_tone(16_000) * 32_767).astype(np.int16)
    np.testing.assert_array_equal(
        load_audio((16_000, tone.astype(np.int64))).samples, load_audio((16_000, tone)).samples
    )


@pytest.mark.parametrize("dtype", ["float16", "float32", "float64", "longdouble"])
@pytest.mark.parametrize("shape", ["mono", "column", "stereo"])
def test_arrays_of_floats(dtype, shape):
    samples = _tone(44_100).astype(dtype)
    samples = {"mono": samples, "column": samples[:, None], "stereo": np.stack([samples, samples], axis=1)}[shape]
    clip = load_audio((44_100, samples))
    assert len(clip.samples) == LENGTH_S * SAMPLING_RATE
    _assert_tone(clip.samples)


def test_resampling_keeps_what_is_under_8_khz_and_drops_what_is_over():
    time_s = np.arange(48_000) / 48_000
    for tone_hz, power in ((3_000, 0.5), (12_000, 0)):
        samples = load_audio((48_000, np.sin(2 * np.pi * tone_hz * time_s))).samples[2_000:-2_000]
        assert np.mean(samples**2) == pytest.approx(power, abs=0.005)


@pytest.mark.parametrize("level", [1.0, 3.0, 30_000.0])
def test_what_exceeds_full_scale_is_scaled_down_to_it(level):
    samples = load_audio((16_000, _tone(16_000, level=level))).samples
    np.testing.assert_allclose(samples, _tone(16_000, level=1.0), atol=1e-3)


def test_a_stream_that_changes_its_own_format():
    frames = []
    for rate, layout, channels in ((16_000, "mono", 1), (48_000, "stereo", 2), (22_050, "mono", 1)):
        packed = np.repeat(_tone(rate, seconds=1)[:, None], channels, axis=1).reshape(1, -1)
        frame = av.AudioFrame.from_ndarray(packed, format="flt", layout=layout)
        frame.sample_rate, frame.pts, frame.time_base = rate, 0, Fraction(1, rate)
        frames.append(frame)
    mix = audio._Mix(10)
    for frame in frames:
        mix.add(frame)
    samples = mix.finish([])
    assert len(samples) == 3 * SAMPLING_RATE
    for second in range(3):
        _assert_tone(samples[second * SAMPLING_RATE : (second + 1) * SAMPLING_RATE], seconds=1)


def test_a_damaged_packet_is_skipped(tmp_path):
    soundfile.write(tmp_path / "tone.mp3", _tone(44_100), 44_100)
    data = bytearray((tmp_path / "tone.mp3").read_bytes())
    data[len(data) // 2 : len(data) // 2 + 40] = b"\0" * 40
    assert load_audio(bytes(data)).audio_length_s == pytest.approx(LENGTH_S, abs=0.1)


# -- bad input


def _refused(source, sentence: str, **options) -> str:
    with pytest.raises(AudioError, match=sentence) as raised:
        load_audio(source, **options)
    return raised.value.message


def test_no_audio():
    _refused(None, "no audio yet")


def test_a_file_that_is_not_there(tmp_path):
    message = _refused(tmp_path / "gone.wav", r"gone\.wav is not there")
    assert str(tmp_path) not in message
    _refused("nul\0.wav", "cannot be opened")


def test_an_empty_file():
    _refused(b"", "file is empty")


def test_a_text_file_named_wav(tmp_path):
    (tmp_path / "notes.wav").write_text("These are notes, not sound.\n" * 100)
    _refused(tmp_path / "notes.wav", "cannot be read as audio. Choose a WAV, FLAC")


def test_random_bytes():
    for seed in range(20):
        _refused(np.random.default_rng(seed).bytes(5_000), "cannot be read|no samples|no sound|cut short|sampling rate")


def test_a_playlist_opens_no_other_file(tmp_path):
    secret = tmp_path / "secret.wav"
    soundfile.write(secret, _tone(16_000), 16_000)
    (tmp_path / "list.m3u8").write_text(
        f"#EXTM3U\n#EXT-X-TARGETDURATION:2\n#EXTINF:2,\nfile://{secret}\n#EXT-X-ENDLIST\n"
    )
    (tmp_path / "list.ffconcat").write_text(f"ffconcat version 1.0\nfile '{secret}'\n")
    for name in ("list.m3u8", "list.ffconcat"):
        _refused(tmp_path / name, "cannot be read as audio")
        _refused((tmp_path / name).read_bytes(), "cannot be read as audio")


def test_a_video_without_sound(tmp_path):
    with av.open(str(tmp_path / "mute.mp4"), "w") as container:
        stream = container.add_stream("mpeg4", rate=10, width=64, height=64, pix_fmt="yuv420p")
        container.mux(stream.encode(av.VideoFrame.from_ndarray(np.zeros((64, 64, 3), np.uint8), format="rgb24")))
        container.mux(stream.encode(None))
    _refused(tmp_path / "mute.mp4", "no sound in this file")


def test_every_file_cut_anywhere_gives_a_clip_or_a_sentence(tmp_path):
    for name, file_format in (("a.wav", "WAV"), ("a.flac", "FLAC"), ("a.ogg", "OGG"), ("a.mp3", "MP3")):
        soundfile.write(tmp_path / name, _tone(16_000, seconds=0.5), 16_000, format=file_format)
        data = (tmp_path / name).read_bytes()
        for end in range(0, len(data), max(1, len(data) // 40)):
            try:
                assert len(load_audio(data[:end]).samples)
            except AudioError as error:
                assert error.message.endswith(".")  # noqa: PT017 - either is right


def test_zero_samples(tmp_path):
    soundfile.write(tmp_path / "none.wav", np.zeros(0, np.float32), 16_000)
    _refused(tmp_path / "none.wav", "holds no samples")
    _refused((16_000, np.zeros(0, np.int16)), "holds no samples")
    _refused((16_000, np.zeros((0, 2), np.float32)), "holds no samples")


@pytest.mark.parametrize("value", [np.nan, np.inf, -np.inf])
@pytest.mark.parametrize("rate", [16_000, 44_100])
def test_samples_that_are_no_numbers(tmp_path, value, rate):
    samples = _tone(rate)
    samples[1_000] = value
    _refused((rate, samples), "not finite numbers")
    soundfile.write(tmp_path / "bad.wav", samples, rate, subtype="FLOAT")
    _refused(tmp_path / "bad.wav", "not finite numbers")


@pytest.mark.filterwarnings("ignore:overflow")
def test_a_number_beyond_float32_is_none():
    _refused((16_000, np.full(100, 1e300)), "not finite numbers")


def test_arrays_that_are_no_audio():
    _refused((16_000, np.zeros((2, 3, 4))), r"shape \(2, 3, 4\)")
    _refused((16_000, np.zeros((100, 100))), r"Give \(n,\) or \(n, channels\)")
    _refused((16_000, np.zeros((10, 0))), "shape")
    _refused((16_000, np.float32(1)), "shape")
    _refused((16_000, np.zeros(10, bool)), "type bool")
    _refused((16_000, np.zeros(10, complex)), "type complex128")
    _refused((16_000, np.array(["a"])), "type")
    for rate in (0, -1, 10, 10**9):
        _refused((rate, np.zeros(10)), f"rate of {rate} Hz")


def test_the_limit(tmp_path):
    soundfile.write(tmp_path / "tone.wav", _tone(48_000), 48_000)
    assert load_audio(tmp_path / "tone.wav", max_audio_s=LENGTH_S).audio_length_s == LENGTH_S
    _refused(tmp_path / "tone.wav", "longer than 1.5 seconds, the limit here", max_audio_s=1.5)
    _refused((48_000, _tone(48_000)), "longer than 1.5 seconds", max_audio_s=1.5)


def test_decoding_stops_at_the_limit():
    frame = av.AudioFrame.from_ndarray(np.zeros((1, 16_000), np.float32), format="flt", layout="mono")
    frame.sample_rate = 16_000
    mix = audio._Mix(600)
    for _ in range(600):
        mix.add(frame)
    with pytest.raises(AudioError, match="longer than 10 minutes"):
        mix.add(frame)


def test_long_audio_is_never_held_twice(tmp_path):
    seconds = 600
    with soundfile.SoundFile(tmp_path / "long.flac", "w", 8_000, 1) as file:
        for _ in range(seconds):
            file.write(_tone(8_000, seconds=1))
    tracemalloc.start()
    try:
        clip = load_audio(tmp_path / "long.flac")
        _, peak_bytes = tracemalloc.get_traced_memory()
    finally:
        tracemalloc.stop()
    assert clip.audio_length_s == seconds
    assert peak_bytes < 1.3 * clip.samples.nbytes
