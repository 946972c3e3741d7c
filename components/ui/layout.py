"""The page: its frame, its tabs, and what it is launched with."""

from __future__ import annotations

import os
from pathlib import Path
from typing import TYPE_CHECKING, Any

import gradio as gr
from starlette.middleware import Middleware

from components.core.catalog import EXAMPLES
from components.report import html
from components.report.columns import where_it_runs
from components.ui import api
from components.ui.benchmark_tab import BenchmarkTab
from components.ui.compare_tab import CompareTab
from components.ui.gate import Gate, Limits
from components.ui.kept import Kept
from components.ui.live_tab import LiveTab
from components.ui.microphones import Microphones
from components.ui.models_tab import ModelsTab
from components.ui.parts import AT_ONCE, MAX_FILE, MAX_FILE_BYTES, Choices, Shared
from components.ui.preview import Preview
from components.ui.readers import Readers
from components.ui.requests import Cancellations, Page, PlainErrors, Refused, plain_words, session_of

if TYPE_CHECKING:
    from components.runs.lab import Lab
    from components.ui.storage import Storage

TITLE = "Whisper vs Distil-Whisper"
TAGLINE = "Say something. Compare what Whisper and the half-size Distil-Whisper write, and how long each takes."
TABS = (CompareTab, LiveTab, BenchmarkTab, ModelsTab)
"""In the order of the page. Each has a ``label`` and a ``tab_id``, builds its widgets where it is created with the
``Shared`` of the page, and is wired by ``connect``, once all tabs are there."""

STYLE = Path(__file__).with_name("style.css")
SCRIPTS = tuple(Path(__file__).with_name(name) for name in ("page.js", "microphone.js"))
"""Each is one function, called when the page is open."""
CACHE_S = 3600
"""Seconds after which uploads, recordings, and copies of what is downloaded are deleted, looked for as often."""
MAX_QUEUED = 32
"""Requests that may wait until Gradio hands them over; further ones are told that the queue is full."""
LOOK_S = 0.01
"""Seconds between two looks of Gradio's for a request that has joined its queue."""
IDLE_S = 1.0
"""Seconds between two of its looks for what nobody sends."""
MAX_SESSIONS = 400
"""Visitors whose page has a state on the server; the ones seen least recently are forgotten."""
MAX_THREADS = 64
"""More than all who may wait within the Lab, so that the page is served beside them."""
FONTS = ["system-ui", "-apple-system", "Segoe UI", "Roboto", "sans-serif"]
MONO_FONTS = ["ui-monospace", "SFMono-Regular", "Menlo", "Consolas", "monospace"]


def build(lab: Lab) -> Page:
    """The whole page and its API over one ``Lab``; nothing heavy is imported and no model is loaded."""
    cancellations, microphones = Cancellations(), Microphones(lab.settings.max_audio_s)

    def machine(pair: str) -> str:
        return _machine(lab, pair)

    def leave(request: gr.Request) -> None:
        cancellations.stop(session_of(request))

    with Page(microphones, title=TITLE, analytics_enabled=False, delete_cache=(CACHE_S, CACHE_S)) as page:
        gr.HTML(html.masthead(TITLE, TAGLINE), padding=False)
        choices = Choices(lab)
        visit, dropped = gr.State([]), gr.State(("", []))
        tabs = []
        with gr.Tabs(selected=TABS[0].tab_id, elem_id="tabs", overflow_behavior="wrap") as tabs_widget:
            shared = Shared(lab, cancellations, microphones, choices, visit, dropped, tabs_widget)
            for kind in TABS:
                with gr.Tab(kind.label, id=kind.tab_id) as widget:
                    tabs.append((kind(shared), widget))
        for tab, widget in tabs:
            tab.connect(page, widget)
        runs_on = gr.HTML("", elem_id="machine", padding=False)
        gr.on([page.load, choices.pair.change], machine, choices.pair, runs_on, **AT_ONCE)
        page.unload(leave)
        if gr.utils.get_space():  # elsewhere it would do nothing
            gr.DuplicateButton("Duplicate this Space with other models", size="sm", elem_id="duplicate", scale=0)
        api.register(lab, cancellations)
    page.queue(max_size=MAX_QUEUED, default_concurrency_limit=8)
    page._queue.sleep_when_free = LOOK_S  # noqa: SLF001 - Gradio's 1 ms is a tenth of a core, all day
    page._queue.progress_update_sleep_when_free = IDLE_S  # noqa: SLF001 - nothing here reports progress that way
    return page


def _machine(lab: Lab, pair: str) -> str:
    """The line that says what runs where."""
    try:
        with plain_words():
            return html.note(where_it_runs(lab.stamp(pair)))
    except Refused as refused:
        return html.message(refused.message, problem=True)


def launch_options(page: Page, lab: Lab, storage: Storage | None = None) -> dict[str, Any]:
    """What ``launch`` is given: looks, limits, and nothing of a visitor kept.

    ``storage``: where uploads lie, if that is not left to Gradio.
    """
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
    return {
        "theme": theme,
        "css_paths": [STYLE],
        "js": _scripts(),
        "max_file_size": MAX_FILE,
        "allowed_paths": [str(EXAMPLES.parent)],
        "max_threads": MAX_THREADS,
        "state_session_capacity": MAX_SESSIONS,
        "show_error": False,
        "run_history": False,
        "footer_links": ["api", "gradio", "settings"],
        "app_kwargs": {
            "routes": [page.microphones.route()],
            "middleware": [*_guards(page, lab, storage), Middleware(Preview, title=TITLE, description=TAGLINE)],
        },
    }


def _scripts() -> str:
    """All scripts as the one function that Gradio takes."""
    calls = (f"({script.read_text(encoding='utf-8')})();" for script in SCRIPTS)
    return "\n".join(("() => {", *calls, "}"))


def _guards(page: Page, lab: Lab, storage: Storage | None) -> list[Middleware]:
    """What a request passes before anything else, outermost first."""
    settings = lab.settings
    gate = Middleware(
        Gate,
        limits=Limits(upload_bytes=MAX_FILE_BYTES),
        origins=settings.allowed_origins,
        links=settings.audio_links,
        mcp=os.environ.get("GRADIO_MCP_SERVER", "").lower() == "true",
        storage=storage,
    )
    queue = page._queue  # noqa: SLF001 - as Gradio's own packages do
    readers = Middleware(Readers, queue=queue, reading=page.reading)
    return [gate, Middleware(Kept), readers, Middleware(PlainErrors)]
