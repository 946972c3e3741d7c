"""What import-linter and ruff cannot say: who names device and clock, how long functions are, and what loads when."""

from __future__ import annotations

import ast
import subprocess
import sys
from pathlib import Path

import pytest

ROOT = Path(__file__).resolve().parents[1]
SOURCES = [ROOT / "app.py", *sorted((ROOT / "components").rglob("*.py"))]

DEVICE_FILE = "components/engines/device.py"
DEVICE_NAMES = {"cuda", "mps", "spaces"}
STOPWATCH_FILE = "components/runs/measure.py"
CLOCK_NAMES = {"perf_counter", "perf_counter_ns", "process_time", "timeit"}

HEAVY = {"torch", "transformers", "ctranslate2", "faster_whisper", "gradio", "plotly", "spaces", "datasets", "pandas"}
HEAVY |= {"av", "soundfile", "rapidfuzz", "accelerate"}


def names(source: str) -> set[str]:
    """Attributes, imported names and whole strings such as ``"cuda"`` or ``"cuda:0"``; no docstrings, no variables."""
    tree = ast.parse(source)
    standalone = {node.value for node in ast.walk(tree) if isinstance(node, ast.Expr)}
    found: set[str] = set()
    for node in ast.walk(tree):
        if isinstance(node, ast.Attribute):
            found.add(node.attr)
        elif isinstance(node, ast.alias):
            found.update(node.name.split("."))
        elif isinstance(node, ast.ImportFrom) and node.module:
            found.update(node.module.split("."))
        elif isinstance(node, ast.Constant) and isinstance(node.value, str) and node not in standalone:
            found.add(node.value.partition(":")[0])
    return found


@pytest.mark.parametrize(("home", "words"), [(DEVICE_FILE, DEVICE_NAMES), (STOPWATCH_FILE, CLOCK_NAMES)])
def test_one_file_names_the_device_and_one_reads_the_clock(home, words):
    named = {str(path.relative_to(ROOT)) for path in SOURCES if names(path.read_text(encoding="utf-8")) & words}
    assert named == {home}


@pytest.mark.parametrize(
    ("source", "named"),
    [
        ("device.kind == 'cuda'", True),
        ("model.to('cuda:0')", True),
        ("torch.backends.mps.is_available()", True),
        ("from time import perf_counter", True),
        ("import timeit", True),
        ("def choose(cuda: bool):\n    'On cuda.'\n    return 'CUDA' if cuda else 'CPU'", False),
    ],
)
def test_names_finds_what_is_named(source, named):
    assert bool(names(source) & (DEVICE_NAMES | CLOCK_NAMES)) is named


MOST_LINES = 60


def test_functions_are_short():
    """Docstrings and signatures count."""
    functions = (ast.FunctionDef, ast.AsyncFunctionDef)
    long = {
        f"{path.relative_to(ROOT)}:{node.lineno} {node.name}"
        for path in SOURCES
        for node in ast.walk(ast.parse(path.read_text(encoding="utf-8")))
        if isinstance(node, functions) and node.end_lineno - node.lineno >= MOST_LINES
    }
    assert not long


def loaded(*arguments: str) -> set[str]:
    """Packages that a command imports, as the interpreter itself lists them."""
    command = [sys.executable, "-X", "importtime", *arguments]
    result = subprocess.run(command, cwd=ROOT, capture_output=True, text=True, check=True)
    lines = (line for line in result.stderr.splitlines() if line.startswith("import time:"))
    return {line.rpartition("|")[2].strip().partition(".")[0] for line in lines}


@pytest.mark.parametrize("module", ["components.runs", "components.distillation"])
def test_help_loads_nothing_heavy(module):
    packages = loaded("-m", module, "--help")
    assert "argparse" in packages
    assert not packages & HEAVY


def test_the_nouns_load_nothing_heavy():
    modules = [path.stem for path in (ROOT / "components" / "core").glob("*.py") if path.stem != "__init__"]
    packages = loaded("-c", "import " + ", ".join(f"components.core.{module}" for module in modules))
    assert "components" in packages
    assert not packages & HEAVY
