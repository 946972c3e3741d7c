"""The model cards of the offline pair: what it was made for, what it was made from, and what it gets wrong."""

from __future__ import annotations

from typing import TYPE_CHECKING, Literal

from components.distillation.language import FORMS, WORDS
from components.distillation.voices import FESTIVAL, FLITE, HIBARI, PIPER, VARIANTS

if TYPE_CHECKING:
    from collections.abc import Mapping

WHAT = {
    "teacher": "A small Whisper (4 encoder layers, 16 decoder layers of width 192), trained from random weights.",
    "student": "Its teacher's encoder, copied and frozen, and 2 of its 16 decoder layers, trained on the teacher's "
    "pseudo-labels and its distribution, as Distil-Whisper was.",
}
SETS = {
    "test": "`test` split: unseen sentences and voices",
    "examples": "the shipped clips",
    "open": "open English text, by the test voices",
}


def card(role: Literal["teacher", "student"], figures: Mapping[str, Mapping]) -> str:
    """The card as Markdown with a Space's front matter; ``figures`` are results of ``evaluate`` by name of the set."""
    return "\n".join([*_front(role), *_language(), *_data(figures), *_errors(figures), *_limits()]) + "\n"


def _front(role: str) -> list[str]:
    other = "student" if role == "teacher" else "teacher"
    return [
        "---",
        "license: apache-2.0",
        "language: en",
        "library_name: transformers",
        "pipeline_tag: automatic-speech-recognition",
        "tags: [whisper, synthetic-speech]",
        "---",
        "",
        f"# The offline pair: {role}",
        "",
        WHAT[role],
        "",
        "**Made for synthetic English speech, not for a visitor's voice.** It lets the page, the API and the tests",
        "do their whole job with no network, no GPU and no token.",
        f"Its [{other}](../{other}/README.md) is beside it.",
        "",
    ]


def _language() -> list[str]:
    slots = [f"- {slot}: {', '.join(words)}" for slot, words in WORDS.items()]
    return [
        "## Declared language",
        "",
        "These sentence forms, filled with these words; an *s* after a slot is its plural.",
        "",
        *(f"- {form}" for form in FORMS),
        "",
        *slots,
        "",
    ]


def _data(figures: Mapping[str, Mapping]) -> list[str]:
    trained = figures.get("training", {})
    named = f"espeak-ng variants {', '.join(VARIANTS['train'])}"
    voices = [named, f"flite {', '.join(FLITE['train'])}"]
    voices += [f"festival {FESTIVAL}", f"piper {PIPER}", f"hibari {HIBARI}"]
    tested = [f"espeak-ng variants {', '.join(VARIANTS['test'])}", f"flite {', '.join(FLITE['test'])}"]
    return [
        "## Data",
        "",
        f"- Synthetic speech only: {trained.get('hours', '?')} hours, {trained.get('clips', '?')} sentences,",
        "  a fifth of them words in no order. No recording of a person, and no text of anybody else.",
        f"- Voices heard in training: {'; '.join(voices)}; in five English accents of espeak-ng;",
        "  and variants of espeak-ng drawn at random.",
        f"- Voices kept for testing, which speak the shipped clips too: {'; '.join(tested)}.",
        "- Room, narrow band, noise and gain drawn for each clip. No training sentence shares five words in a row with",
        "  a shipped clip.",
        f"- Training: {trained.get('note', '')}",
        "",
    ]


def _errors(figures: Mapping[str, Mapping]) -> list[str]:
    rows = [
        f"| {label} | {_percent(figures[name]['whisper']['wer'])} | {_percent(figures[name]['distil']['wer'])} "
        f"| {figures[name]['clips']} |"
        for name, label in SETS.items()
        if name in figures
    ]
    return [
        "## Word error rate",
        "",
        "Whisper's English normaliser, greedy, float32.",
        "",
        "| set | teacher | student | clips |",
        "|---|---|---|---|",
        *rows,
        "",
    ]


def _limits() -> list[str]:
    return [
        "## Limits",
        "",
        "It knows no word outside its language and writes its own words instead. It does not understand people.",
        "Speed-ups measured with it hold for its shape, not for Whisper large's.",
        "",
        "## Licences",
        "",
        "Weights and clips: Apache 2.0. The speech was made with espeak-ng (GPL-3.0-or-later, a program whose licence",
        "does not cover its output), flite (a BSD-like licence; its voices awb, kal, rms and slt come from CMU),",
        "festival (a BSD-like licence; its voice ked comes from the University of Edinburgh), piper (GPL-3.0-or-later,",
        "likewise; its voice joe is CC0) and hibari (Apache 2.0; its voice heart was distilled from Kokoro-82M).",
    ]


def _percent(rate: float | None) -> str:
    return "–" if rate is None else f"{rate:.2%}"
