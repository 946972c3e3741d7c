"""The environment variables, read once, by ``app.py`` and the ``__main__.py`` files only."""

from __future__ import annotations

import math
import re
from dataclasses import dataclass, field
from pathlib import Path
from types import MappingProxyType
from typing import TYPE_CHECKING, Literal

from components.core.catalog import LANES, PAIRS, get_pair, split_checkpoint
from components.core.errors import CheckpointError, SettingsError
from components.core.fitting import check_fit, known_kind
from components.core.languages import LANGUAGE_NAMES
from components.core.types import Pair

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping, Sequence

AUTO = "auto"
CUSTOM_PAIR = "custom"
"""The pair that ``TEACHER_CHECKPOINT`` and ``STUDENT_CHECKPOINT`` define."""

ACCELERATED_PAIR = "large-v2"
FALLBACK_PAIR = "base"

FORMER_NAMES = {"offline": FALLBACK_PAIR}
"""Pairs that older duplicates of this Space still name -> what is read instead."""

NO_NAMES: Mapping[str, str] = MappingProxyType({})

Hardware = Literal["cpu", "gpu", "zero-gpu"]

OFFERED: Mapping[Hardware, tuple[str, ...]] = MappingProxyType(
    {
        "cpu": (FALLBACK_PAIR, "small.en"),
        "gpu": (ACCELERATED_PAIR, "large-v3.5", FALLBACK_PAIR),
        "zero-gpu": (ACCELERATED_PAIR, FALLBACK_PAIR),  # each one is loaded before the page opens
    }
)
"""Pairs on offer where ``PAIRS`` is not set, by hardware; the first one is what ``auto`` means."""

DTYPES = (AUTO, "float32", "float16", "bfloat16", "int8")
ATTENTIONS = (AUTO, "eager", "sdpa", "flash_attention_2", "flash_attention_3")
RUNTIMES = (AUTO, "eager", "compiled")

DEFAULT_MAX_AUDIO_S = 3600.0
MAX_LIMIT_S = 86_400.0
"""A day, 5.5 GB of samples, is the longest clip that may be allowed."""


@dataclass(frozen=True)
class Settings:
    """The variables of a deployment, checked. ``Settings()`` is what an empty environment gives.

    ``pair`` and ``pairs`` may say ``auto``, and ``pairs`` may be empty, which stands for those that suit the hardware:
    ``resolve_pair`` and ``resolve_pairs`` settle that once it is known. ``max_audio_s`` is in seconds.
    ``allowed_origins``: other sites whose pages may call this one. ``audio_links``: whether audio may be named by its
    address. ``token`` never shows in a ``repr``.
    """

    pair: str = AUTO
    pairs: tuple[str, ...] = ()
    teacher_checkpoint: str | None = None
    student_checkpoint: str | None = None
    lanes: tuple[str, ...] = ()
    language: str = "en"
    dtype: str = AUTO
    attention: str = AUTO
    runtime: str = AUTO
    max_audio_s: float = DEFAULT_MAX_AUDIO_S
    allowed_origins: tuple[str, ...] = ()
    audio_links: bool = False
    token: str | None = field(default=None, repr=False)

    @classmethod
    def from_env(cls, environ: Mapping[str, str]) -> Settings:
        """Read every variable of the contract; an empty one counts as unset.

        Raises:
            SettingsError: one or more values are wrong; the message lists all of them, each with its choices.
        """
        reader = _Reader(environ)
        teacher, student = reader.checkpoint("TEACHER_CHECKPOINT"), reader.checkpoint("STUDENT_CHECKPOINT")
        if (teacher is None) != (student is None) and not reader.mistakes:
            missing = "STUDENT_CHECKPOINT" if student is None else "TEACHER_CHECKPOINT"
            reader.mistakes.append(f"{missing} is not set: a custom pair needs both a teacher and a student.")
        if teacher and student:
            reader.fit(teacher, student)
        custom = (CUSTOM_PAIR,) if teacher and student else ()
        known_pairs = (AUTO, *PAIRS, *custom)
        pair = reader.choice("PAIR", known_pairs, CUSTOM_PAIR if custom else AUTO, FORMER_NAMES)
        settings = cls(
            pair=pair,
            pairs=reader.choices("PAIRS", known_pairs, (*custom, FALLBACK_PAIR) if custom else (), FORMER_NAMES),
            teacher_checkpoint=teacher,
            student_checkpoint=student,
            lanes=reader.choices("LANES", tuple(LANES), ()),
            language=reader.choice("LANGUAGE", tuple(LANGUAGE_NAMES), "en"),
            dtype=reader.choice("DTYPE", DTYPES, AUTO),
            attention=reader.choice("ATTENTION", ATTENTIONS, AUTO),
            runtime=reader.choice("RUNTIME", RUNTIMES, AUTO),
            max_audio_s=reader.seconds("MAX_AUDIO_S", DEFAULT_MAX_AUDIO_S),
            allowed_origins=reader.origins("ALLOWED_ORIGINS"),
            audio_links=reader.choice("AUDIO_LINKS", ("no", "yes"), "no") == "yes",
            token=reader.token("HF_TOKEN"),
        )
        if reader.mistakes:
            lines = "\n".join(f"- {mistake}" for mistake in reader.mistakes)
            raise SettingsError(f"These variables are wrong:\n{lines}")
        return settings

    def resolve_pair(self, hardware: Hardware) -> str:
        """The pair that the page opens with."""
        return _resolve(self.pair, hardware)

    def resolve_pairs(self, hardware: Hardware, available: Callable[[str], bool] = lambda _: True) -> tuple[str, ...]:
        """The pairs that visitors may choose, the default one first.

        ``available`` says whether a checkpoint, as a pair writes it, is here or can be fetched. It is asked of pairs
        that no variable names; those that one does name are offered and say themselves why they fail.
        """
        default = self.resolve_pair(hardware)
        if self.pairs:
            return _unique([default, *(_resolve(pair, hardware) for pair in self.pairs)])
        if self.pair != AUTO:
            return _unique([default, FALLBACK_PAIR])
        pairs = [self.get_pair(pair_id) for pair_id in OFFERED[hardware]]
        offered = [pair.pair_id for pair in pairs if all(available(text) for text in (pair.teacher, pair.student))]
        return _unique([default, *offered])

    def get_pair(self, pair_id: str) -> Pair:
        """A pair of the catalogue, or the one that the checkpoint variables define.

        Raises:
            CheckpointError: there is no such pair; the message lists those there are.
        """
        if self.teacher_checkpoint is None or self.student_checkpoint is None:
            return get_pair(pair_id)
        if pair_id == CUSTOM_PAIR:
            return Pair(CUSTOM_PAIR, self.teacher_checkpoint, self.student_checkpoint)
        return get_pair(pair_id, also=(CUSTOM_PAIR,))


def _resolve(pair: str, hardware: Hardware) -> str:
    return OFFERED[hardware][0] if pair == AUTO else pair


def _unique(names: Sequence[str]) -> tuple[str, ...]:
    return tuple(dict.fromkeys(names))


class _Reader:
    """Reads variables, gathering the mistakes instead of stopping at the first."""

    def __init__(self, environ: Mapping[str, str]) -> None:
        self.environ = environ
        self.mistakes: list[str] = []

    def text(self, name: str) -> str | None:
        return self.environ.get(name, "").strip() or None

    def choice(self, name: str, known: Sequence[str], default: str, former: Mapping[str, str] = NO_NAMES) -> str:
        return (self.choices(name, known, (default,), former, many=False) or (default,))[0]

    def choices(
        self,
        name: str,
        known: Sequence[str],
        default: Sequence[str],
        former: Mapping[str, str] = NO_NAMES,
        *,
        many: bool = True,
    ) -> tuple[str, ...]:
        """The names that a variable lists, each of ``known``; ``former`` maps names that are read as another."""
        text = self.text(name)
        if text is None:
            return tuple(default)
        parts = [part.strip() for part in text.split(",") if part.strip()] if many else [text]
        names = _unique([former.get(part, part) for part in parts])
        unknown = [part for part in names if part not in known]
        if unknown or not names:
            some = "any of these, with commas between" if many else "one of these"
            self.mistakes.append(f"{name} says {', '.join(unknown) or text}; choose {some}: {', '.join(known)}.")
            return tuple(default)
        return names

    def seconds(self, name: str, default: float) -> float:
        text = self.text(name)
        if text is None:
            return default
        try:
            seconds = float(text)
        except ValueError:
            seconds = math.nan
        if not 0 < seconds <= MAX_LIMIT_S:
            self.mistakes.append(
                f"{name} says {text[:40]}; give a number of seconds, above 0 and up to {MAX_LIMIT_S:.0f}, as in "
                f"{default:.0f}."
            )
            return default
        return seconds

    def token(self, name: str) -> str | None:
        """A secret: where it is wrong, it is not quoted."""
        text = self.text(name)
        if text is not None and not re.fullmatch(r"[!-~]+", text):
            self.mistakes.append(f"{name} holds characters that no token has. Copy it again, without line breaks.")
            return None
        return text

    def origins(self, name: str) -> tuple[str, ...]:
        """Addresses of sites, as browsers send them."""
        origins = _unique([part.strip().rstrip("/") for part in (self.text(name) or "").split(",") if part.strip()])
        wrong = [origin for origin in origins if origin != "*" and not re.fullmatch(r"https?://[^/\s]+", origin)]
        if wrong:
            self.mistakes.append(f"{name} says {', '.join(wrong)}; give sites as in https://example.org, or *.")
        return origins

    def checkpoint(self, name: str) -> str | None:
        text = self.text(name)
        if text is None:
            return None
        try:
            checkpoint, _ = split_checkpoint(text)
        except CheckpointError as error:
            self.mistakes.append(f"{name}: {error.message}")
            return None
        folder = Path(checkpoint)
        if folder.is_absolute() and not (folder / "config.json").is_file():
            fault = "a folder without a config.json" if folder.is_dir() else "a folder that does not exist"
            self.mistakes.append(f"{name} says {text}, {fault}; give a hub id or the folder of a checkpoint.")
            return None
        return text

    def fit(self, teacher: str, student: str) -> None:
        """Hold the two against each other as far as can be told without a network; the rest is checked at loading."""
        try:
            kinds = [known_kind(split_checkpoint(text)[0]) for text in (teacher, student)]
        except CheckpointError:
            return  # a config.json that is no Whisper's: loading says so
        try:
            if kinds[0] is not None and kinds[1] is not None:
                check_fit(kinds[0], kinds[1])
        except CheckpointError as error:
            self.mistakes.append(f"TEACHER_CHECKPOINT and STUDENT_CHECKPOINT: {error.message}")
