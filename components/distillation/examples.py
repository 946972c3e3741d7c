"""The shipped clips of ``examples/audio``: their texts, written for this project, and how they are spoken.

Training leaves out every sentence that shares five words in a row with one of these. They are spoken by the
test split's voices, which training and development never hear.
"""

from __future__ import annotations

import json
import random
from dataclasses import asdict, dataclass
from typing import TYPE_CHECKING

import numpy as np
import soundfile

from components.core.types import SAMPLING_RATE
from components.distillation.corpus import speak_in_turn
from components.distillation.degrade import with_noise
from components.distillation.voices import draw_voice

if TYPE_CHECKING:
    from pathlib import Path

SHORT = """
Maria found the old camera after lunch.
My uncle sold three green bicycles at the market.
Can you open the blue window tomorrow?
Please buy six candles for Victor.
There are twelve quiet rabbits near the river.
The small parrot sleeps behind the yellow lamp.
Simon likes bread with butter and honey.
We will meet Helen at the museum on Friday.
The train to the airport leaves at eleven.
It was foggy and rainy on Tuesday.
Where did Oliver lose the wooden ladder?
His grandmother wants soup and rice this evening.
The brown letter is under the heavy basket.
Julia and Robert walked from the station to the library.
Her doctor has nine expensive mirrors.
I think the purple umbrella belongs to Clara.
They never saw fifty elephants in the village.
Turn left at the bakery and wait five minutes.
Seven monkeys ran across the bridge at night.
Our teacher comes home on Thursday.
Did the horse eat the sugar and the apples?
Emma paid thirty dollars for the broken chair.
The school opens on Wednesday at eight.
Do not wash the blanket without your mother.
Laura repaired the strange hammer yesterday.
My brother bought two white pencils at the airport.
Can you clean the silver bottle before dinner?
Please paint ten tables for Susan.
There are four dirty spiders near the garden.
The beautiful tiger sleeps behind the red jacket.
Peter likes fish with pepper and cheese.
We will meet David at the office on Sunday.
Where did Thomas carry the empty basket?
The black hat is under the cheap picture.
I think the orange ticket belongs to Martin.
Her cousin has eight new lamps.
""".strip().splitlines()

STORIES = tuple(
    " ".join(story.split())
    for story in """
It was stormy and windy on Saturday. Anna opened the wooden window in the morning. The big dog sleeps behind the
green chair. Can you borrow the yellow umbrella today?

My sister cleaned twenty black bottles at the hospital. Her friend has three broken cameras. Please repair five
mirrors for Laura. Where did Simon sell the cheap bicycle? I think the silver hammer belongs to Peter.

Turn right at the library and wait twelve minutes. Oliver and Clara walked from the forest to the kitchen. Did
the cat eat the cake and the fish? His teacher wants milk and chocolate tomorrow.

Victor paid fifty dollars for the quiet lamp. The bakery opens on Monday at six. Emma likes rice with butter and
sugar. Eleven chickens ran across the school yesterday. Do not lose the ticket without your uncle.

There are seven strange parrots near the mountain. The white blanket is under the heavy table. Helen lost the
new letter last week. They never saw two tigers in the office. Our cousin comes home on Friday. The train to the
village leaves at nine.

We will meet Robert at the market on Wednesday. Martin bought the expensive pencil again. The clean elephant
sleeps behind the orange mirror. Can you carry the brown basket after lunch? It was cloudy and sunny on
Thursday. Susan moved the empty ladder this evening. My father painted ten blue hats at the garden.
""".split("\n\n")
)
"""Of 10 to 20 seconds."""

LONG = " ".join(
    """
It was rainy and foggy on Sunday. Julia carried the heavy lamp in the morning. My doctor borrowed four purple
tickets at the station. The dirty chicken sleeps behind the brown ladder. Please move nine blankets for Thomas.
Where did David find the beautiful mirror? His brother wants coffee and cake after lunch. The small hammer is
under the broken camera. Maria and Emma walked from the bakery to the hospital. Her mother has thirty cheap
candles. I think the white jacket belongs to Oliver. They never saw six spiders in the bridge. Turn left at the
museum and wait eight minutes. Twelve rabbits ran across the market this evening. Our friend comes home on
Tuesday. Did the dog eat the butter and the potatoes? Robert paid seven dollars for the strange picture. The
airport opens on Saturday at ten. Do not sell the umbrella without your sister. Susan painted the empty bottle
yesterday. Can you repair the green chair at night? There are two old horses near the forest. Clara likes honey
with soup and bread. We will meet Peter at the river on Monday. My teacher washed fifty orange pencils at the
kitchen. The new cat sleeps behind the silver basket. Please borrow eleven letters for Helen. Where did Martin
clean the quiet window? His cousin wants pepper and rice last week. The red hat is under the big table. Victor
and Laura walked from the garden to the mountain. Her uncle has five expensive bicycles. I think the yellow
bottle belongs to Anna. They never saw ten parrots in the library. Turn right at the village and wait three
minutes. Twenty monkeys ran across the office tomorrow. Simon found the clean picture again. Did the tiger eat
the cheese and the milk? Thomas paid four dollars for the dirty blanket. The hospital opens on Thursday at
seven. Do not paint the mirror without your grandmother. It was sunny and stormy on Wednesday.
""".split()
)
"""Two minutes."""


@dataclass(frozen=True)
class Example:
    clip_id: str
    text: str
    noise_snr_db: float | None = None


def examples() -> list[Example]:
    """Every shipped clip in the order of the manifest; the last has no speech."""
    short = [Example(f"short-{k:02d}", text) for k, text in enumerate(SHORT, 1)]
    stories = [Example(f"story-{k}", text) for k, text in enumerate(STORIES, 1)]
    noisy = Example("noise-1", "The silver camera is under the wooden chair.", noise_snr_db=12)
    return [*short, *stories, noisy, Example("long-1", LONG), Example("silence-1", "")]


def texts() -> list[str]:
    """What training must not hear: the sentences of every shipped clip, one by one."""
    return [sentence for example in examples() for sentence in split_sentences(example.text)]


def split_sentences(text: str) -> list[str]:
    """The sentences of a text of the declared language; it has no full stop inside a sentence."""
    return text.replace(". ", ".\n").replace("? ", "?\n").splitlines()


def write_examples(folder: Path) -> Path:
    """Speak and write the shipped clips (Ogg Vorbis, 16 kHz) and their ``manifest.jsonl``; return the manifest."""
    folder.mkdir(parents=True, exist_ok=True)
    rows = []
    for example in examples():
        rng = random.Random(f"examples-{example.clip_id}")
        voice = draw_voice("test", rng)
        parts = split_sentences(example.text)
        pauses_s = [0.3, *(rng.uniform(0.3, 0.7) for _ in parts)]
        samples, spoken = speak_in_turn(parts, voice, pauses_s)
        if not parts:
            samples = np.zeros(4 * SAMPLING_RATE, np.float32)
        if example.noise_snr_db is not None:
            samples = with_noise(samples, example.noise_snr_db, 0.5, np.random.default_rng(1))
        name = f"{example.clip_id}.flac" if not parts else f"{example.clip_id}.ogg"
        soundfile.write(folder / name, np.clip(samples, -1, 1), SAMPLING_RATE)
        row: dict[str, object] = {"clip_id": example.clip_id, "audio": name, "text": example.text}
        row |= {"voice": f"{voice.synthesizer} {voice.name}", "segments": [asdict(s) for s in spoken]} if parts else {}
        rows.append(row)
    manifest = folder / "manifest.jsonl"
    manifest.write_text("".join(json.dumps(row) + "\n" for row in rows))
    return manifest
