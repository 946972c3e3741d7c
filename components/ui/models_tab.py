"""The Models tab: what the models are made of, and why two decoder layers are faster than many."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import gradio as gr

from components.core.types import MAX_TOKENS
from components.report import html
from components.ui import visit
from components.ui.parts import QUIET, chart
from components.ui.requests import Refused, plain_words
from components.ui.speed_panel import SpeedPanel

if TYPE_CHECKING:
    from components.ui.parts import Shared

DEFAULT_TOKENS = 128
"""Tokens of about 40 seconds of speech; at large-v2's 32 layers they cost 4,096 layer passes."""
WHY = (
    "### Why fewer decoder layers are faster\n"
    "The encoder reads up to 30 seconds of audio in one pass, and both models have the same one. The decoder runs once "
    "for every token it writes, through all of its layers. Each bar is one layer's work."
)


class ModelsTab:
    """Builds its widgets where it is created; filled when the tab is opened."""

    label = "Models"
    tab_id = "models"

    def __init__(self, shared: Shared) -> None:
        self.shared = shared
        self.table = gr.HTML(html.message("Reading the configurations…"), elem_id="models-table", padding=False)
        with gr.Row(elem_classes="charts"):
            self.parameters = chart("Parameters", "models-parameters", visible=False)
            with gr.Column(scale=2, min_width=290, elem_classes="chart"):
                gr.Markdown(WHY)
                self.tokens = gr.Slider(
                    1, MAX_TOKENS, value=DEFAULT_TOKENS, step=1, label="Tokens written", elem_id="tokens"
                )
                self.passes = gr.Plot(show_label=False, container=False, elem_id="passes")
        self.shares = gr.HTML("", elem_id="shares", padding=False)
        self.speed = SpeedPanel()

    def connect(self, _page: gr.Blocks, tab: gr.Tab) -> None:
        """Fill the tab when it is opened and when another pair is chosen; redraw while the slider moves."""
        pair = self.shared.choices.pair
        outputs = [self.table, *self.parameters, self.passes, self.shares]
        gr.on([tab.select, pair.change], self._fill, [self.shared.visit, pair, self.tokens], outputs, **QUIET)
        self.tokens.change(self._passes, [self.tokens, pair], self.passes, trigger_mode="always_last", **QUIET)
        self.speed.connect(tab)

    def _fill(self, compared: list, pair: str, tokens: int) -> dict[Any, Any]:
        """Table, figures and shares for a pair, from its configuration and this visit's clips."""
        from components.report import figures

        try:
            with plain_words():
                models = self.shared.lab.models(pair)
        except Refused as refused:
            return {self.table: html.message(refused.message, problem=True)} | self.parameters.show(None)
        report, note = visit.report(compared, pair), self.shared.lab.settings.get_pair(pair).note
        return {
            self.table: html.models_table(models, note),
            self.passes: figures.decoder_passes(models, tokens),
            self.shares: html.decoder_shares(report) if report else "",
        } | self.parameters.show(figures.parameters(models))

    def _passes(self, tokens: int, pair: str) -> Any:
        from components.report import figures

        try:
            with plain_words():
                return figures.decoder_passes(self.shared.lab.models(pair), tokens)
        except Refused:
            return None
