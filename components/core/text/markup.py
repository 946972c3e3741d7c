"""What stands in a text for its reader: notes, speaker labels, the numbers and times of subtitles."""

from __future__ import annotations

import re
import tomllib
from functools import cache
from pathlib import Path
from typing import Any

from components.core.text.characters import pattern

_TIME = r"(?:\d{1,3}:)?\d{1,2}:\d{2}(?:[.,]\d{1,3})?"
_CUE = re.compile(rf"{_TIME}[ \t]{{0,3}}-->[ \t]{{0,3}}{_TIME}")
_CUE_IN_ONE_LINE = re.compile(rf"(?:(?<!\S)\d{{1,6}}\s)?{_CUE.pattern}")
_CUE_SETTINGS = re.compile(r"\b(?:align|line|position|size|vertical|region):\S{1,40}")
_ONLY_TIME = re.compile(rf"[\[(]?{_TIME}[\])]?")
_LEADING_TIME = re.compile(r"(?m)^[ \t]{0,8}\d{1,2}:\d{2}:\d{2}(?:[.,]\d{1,3})?[ \t]")

# Marks of subtitles and of Whisper that hold no words.
_TAGS = re.compile(
    r"</?(?:i|b|u|s|c|em|strong|font|ruby|rt|lang|span|p|br)(?:[ .=/][^<>\n]{0,80})?>"
    rf"|<{_TIME}>|<\|[^|<>\s]{{1,20}}\|>|\{{\\[^{{}}\n]{{1,60}}\}}",
    re.IGNORECASE,
)
_VOICE = re.compile(r"<v[ .][^<>\n]{1,60}>|</v>", re.IGNORECASE)

_BRACKETED = re.compile(r"[\[【〔［]([^\[\]【】〔〕［］\n]{1,100})[\]】〕］]|[{｛]([^{}｛｝\n]{1,60})[}｝]")
_BRACKETED_WORDS = 6
_ASIDE = re.compile(r"[(（]([^()（）\n]{1,60})[)）]|<([^<>\s]{1,30})>|\*{1,2}([^*\n]{1,60})\*{1,2}")

_NUMBERED_LABEL = re.compile(r"\b(?:speaker|spk|spkr)[ _-]?(?:\d{1,3}|[a-z])[ \t]{0,3}:", re.IGNORECASE)
_START = r"(?m)^[ \t]{0,8}(?:(?:[-–—•]|>{1,3})[ \t]{0,3})?"
_LETTERED_LABEL = re.compile(_START + r"(?:speaker|spk)[ _-]?\w{1,3}[ \t]{0,3}:", re.IGNORECASE)
_WORD_LABEL = re.compile(_START + r"([^\W\d_]{1,12})[ \t]{0,3}:(?=\s)")
_CAPITALS = r"[A-Z][A-Z.'-]{0,20}"
_CAPITAL_LABEL = re.compile(_START + rf"({_CAPITALS}(?: {_CAPITALS}){{0,2}}(?: \([^()\n]{{1,20}}\))?):(?=\s)")
_NAME = r"[A-Z][\w.'-]{0,20}(?: [A-Z][\w.'-]{0,20}){0,2}"
# A title before the name, or a note behind it: nothing else is written like that.
_PLAIN_LABEL = re.compile(_START + rf"(?:(?:Mr|Mrs|Ms|Dr|Prof)\.? {_NAME}|{_NAME} \([^()\n]{{1,20}}\)):(?=\s)")
_NAME_LABEL = re.compile(_START + rf"({_NAME}):(?=\s)")


@cache
def _tables() -> dict[str, Any]:
    tables = tomllib.loads((Path(__file__).parent / "notes.toml").read_text(encoding="utf-8"))
    return {name: frozenset(words.split()) for name, words in tables.items()}


def without_notes(text: str) -> tuple[str, int]:
    """Leave out what was not said.

    Args:
        text: As written, line breaks and case included.

    Returns:
        The words alone, and how many notes, labels and subtitle cues' heads were left out.
    """
    text, dropped = _without_cues(text) if ":" in text else (text, 0)
    text = _TAGS.sub("", text)
    rules: list[tuple[re.Pattern[str], Any]] = [
        (_VOICE, lambda found: not found[0].startswith("</")),
        (_BRACKETED, _is_bracketed_note),
        (_ASIDE, _is_aside),
    ]
    if ":" in text:
        rules += [
            (_NUMBERED_LABEL, lambda _: True),
            (_LETTERED_LABEL, lambda _: True),
            (_PLAIN_LABEL, lambda _: True),
            (_WORD_LABEL, lambda found: found[1].lower() in _tables()["labels"]),
            (_name_labels(text), lambda found: found[1].lower() not in _tables()["not_labels"]),
        ]
    for rule, is_note in rules:
        text, count = _drop(text, rule, is_note)
        dropped += count
    return text, dropped


def _drop(text: str, rule: re.Pattern[str], is_note: Any) -> tuple[str, int]:
    count = 0

    def replace(found: re.Match[str]) -> str:
        nonlocal count
        if not is_note(found):
            return "" if found[0] == "</v>" else found[0]
        count += 1
        return " "

    return rule.sub(replace, text), count


def _is_bracketed_note(found: re.Match[str]) -> bool:
    return len((found[1] or found[2]).split()) <= _BRACKETED_WORDS


def _is_aside(found: re.Match[str]) -> bool:
    said = next(group for group in found.groups() if group is not None)
    words = pattern(r"[\p{L}\p{M}-]+").findall(said.lower())
    known = _tables()["words"]
    return _ONLY_TIME.fullmatch(said) is not None or (
        0 < len(words) <= _BRACKETED_WORDS and (words[0] in known or words[-1] in known)
    )


def _name_labels(text: str) -> re.Pattern[str]:
    """Names before a colon: in capitals where the rest is not, or as names are written, twice or more."""
    names = [found[1] for found in _NAME_LABEL.finditer(text)]
    if len(names) > 1:
        return _NAME_LABEL
    return _CAPITAL_LABEL if any(each.islower() for each in text) else _NOTHING


_NOTHING = re.compile(r"(?!)()")


def _without_cues(text: str) -> tuple[str, int]:
    """Without the numbers, times and headers of SubRip and WebVTT, and without times that open a line."""
    if "\n" not in text and "\r" not in text:
        text, count = _CUE_IN_ONE_LINE.subn(" ", text)
        return (_CUE_SETTINGS.sub(" ", text) if count else text), count
    lines = text.splitlines()
    heads = [number for number, line in enumerate(lines) if _CUE.search(line)]
    gone = set(heads)
    for head in heads:
        before = head - 1
        if before >= 0 and lines[before].strip() and (_is_blank(lines, before - 1) or lines[before].strip().isdigit()):
            gone.add(before)  # the cue's number or name
    count = len(heads)
    if heads and lines[0].startswith("WEBVTT"):
        gone |= set(range(heads[0]))  # the header, and blocks before the first cue (NOTE, STYLE, REGION)
    for number, line in enumerate(lines):
        if number not in gone and _ONLY_TIME.fullmatch(line.strip()):
            gone.add(number)
            count += 1
    text, times = _LEADING_TIME.subn("", "\n".join(line for number, line in enumerate(lines) if number not in gone))
    return text, count + times


def _is_blank(lines: list[str], number: int) -> bool:
    return number < 0 or not lines[number].strip()
