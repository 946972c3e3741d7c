"""Whatever a person hands over, as one clip: mono, float32, 16 kHz. PyAV reads and resamples everything."""

from __future__ import annotations

import io
import struct
from pathlib import Path
from typing import TYPE_CHECKING, Any, BinaryIO

import numpy as np

from components.core.errors import AudioError
from components.core.types import SAMPLING_RATE, AudioClip

if TYPE_CHECKING:
    import os
    from collections.abc import Iterable, Iterator

    import av

    Source = str | os.PathLike[str] | bytes | tuple[int, np.ndarray]

SILENCE_DBFS = -60.0
"""A clip whose peak lies under this, relative to full scale, is silence."""

READABLE = "WAV, FLAC, MP3, Ogg, Opus, M4A or WebM, or a video with sound"

# FFmpeg's demuxers that may be tried. Playlists and scripts (hls, concat, dash, sdp, ...) are not among them: such a
# file would make the server open other files or addresses.
FORMATS = (
    "wav,w64,aiff,caf,au,flac,ogg,mp3,aac,ac3,eac3,amr,ape,wv,tta,mov,mp4,m4a,3gp,3g2,mj2,matroska,webm,avi,asf,"
    "flv,mpeg,mpegts"
)

DEMUXER_OPTIONS = {
    "format_whitelist": FORMATS,
    "max_size": "65536",  # bytes of a packet of WAV: three times as fast as with its small default
}

MIN_RATE, MAX_RATE = 1_000, 768_000  # hertz
MAX_CHANNELS = 64


def load_audio(source: Source | None, *, clip_id: str | None = None, max_audio_s: float | None = None) -> AudioClip:
    """Read a recording or a file and convert it to mono float32 at 16 kHz.

    Channels are averaged. Where the peak exceeds full scale, the whole clip is scaled down to it. Decoding is streamed
    and stops at the limit, so a long or hostile file costs no more memory than the limit allows.

    Args:
        source: A path, the bytes of a file, or ``(rate, samples)`` with the rate in hertz and samples of any integer or
            float dtype, shape ``(n,)`` or ``(n, channels)``.
        clip_id: The name of the clip; by default the file's name without its suffix, or ``clip``.
        max_audio_s: The longest clip taken, in seconds.

    Raises:
        AudioError: there is nothing to read, it cannot be read, it is cut short, it holds no sample or samples that are
            not numbers, or it is longer than the limit.
    """
    if source is None:
        raise AudioError("There is no audio yet. Record something or upload a file, then run again.")
    if isinstance(source, tuple):
        rate, samples = source
        return AudioClip(clip_id or "clip", _collect(_frames_of_array(rate, samples), max_audio_s))
    if isinstance(source, bytes):
        return AudioClip(clip_id or "clip", _load_file(io.BytesIO(source), max_audio_s))
    path = Path(source)
    try:
        file = path.open("rb")
    except (OSError, ValueError) as error:  # ValueError: a name that no file can have
        raise AudioError(f"The file {path.name} is not there or cannot be opened. Choose it again.") from error
    with file:  # an open file, not its name: FFmpeg would take some names for addresses or patterns
        return AudioClip(clip_id or path.stem, _load_file(file, max_audio_s))


def is_silent(samples: np.ndarray) -> bool:
    """Whether no sample of the float clip, shape ``(n,)``, reaches -60 dBFS."""
    return not len(samples) or max(-float(samples.min()), float(samples.max())) < 10 ** (SILENCE_DBFS / 20)


def _load_file(file: BinaryIO, max_audio_s: float | None) -> np.ndarray:
    import av

    size = file.seek(0, io.SEEK_END)
    file.seek(0)
    if not size:
        raise AudioError("The file is empty. Record again, or choose another file.")
    try:
        with av.open(file, mode="r", metadata_errors="replace", options=DEMUXER_OPTIONS) as container:
            stream = container.streams.best("audio")
            if not isinstance(stream, av.AudioStream):
                raise AudioError("There is no sound in this file. Choose one with an audio track.")
            reader = _Reader(container, stream)
            samples = _collect(reader.frames(), max_audio_s)
            announced_s = _announced_s(container, stream, file, size)
    except av.FFmpegError as error:
        raise AudioError(f"This file cannot be read as audio. Choose a {READABLE}.") from error
    if announced_s is not None and announced_s - reader.end_s > 0.25 + 0.01 * announced_s:
        raise AudioError(
            f"This file is cut short: it announces {announced_s:.1f} s of sound and holds {reader.end_s:.1f} s. "
            "Save or upload it again."
        )
    return samples


class _Reader:
    """Decodes one audio stream, and remembers how far it came: ``end_s``, seconds since the start of the stream."""

    def __init__(self, container: av.container.InputContainer, stream: av.AudioStream) -> None:
        self.container = container
        self.stream = stream
        self.end_s = 0.0

    def frames(self) -> Iterator[av.AudioFrame]:
        """Skip what cannot be decoded, as players do; raise only where nothing can."""
        import av

        fault: av.FFmpegError | None = None
        decoded = False
        packets = self.container.demux(self.stream)
        while True:
            try:
                packet = next(packets)
                frames = self.stream.decode(packet)
            except StopIteration:
                break
            except av.InvalidDataError as error:
                fault = error
                continue  # with the next packet; where the file itself broke off, there is none
            decoded = decoded or bool(frames)
            if packet.pts is not None and frames:
                start = self.stream.start_time or 0
                self.end_s = max(self.end_s, float((packet.pts - start + (packet.duration or 0)) * packet.time_base))
            yield from frames
        if fault is not None and not decoded:
            raise fault


def _announced_s(container: Any, stream: Any, file: BinaryIO, size: int) -> float | None:
    """Seconds of sound that the file's own header promises, or ``None`` where it makes no promise to rely on."""
    name = container.format.name
    if name == "wav":
        # FFmpeg already reduced the duration to what is there. A stream of unknown length announces 0 or about 2 or
        # 4 GiB instead.
        file.seek(0)
        header = file.read(8)
        announced = struct.unpack("<I", header[4:8])[0] + 8
        if header[:4] != b"RIFF" or announced >= 0x7FFF_0000 or stream.duration is None:
            return None
        return float(stream.duration * stream.time_base) * announced / size
    if name == "flac" or name.startswith("mov") or (name == "mp3" and stream.start_time):  # only LAME's header has one
        return None if stream.duration is None else float(stream.duration * stream.time_base)
    if name.startswith("matroska") and len(container.streams) == 1 and container.duration is not None:
        return container.duration / 1e6 - float((stream.start_time or 0) * stream.time_base)
    return None


def _frames_of_array(rate: int, samples: np.ndarray) -> Iterator[av.AudioFrame]:
    """Frames of one second, packed float32."""
    import av

    rate = int(rate)
    _check_rate(rate)
    samples = np.asarray(samples)
    if samples.ndim not in {1, 2} or (samples.ndim == 2 and not 1 <= samples.shape[1] <= MAX_CHANNELS):
        raise AudioError(f"Samples of shape {samples.shape} cannot be used. Give (n,) or (n, channels).")
    scale, offset = _full_scale(samples)
    layout = f"{samples.shape[1]} channels" if samples.ndim == 2 else "mono"
    for start in range(0, len(samples), rate):
        part = (samples[start : start + rate].astype(np.float64) - offset) / scale
        packed = np.ascontiguousarray(part.reshape(1, -1), dtype=np.float32)
        frame = av.AudioFrame.from_ndarray(packed, format="flt", layout=layout)
        frame.sample_rate = rate
        yield frame


def _check_rate(rate: int) -> None:
    if not MIN_RATE <= rate <= MAX_RATE:
        raise AudioError(f"A sampling rate of {rate} Hz cannot be used. Give one from {MIN_RATE} to {MAX_RATE} Hz.")


def _full_scale(samples: np.ndarray) -> tuple[float, float]:
    """What full scale is in this dtype, and what silence is.

    64-bit integers are what numpy makes of a list, and have no agreed full scale: the narrowest of 16, 32 and 64 bits
    that holds the peak is taken.
    """
    kind, bits = samples.dtype.kind, 8 * samples.dtype.itemsize
    if kind == "f":
        return 1.0, 0.0
    if kind == "u" and bits < 64:
        return 2.0 ** (bits - 1), 2.0 ** (bits - 1)
    if kind not in "iu":
        raise AudioError(f"Samples of type {samples.dtype} cannot be used. Give integers or floats.")
    if bits == 64:
        peak = max(-int(samples.min()), int(samples.max())) if samples.size else 0
        bits = next(width for width in (16, 32, 65) if peak <= 2 ** (width - 1))
    return 2.0 ** (bits - 1), 0.0


def _collect(frames: Iterable[av.AudioFrame], max_audio_s: float | None) -> np.ndarray:
    """Mono float32 at 16 kHz of all frames, shape ``(n,)``, read-only, checked."""
    limit = None if max_audio_s is None else round(max_audio_s * SAMPLING_RATE)
    pcm = bytearray()  # grows in place, so that an hour is never held twice
    for samples in _resample(frames):
        mono = samples.mean(axis=1, dtype=np.float32)
        if not np.isfinite(mono).all():
            raise AudioError("The audio holds samples that are not finite numbers. Export it again as 16-bit WAV.")
        pcm += mono.tobytes()
        if limit is not None and len(pcm) > limit * mono.itemsize:
            longest = _duration(limit / SAMPLING_RATE)
            raise AudioError(f"The audio is longer than {longest}, the limit here. Cut it into shorter parts.")
    if not pcm:
        raise AudioError("The audio holds no samples. Record again, or choose another file.")
    samples = np.frombuffer(pcm, dtype=np.float32)
    peak = max(-float(samples.min()), float(samples.max()))
    if peak > 1:
        samples /= peak
    samples.setflags(write=False)
    return samples


def _resample(frames: Iterable[av.AudioFrame]) -> Iterator[np.ndarray]:
    """Float32 at 16 kHz, shape ``(n, channels)``; starts anew where the stream changes its own format.

    Packed, not planar: PyAV reads past the end of a planar frame of more than eight channels.
    """
    import av

    resampler: av.AudioResampler | None = None
    shape: tuple[str, str, int] | None = None
    for frame in frames:
        frame.pts = None  # samples follow each other; a jump in the time stamps is no reason to fail
        if resampler is None or shape != (frame.format.name, frame.layout.name, frame.sample_rate):
            _check_rate(frame.sample_rate)
            if resampler is not None:
                yield from map(_unpack, resampler.resample(None))
            shape = (frame.format.name, frame.layout.name, frame.sample_rate)
            resampler = av.AudioResampler(format="flt", layout=frame.layout, rate=SAMPLING_RATE)
        yield from map(_unpack, resampler.resample(frame))
    if resampler is not None:
        yield from map(_unpack, resampler.resample(None))


def _unpack(frame: av.AudioFrame) -> np.ndarray:
    return frame.to_ndarray().reshape(-1, frame.layout.nb_channels)


def _duration(seconds: float) -> str:
    if seconds < 120 or seconds % 60:
        return f"{seconds:g} seconds"
    return f"{seconds / 60:g} minutes"
