"""The declared language of the offline pair: its words, its sentence forms, and the split a sentence belongs to.

A narrow language is what two processor cores can learn in a session: everyday words in a few dozen sentence forms,
some hundred million sentences. A sentence belongs to one split for good, by its hash, so that no seed
can carry a test sentence into training.
"""

from __future__ import annotations

import hashlib
import re
from pathlib import Path
from typing import TYPE_CHECKING, Literal

if TYPE_CHECKING:
    import random
    from collections.abc import Callable, Iterable

Split = Literal["train", "dev", "test", "open"]
"""``open`` is English text outside the declared language, to report how far the pair is from it."""

OPEN_TEXT = Path(__file__).with_name("open_text.txt")
"""Forty sentences written for this project; British spelling, which the normaliser makes American."""

WORDS: dict[str, tuple[str, ...]] = {
    "name": tuple(
        "Anna Peter Maria Thomas Laura David Susan Oliver Emma Victor Helen Martin Clara Simon Julia Robert".split()
    ),
    "number": tuple("two three four five six seven eight nine ten eleven twelve twenty thirty fifty".split()),
    "adjective": tuple(
        "old new small big heavy empty broken clean cheap strange quiet beautiful wooden dirty expensive".split()
    ),
    "colour": tuple("red blue green yellow black white orange purple brown silver".split()),
    "object": tuple(
        "table chair lamp window bottle basket letter picture ticket camera jacket hammer mirror candle blanket "
        "pencil ladder umbrella bicycle hat".split()
    ),
    "animal": tuple("dog cat horse rabbit chicken elephant monkey tiger parrot spider".split()),
    "place": tuple(
        "kitchen garden market station library school hospital village river mountain bridge office museum forest "
        "airport bakery".split()
    ),
    "food": tuple(
        "bread cheese soup rice coffee butter honey chocolate pepper sugar fish cake milk potatoes apples".split()
    ),
    "day": tuple("Monday Tuesday Wednesday Thursday Friday Saturday Sunday".split()),
    "time": (
        "in the morning", "after lunch", "before dinner", "at night", "today", "tomorrow", "yesterday", "last week",
        "this evening", "again",
    ),
    "relative": tuple("mother father brother sister uncle cousin teacher doctor friend grandmother".split()),
    "past": tuple("found bought carried opened painted washed lost moved repaired sold cleaned borrowed".split()),
    "verb": tuple("find buy carry open paint wash lose move repair sell clean borrow".split()),
    "weather": tuple("sunny cloudy windy rainy stormy foggy".split()),
    "side": ("left", "right"),
}  # fmt: skip

FORMS: tuple[str, ...] = (
    "{name} {past} the {adjective} {object} {time}.",
    "My {relative} {past} {number} {colour} {objects} at the {place}.",
    "Can you {verb} the {colour} {object} {time}?",
    "Please {verb} {number} {objects} for {name}.",
    "There are {number} {adjective} {animals} near the {place}.",
    "The {adjective} {animal} sleeps behind the {colour} {object}.",
    "{name} likes {food} with {food} and {food}.",
    "We will meet {name} at the {place} on {day}.",
    "The train to the {place} leaves at {number}.",
    "It was {weather} and {weather} on {day}.",
    "Where did {name} {verb} the {adjective} {object}?",
    "His {relative} wants {food} and {food} {time}.",
    "The {colour} {object} is under the {adjective} {object}.",
    "{name} and {name} walked from the {place} to the {place}.",
    "Her {relative} has {number} {adjective} {objects}.",
    "I think the {colour} {object} belongs to {name}.",
    "They never saw {number} {animals} in the {place}.",
    "Turn {side} at the {place} and wait {number} minutes.",
    "{number} {animals} ran across the {place} {time}.",
    "Our {relative} comes home on {day}.",
    "Did the {animal} eat the {food} and the {food}?",
    "{name} paid {number} dollars for the {adjective} {object}.",
    "The {place} opens on {day} at {number}.",
    "Do not {verb} the {object} without your {relative}.",
)
"""No form has five fixed words in a row, so that leaving out the shipped clips' sentences leaves every form."""

_SPLIT_SHARES = 20
_FIVE = 5


def fill(form: str, rng: random.Random) -> str:
    """A sentence of the form, every slot drawn anew; ``{objects}`` is the plural of ``{object}``."""

    def draw(match: re.Match[str]) -> str:
        slot = match.group(1)
        return rng.choice(WORDS[slot]) if slot in WORDS else rng.choice(WORDS[slot.removesuffix("s")]) + "s"

    sentence = re.sub(r"\{(\w+)\}", draw, form)
    return sentence[0].upper() + sentence[1:]


def loose_words(rng: random.Random) -> str:
    """Words of the language in no order at all: training data that can't be guessed, only heard."""
    pool = [word for words in WORDS.values() for phrase in words for word in phrase.split()]
    text = " ".join(rng.choice(pool) for _ in range(rng.randint(2, 7)))
    return text[0].upper() + text[1:] + "."


def split_of(sentence: str) -> Split:
    """The split that a sentence belongs to: one in twenty is for testing, one for development, the rest trains."""
    share = int.from_bytes(hashlib.sha256(plain(sentence).encode()).digest()[:4]) % _SPLIT_SHARES
    return "test" if share == 0 else "dev" if share == 1 else "train"


def plain(text: str) -> str:
    """Lower case, letters and apostrophes only, single spaces: what the CTC head spells."""
    return " ".join(re.findall(r"[a-z']+", text.lower()))


def five_grams(text: str) -> set[tuple[str, ...]]:
    """Every run of five words, the measure of what was trained on."""
    words = plain(text).split()
    return {tuple(words[i : i + _FIVE]) for i in range(len(words) - _FIVE + 1)}


def sentences(split: Split, rng: random.Random, count: int, kept_out: Iterable[str] = ()) -> list[str]:
    """Draw ``count`` different sentences of a split.

    None of them shares five words in a row with a text of ``kept_out`` (the shipped clips) unless the split is
    ``test``. Only training has loose words, one sentence in five. The split ``open`` takes its text in turn.
    """
    if split == "open":
        lines = OPEN_TEXT.read_text(encoding="utf-8").splitlines()
        return [lines[k % len(lines)] for k in range(count)]
    refused = set().union(*map(five_grams, kept_out)) if split != "test" else set()
    found: dict[str, None] = {}
    while len(found) < count:
        draw: Callable[[], str] = (
            (lambda: loose_words(rng))
            if split == "train" and rng.random() < 0.2
            else (lambda: fill(rng.choice(FORMS), rng))
        )
        sentence = draw()
        if split_of(sentence) == split and not five_grams(sentence) & refused:
            found.setdefault(sentence)
    return list(found)
