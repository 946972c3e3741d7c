"""Saved speed runs on the Models tab: what an architecture costs on some machine, without its weights."""

from __future__ import annotations

from html import escape
from pathlib import Path
from typing import TYPE_CHECKING, Any

import gradio as gr

from components.core.catalog import ROOT
from components.core.errors import ManifestError
from components.core.wording import counted
from components.runs.speed import MAX_RUN_CHARACTERS, read_speed
from components.ui import markup
from components.ui.compare_tab import chart

if TYPE_CHECKING:
    from components.core.types import SpeedRun

SHIPPED = ROOT / "tests" / "benchmarks" / "results"
"""Where the project's own measurements lie; those that are or hold a speed run are offered."""

HOW = (
    "The whole pair in random weights of its published shapes, replaying the token counts of the notebook's clips. "
    "Make one on your machine: "
)
COMMAND = "python -m components.runs speed --pair small.en --json > run.json"


def shipped_runs() -> dict[str, SpeedRun]:
    """The speed runs that came with the project, by what a person reads; the largest first."""
    found = {}
    for path in sorted(SHIPPED.glob("*.json")):
        try:
            run = read_speed(path.read_text(encoding="utf-8"))
        except (ManifestError, OSError, ValueError):
            continue  # another benchmark's
        found[f"{run.pair}, {run.clips} clips, {run.machine.device_name} ({path.stem})"] = run
    return dict(sorted(found.items(), key=lambda item: (-len(item[1].lanes), -item[1].clips)))


class SpeedPanel:
    """Builds and wires its components where it is created: an upload, the shipped runs, charts and a table."""

    def __init__(self) -> None:
        self.shipped = shipped_runs()
        names = list(self.shipped)
        gr.HTML("<h2>Saved speed runs</h2>", padding=False)
        gr.HTML(f"<p class='where'>{HOW}<code>{escape(COMMAND)}</code></p>", padding=False)
        with gr.Row():
            self.choice = gr.Dropdown(
                names,
                value=names[0] if names else None,
                label="Measured by this project",
                elem_id="speed-choice",
                visible=bool(names),
                min_width=300,
                scale=3,
            )
            self.upload = gr.UploadButton(
                "Open a saved run (JSON)", file_types=[".json"], size="sm", elem_id="speed-upload", min_width=200
            )
        self.said = gr.HTML("", elem_id="speed-said", padding=False)
        self.table = gr.HTML("", elem_id="speed-table", padding=False)
        with gr.Row(elem_classes="charts", visible=bool(names)) as self.charts:
            self.plots = [
                chart("Time of all clips", "speed-times"),
                chart("Ratio", "speed-ratios"),
                chart("A token, and the memory bandwidth's limit", "speed-tokens"),
            ]
        run = [self.table, self.charts, *self.plots]
        quiet: dict[str, Any] = {"show_progress": "hidden", "api_visibility": "private"}
        if names:
            gr.on(None, self._choose, self.choice, [self.said, *run], **quiet)  # on load, too
        self.upload.upload(self._open, self.upload, [self.choice, self.said, *run], **quiet)

    def _choose(self, name: str | None) -> tuple[Any, ...]:
        return ("", *drawn(self.shipped[name])) if name in self.shipped else unchanged()

    def _open(self, path: str) -> tuple[Any, ...]:
        """Show a visitor's own run, in place of the project's; where it is none, say so and change nothing."""
        try:
            with Path(path).open(encoding="utf-8", errors="replace") as file:
                return gr.Dropdown(value=None), "", *drawn(read_speed(file.read(MAX_RUN_CHARACTERS + 1)))
        except ManifestError as error:
            return gr.skip(), *unchanged(markup.message(error.message, problem=True))


def unchanged(said: Any = None) -> tuple[Any, ...]:
    """What is shown stays."""
    return gr.skip() if said is None else said, *[gr.skip()] * 5


def drawn(run: SpeedRun) -> tuple[Any, ...]:
    """Table and charts of a run."""
    from components.report import speed_page

    machine, failures = run.machine, run.failures
    failed = " ".join(f"{failure.lane_id} could not run: {failure.message}" for failure in failures)
    stamp = (
        f"{run.pair}: {run.clips} clips of the notebook, {machine.device_name} ({machine.device}, "
        f"{counted(machine.threads, 'thread')}), memory bandwidth "
        f"{run.bandwidth_bytes_per_s / 1e9:.1f} GB/s. {failed}"
    )
    table = (
        f"<p class='where'>{escape(stamp)}</p><div class='scroll' tabindex='0' role='region' aria-label='Speed'>"
        f"{speed_page.speed_table(run)}</div>"
    )
    figures = speed_page.speed_figure(run), speed_page.speed_ratio_figure(run), speed_page.speed_token_figure(run)
    return table, gr.update(visible=True), *figures
