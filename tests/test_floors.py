"""The law of the floors, read from the source: who may import whom, and who may name what."""

from __future__ import annotations

import ast
import subprocess
import sys
from pathlib import Path
from typing import TYPE_CHECKING

import pytest

if TYPE_CHECKING:
    from collections.abc import Iterator

ROOT = Path(__file__).resolve().parents[1]

ALLOWED = {
    "core": {"core"},
    "engines": {"engines", "core"},
    "runs": {"runs", "engines", "core"},
    "report": {"report", "core"},
    "ui": {"ui", "runs", "engines", "core", "report"},
    "distillation": {"distillation", "runs", "engines", "core"},
}
"""``ui -> runs -> engines -> core``; ``distillation -> runs``; ``report -> core``, and ``ui`` uses it."""

ENTRIES = {"app.py", "components/runs/__main__.py", "components/distillation/__main__.py"}
"""They wire things together, and may import any floor."""

HOMES = {
    "torch": {"engines", "distillation"},
    "transformers": {"engines", "distillation", "core"},
    "ctranslate2": {"engines"},
    "faster_whisper": {"engines"},
    "gradio": {"ui"},
    "plotly": {"report"},
    "spaces": {"engines"},
}
"""Heavy packages, and the floors that may use them at all."""

OWNERS = {
    "torch": {"engines", "distillation"},
    "transformers": {"engines", "distillation"},
    "ctranslate2": {"engines"},
    "faster_whisper": {"engines"},
    "gradio": {"ui"},
    "plotly": {"report"},
}
"""Those that may import them at the top of a module; everywhere else the import stands inside a function."""

DEVICE_FILE = "components/engines/device.py"
STOPWATCH_FILE = "components/runs/measure.py"
DEVICE_NAMES = {"cuda", "mps", "spaces"}
CLOCKS = {"perf_counter", "perf_counter_ns", "process_time", "timeit"}
CLOCK_MODULES = {"timeit"}

SOURCES = sorted(path.relative_to(ROOT).as_posix() for path in (ROOT / "components").rglob("*.py"))
SOURCES += ["app.py"] if (ROOT / "app.py").is_file() else []


def _floor(name: str) -> str:
    """``components/<floor>/...`` of a path, or ``components.<floor>...`` of a module; empty for the root."""
    parts = Path(name).parts if "/" in name else tuple(name.split("."))
    return parts[1] if parts[0] == "components" and len(parts) > 1 and not parts[1].endswith(".py") else ""


def _imports(tree: ast.AST, name: str) -> Iterator[tuple[str, ast.stmt]]:
    """Full names of the modules imported anywhere in the tree, relative ones resolved, and their statements."""
    package = name.removesuffix(".py").split("/")[:-1]
    for node in ast.walk(tree):
        if isinstance(node, ast.Import):
            yield from ((alias.name, node) for alias in node.names)
        elif isinstance(node, ast.ImportFrom):
            base = package[: len(package) - node.level + 1] if node.level else []
            module = ".".join([*base, *([node.module] if node.module else [])])
            yield module, node
            yield from ((f"{module}.{alias.name}", node) for alias in node.names)


def _runs_at_import(tree: ast.Module) -> set[ast.stmt]:
    """Statements that run when the module is imported: none inside functions or under ``TYPE_CHECKING``."""
    found: set[ast.stmt] = set()
    queue: list[ast.AST] = [tree]
    while queue:
        node = queue.pop()
        if isinstance(node, ast.FunctionDef | ast.AsyncFunctionDef | ast.Lambda):
            continue
        if isinstance(node, ast.stmt):
            found.add(node)
        if isinstance(node, ast.If) and ast.unparse(node.test) in {"TYPE_CHECKING", "typing.TYPE_CHECKING"}:
            queue.extend(node.orelse)
        else:
            queue.extend(ast.iter_child_nodes(node))
    return found


def _docstrings(tree: ast.AST) -> set[ast.AST]:
    """Strings that stand alone: docstrings of modules, classes, functions and constants."""
    return {
        node.value for node in ast.walk(tree) if isinstance(node, ast.Expr) and isinstance(node.value, ast.Constant)
    }


def _names(tree: ast.AST) -> Iterator[tuple[str, int]]:
    """What code names, with its line: attributes, imports, and whole strings such as ``"cuda"`` or ``"cuda:0"``.

    A variable's own name is its own business; what it holds came by one of these.
    """
    docstrings = _docstrings(tree)
    for node in ast.walk(tree):
        if isinstance(node, ast.Attribute):
            yield node.attr, node.lineno
        elif isinstance(node, ast.alias):
            yield from ((part, node.lineno) for part in node.name.split("."))
        elif isinstance(node, ast.ImportFrom) and node.module:
            yield from ((part, node.lineno) for part in node.module.split("."))
        elif isinstance(node, ast.Constant) and isinstance(node.value, str) and node not in docstrings:
            yield node.value.partition(":")[0], node.lineno


def _faults(name: str, source: str) -> list[str]:
    """What the file breaks, one sentence each."""
    tree = ast.parse(source)
    floor, faults = _floor(name), []
    at_import = _runs_at_import(tree)
    for module, statement in _imports(tree, name):
        where = f"{name}:{statement.lineno}"
        target, package = _floor(module), module.partition(".")[0]
        if name not in ENTRIES:
            if target and floor and target not in ALLOWED[floor]:
                faults.append(f"{where}: {floor} may not import {module}")
            if package in HOMES and floor not in HOMES[package]:
                faults.append(f"{where}: {package} has no place on the floor {floor or 'of the root'}")
        if package in HOMES and statement in at_import and (name in ENTRIES or floor not in OWNERS.get(package, ())):
            faults.append(f"{where}: {package} is imported at the top of a module; import it inside a function")
    for word, line in _names(tree):
        if word in DEVICE_NAMES and name != DEVICE_FILE:
            faults.append(f"{name}:{line}: only {DEVICE_FILE} names {word}")
        if word in CLOCKS and name != STOPWATCH_FILE:
            faults.append(f"{name}:{line}: only {STOPWATCH_FILE} reads the clock ({word})")
    return sorted(set(faults))


@pytest.mark.parametrize("name", SOURCES)
def test_the_law_of_the_floors(name):
    assert _faults(name, (ROOT / name).read_text(encoding="utf-8")) == []


def test_every_floor_is_known():
    folders = {path.name for path in (ROOT / "components").iterdir() if path.is_dir() and path.name != "__pycache__"}
    assert folders == set(ALLOWED)


@pytest.mark.parametrize(
    ("name", "source", "fault"),
    [
        ("components/core/x.py", "from components.runs import lab", "core may not import components.runs"),
        ("components/core/x.py", "from ..engines.base import Engine", "core may not import components.engines"),
        ("components/core/x.py", "from components import ui", "core may not import components.ui"),
        ("components/ui/x.py", "import components.distillation.teacher", "ui may not import"),
        ("components/distillation/x.py", "from components.ui import layout", "distillation may not import"),
        (
            "components/report/x.py",
            "if TYPE_CHECKING:\n    from components.runs.lab import Lab",
            "report may not import",
        ),
        ("components/core/x.py", "def f():\n    import torch", "torch has no place on the floor core"),
        ("components/runs/x.py", "def f():\n    import torch", "torch has no place on the floor runs"),
        ("components/runs/x.py", "from gradio import Blocks", "gradio has no place"),
        ("components/ui/x.py", "import plotly.graph_objects as go", "plotly has no place"),
        ("components/core/x.py", "import transformers", "at the top of a module"),
        ("components/core/x.py", "try:\n    import transformers\nexcept ImportError:\n    pass", "at the top"),
        ("app.py", "import gradio", "at the top of a module"),
        ("components/runs/x.py", "device.kind == 'cuda'", "names cuda"),
        ("components/engines/x.py", "torch.cuda.synchronize()", "names cuda"),
        ("components/engines/x.py", "model.to('cuda:0')", "names cuda"),
        ("components/runs/x.py", "torch.backends.mps.is_available()", "names mps"),
        ("app.py", "def main():\n    import spaces", "names spaces"),
        ("components/engines/x.py", "from time import perf_counter", "reads the clock"),
        ("components/ui/x.py", "time.perf_counter()", "reads the clock"),
        ("components/runs/x.py", "import timeit", "reads the clock"),
    ],
)
def test_a_breach_is_found(name, source, fault):
    assert any(fault in found for found in _faults(name, source))


@pytest.mark.parametrize(
    ("name", "source"),
    [
        ("components/core/x.py", "def f():\n    from transformers import AutoConfig"),
        ("components/engines/x.py", "import torch\nfrom components.core import types"),
        ("components/ui/x.py", "import gradio as gr\nfrom components.core.types import AudioClip"),
        ("components/runs/__main__.py", "def main():\n    from components.report import page"),
        ("components/engines/device.py", "torch.cuda.is_available()"),
        ("components/runs/measure.py", "from time import perf_counter"),
        ("components/core/x.py", "def resolve_pair(cuda: bool):\n    'On cuda.'\n    return 'CUDA' if cuda else 'CPU'"),
    ],
)
def test_what_is_allowed_is_not_a_breach(name, source):
    assert _faults(name, source) == []


@pytest.mark.parametrize("module", ["components.runs", "components.distillation"])
def test_help_loads_nothing_heavy(module):
    """``--help`` answers at once: every module loaded is listed by the interpreter itself."""
    if not (ROOT / module.replace(".", "/") / "__main__.py").is_file():
        pytest.skip(f"{module} has no command line")
    command = [sys.executable, "-X", "importtime", "-m", module, "--help"]
    result = subprocess.run(command, cwd=ROOT, capture_output=True, text=True, check=True)
    assert "usage" in result.stdout.lower()
    loaded = {line.rpartition("|")[2].strip() for line in result.stderr.splitlines() if line.startswith("import time:")}
    assert "json" in loaded or "argparse" in loaded
    assert not loaded & {*HOMES, "av", "soundfile", "jiwer", "accelerate", "datasets", "pandas"}


@pytest.mark.parametrize("module", [name for name in SOURCES if name.startswith("components/core/")])
def test_the_nouns_load_nothing_heavy(module):
    name = module.removesuffix("/__init__.py").removesuffix(".py").replace("/", ".")
    code = f"import sys, {name}; print(*sorted({{m.partition('.')[0] for m in sys.modules}}))"
    result = subprocess.run([sys.executable, "-c", code], cwd=ROOT, capture_output=True, text=True, check=True)
    assert not set(result.stdout.split()) & {*HOMES, "av", "soundfile", "jiwer"}
