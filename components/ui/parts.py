"""What the tabs share: the choice of models, the visit, charts, and how a clip is found again."""

from __future__ import annotations

from dataclasses import dataclass
from textwrap import shorten
from typing import TYPE_CHECKING, Any, NamedTuple

import gradio as gr

from components.core.catalog import EXAMPLES, checkpoint_name
from components.core.languages import LANGUAGE_NAMES
from components.core.manifests import read_manifest

if TYPE_CHECKING:
    from collections.abc import Iterator, Mapping
    from pathlib import Path

    from components.core.types import Pair
    from components.runs.lab import Lab
    from components.ui.microphones import Microphones
    from components.ui.requests import Cancellations

REPEATS = [("Automatic", 0), *((f"{number} times" if number > 1 else "Once", number) for number in (1, 3, 5, 9))]
"""Automatic: Lab decides by how long a round takes."""
LONG_FORMS = [
    ("As suits the models", "auto"),
    ("One window after another", "sequential"),
    ("In overlapping pieces", "chunked"),
]
DETECT = "auto"
MAX_FILE = "700 MB"
"""An hour of stereo at 48 kHz in 16 bits."""
MAX_FILE_BYTES = 700_000_000
LABEL_LENGTH = 60
"""Characters of a sentence on an example's button; Gradio cuts longer ones within a word."""
PRIVATE: dict[str, Any] = {"api_visibility": "private"}
AT_ONCE: dict[str, Any] = {"queue": False, "show_progress": "hidden", **PRIVATE}
"""For callbacks that only change the page: they wait for nobody."""
QUIET: dict[str, Any] = {"show_progress": "hidden", **PRIVATE}


@dataclass(frozen=True)
class Example:
    """A shipped clip: its name in a link, its file, what is said in it, and its button's label."""

    clip_id: str
    path: Path
    text: str

    @property
    def label(self) -> str:
        return shorten(self.text, LABEL_LENGTH, placeholder="…") if self.text else self.clip_id


def examples() -> dict[str, Example]:
    """The shipped clips by their names; empty where none are shipped."""
    rows = read_manifest(EXAMPLES) if EXAMPLES.is_file() else ()
    found = (Example(row.clip_id, row.audio, row.text or "") for row in rows if row.audio.is_file())
    return {example.clip_id: example for example in found}


def model_name(checkpoint: str) -> str:
    """``openai/whisper-large-v2`` as people say it: ``Whisper large-v2``; others by the last part of their name."""
    name = checkpoint_name(checkpoint).split("@")[0].rsplit("/", 1)[-1]
    return f"Whisper {name.removeprefix('whisper-')}" if name.startswith("whisper-") else name


def pair_title(pair: Pair) -> str:
    return f"{model_name(pair.teacher)} vs {model_name(pair.student)}"


def pair_label(pair: Pair) -> str:
    """The title, with what a visitor must know before choosing the pair."""
    note = pair.note.rstrip(".")
    return f"{pair_title(pair)} ({note})" if note else pair_title(pair)


class Choices:
    """Which models run, and how: one choice for all tabs. Builds its widgets where it is created."""

    def __init__(self, lab: Lab) -> None:
        self.lab = lab
        with gr.Accordion(self._title(lab.default_pair), open=False, elem_id="choices") as self.box:
            with gr.Row():
                self.pair = gr.Dropdown(
                    [(pair_label(lab.settings.get_pair(pair)), pair) for pair in lab.offered_pairs],
                    value=lab.default_pair,
                    label="Pair",
                    info="Whisper, and the student distilled from it.",
                    elem_id="pair",
                    min_width=260,
                )
                self.language = gr.Dropdown(
                    self._languages(),
                    value=lab.settings.language,
                    label="Language spoken",
                    info="All models are told the same.",
                    elem_id="language",
                    min_width=200,
                )
            lanes = lab.offered_lanes()
            self.lanes = gr.CheckboxGroup(
                [(lane.label, lane.lane_id) for lane in lanes],
                value=[lane.lane_id for lane in lab.default_lanes()],
                label="Models to run",
                info="One after another, never at the same time.",
                elem_id="lanes",
            )
            with gr.Row():
                self.repeats = gr.Dropdown(
                    REPEATS,
                    value=0,
                    label="Measure",
                    info="Run each model this often and take the middle time.",
                    elem_id="repeats",
                    min_width=200,
                )
                self.long_form = gr.Dropdown(
                    LONG_FORMS,
                    value="auto",
                    label="Audio over 30 seconds",
                    info="How it is cut, the same for all models.",
                    elem_id="long-form",
                    min_width=260,
                )
        self.pair.change(self._chosen, self.pair, [self.box, self.lanes], **AT_ONCE)

    @property
    def widgets(self) -> set[Any]:
        return {self.pair, self.language, self.lanes, self.repeats, self.long_form}

    @property
    def linked(self) -> list[Any]:
        """What a link can set, see ``opened``."""
        return [self.pair, self.box, self.lanes]

    def settings(self, values: Mapping[Any, Any]) -> dict[str, Any]:
        """The choices as arguments of ``Lab.compare``, from a callback's values by widget."""
        return {
            "pair": values[self.pair],
            "lanes": values[self.lanes],
            "language": values[self.language],
            "repeats": values[self.repeats] or None,
            "long_form": values[self.long_form],
        }

    def opened(self, link: Mapping[str, str]) -> dict[Any, Any]:
        """The page as a link asks for it: ``?pair=...&lanes=a,b``; what is not offered is left as it is."""
        pair = link.get("pair", self.lab.default_pair)
        if pair not in self.lab.offered_pairs:
            pair = self.lab.default_pair
        offered = {lane.lane_id for lane in self.lab.offered_lanes(pair)}
        lanes = [lane for lane in link.get("lanes", "").split(",") if lane in offered]
        changed = {self.pair: pair, self.box: gr.Accordion(label=self._title(pair))} if "pair" in link else {}
        return changed | ({self.lanes: lanes} if lanes else {})

    def _title(self, pair: str) -> str:
        return f"Models and settings: {pair_title(self.lab.settings.get_pair(pair))}"

    def _chosen(self, pair: str) -> tuple[Any, Any]:
        offered = [(lane.label, lane.lane_id) for lane in self.lab.offered_lanes(pair)]
        return gr.Accordion(label=self._title(pair)), gr.CheckboxGroup(choices=offered)

    def _languages(self) -> list[tuple[str, str]]:
        own = self.lab.settings.language
        ranked = sorted(LANGUAGE_NAMES.items(), key=lambda item: (item[0] != own, item[1]))
        first, *others = [(name, code) for code, name in ranked]
        return [first, ("Detect the language", DETECT), *others]


class Chart(NamedTuple):
    """A figure on the page, and the column that shows and hides it with its heading."""

    column: gr.Column
    plot: gr.Plot

    def show(self, figure: Any) -> dict[Any, Any]:
        """Draw a figure; ``None``, where there is not enough to draw, hides it."""
        return {self.column: gr.Column(visible=figure is not None), self.plot: figure}


@dataclass(frozen=True)
class Shared:
    """What one page's tabs have in common.

    ``visit``: state, the visitor's comparisons so far (``ui.visit``). ``tabs``: to open another tab. ``dropped``:
    state, several files dropped at once that are to be measured as a small benchmark, after an id that makes the
    same files again a change. ``microphones``: what is being recorded.
    """

    lab: Lab
    cancellations: Cancellations
    microphones: Microphones
    choices: Choices
    visit: gr.State
    dropped: gr.State
    tabs: gr.Tabs


def chart(title: str, elem_id: str, *, visible: bool = True) -> Chart:
    """A figure under a heading, in a column of its own: beside others on a desktop, alone on a phone."""
    with gr.Column(min_width=290, elem_classes="chart", visible=visible) as column:
        gr.Markdown(f"### {title}")
        plot = gr.Plot(label=title, show_label=False, container=False, elem_id=elem_id)
    return Chart(column, plot)


def running(yes: bool) -> tuple[gr.Button, gr.Button]:
    """Run and Stop: exactly one of them can be pressed."""
    return gr.Button(interactive=not yes), gr.Button(interactive=yes)


def in_twos(items: list[Any]) -> Iterator[list[Any]]:
    """Two by two, for rows of two charts."""
    yield from (items[first : first + 2] for first in range(0, len(items), 2))
