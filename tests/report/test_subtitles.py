"""Subtitle files, read back by parsers that are not ours."""
# ruff: noqa: RUF001 - punctuation of other scripts

from __future__ import annotations

import io
import itertools
import random

import pytest
import srt
import webvtt

from components.core.types import Segment
from components.report.subtitles import LINE_COLUMNS, clock, columns, cues, to_srt, to_vtt

LONG = (
    "And so, my fellow Americans, ask not what your country can do for you, ask what you can do for your country; "
    "my fellow citizens of the world, ask not what America will do for you."
)
TEXTS = {
    "english": LONG,
    "a word of 100": "a" * 100,
    "chinese": "我們的國家不是為了自己而存在的，而是為了所有的人民，這是我們每個人都應該知道的事情。" * 3,
    "japanese": "これは、とても長い文章なので、字幕では何行かに分けなければなりません。ちょっと待ってください！" * 2,
    "thai": "ประเทศไทยเป็นประเทศที่มีวัฒนธรรมและประเพณีที่สวยงามมากที่สุดแห่งหนึ่งในเอเชียตะวันออกเฉียงใต้",
    "korean": "그래서 나의 동료 미국인 여러분, 조국이 여러분을 위해 무엇을 할 수 있는지 묻지 마십시오. " * 2,
    "arabic": "ولذلك يا رفاقي الأمريكيين، لا تسألوا ماذا يمكن لبلدكم أن يفعل لكم، بل اسألوا ماذا يمكنكم أن تفعلوا.",
    "hebrew": 'אז, אמריקאים יקרים, אל תשאלו מה המדינה שלכם יכולה לעשות עבורכם (או "NASA").',
    "hindi": "इसलिए, मेरे साथी अमेरिकियों, यह मत पूछो कि तुम्हारा देश तुम्हारे लिए क्या कर सकता है।",
    "mixed": "OpenAI 發布了 Whisper large-v3，而 Hugging Face 發布了 distil-large-v3，速度快了六倍左右。",
    "markup": "<b>a & b</b> --> c &lt; {\\an8} -->",
    "emoji": "👩‍👩‍👧‍👦" * 40,
}


def segments(text: str, start_s: float = 0.0, end_s: float = 9.0) -> list[Segment]:
    return [Segment(start_s=start_s, end_s=end_s, text=text)]


def plain(text: str) -> str:
    return "".join(character for character in text if not character.isspace() and character not in "\u202b\u202c")


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
    said = [*segments(" Hello,\nyou.", 0, 1.5), *segments("   ", 1.5, 2), *segments("Bye --> now", 61.25, 62)]
    assert to_srt(said) == (
        "1\n00:00:00,000 --> 00:00:01,500\nHello, you.\n\n2\n00:01:01,250 --> 00:01:02,000\nBye -> now\n"
    )


def test_vtt_escapes_its_own_markup():
    assert to_vtt(segments("<b>a & b</b>", 0, 1)) == (
        "WEBVTT\n\n00:00:00.000 --> 00:00:01.000\n&lt;b&gt;a &amp; b&lt;/b&gt;\n"
    )


def test_nothing_said():
    assert to_srt([]) == ""
    assert to_vtt([]) == "WEBVTT\n\n"


@pytest.mark.parametrize("text", TEXTS.values(), ids=TEXTS)
def test_two_lines_of_42_columns_and_every_character(text):
    found = cues(segments(text, 1, 9))
    assert all(1 <= len(cue.lines) <= 2 for cue in found)
    assert all(0 < columns(line) <= LINE_COLUMNS for cue in found for line in cue.lines)
    assert plain("".join(line for cue in found for line in cue.lines)) == plain(text)
    assert (found[0].start_s, found[-1].end_s) == (1, pytest.approx(9))
    assert all(before.end_s == after.start_s for before, after in itertools.pairwise(found))


def test_lines_of_a_cue_are_of_nearly_one_length():
    ((_, _, lines),) = cues(segments("Ask not what your country can do for you, ask."))
    assert lines == ("Ask not what your country", "can do for you, ask.")


def test_no_line_starts_with_closing_punctuation():
    for name in ("chinese", "japanese", "mixed"):
        for cue in cues(segments(TEXTS[name])):
            assert not any(line[0] in "。，、！？」ょっー" for line in cue.lines)


@pytest.mark.parametrize("text", TEXTS.values(), ids=TEXTS)
@pytest.mark.parametrize("line_end", ["\n", "\r\n"])
def test_other_parsers_read_the_same(text, line_end):
    said = [*segments("First.", 0, 1), *segments(text, 359_999, 360_010.5), *segments("Last.", 360_011, 360_012)]
    found = cues(said)
    times = [(round(cue.start_s, 3), round(cue.end_s, 3)) for cue in found]

    written = to_srt(said, line_end)
    parsed = list(srt.parse(written))
    assert [(each.start.total_seconds(), each.end.total_seconds()) for each in parsed] == times
    assert [each.index for each in parsed] == list(range(1, len(found) + 1))
    lines = [tuple(each.content.splitlines()) for each in parsed]
    assert lines == [tuple(line.replace("-->", "->") for line in cue.lines) for cue in found]

    captions = webvtt.from_buffer(io.BytesIO(to_vtt(said, line_end).encode()))
    assert [(each.start_in_seconds, each.end_in_seconds) for each in captions] == [
        (int(start), int(end)) for start, end in times
    ]
    assert [each.start for each in captions] == [clock(start) for start, _ in times]
    escaped = {"&": "&amp;", "<": "&lt;", ">": "&gt;"}
    assert [tuple(each.raw_text.splitlines()) for each in captions] == [
        tuple("".join(escaped.get(character, character) for character in line) for line in cue.lines) for cue in found
    ]


def test_a_broken_word_gets_no_space_and_no_whole_word_is_broken():
    address = f"https://example.org/{'a' * 70}"
    ((_, _, first), (_, _, second)) = cues(segments(f"See {address} now."))
    assert "".join(first + second) == f"See{address} now."
    word = "Rindfleischetikettierungsüberwachungsamt"
    assert word in cues(segments(f"Das ist vom {word} so."))[0].lines


def test_controls_are_left_out():
    assert cues(segments("a\x00b\x1bc"))[0].lines == ("abc",)
    assert cues(segments("\x00")) == []


def test_line_ends():
    for written in (to_srt(segments(LONG), "\r\n"), to_vtt(segments(LONG), "\r\n")):
        assert "\n" not in written.replace("\r\n", "")
        assert "\r\r" not in written


def test_lines_from_right_to_left_say_so():
    for name in ("arabic", "hebrew"):
        for cue in cues(segments(TEXTS[name])):
            assert all(line[0] == "\u202b" and line[-1] == "\u202c" for line in cue.lines)
    assert cues(segments("He said שלום."))[0].lines == ("He said שלום.",)
    assert all(line[0] == "\u202b" for cue in cues(segments("NASA " + TEXTS["hebrew"])) for line in cue.lines)


def test_no_cue_over_another_whatever_the_segments():
    rng = random.Random(0)
    for _ in range(200):
        said = []
        for _ in range(rng.randrange(1, 8)):
            start_s = rng.choice((rng.uniform(-1, 20), 5.0))
            said += segments(rng.choice(list(TEXTS.values())), start_s, start_s + rng.uniform(-2, 10))
        found = cues(said)
        assert all(cue.start_s < cue.end_s for cue in found)
        assert all(before.end_s <= after.start_s for before, after in itertools.pairwise(found))
        assert found[0].start_s >= 0


def test_a_cue_that_reaches_into_the_next_ends_there():
    found = cues([*segments("a", 0, 10), *segments("b", 4, 12)])
    assert [(cue.start_s, cue.end_s) for cue in found] == [(0, 4), (4, 12)]
    assert "00:00:02.000 --> 00:00:02.001" in to_vtt(segments("x", 2, 1))
