"""The synthesizers and their voices, each in one split only; text in, 16 kHz speech out.

espeak-ng is a formant synthesizer whose variants change the speaker; flite brings diphone (kal) and
statistical voices (awb, rms, slt). Both are Debian packages. Each voice is read at settings drawn anew.
"""

from __future__ import annotations

import io
import shutil
import subprocess
from dataclasses import dataclass
from typing import TYPE_CHECKING

import numpy as np
import soundfile

from components.core.audio import load_audio

if TYPE_CHECKING:
    import random

    from components.distillation.language import Split

ACCENTS = ("en-us", "en-us", "en-gb", "en-gb", "en-gb-x-rp", "en-gb-scotland", "en-us-nyc")
"""espeak-ng's English accents, those heard most often twice."""

VARIANTS: dict[Split, tuple[str, ...]] = {
    "train": tuple(
        "m1 m2 m4 m5 m6 m8 f1 f2 f4 f5 klatt klatt2 klatt3 klatt5 adam Alex Andrea Andy anika antonio aunty belinda "
        "benjamin boris caleb david ed edward grandma gustave iven iven2 iven4 john linda Lee Marco max michel Mike "
        "norbert pablo paul quincy rob sandro shelby steph steph3 travis zac Hugo Jacky Storm".split()
    ),
    "dev": ("m3", "klatt4", "Annie", "edward2", "steph2", "miguel"),
    "test": ("m7", "f3", "Alicia", "robert", "iven3", "Michael", "Denis", "victor"),
}
FLITE: dict[Split, tuple[str, ...]] = {"train": ("slt", "awb", "kal16", "kal"), "dev": (), "test": ("rms",)}
VARIANTS["open"], FLITE["open"] = VARIANTS["test"], FLITE["test"]
FLITE_SHARE: dict[Split, float] = {"train": 0.5, "dev": 0.0, "test": 0.3, "open": 0.3}
"""Of a split's clips; much in training, where three speakers have to stand for a fourth that it does not hear."""


@dataclass(frozen=True)
class Voice:
    """A synthesizer's voice at one setting. ``speed`` multiplies the rate; ``pitch`` is 0 to 99, 50 the voice's own.

    ``stretch`` resamples the result: above 1 is a shorter vocal tract and faster speech.
    """

    synthesizer: str
    name: str
    speed: float
    pitch: int
    stretch: float = 1.0


def draw_voice(split: Split, rng: random.Random) -> Voice:
    """A voice of the split at settings drawn anew; training alone stretches, for more speakers than it has voices."""
    stretch = rng.uniform(0.84, 1.2) if split == "train" and rng.random() < 0.7 else 1.0
    speed = rng.uniform(0.85, 1.2)
    if FLITE[split] and rng.random() < FLITE_SHARE[split]:
        return Voice("flite", rng.choice(FLITE[split]), speed, rng.randint(30, 70), stretch)
    name = f"{rng.choice(ACCENTS)}+{rng.choice(VARIANTS[split])}"
    return Voice("espeak-ng", name, speed, rng.randint(30, 70), stretch)


def speak(text: str, voice: Voice) -> np.ndarray:
    """Read a text aloud.

    Returns:
        float32 ``(n,)``, mono, 16 kHz, silence at both ends trimmed, peak at 0.5.

    Raises:
        RuntimeError: the synthesizer is not installed, failed, or had nothing to say.
    """
    if shutil.which(voice.synthesizer) is None:
        raise RuntimeError(f"{voice.synthesizer} is not installed; on Debian: apt-get install espeak-ng flite.")
    command = _espeak(text, voice) if voice.synthesizer == "espeak-ng" else _flite(text, voice)
    try:
        wav = subprocess.run(command, check=True, capture_output=True).stdout
    except subprocess.CalledProcessError as error:
        raise RuntimeError(f"{voice.synthesizer} failed: {error.stderr.decode(errors='replace').strip()}") from error
    samples, rate = soundfile.read(io.BytesIO(wav), dtype="float32")
    clip = load_audio((round(rate * voice.stretch), samples)).samples
    return _trimmed(clip)


def _espeak(text: str, voice: Voice) -> list[str]:
    words_per_minute = str(round(165 * voice.speed))
    return ["espeak-ng", "-v", voice.name, "-s", words_per_minute, "-p", str(voice.pitch), "--stdout", "--", text]


def _flite(text: str, voice: Voice) -> list[str]:
    mean_f0 = {"slt": 180, "awb": 130, "rms": 105, "kal": 105, "kal16": 105}[voice.name]
    f0 = mean_f0 * (0.8 + 0.4 * voice.pitch / 99)
    settings = ["--setf", f"duration_stretch={1 / voice.speed:.3f}", "--setf", f"int_f0_target_mean={f0:.1f}"]
    return ["flite", "-voice", voice.name, *settings, "-t", text, "-o", "/dev/stdout"]


def _trimmed(samples: np.ndarray) -> np.ndarray:
    loud = np.flatnonzero(np.abs(samples) > 0.01 * np.abs(samples).max(initial=1e-9))
    if not len(loud):
        raise RuntimeError("The synthesizer had nothing to say.")
    speech = samples[loud[0] : loud[-1] + 1]
    return (0.5 / np.abs(speech).max() * speech).astype(np.float32)
