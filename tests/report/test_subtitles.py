import pytest

from components.core.types import Segment
from components.report.subtitles import clock, to_srt, to_vtt


def segment(start_s, end_s, text):
    return Segment(start_s=start_s, end_s=end_s, text=text)


@pytest.mark.parametrize(
    ("seconds", "text"),
    [
        (0, "00:00:00.000"),
        (1.9996, "00:00:02.000"),
        (3599.999, "00:59:59.999"),
        (360_000.5, "100:00:00.500"),
        (-1, "00:00:00.000"),
    ],
)
def test_clock(seconds, text):
    assert clock(seconds) == text


def test_srt():
    segments = [segment(0.0, 1.5, " Hello,\nyou."), segment(1.5, 2, "   "), segment(61.25, 62, "Bye --> now")]
    assert to_srt(segments) == (
        "1\n00:00:00,000 --> 00:00:01,500\nHello, you.\n\n2\n00:01:01,250 --> 00:01:02,000\nBye -> now\n"
    )


def test_vtt_escapes_its_own_markup():
    assert to_vtt([segment(0, 1, "<b>a & b</b>")]) == (
        "WEBVTT\n\n00:00:00.000 --> 00:00:01.000\n&lt;b&gt;a &amp; b&lt;/b&gt;\n"
    )


def test_nothing_said():
    assert to_srt([]) == ""
    assert to_vtt([]) == "WEBVTT\n\n"


def test_a_cue_never_ends_before_it_starts():
    assert "00:00:02.000 --> 00:00:02.001" in to_vtt([segment(2, 1, "x")])
