"""Where windows of speech come from: a data set of the hub, a manifest, a folder of audio, or texts that are spoken.

Windows are written once to the output's folder and read from there at every step.
"""

from __future__ import annotations

import functools
import json
import random
import shutil
import subprocess
from contextlib import suppress
from dataclasses import asdict, dataclass
from importlib.util import find_spec
from itertools import islice
from pathlib import Path
from typing import TYPE_CHECKING, TypeAlias, TypeVar

import numpy as np

from components.core.audio import load_audio
from components.core.errors import AudioError, ManifestError
from components.core.types import SAMPLING_RATE, WINDOW_S
from components.runs.sources import Files, HubDataSet, Item, Manifest, shuffled

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator, Sequence

    from components.runs.sources import Source

    Speech: TypeAlias = "Source | Spoken"

Row = TypeVar("Row")

SUFFIXES = {".wav", ".flac", ".mp3", ".ogg", ".opus", ".m4a", ".webm"}
"""Of the files that are taken from a folder."""

ALONE_SHARE = 0.1
"""Clips that have a window to themselves; the others are packed, as many as fit into 30 s."""

GAP_S = 0.3
"""Silence between two clips of a window."""


@dataclass(frozen=True)
class Window:
    """Up to 30 s of speech: ``samples`` of them from the ``start``-th on in the file of samples.

    ``text``: what is said, where all of it is known. ``spoken``: by a synthesizer. ``clips``: how many clips of the
    ``source``-th source are used up with it, ``None`` in the middle of a long one.
    """

    start: int
    samples: int
    text: str | None
    spoken: bool
    source: int
    clips: int | None


@dataclass(frozen=True)
class Spoken:
    """A text file, a sentence a line, each spoken once by a voice, a pace and a shape of voice drawn for it."""

    path: Path
    synthesizers: Sequence[str]

    def items(self, seed: int) -> Iterator[Item]:
        lines = self.path.read_text(encoding="utf-8").splitlines()
        for number, sentence in shuffled(enumerate(filter(None, map(str.strip, lines))), seed):
            yield Item(f"{self.path.stem}-{number:06}", sentence.encode(), sentence)

    def speak(self, sentence: str, seed: int) -> np.ndarray:
        """Float32 at 16 kHz; the same for the same sentence and seed, as far as the synthesizer allows."""
        rng = np.random.default_rng([seed, *sentence.encode()])
        said = load_audio(SYNTHESIZERS[str(rng.choice(list(self.synthesizers)))](sentence, rng)).samples
        shape = float(np.clip(np.exp(rng.normal(0, 0.1)), 0.75, 1.25))  # pitch and formants together
        return load_audio((round(shape * SAMPLING_RATE), 0.5 * said / (np.abs(said).max() + 1e-9))).samples


def _espeak(sentence: str, rng: np.random.Generator) -> bytes:
    accent, variant = rng.choice(["en-us", "en-gb", "en-gb-scotland"]), rng.choice(["m1", "m3", "m7", "f1", "f2", "f4"])
    command = ["espeak-ng", "-v", f"{accent}+{variant}", "-s", str(rng.integers(120, 190)), "--stdout", "--stdin"]
    return subprocess.run(command, input=sentence.encode(), capture_output=True, check=True).stdout


def _flite(sentence: str, rng: np.random.Generator) -> bytes:
    command = ["flite", "-voice", rng.choice(["awb", "kal16", "rms", "slt"]), "-t", sentence, "-o", "/dev/stdout"]
    return subprocess.run(command, capture_output=True, check=True).stdout


def _hibari(sentence: str, rng: np.random.Generator) -> tuple[int, np.ndarray]:
    return 24_000, _hibari_voice()(sentence, speed=rng.uniform(0.8, 1.3), seed=int(rng.integers(2**31)))


@functools.cache
def _hibari_voice() -> Callable[..., np.ndarray]:
    from hibari import Hibari

    return Hibari()


SYNTHESIZERS: dict[str, Callable[[str, np.random.Generator], bytes | tuple[int, np.ndarray]]] = {
    "espeak-ng": _espeak,
    "flite": _flite,
    "hibari": _hibari,
}


def installed() -> list[str]:
    """The synthesizers that are here: programs on the path, packages beside us."""
    return [name for name in SYNTHESIZERS if shutil.which(name) or find_spec(name)]


def open_source(named: str, synthesizers: Sequence[str], audio_column: str, text_column: str) -> Speech:
    """A source by what its name looks like: ``.jsonl``, ``.txt``, a folder with audio, else ``ID[,CONFIG],SPLIT``.

    Raises:
        ManifestError: there is no such file, or no synthesizer that could speak a text.
    """
    path = Path(named)
    if path.suffix in {".jsonl", ".txt"} and not path.is_file():
        raise ManifestError(f"There is no file {path.name}. Check the path after --speech.")
    if path.suffix == ".jsonl":
        return Manifest(path)
    if path.suffix == ".txt":
        if not synthesizers or set(synthesizers) - set(installed()):
            found = ", ".join(installed()) or "none"
            raise ManifestError(
                f"{path.name} wants a synthesizer. Here are: {found}; known: {', '.join(SYNTHESIZERS)}."
            )
        return Spoken(path, synthesizers)
    if audio := sorted(file for file in path.rglob("*") if file.suffix.lower() in SUFFIXES):
        return Files(audio)
    name, *rest = named.split(",")
    config, split = (rest[0] if len(rest) > 1 else None), (rest[-1] if rest else "train")
    return HubDataSet(name, config, split, audio_column, text_column)


def whole_lines(path: Path, kind: type[Row]) -> list[Row]:
    """The rows of a file of JSON lines. Left out: a line that a kill cut off, and what was written right after it."""
    rows = []
    for line in path.read_text().split("\n")[:-1] if path.exists() else ():
        with suppress(ValueError, TypeError):
            rows.append(kind(**json.loads(line)))
    return rows


class Windows:
    """All windows of a run, in the folder ``output``: ``windows.jsonl``, and ``windows.pcm`` with int16 samples."""

    def __init__(self, output: Path) -> None:
        self.table, self.pcm = output / "windows.jsonl", output / "windows.pcm"
        self.listed = whole_lines(self.table, Window)
        while self.listed and self.listed[-1].clips is None:
            self.listed.pop()  # the rest of a long clip is not there

    def collect(self, sources: Sequence[Speech], seed: int) -> Iterator[Window]:
        """Go on from what is there; yields each window as it is written. Clips that cannot be read are left out."""
        last = self.listed[-1] if self.listed else None
        self.table.write_text("".join(json.dumps(asdict(window)) + "\n" for window in self.listed))
        with self.pcm.open("ab") as pcm, self.table.open("a") as table:
            pcm.truncate(2 * (last.start + last.samples if last else 0))
            pcm.seek(0, 2)
            for number in range(last.source if last else 0, len(sources)):
                skipped = last.clips or 0 if last and last.source == number else 0
                for samples, text, clips in _packed(sources[number], seed, skipped):
                    start, spoken = pcm.tell() // 2, isinstance(sources[number], Spoken)
                    pcm.write((np.clip(samples, -1, 1) * 32767).astype("<i2").tobytes())
                    pcm.flush()
                    window = Window(start, len(samples), text, spoken, number, clips)
                    table.write(json.dumps(asdict(window)) + "\n")
                    table.flush()
                    self.listed.append(window)
                    yield window

    def hours(self, *, spoken: bool = False) -> float:
        """Of speech, with the short pauses between clips; of synthesizers' alone where ``spoken``."""
        return sum(window.samples for window in self.listed if window.spoken or not spoken) / SAMPLING_RATE / 3600

    def samples(self, index: int) -> np.ndarray:
        """The ``index``-th window, float32."""
        window = self.listed[index]
        with self.pcm.open("rb") as file:
            file.seek(2 * window.start)
            return np.frombuffer(file.read(2 * window.samples), "<i2").astype(np.float32) / 32767


def _packed(source: Speech, seed: int, skipped: int) -> Iterator[tuple[np.ndarray, str | None, int | None]]:
    """Samples, text, and the clips used up so far: clips in their order, as many a window as fit; long ones are cut."""
    most, gap = int(WINDOW_S * SAMPLING_RATE), np.zeros(int(GAP_S * SAMPLING_RATE), np.float32)
    held: list[np.ndarray] = []
    texts: list[str | None] = []

    def packed() -> tuple[np.ndarray, str | None]:
        text = " ".join(filter(None, texts)) if None not in texts else None
        parts = np.concatenate([part for clip in held for part in (clip, gap)])[:most]
        held.clear()
        texts.clear()
        return parts, text

    number = 0
    for number, item in islice(enumerate(source.items(seed), start=1), skipped, None):
        clip = _clip(source, item, seed)
        alone = random.Random(f"{seed}-{number}").random() < ALONE_SHARE or len(clip) > most
        if held and (alone or sum(map(len, held)) + len(held) * len(gap) + len(clip) > most):
            yield *packed(), number - 1
        for start in range(0, len(clip), most):
            held.append(clip[start : start + most])
            texts.append(item.text if len(clip) <= most else None)
            if alone:
                yield *packed(), number if start + most >= len(clip) else None
    if held:
        yield *packed(), number


def _clip(source: Speech, item: Item, seed: int) -> np.ndarray:
    """Its samples; none of a sentence that a synthesizer cannot say, or a file that cannot be read."""
    try:
        if isinstance(source, Spoken):
            return source.speak(item.text or "", seed)
        if item.fault:
            return np.zeros(0, np.float32)
        return load_audio(item.audio, clip_id=item.clip_id).samples
    except (AudioError, subprocess.CalledProcessError, IndexError, ValueError):
        return np.zeros(0, np.float32)
