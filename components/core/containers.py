"""Recordings as they are found: where each one lies in a file, and what its header gets wrong."""

from __future__ import annotations

import io
import re
import struct
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, BinaryIO

from components.core.errors import AudioError

if TYPE_CHECKING:
    from collections.abc import Iterator, Mapping

MAX_PARTS = 5_000
"""Recordings one after another in a file: an hour of pieces of a second, and some."""

# How a recording of each format begins; one that starts anew within the file is a further recording.
_BEGINNINGS = tuple(
    re.compile(pattern, re.DOTALL)
    for pattern in (
        rb"RIFF.{4}WAVE",
        rb"FORM.{4}AIF[FC]",
        rb"fLaC\x00\x00\x00\x22",
        rb"\x1a\x45\xdf\xa3.{1,50}?\x42\x82.(?:webm|matroska)",
        rb"\x00\x00\x00[\x08-\x80]ftyp[\x20-\x7e]{4}",
    )
)
_LONGEST_BEGINNING = 64
_BLOCK = 1 << 20

UNKNOWN_SIZE = 0x7FFF_0000
"""Sizes from here are what writers of streams put where they do not know one yet; 0 is another."""

MIN_FORGOTTEN_S = 0.1
"""Bytes after a recording that would be less sound than this are nothing to read."""


@dataclass(frozen=True)
class Part:
    """One recording within a file, from byte ``start`` to ``stop``.

    ``patches``: bytes to read in place of those at an offset of the file. ``announced_s``: seconds of sound that its
    header promises, where it is read here.
    """

    start: int
    stop: int
    patches: Mapping[int, bytes] = field(default_factory=dict)
    announced_s: float | None = None
    notes: tuple[str, ...] = ()

    def open(self, file: BinaryIO) -> _Excerpt:
        """The part as a file of its own, which shares the position of ``file``."""
        return _Excerpt(file, self)


def parts(file: BinaryIO, size: int) -> list[Part]:
    """The recordings of a file of ``size`` bytes, one after another; one, in nearly every file.

    Raises:
        AudioError: there are more than ``MAX_PARTS``.
    """
    starts = _starts(file)
    stops = [*starts[1:], size]
    if len(starts) > MAX_PARTS:
        raise AudioError(f"This file is over {MAX_PARTS:,} recordings, one after another. Join fewer of them.")
    found = [_mended_wav(file, start, stop) for start, stop in zip(starts, stops, strict=True)]
    file.seek(0)
    return found


def lacks_index(file: BinaryIO, size: int) -> bool:
    """Whether an MP4 breaks off before the box that says where its sound lies."""
    position = 0
    names: set[bytes] = set()
    while position + 8 <= size and len(names) < 100:
        file.seek(position)
        length, name = struct.unpack(">I4s", file.read(8))
        if length == 1:
            length = int.from_bytes(file.read(8), "big")
        names.add(name)
        if length < 8:
            break
        position += length
    return b"ftyp" in names and b"moov" not in names


def _starts(file: BinaryIO) -> list[int]:
    file.seek(0)
    head = file.read(_LONGEST_BEGINNING)
    beginning = next((pattern for pattern in _BEGINNINGS if pattern.match(head)), None)
    if beginning is None:
        return [0]
    file.seek(0)
    starts: list[int] = []
    offset, kept = 0, b""  # of the file, where `kept` begins
    while block := file.read(_BLOCK):
        text = kept + block
        starts += [offset + match.start() for match in beginning.finditer(text)]
        kept = text[-_LONGEST_BEGINNING:]
        offset += len(text) - len(kept)
        if len(starts) > MAX_PARTS + _BLOCK:
            break
    return sorted(set(starts))


def _chunks(file: BinaryIO, start: int, stop: int) -> Iterator[tuple[bytes, int, int]]:
    """Name, first byte and size of each chunk of a RIFF file, to the first that makes no sense."""
    while start + 8 <= stop:
        file.seek(start)
        name, size = struct.unpack("<4sI", file.read(8))
        yield name, start + 8, size
        start += 8 + size + size % 2


def _mended_wav(file: BinaryIO, start: int, stop: int) -> Part:
    """A part; of a WAV, with a header that says what the file holds."""
    file.seek(start)
    if not re.match(rb"RIFF.{4}WAVE", file.read(12), re.DOTALL):
        return Part(start, stop)
    patches: dict[int, bytes] = {}
    bytes_per_s = 0
    for name, content, size in _chunks(file, start + 12, stop):
        if name == b"fmt ":
            file.seek(content)
            header = file.read(min(size, 40))
            if len(header) < 16:
                break
            bytes_per_s = _bytes_per_s(header)
            if (bits := _container_bits(header)) is not None:
                patches[content + 18] = struct.pack("<H", bits)
        if name == b"data" and bytes_per_s:
            left = stop - content
            if not size or size >= UNKNOWN_SIZE:
                return Part(start, stop, patches)
            if size > left:
                return Part(start, stop, patches, announced_s=size / bytes_per_s)
            behind = stop - content - size
            if behind < MIN_FORGOTTEN_S * bytes_per_s or _are_chunks(file, content + size + size % 2, stop):
                return Part(start, stop, patches)
            patches[content - 4] = bytes(4)  # a size of 0: FFmpeg reads to the end
            note = (
                f"The header of this file speaks of {size / bytes_per_s:.1f} s of sound; "
                f"all {left / bytes_per_s:.1f} s that follow it were used."
            )
            return Part(start, stop, patches, notes=(note,))
    return Part(start, stop, patches)


def _bytes_per_s(header: bytes) -> int:
    _, channels, rate, bytes_per_s, _, bits = struct.unpack("<HHIIHH", header[:16])
    return bytes_per_s or channels * rate * bits // 8


def _container_bits(header: bytes) -> int | None:
    """The bits of each stored sample, where fewer of them count and FFmpeg would take those for the stored width."""
    if len(header) < 20 or header[:2] != b"\xfe\xff":
        return None
    bits, valid = struct.unpack("<H2xH", header[14:20])
    return bits if bits % 8 == 0 and valid > 0 and -(-valid // 8) < bits // 8 else None


def _are_chunks(file: BinaryIO, start: int, stop: int) -> bool:
    """Whether the bytes are further chunks of a RIFF file, with no more than a stray few after them."""
    end = start
    for name, content, size in _chunks(file, start, stop):
        if not all(0x20 <= byte < 0x7F for byte in name) or content + size > stop:
            return False
        end = content + size
    return end > start and stop - end < 8 + 1


class _Excerpt:
    """A part of a file, read as a whole file: what PyAV asks of one, and no more.

    No seek fails: damaged files make FFmpeg ask for places that no file has.
    """

    def __init__(self, file: BinaryIO, part: Part) -> None:
        self._file = file
        self._part = part
        self._position = 0

    def read(self, size: int = -1) -> bytes:
        start = self._part.start + self._position
        left = max(0, self._part.stop - start)
        self._file.seek(start)
        data = self._file.read(left if size < 0 else min(size, left))
        self._position += len(data)
        for offset, patch in self._part.patches.items():
            if start - len(patch) < offset < start + len(data):
                changed = bytearray(data)
                for index, byte in enumerate(patch):
                    if 0 <= offset + index - start < len(data):
                        changed[offset + index - start] = byte
                data = bytes(changed)
        return data

    def seek(self, offset: int, whence: int = io.SEEK_SET) -> int:
        base = {io.SEEK_SET: 0, io.SEEK_CUR: self._position, io.SEEK_END: self._part.stop - self._part.start}[whence]
        self._position = min(max(0, base + offset), self._part.stop - self._part.start)
        return self._position

    def tell(self) -> int:
        return self._position
