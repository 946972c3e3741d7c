"""Segments to subtitle files: SubRip (SRT) and WebVTT."""

from __future__ import annotations

from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from collections.abc import Iterable, Iterator

    from components.core.types import Segment

MIN_CUE_S = 0.001
"""A cue must end after it starts; one that does not is stretched by this much."""


def clock(seconds: float, decimal_mark: str = ".") -> str:
    """Seconds as ``HH:MM:SS.mmm``; hours grow beyond two digits where they must."""
    milliseconds = max(0, round(seconds * 1000))
    minutes, milliseconds = divmod(milliseconds, 60_000)
    hours, minutes = divmod(minutes, 60)
    return f"{hours:02}:{minutes:02}:{milliseconds // 1000:02}{decimal_mark}{milliseconds % 1000:03}"


def _cues(segments: Iterable[Segment]) -> Iterator[tuple[float, float, str]]:
    """Start, end and one line of text of every segment that has something to say."""
    for segment in segments:
        # A blank line would end the cue, so the text goes on one line.
        text = " ".join(segment.text.split())
        if text:
            yield segment.start_s, max(segment.end_s, segment.start_s + MIN_CUE_S), text


def to_srt(segments: Iterable[Segment]) -> str:
    """SubRip: numbered cues, a comma before the milliseconds. Empty where there are no segments."""
    return "\n".join(
        f"{number}\n{clock(start_s, ',')} --> {clock(end_s, ',')}\n{text.replace('-->', '->')}\n"
        for number, (start_s, end_s, text) in enumerate(_cues(segments), start=1)
    )


def to_vtt(segments: Iterable[Segment]) -> str:
    """WebVTT (https://www.w3.org/TR/webvtt1/): ``&``, ``<`` and ``>`` are markup there and so are escaped."""
    cues = "\n".join(
        f"{clock(start_s)} --> {clock(end_s)}\n{text.replace('&', '&amp;').replace('<', '&lt;').replace('>', '&gt;')}\n"
        for start_s, end_s, text in _cues(segments)
    )
    return f"WEBVTT\n\n{cues}"
