"""The page as a whole, before anybody has come."""

import os
import subprocess
import sys

import gradio as gr
import pytest
from gradio.state_holder import SessionState

from components.core.settings import Settings
from components.core.types import BASELINE_LANE
from components.runs.lab import Lab
from components.runs.queue import MAX_FETCHING, MAX_WAITING
from components.ui import layout
from components.ui.requests import Ticket

HEAVY = ("torch", "transformers", "plotly", "rapidfuzz", "av", "ctranslate2", "components.distillation")


IMPORT = """
import sys, time
start = time.process_time()
import gradio
print(time.process_time() - start)
import components.ui.layout
print(time.process_time() - start)
print(*sys.modules)
"""


def test_importing_the_page_imports_nothing_heavy_and_costs_at_most_twice_gradio():
    run = subprocess.run([sys.executable, "-c", IMPORT], capture_output=True, text=True, check=True, timeout=120)
    gradio_s, page_s, loaded = run.stdout.splitlines()
    assert float(page_s) <= 2 * float(gradio_s)
    assert not set(HEAVY) & set(loaded.split())


def test_nothing_of_a_visitor_is_kept(lab):
    page = layout.build(lab)
    assert page.delete_cache == (layout.CACHE_S, layout.CACHE_S)
    options = layout.launch_options(page, lab)
    assert options["run_history"] is False
    assert options["show_error"] is False
    assert options["max_file_size"]


def test_a_visit_costs_no_description_of_every_widget(lab):
    described = SessionState(layout.build(lab)).config_values
    assert described
    assert not any(described.values())


def test_all_who_may_wait_leave_threads_to_the_rest_of_the_page(lab):
    page = layout.build(lab)
    functions = page.fns.values()
    measuring = [fn for fn in functions if fn.concurrency_id == "measure"]
    assert {"compare", "_measure"} <= {fn.name for fn in measuring}
    (waiting,) = {fn.concurrency_limit for fn in measuring}
    assert MAX_WAITING + MAX_FETCHING < waiting < layout.launch_options(page, lab)["max_threads"] - 8


def test_each_stop_ends_its_own_run_alone(lab):
    stops = [fn for fn in layout.build(lab).fns.values() if fn.name == "_stop"]
    assert len(stops) == 2
    for stop in stops:
        mine, other = Ticket(), Ticket()
        stop.fn(mine, gr.Request(session_hash="me"))
        assert mine.is_set()
        assert not other.is_set()
        assert [block.get_block_name() for block in stop.inputs] == ["state"]
    assert stops[0].inputs != stops[1].inputs


def test_every_control_has_a_label(lab):
    for block in layout.build(lab).blocks.values():
        if block.get_block_name() in {"audio", "textbox", "dropdown", "checkboxgroup", "slider", "radio"}:
            assert block.label


def test_a_pairs_note_is_read_where_it_is_chosen(tiny_teacher, tiny_student):
    environ = {"TEACHER_CHECKPOINT": str(tiny_teacher), "STUDENT_CHECKPOINT": str(tiny_student)}
    lab = Lab(Settings.from_env(environ))
    (pair,) = [block for block in layout.build(lab).blocks.values() if block.elem_id == "pair"]
    labels = {value: label for label, value in pair.choices}
    assert set(labels) == {"custom", "base"}
    assert lab.settings.get_pair("base").note.rstrip(".") in labels["base"]


def test_the_api_view_describes_every_argument(lab):
    for endpoint in layout.build(lab).get_api_info()["named_endpoints"].values():
        for parameter in endpoint["parameters"]:
            assert parameter["label"] == parameter["parameter_name"]
            assert len(parameter["python_type"]["description"]) > 20


@pytest.mark.parametrize("variables", [{"PAIR": "nothing"}, {"LANES": "whisper,other", "DTYPE": "float8"}])
def test_a_wrong_variable_stops_the_start_with_the_choices(variables):
    environ = {name: value for name, value in os.environ.items() if name not in {"PAIR", "LANES", "DTYPE"}} | variables
    environ["HF_TOKEN"] = "hf_Secret"
    done = subprocess.run(
        [sys.executable, "app.py"], env=environ, capture_output=True, text=True, timeout=60, check=False
    )
    assert done.returncode == 2
    assert "Traceback" not in done.stderr
    assert "hf_Secret" not in done.stdout + done.stderr
    for name in variables:
        assert name in done.stderr
    assert BASELINE_LANE in done.stderr or "base" in done.stderr
