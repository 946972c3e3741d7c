"""Saved speed runs on the Models tab: what an architecture costs on some machine, without its weights."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Any

import gradio as gr

from components.core.errors import ManifestError
from components.report import files, html
from components.ui.parts import QUIET, chart

if TYPE_CHECKING:
    from components.core.types import SpeedRun

WHAT = (
    "## Speed on other machines\n"
    "Speed only: untrained models of the real size, made to write as many tokens as the real ones. Measure yours: "
    "`python -m components.runs speed --pair large-v2 --json > run.json`, then open the file here."
)


class SpeedPanel:
    """Builds its widgets where it is created: the shipped runs, an upload, a table and charts."""

    def __init__(self) -> None:
        gr.Markdown(WHAT)
        self.shipped = dict(files.saved_speed())
        with gr.Row():
            self.choice = gr.Dropdown(
                list(self.shipped),
                value=next(iter(self.shipped), None),
                label="Measured by this project",
                elem_id="speed-choice",
                visible=bool(self.shipped),
                min_width=300,
                scale=3,
            )
            self.upload = gr.UploadButton(
                "Open a saved run (JSON)", file_types=[".json"], size="sm", elem_id="speed-upload", min_width=200
            )
        self.said = gr.HTML("", elem_id="speed-said", padding=False)
        self.table = gr.HTML("", elem_id="speed-table", padding=False)
        with gr.Row(elem_classes="charts"):
            self.times = chart("Time of all clips", "speed-times", visible=False)
            self.ratios = chart("Times as fast as Whisper", "speed-ratios", visible=False)
            self.tokens = chart(
                "Time per token (diamond: the fastest this memory allows)", "speed-tokens", visible=False
            )
            self.batches = chart("Several clips at once", "speed-batches", visible=False)

    def connect(self, tab: gr.Tab) -> None:
        """Show the chosen run when the tab is opened; an upload takes its place."""
        outputs = [self.choice, self.said, self.table, *self.times, *self.ratios, *self.tokens, *self.batches]
        gr.on([tab.select, self.choice.input], self._choose, self.choice, outputs, **QUIET)
        self.upload.upload(self._open, self.upload, outputs, **QUIET)

    def _choose(self, name: str | None) -> dict[Any, Any]:
        return self._drawn(self.shipped[name]) if name in self.shipped else {self.said: gr.skip()}

    def _open(self, path: str) -> dict[Any, Any]:
        """Show a visitor's own run in place of the project's; where it is none, say so and change nothing."""
        try:
            return {self.choice: gr.Dropdown(value=None)} | self._drawn(files.open_speed(Path(path)))
        except ManifestError as error:
            return {self.said: html.message(error.message, problem=True)}

    def _drawn(self, run: SpeedRun) -> dict[Any, Any]:
        """One run's table and times, and the run among all of the project's."""
        from components.report import figures

        runs = [run, *(each for each in self.shipped.values() if each != run)]
        return (
            {self.said: "", self.table: html.speed_table([run])}
            | self.times.show(figures.speed_times(run))
            | self.ratios.show(figures.speed_ratios(runs, chosen=run))
            | self.tokens.show(figures.speed_tokens(runs, chosen=run))
            | self.batches.show(figures.speed_batches(runs, chosen=run))
        )
