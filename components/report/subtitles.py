"""Segments to subtitle files: SubRip (SRT) and WebVTT."""

from __future__ import annotations

import unicodedata
from collections import Counter
from typing import TYPE_CHECKING, Literal, NamedTuple

import regex

if TYPE_CHECKING:
    from collections.abc import Iterable, Iterator

    from components.core.types import Segment

    LineEnd = Literal["\n", "\r\n"]

MIN_CUE_S = 0.001
"""A cue must end after it starts; one that does not is stretched by this much."""

LINE_COLUMNS = 42
"""The longest line, a common rule of subtitling; wide characters, as of Chinese, take two columns."""

LINES = 2

# A line may break without a space after a character of a script written without them, or a wide punctuation mark;
# never before closing punctuation, a mark, or a small kana.
_UNSPACED = (
    r"\p{Han}\p{Hiragana}\p{Katakana}\p{Thai}\p{Lao}\p{Khmer}\p{Myanmar}\p{Tibetan}\u3000-\u303f\u30fc\uff00-\uff60"
)
_NEVER_FIRST = r"\p{Pe}\p{Pf}\p{Po}\p{Lm}\p{M}ぁぃぅぇぉっゃゅょゎァィゥェォッャュョヮ"
_PIECES = regex.compile(rf"\s+|[{_UNSPACED}][{_NEVER_FIRST}]*|(?:(?![{_UNSPACED}])\S)+[{_NEVER_FIRST}]*")
_GRAPHEMES = regex.compile(r"\X")
_RIGHT_TO_LEFT = "\u202b", "\u202c"  # embedding, and its end: many players know nothing newer


class Cue(NamedTuple):
    """Seconds, and at most two lines."""

    start_s: float
    end_s: float
    lines: tuple[str, ...]


def clock(seconds: float, decimal_mark: str = ".") -> str:
    """Seconds as ``HH:MM:SS.mmm``; hours grow beyond two digits where they must."""
    milliseconds = max(0, round(seconds * 1000))
    minutes, milliseconds = divmod(milliseconds, 60_000)
    hours, minutes = divmod(minutes, 60)
    return f"{hours:02}:{minutes:02}:{milliseconds // 1000:02}{decimal_mark}{milliseconds % 1000:03}"


def to_srt(segments: Iterable[Segment], line_end: LineEnd = "\n") -> str:
    """SubRip: numbered cues, a comma before the milliseconds. Empty where there are no segments."""
    text = "\n".join(
        f"{number}\n{clock(cue.start_s, ',')} --> {clock(cue.end_s, ',')}\n"
        + "".join(line.replace("-->", "->") + "\n" for line in cue.lines)
        for number, cue in enumerate(cues(segments), start=1)
    )
    return text.replace("\n", line_end)


def to_vtt(segments: Iterable[Segment], line_end: LineEnd = "\n") -> str:
    """WebVTT (https://www.w3.org/TR/webvtt1/): ``&``, ``<`` and ``>`` are markup there and so are escaped."""
    text = "\n".join(
        f"{clock(cue.start_s)} --> {clock(cue.end_s)}\n"
        + "".join(line.replace("&", "&amp;").replace("<", "&lt;").replace(">", "&gt;") + "\n" for line in cue.lines)
        for cue in cues(segments)
    )
    return f"WEBVTT\n\n{text}".replace("\n", line_end)


def cues(segments: Iterable[Segment]) -> list[Cue]:
    """Cues in order, none over another, each of one or two lines of at most 42 columns.

    A segment of more lines becomes several cues, which share its time by their columns. Where a segment reaches into
    the next one, it ends when that starts.
    """
    spoken = sorted((each for each in segments if each.text.strip()), key=lambda each: each.start_s)
    starts = [max(0.0, each.start_s) for each in spoken]
    found: list[Cue] = []
    for index, segment in enumerate(spoken):
        start_s = max(starts[index], found[-1].end_s if found else 0.0)
        end_s = segment.end_s
        if index + 1 < len(spoken) and starts[index + 1] > start_s:
            end_s = min(end_s, starts[index + 1])
        found += _shared(start_s, max(end_s, start_s + MIN_CUE_S), segment.text)
    return found


def _shared(start_s: float, end_s: float, text: str) -> Iterator[Cue]:
    """The cues of one segment."""
    blocks = list(_blocks(text))
    widths = [sum(map(columns, block)) or 1 for block in blocks]
    end_s = max(end_s, start_s + MIN_CUE_S * len(blocks))
    each_s = (end_s - start_s - MIN_CUE_S * len(blocks)) / max(1, sum(widths))
    for block, width in zip(blocks, widths, strict=True):
        stop_s = start_s + MIN_CUE_S + width * each_s
        yield Cue(start_s, stop_s, block)
        start_s = stop_s


def _blocks(text: str) -> Iterator[tuple[str, ...]]:
    """The text as one or two lines at a time, two of nearly one length where there are two."""
    text = regex.sub(r"[\p{Cc}--\s]+", "", text, flags=regex.V1)
    lines = _lines(text, LINE_COLUMNS)
    right_to_left = _runs_right_to_left(text)
    for first in range(0, len(lines), LINES):
        block = lines[first : first + LINES]
        if len(block) == LINES:
            block = _balanced(block)
        yield tuple(line.strip().join(_RIGHT_TO_LEFT) if right_to_left else line.strip() for line in block)


def _balanced(block: list[str]) -> list[str]:
    text = "".join(block)
    longest = max(map(columns, _pieces(text, LINE_COLUMNS)))
    for width in range(max(columns(text) // 2, longest), LINE_COLUMNS):
        lines = _lines(text, width)
        if len(lines) <= LINES:
            return lines
    return block


def _lines(text: str, width: int) -> list[str]:
    """Lines with the space that ends them, if one does: a word may be broken."""
    lines = [""]
    for piece in _pieces(" ".join(text.split()), width):
        if columns((lines[-1] + piece).rstrip()) > width and lines[-1].strip():
            lines.append("")
        lines[-1] += piece if lines[-1] else piece.lstrip()
    return [line for line in lines if line.strip()]


def _pieces(text: str, width: int) -> Iterator[str]:
    """What must stay on one line: words, spaces, characters of scripts without spaces; parts of longer words."""
    for piece in _PIECES.findall(text):
        if columns(piece) <= width:
            yield piece
            continue
        part = ""
        for grapheme in _GRAPHEMES.findall(piece):
            if part and columns(part + grapheme) > width:
                yield part
                part = ""
            part += grapheme
        yield part


def columns(text: str) -> int:
    """The width of a line: wide characters take two columns, marks and invisible characters none."""
    width = 0
    for character in text:
        if unicodedata.category(character) not in {"Mn", "Me", "Cf", "Cc"}:
            width += 2 if unicodedata.east_asian_width(character) in "WF" else 1
    return width


def _runs_right_to_left(text: str) -> bool:
    """Whether most letters do: a player is told, since a line may begin with a name in Latin letters."""
    kinds = Counter(map(unicodedata.bidirectional, text))
    return kinds["R"] + kinds["AL"] > kinds["L"]
