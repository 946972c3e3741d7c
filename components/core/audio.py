"""Whatever a person hands over, as one clip: mono, float32, 16 kHz. PyAV reads and resamples everything."""

from __future__ import annotations

import io
import os
import re
import select
import stat
import sys
import tempfile
import time
import unicodedata
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING, Any, BinaryIO, cast

import numpy as np

from components.core.caller import NOBODY
from components.core.errors import AudioError
from components.core.recording import MAX_CHANNELS, check_rate, read_recording
from components.core.types import SAMPLING_RATE, AudioClip

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator, Mapping

    import av

    from components.core.caller import Caller

    Source = str | os.PathLike[str] | bytes | tuple[int, np.ndarray] | Mapping[str, Any]
    Sound = Iterator[av.AudioFrame | float]
    """Frames of any format, and seconds of silence between them."""

LONGEST_S = 86_400.0
"""Seconds that no clip may exceed, whatever the limit chosen: a day is 5.5 GB."""

MAX_OFFSET = 0.01
"""A mean that is further from zero than this fraction of full scale is a constant offset, and removed."""

CANCELS_UNDER = 0.3
"""Channels cancel where their mean has less than this fraction of the power that unrelated channels would leave."""

LOUD = 1.5
"""A peak above this times full scale is told; below, it is a codec's or a resampler's overshoot."""

PATIENCE_S = 30.0
"""Seconds without a single byte after which a named pipe is given up."""


def file_limit_bytes(max_audio_s: float) -> int:
    """The bytes of a file that may be needed for so many seconds: stereo at 48 kHz in 32-bit floats, and a header."""
    return round(max_audio_s * 48_000 * 2 * 4) + 1_000_000


def load_audio(
    source: Source | AudioClip | None,
    *,
    clip_id: str | None = None,
    max_audio_s: float | None = None,
    track: int | None = None,
    caller: Caller = NOBODY,
) -> AudioClip:
    """Read a recording or a file and convert it to mono float32 at 16 kHz.

    Channels are averaged, or the louder one is taken where they cancel. A constant offset is removed. Where the peak
    exceeds full scale, the whole clip is scaled down to it. Times are those of the container: where its sound starts
    late or pauses, there is silence. What is damaged or cut short is read as far as it goes. ``AudioClip.notes`` says
    what was mended or left out. Decoding is streamed and stops at the limit, so a long or hostile file costs no more
    memory than the limit allows.

    Args:
        source: A path, ``-`` for standard input, the bytes of a file, ``(rate, samples)`` with the rate in hertz and
            samples of any integer or float dtype, shape ``(n,)`` or ``(n, channels)``, or a row of a data set:
            ``{"array", "sampling_rate"}`` or ``{"bytes", "path"}``, with ``offset`` and ``duration`` in seconds where
            the clip is a part of it, and ``track`` in place of the argument. A clip is returned as it is.
        clip_id: The name of the clip; by default the file's name without its suffix, or ``clip``.
        max_audio_s: The longest clip taken, in seconds; a day at most.
        track: Which sound track of the file, counted from 1; by default the one that the file calls its default.
        caller: Asked after every packet whether the clip is still wanted.

    Raises:
        AudioError: there is nothing to read, it cannot be read, it holds no sample or samples that are not numbers, or
            it is longer than the limit.
        Cancelled: the caller wants it no longer.
    """
    if isinstance(source, AudioClip):
        return source
    limit_s = min(LONGEST_S, LONGEST_S if max_audio_s is None else max_audio_s)
    span = _span(source)
    track = source.get("track", track) if isinstance(source, dict) else track
    source = _plain(source)
    if isinstance(source, tuple):
        rate, samples = source
        return _clip(clip_id or "clip", lambda _: _frames_of_array(rate, samples), limit_s, span, caller)
    with _opened(source, file_limit_bytes(limit_s), caller) as (file, name):

        def sound(notes: list[str]) -> Sound:
            return read_recording(file, notes, track=track, caller=caller)

        return _clip(clip_id or name, sound, limit_s, span, caller)


def _span(source: Source | None) -> tuple[int, int]:
    """The first sample of the clip and the one behind its last, at 16 kHz."""
    given = source if isinstance(source, dict) else {}
    start = round(SAMPLING_RATE * (given.get("offset") or 0.0))
    duration_s = given.get("duration")
    return start, start + round(SAMPLING_RATE * (10 * LONGEST_S if duration_s is None else duration_s))


def _plain(source: Source | None) -> str | os.PathLike[str] | bytes | tuple[int, np.ndarray]:
    if isinstance(source, dict):
        if source.get("array") is not None:
            return int(source.get("sampling_rate") or 0), source["array"]
        source = source.get("path") if source.get("bytes") is None else source["bytes"]
    if source is None:
        raise AudioError("There is no audio yet. Record something or upload a file, then run again.")
    return cast("str | os.PathLike[str] | bytes | tuple[int, np.ndarray]", source)


# -- opening


@contextmanager
def _opened(source: str | os.PathLike[str] | bytes, limit: int, caller: Caller) -> Iterator[tuple[BinaryIO, str]]:
    """An open file that can be rewound, and a name for the clip.

    An open file and not its name: FFmpeg would take some names for addresses or patterns.
    """
    if isinstance(source, bytes):
        yield io.BytesIO(source), "clip"
        return
    path = Path(source)
    name = clip_name(path)
    try:
        file = _open_stdin() if source == "-" else _open_path(path, str(source))
    except (OSError, ValueError) as error:  # ValueError: a name that no file can have
        raise AudioError(f"The file {_shown(path)} is not there or cannot be opened. Choose it again.") from error
    with file:
        if stat.S_ISREG(os.fstat(file.fileno()).st_mode):
            yield file, name
        else:
            with _spooled(file, limit, caller, patient=source == "-") as copy:
                yield copy, "stdin" if source == "-" else name


def clip_name(path: Path) -> str:
    """The file's name without its suffix, in composed characters, writable as UTF-8."""
    return unicodedata.normalize("NFC", _shown(path.stem)) or "clip"


def _shown(name: object) -> str:
    return Path(str(name)).name.encode("utf-8", "replace").decode()


def _open_stdin() -> BinaryIO:
    if sys.stdin is None or sys.stdin.isatty():
        raise AudioError("No audio comes in: standard input is a terminal. Pipe a file into it.")
    return os.fdopen(os.dup(sys.stdin.fileno()), "rb", buffering=0)


def _open_path(path: Path, text: str) -> BinaryIO:
    if re.match(r"[A-Za-z][A-Za-z0-9+.-]+://", text) and not path.exists():
        raise AudioError("This is an address, not a file. Download it first, then give the name of the file.")
    kind = path.stat().st_mode
    if stat.S_ISDIR(kind):
        raise AudioError(
            f"{_shown(path)} is a folder. Give one of its files; for all of them, list them in a manifest and run "
            "the benchmark."
        )
    if not (stat.S_ISREG(kind) or stat.S_ISFIFO(kind) or stat.S_ISSOCK(kind)):
        raise AudioError(f"{_shown(path)} is a device, not a recording. Choose a file.")
    # Opening a named pipe would wait for its writer, perhaps for ever; reading from it can be given up.
    flags = os.O_RDONLY | (os.O_NONBLOCK if stat.S_ISFIFO(kind) else 0) | getattr(os, "O_BINARY", 0)
    return os.fdopen(os.open(path, flags), "rb", buffering=0 if stat.S_ISFIFO(kind) else -1)


@contextmanager
def _spooled(file: BinaryIO, limit: int, caller: Caller, *, patient: bool) -> Iterator[BinaryIO]:
    """A copy, on disk, of what comes out of a pipe, which cannot be rewound."""
    deadline = time.monotonic() + PATIENCE_S
    with tempfile.TemporaryFile() as copy:
        while True:
            caller.check()
            ready, _, _ = select.select([file], [], [], 0.2)
            data = os.read(file.fileno(), 1 << 20) if ready else None
            if data:
                copy.write(data)
                deadline = time.monotonic() + PATIENCE_S
            elif data is not None:
                break
            elif not patient and time.monotonic() > deadline:
                raise AudioError(
                    f"Nothing came out of the pipe for {PATIENCE_S:.0f} seconds. Is something written to it?"
                )
            if copy.tell() > limit:
                raise AudioError(f"More than {limit // 1_000_000:,} MB came out of the pipe, the limit here.")
        copy.seek(0)
        yield cast("BinaryIO", copy)


# -- arrays


def _frames_of_array(rate: int, samples: np.ndarray) -> Iterator[av.AudioFrame]:
    """Frames of one second, packed float32."""
    import av

    rate = int(rate)
    check_rate(rate)
    try:
        samples = np.asarray(samples)
    except ValueError as error:
        raise AudioError("Samples in rows of different lengths cannot be used. Give (n,) or (n, channels).") from error
    if samples.ndim == 2 and samples.shape[0] <= MAX_CHANNELS < samples.shape[1]:
        samples = samples.T  # (channels, n), as PyTorch's libraries have them
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


# -- to mono


def _clip(
    clip_id: str, sound: Callable[[list[str]], Sound], limit_s: float, span: tuple[int, int], caller: Caller
) -> AudioClip:
    """Mix down what ``sound`` gives; it is read a second time where the channels turn out to cancel."""
    notes: list[str] = []
    mix = _Mix(limit_s, caller, span)
    samples = mix.down(sound(notes), notes)
    channel = mix.channel_instead()
    if channel is not None:
        notes = []
        samples = _Mix(limit_s, caller, span, channel).down(sound(notes), notes)
        notes.append(f"The channels of this file cancel each other, so the louder one was taken, number {channel + 1}.")
    return AudioClip(clip_id, samples, notes=tuple(notes))


class _Mix:
    """Collects sound as mono float32 at 16 kHz: the mean of the channels, or one of them.

    ``span``: the samples to keep, from and to. ``channel``: counted from 0; where there are fewer, their mean
    is taken.
    """

    def __init__(
        self,
        limit_s: float,
        caller: Caller = NOBODY,
        span: tuple[int, int] = (0, sys.maxsize),
        channel: int | None = None,
    ) -> None:
        self._limit_s = limit_s
        self._caller = caller
        self._start, self._stop = span
        self._came = 0  # samples, those left out counted too
        self._channel = channel
        self._pcm = bytearray()  # grows in place, so that an hour is never held twice
        self._resampler: av.AudioResampler | None = None
        self._shape: tuple[str, str, int] | None = None
        self._silences: list[tuple[int, int]] = []  # from sample, to sample
        self._powers = _Powers()

    def down(self, sound: Sound, notes: list[str]) -> np.ndarray:
        """Everything that comes, see ``finish``."""
        for part in sound:
            self.add(part)
            if self._came >= self._stop:
                break
        return self.finish(notes)

    def add(self, part: av.AudioFrame | float) -> None:
        """Take a frame, or so many seconds of silence; a stream may change its format between frames.

        Packed, not planar: PyAV reads past the end of a planar frame of more than eight channels.
        """
        import av

        self._caller.check()
        if isinstance(part, float):
            self._flush()
            before = self._length()
            kept = self._kept(round(part * SAMPLING_RATE))
            self._grow(bytes(4 * min(kept.stop - kept.start, self._left() + 1)))
            self._silences.append((before, self._length()))
            return
        shape = (part.format.name, part.layout.name, part.sample_rate)
        if self._resampler is None or shape != self._shape:
            self._flush()
            check_rate(part.sample_rate, part.layout.nb_channels)
            self._resampler = av.AudioResampler(format="flt", layout=part.layout, rate=SAMPLING_RATE)
            self._shape = shape
        part.pts = None
        for frame in self._resampler.resample(part):
            self._take(frame)

    def finish(self, notes: list[str]) -> np.ndarray:
        """Everything, shape ``(n,)``, read-only, without offset, in [-1, 1]."""
        self._flush()
        if not self._pcm and self._start:
            raise AudioError(
                f"The clip should start at {self._start / SAMPLING_RATE:.1f} s, and the recording ends at "
                f"{self._came / SAMPLING_RATE:.1f} s."
            )
        if not self._pcm:
            raise AudioError("The audio holds no samples. Record again, or choose another file.")
        samples = np.frombuffer(self._pcm, dtype=np.float32)
        spans = self._sounding(len(samples))
        length = sum(stop - start for start, stop in spans)
        mean = sum(float(samples[start:stop].sum(dtype=np.float64)) for start, stop in spans) / max(1, length)
        peak = max(-float(samples.min()), float(samples.max()))
        if abs(mean) > MAX_OFFSET * max(1.0, peak):
            for start, stop in spans:
                samples[start:stop] -= np.float32(mean)
            notes.append(f"A constant offset of {mean:.3g} of full scale was removed.")
            peak = max(-float(samples.min()), float(samples.max()))
        if peak > LOUD:
            notes.append(f"The samples reach {peak:,.1f} times full scale; the clip was scaled down.")
        if peak > 1:
            samples /= peak
        samples.setflags(write=False)
        return samples

    def channel_instead(self) -> int | None:
        """The louder channel, where averaging makes them cancel."""
        return None if self._channel is not None else self._powers.louder_of_cancelling()

    def _flush(self) -> None:
        if self._resampler is not None:
            for frame in self._resampler.resample(None):
                self._take(frame)
        self._resampler = None

    def _take(self, frame: av.AudioFrame) -> None:
        samples = frame.to_ndarray().reshape(-1, frame.layout.nb_channels)
        samples = samples[self._kept(len(samples))]
        if self._channel is not None and self._channel < samples.shape[1]:
            mono = np.ascontiguousarray(samples[:, self._channel])
        else:
            mono = samples.mean(axis=1, dtype=np.float32)
        if not np.isfinite(mono).all():
            raise AudioError("The audio holds samples that are not finite numbers. Export it again as 16-bit WAV.")
        self._powers.add(samples, mono)
        self._grow(mono.tobytes())

    def _grow(self, pcm: bytes) -> None:
        self._pcm += pcm
        if self._left() < 0:
            raise AudioError(
                f"The audio is longer than {_duration(self._limit_s)}, the limit here. Cut it into shorter parts."
            )

    def _kept(self, count: int) -> slice:
        """Which of the next ``count`` samples belong to the clip."""
        start = min(count, max(0, self._start - self._came))
        stop = max(start, min(count, self._stop - self._came))
        self._came += count
        return slice(start, stop)

    def _length(self) -> int:
        return len(self._pcm) // 4

    def _left(self) -> int:
        return round(self._limit_s * SAMPLING_RATE) - self._length()

    def _sounding(self, length: int) -> list[tuple[int, int]]:
        edges = [0, *(edge for silence in self._silences for edge in silence), length]
        return list(zip(edges[::2], edges[1::2], strict=True))


class _Powers:
    """The variance of each channel and of their mean, over the parts with as many channels as the first."""

    def __init__(self) -> None:
        self._count = 0
        self._sums = self._squares = np.zeros(0)

    def add(self, samples: np.ndarray, mono: np.ndarray) -> None:
        channels = samples.shape[1]
        if not self._count:
            self._sums, self._squares = np.zeros(channels + 1), np.zeros(channels + 1)
        if channels < 2 or channels + 1 != len(self._sums) or not len(samples):
            return
        self._count += len(samples)
        self._sums += np.append(samples.sum(axis=0, dtype=np.float64), mono.sum(dtype=np.float64))
        self._squares += np.append(
            np.square(samples).sum(axis=0, dtype=np.float64), np.square(mono).sum(dtype=np.float64)
        )

    def louder_of_cancelling(self) -> int | None:
        if not self._count:
            return None
        powers = self._squares / self._count - (self._sums / self._count) ** 2
        each, mean = powers[:-1], powers[-1]
        if each.max() <= 0 or mean >= CANCELS_UNDER * each.sum() / len(each) ** 2:
            return None
        return int(each.argmax())


def _duration(seconds: float) -> str:
    if seconds < 120 or seconds % 60:
        return f"{seconds:g} seconds"
    return f"{seconds / 60:g} minutes"
