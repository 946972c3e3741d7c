"""The page: its frame, its tabs, and what it is launched with."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Any

import gradio as gr

from components.core.catalog import EXAMPLES
from components.ui import api, markup
from components.ui.benchmark_tab import BenchmarkTab
from components.ui.compare_tab import CompareTab, session_of
from components.ui.models_tab import ModelsTab
from components.ui.requests import Cancellations, Page, Refused, plain_words, unreadable

if TYPE_CHECKING:
    from components.runs.lab import Lab

STYLE = Path(__file__).with_name("style.css")
CACHE_S = 3600
"""Seconds after which uploads, recordings, and copies of what is downloaded are deleted, looked for as often."""
MAX_QUEUED = 32
"""Requests that may wait until Gradio hands them over; further ones are told that the queue is full."""
MAX_THREADS = 64
"""More than all who may wait within the Lab, so that the page is served beside them."""
FONTS = ["system-ui", "-apple-system", "Segoe UI", "Roboto", "sans-serif"]
MONO_FONTS = ["ui-monospace", "SFMono-Regular", "Menlo", "Consolas", "monospace"]


def build(lab: Lab) -> gr.Blocks:
    """The whole page and its API over one ``Lab``; nothing heavy is loaded and no model placed."""
    cancellations = Cancellations()

    def stamp(pair: str) -> str:
        try:
            with plain_words():
                return markup.stamp(lab.stamp(pair), lab.settings.get_pair(pair).note)
        except Refused as refused:
            return markup.message(refused.message, problem=True)

    def refresh(visit: list, pair: str, tokens: int) -> tuple[Any, ...]:
        return stamp(pair), *models.refresh(visit, pair, tokens)

    def leave(request: gr.Request) -> None:
        cancellations.stop(session_of(request))

    with Page(title=markup.TITLE, analytics_enabled=False, delete_cache=(CACHE_S, CACHE_S)) as page:
        gr.HTML(markup.header(), padding=False)
        stamped = gr.HTML(markup.stamp({"pair": lab.default_pair}), elem_id="stamp", padding=False)
        with gr.Tabs():
            with gr.Tab("Compare", id="compare"):
                compare = CompareTab(lab)
            with gr.Tab("Benchmark", id="benchmark"):
                benchmark = BenchmarkTab(lab)
            with gr.Tab("Models", id="models"):
                models = ModelsTab(lab)
        if gr.utils.get_space():  # elsewhere it would do nothing
            gr.DuplicateButton("Duplicate this Space with other checkpoints", size="sm", elem_id="duplicate", scale=0)
        finished, forgotten = compare.connect(cancellations)
        benchmark.connect(cancellations)
        models.connect(compare.pair)
        inputs, outputs = [compare.visit, compare.pair, models.tokens], [stamped, *models.outputs]
        quiet: dict[str, Any] = {"show_progress": "hidden", "api_visibility": "private"}
        page.load(refresh, inputs, outputs, **quiet)
        compare.pair.change(refresh, inputs, outputs, **quiet)
        finished.then(refresh, inputs, outputs, **quiet)
        forgotten.then(refresh, inputs, outputs, **quiet)
        page.unload(leave)
        api.register(lab, cancellations)
    return page.queue(max_size=MAX_QUEUED, default_concurrency_limit=8)


def launch_options() -> dict[str, Any]:
    """What ``launch`` is given: looks, limits, and nothing of a visitor kept."""
    theme = gr.themes.Soft(primary_hue="blue", neutral_hue="slate", font=FONTS, font_mono=MONO_FONTS).set(
        # Gradio's blue on light blue and white on blue lie under the contrast of 4.5:1 that text needs.
        button_primary_background_fill="*primary_600",
        button_primary_background_fill_hover="*primary_700",
        button_primary_background_fill_dark="*primary_600",
        button_primary_background_fill_hover_dark="*primary_700",
        checkbox_label_background_fill_selected="*primary_600",
        checkbox_label_background_fill_selected_dark="*primary_600",
        block_border_width="1px",
        input_border_width="1px",
        input_border_color="*neutral_400",
        input_border_color_dark="*neutral_500",
        checkbox_border_color="*neutral_500",
        checkbox_label_border_width="1px",
        checkbox_label_border_color="*neutral_300",
        checkbox_label_border_color_dark="*neutral_600",
        block_label_background_fill="*background_fill_secondary",
        block_label_background_fill_dark="*background_fill_secondary",
        block_title_background_fill="none",
        block_title_background_fill_dark="none",
        block_title_padding="0",
        block_label_text_color="*body_text_color",
        block_label_text_color_dark="*body_text_color",
        block_label_text_weight="500",
        block_title_text_color="*body_text_color",
        block_title_text_color_dark="*body_text_color",
        block_info_text_color="*neutral_600",
        block_info_text_color_dark="*neutral_300",
    )
    failures = (TypeError, ValueError, LookupError, Exception)
    return {
        "theme": theme,
        "css_paths": [STYLE],
        "max_file_size": "200mb",
        "allowed_paths": [str(EXAMPLES.parent)],
        "max_threads": MAX_THREADS,
        "show_error": False,
        "run_history": False,
        "footer_links": ["api", "gradio", "settings"],
        "app_kwargs": {"exception_handlers": dict.fromkeys(failures, unreadable)},
    }
