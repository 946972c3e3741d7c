"""The Models tab: what the lanes are made of, and why two decoder layers are faster than many."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import gradio as gr

from components.core.types import MAX_TOKENS
from components.ui import markup
from components.ui.compare_tab import chart, visit_rows
from components.ui.requests import Refused, plain_words
from components.ui.speed_panel import SpeedPanel

if TYPE_CHECKING:
    from components.core.types import ModelInfo
    from components.runs.lab import Lab

DEFAULT_TOKENS = 128
"""Tokens of about 40 seconds of speech; at large-v2's 32 layers they cost 4,096 layer passes."""


class ModelsTab:
    """Builds its components where it is created; ``refresh`` fills them for a pair."""

    def __init__(self, lab: Lab) -> None:
        self.lab = lab
        gr.HTML("<h2>What runs</h2>", padding=False)
        self.table = gr.HTML(markup.message("Reading the configurations…"), elem_id="models-table", padding=False)
        with gr.Row(elem_classes="charts"):
            self.parameters = chart("Parameters", "models-parameters")
            with gr.Column(scale=2, min_width=290, elem_classes="chart"):
                gr.HTML(markup.why_faster(), padding=False)
                self.tokens = gr.Slider(
                    1, MAX_TOKENS, value=DEFAULT_TOKENS, step=1, label="Tokens written", elem_id="tokens"
                )
                self.passes = gr.Plot(show_label=False, container=False, elem_id="passes")
        self.shares = gr.HTML(markup.decoder_shares([]), elem_id="shares", padding=False)
        SpeedPanel()

    @property
    def outputs(self) -> list[Any]:
        """What ``refresh`` returns, in order."""
        return [self.table, self.parameters, self.passes, self.shares]

    def connect(self, pair: gr.Dropdown) -> None:
        """Redraw the layer passes while the slider moves."""
        self.tokens.change(
            self._passes,
            [self.tokens, pair],
            self.passes,
            show_progress="hidden",
            trigger_mode="always_last",
            api_visibility="private",
        )

    def refresh(self, visit: list, pair: str, tokens: int) -> tuple[Any, ...]:
        """Table, figures and shares for a pair, from its configuration and this visit's runs."""
        from components.report import figures_old as figures

        try:
            with plain_words():
                infos = self.lab.models(pair).lanes
        except Refused as refused:
            return markup.message(refused.message, problem=True), None, None, markup.decoder_shares([])
        return (
            markup.models_table(infos, self.lab.settings.get_pair(pair).note),
            figures.parameters_figure(infos),
            figures.decoder_passes_figure(tokens, infos),
            markup.decoder_shares(visit_rows(visit, pair)),
        )

    def _passes(self, tokens: int, pair: str) -> Any:
        from components.report import figures_old as figures

        return figures.decoder_passes_figure(tokens, self._infos(pair))

    def _infos(self, pair: str) -> tuple[ModelInfo, ...]:
        try:
            with plain_words():
                return self.lab.models(pair).lanes
        except Refused:
            return ()
