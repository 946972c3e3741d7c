"""One file, decoded by FFmpeg within limits: its frames in order, and silence where its times have gaps."""

from __future__ import annotations

import contextlib
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, BinaryIO

from components.core.containers import lacks_index, parts
from components.core.errors import AudioError

if TYPE_CHECKING:
    from collections.abc import Iterator

    import av

    from components.core.caller import Caller
    from components.core.containers import Part

READABLE = "WAV, FLAC, MP3, Ogg, Opus, M4A or WebM, or a video with sound"

# FFmpeg's demuxers that may be tried. Playlists and scripts (hls, concat, dash, sdp, ...) are not among them: such a
# file would make the server open other files or addresses.
FORMATS = (
    "wav,w64,aiff,caf,au,nistsphere,flac,ogg,mp3,aac,ac3,eac3,amr,ape,wv,tta,mov,mp4,m4a,3gp,3g2,mj2,matroska,webm,"
    "avi,asf,flv,mpeg,mpegts"
)

# The decoders that may be used. No picture and no video is ever decoded, not even to learn its size.
DECODERS = (
    "aac,aac_latm,ac3,eac3,alac,amrnb,amrwb,libopencore_amrnb,libopencore_amrwb,ape,dca,flac,mp1,mp1float,mp2,mp2float,"
    "mp3,mp3float,opus,libopus,vorbis,tta,truehd,mlp,wavpack,wmav1,wmav2,wmapro,wmalossless,wmavoice,gsm,gsm_ms,"
    "adpcm_ima_wav,adpcm_ima_qt,adpcm_ms,adpcm_swf,adpcm_yamaha,g722,g726,g726le,nellymoser,pcm_alaw,pcm_mulaw,pcm_u8,"
    "pcm_s8,pcm_s8_planar,pcm_s16le,pcm_s16be,pcm_s16le_planar,pcm_s16be_planar,pcm_u16le,pcm_u16be,pcm_s24le,"
    "pcm_s24le_planar,pcm_s24be,pcm_u24le,pcm_u24be,pcm_s32le,pcm_s32le_planar,pcm_s32be,pcm_u32le,pcm_u32be,pcm_s64le,"
    "pcm_s64be,pcm_f16le,pcm_f24le,pcm_f32le,pcm_f32be,pcm_f64le,pcm_f64be,pcm_dvd,pcm_bluray"
)

DEMUXER_OPTIONS = {
    "format_whitelist": FORMATS,
    "codec_whitelist": DECODERS,
    "max_pixels": "1000000",
    "max_streams": "100",
    "max_size": "65536",  # bytes of a packet of WAV: three times as fast as with its small default
}
DECODER_OPTIONS = {"max_samples": "4000000"}  # of one frame

MIN_RATE, MAX_RATE = 1_000, 768_000  # hertz
MAX_CHANNELS = 64
MAX_SAMPLES_PER_S = 8 * 192_000
"""Samples of all channels in a second: more would take minutes to decode."""

GAP_S = 0.1
"""Seconds that the time stamps must be ahead of the samples to be a gap; less is rounding, or a clock's drift."""

LONG_GAP_S = 60.0
"""A gap of more seconds is believed only where the container is said to be that long."""

MAX_FAULTS = 1_000
"""Demuxing is given up after so many errors without a packet in between."""


def check_rate(rate: int, channels: int = 1) -> None:
    """Raises ``AudioError`` where no recording has such a sampling rate, in hertz, or so many channels at it."""
    if not MIN_RATE <= rate <= MAX_RATE:
        raise AudioError(f"A sampling rate of {rate} Hz cannot be used. Give one from {MIN_RATE} to {MAX_RATE} Hz.")
    if channels > MAX_CHANNELS or rate * channels > MAX_SAMPLES_PER_S:
        raise AudioError(f"{channels} channels at {rate} Hz are more than can be read. Export fewer channels.")


def read_recording(
    file: BinaryIO, notes: list[str], *, track: int | None, caller: Caller
) -> Iterator[av.AudioFrame | float]:
    """Frames of any format in the order of their times, and between them the seconds in which there is no sound.

    Args:
        file: Open, and can be rewound.
        notes: Gets a sentence for whatever was mended or left out.
        track: Which sound track, from 1; ``None`` for the default one.
        caller: Asked after every packet.

    Raises:
        AudioError: it is empty, no recording, has no sound or no such track, or nothing in it can be decoded.
    """
    size = file.seek(0, 2)
    if not size:
        raise AudioError("The file is empty. Record again, or choose another file.")
    found = parts(file, size)
    reader = _Reader(caller, track)
    for part in found:
        yield from reader.read(part.open(file), part)
    if not reader.decoded:
        reader.refuse(lacks_index(file, size))
    if len(found) > 1:
        notes.append(f"This file is {len(found):,} recordings, one after another; all were used.")
    notes += [note for part in found for note in part.notes][:3]
    notes += reader.notes()


@dataclass
class _Faults:
    """Where a recording could not be decoded: how often, first at which second, and the last error."""

    count: int = 0
    first_s: float = 0.0
    error: Exception | None = None

    def add(self, error: Exception, at_s: float) -> None:
        if not self.count:
            self.first_s = at_s
        self.count += 1
        self.error = error


class _Reader:
    """Decodes the parts of a file, and remembers how far it came: ``at_s``, seconds from its start."""

    def __init__(self, caller: Caller, track: int | None) -> None:
        self.at_s = 0.0
        self.decoded = False
        self._caller = caller
        self._track = track
        self._faults = _Faults()
        self._gaps: list[tuple[float, float]] = []  # at, for so many seconds
        self._notes: list[str] = []

    def read(self, file: Any, part: Part) -> Iterator[av.AudioFrame | float]:
        import av

        start_s = self.at_s
        try:
            with av.open(file, mode="r", metadata_errors="replace", options=dict(DEMUXER_OPTIONS)) as container:
                stream = self._choose(container)
                announced_s = part.announced_s or _announced_s(container, stream)
                clock = _Clock(container, start_s)
                yield from self._decode(container, stream, clock)
        except av.FFmpegError as error:
            self._faults.add(error, self.at_s)
            return
        held_s = self.at_s - start_s
        if self.decoded and announced_s is not None and announced_s - held_s > 0.25 + 0.01 * announced_s:
            self._notes.append(
                f"This file is cut short: it announces {announced_s:.1f} s of sound and holds {held_s:.1f} s, which "
                "were used."
            )

    def _decode(self, container: Any, stream: Any, clock: _Clock) -> Iterator[av.AudioFrame | float]:
        """Skip what cannot be decoded, as players do."""
        import av

        for packet in self._packets(container, stream):
            self._caller.check()
            try:
                frames = stream.decode(packet)
            except av.FFmpegError as error:
                self._faults.add(error, self.at_s)
                continue
            for frame in frames:
                gap_s = clock.gap_s(frame, self.at_s)
                if gap_s:
                    self._gaps.append((self.at_s, gap_s))
                    self.at_s += gap_s
                    yield gap_s
                self.at_s += frame.samples / max(1, frame.sample_rate)
                self.decoded = True
                yield frame
        self._notes += clock.notes

    def _packets(self, container: Any, stream: Any) -> Iterator[av.Packet]:
        """Go on after errors; where the file itself broke off, there is nothing more."""
        import av

        faults = 0
        while faults < MAX_FAULTS:
            self._caller.check()
            try:
                for packet in container.demux(stream):
                    faults = 0
                    yield packet
            except (av.FFmpegError, IndexError) as error:  # IndexError: a packet of a stream that began later
                faults += 1
                self._faults.add(error, self.at_s)
            else:
                return

    def _choose(self, container: Any) -> Any:
        """The sound track asked for, or the default one."""
        tracks = list(container.streams.audio)
        if not tracks:
            raise AudioError("There is no sound in this file. Choose one with an audio track.")
        if self._track is not None:
            if not 1 <= self._track <= len(tracks):
                raise AudioError(f"This file has no sound track {self._track}. It has {_listed(tracks)}.")
            chosen = tracks[self._track - 1]
        else:
            usable = [each for each in tracks if each.codec_context is not None] or tracks
            chosen = next((each for each in usable if _is_default(each)), usable[0])
        if len(tracks) > 1 and not self._notes:
            number = tracks.index(chosen) + 1
            self._notes.append(f"This file has {len(tracks)} sound tracks, {_listed(tracks)}; track {number} was used.")
        if chosen.codec_context is None:
            raise AudioError(f"The sound in this file is of a kind that cannot be read. Choose a {READABLE}.")
        check_rate(chosen.codec_context.sample_rate or MIN_RATE, max(1, chosen.codec_context.channels))
        with contextlib.suppress(ValueError, RuntimeError):  # open already
            chosen.codec_context.options = DECODER_OPTIONS
        return chosen

    def refuse(self, lacks_index: bool) -> None:
        if lacks_index:
            raise AudioError(
                "This file is cut short: the part that says where its sound lies should stand at its end, and is "
                "missing. Save or upload it again."
            )
        if self._faults.count:
            raise AudioError(f"This file cannot be read as audio. Choose a {READABLE}.") from self._faults.error
        raise AudioError("The audio holds no samples. Record again, or choose another file.")

    def notes(self) -> list[str]:
        notes = self._notes[:4]
        if self._gaps and self._gaps[0][0] == 0:
            notes.append(f"The sound starts {self._gaps[0][1]:.1f} s into this file; silence stands before it.")
        inside = [gap for gap in self._gaps if gap[0] > 0]
        if inside:
            total = sum(length for _, length in inside)
            notes.append(
                f"{_places(len(inside), inside[0][0])} this file holds no sound for {total:.1f} s; silence stands "
                "there."
            )
        if self._faults.count:
            places = _places(self._faults.count, self._faults.first_s)
            notes.append(f"{places} this file is damaged; what could not be read was left out.")
        return notes


class _Clock:
    """Compares the container's times with the samples that came so far."""

    def __init__(self, container: Any, start_s: float) -> None:
        self.notes: list[str] = []
        self._start_s = start_s
        self._first = True
        self._alone = len(container.streams) == 1
        self._end_s = None if container.duration is None else container.duration / 1e6
        # Where time zero is meant as such; elsewhere the first times are arbitrary, as of a broadcast.
        meant = container.format.name.startswith(("mov", "matroska"))
        begins = 0 if meant or container.start_time is None else container.start_time / 1e6
        self._zero_s = float(begins)

    def gap_s(self, frame: av.AudioFrame, at_s: float) -> float:
        """Seconds of silence that belong before the frame."""
        if frame.pts is None or frame.time_base is None:
            self._first = False
            return 0.0
        position_s = float(frame.pts * frame.time_base) - self._zero_s
        gap_s = self._start_s + position_s - at_s
        first, self._first = self._first, False
        if abs(gap_s) <= GAP_S:
            return 0.0
        believed = gap_s <= LONG_GAP_S or (self._end_s is not None and position_s <= self._end_s + 1)
        if gap_s < 0 or not believed or (first and (self._start_s > 0 or (self._alone and gap_s > LONG_GAP_S))):
            self._zero_s += gap_s  # the times start anew here
            if gap_s > 0:
                self.notes.append(f"The times in this file jump by {gap_s:.0f} s at {at_s:.1f} s; that was left out.")
            return 0.0
        return gap_s


def _announced_s(container: Any, stream: Any) -> float | None:
    """Seconds of sound that the file's own header promises, or ``None`` where it makes no promise to rely on."""
    name = container.format.name
    promises = name in {"wav", "aiff", "au", "nistsphere", "flac"} or (name == "mp3" and stream.start_time)
    if stream.duration is not None and (promises or name.startswith("mov")):  # of MP3s, those with LAME's header
        late = (stream.start_time or 0) if name.startswith("mov") else 0
        return float((stream.duration + late) * stream.time_base)
    if name.startswith("matroska") and len(container.streams) == 1 and container.duration is not None:
        return float(container.duration / 1e6)
    return None


def _is_default(stream: Any) -> bool:
    import av

    return bool(stream.disposition & av.stream.Disposition.default)


def _listed(tracks: list[Any]) -> str:
    """Their numbers, with language and title where the file gives them."""
    names = []
    for number, each in enumerate(tracks[:10], start=1):
        said = [each.metadata.get(key, "") for key in ("language", "title")]
        words = ", ".join("".join(filter(str.isprintable, word))[:40] for word in said if word)
        names.append(f"{number} ({words})" if words else f"{number}")
    return ", ".join(names) + (", ..." if len(tracks) > 10 else "")


def _places(count: int, first_s: float) -> str:
    return f"At {first_s:.1f} s" if count == 1 else f"In {count:,} places, the first at {first_s:.1f} s,"
