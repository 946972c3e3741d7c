"""The snippets do what they say: they repeat the run."""

import ast
import json
import shutil
import subprocess
import sys

import pytest

from components.ui import snippets

SETTINGS = {"reference": 'it\'s "quoted" $HOME `x`', "pair": "custom", "lanes": ["distil"], "repeats": 1}
NAME = 'a "clip"; of mine.wav'


@pytest.fixture
def folder(clip_file, tmp_path):
    shutil.copy(clip_file, tmp_path / NAME)
    return tmp_path


def test_python(url, folder):
    script = snippets.python_snippet(f"{url}/", NAME, SETTINGS)
    done = subprocess.run(
        [sys.executable, "-c", script], cwd=folder, capture_output=True, text=True, timeout=120, check=False
    )
    assert done.returncode == 0, done.stderr
    assert "distil " in done.stdout.splitlines()[-1]


@pytest.mark.skipif(not shutil.which("curl"), reason="there is no curl on this machine")
def test_curl(url, folder):
    script = snippets.curl_snippet(f"{url}/", NAME, SETTINGS)
    done = subprocess.run(["bash", "-c", script], cwd=folder, capture_output=True, text=True, timeout=120, check=False)
    event, data = [line for line in done.stdout.splitlines() if line][-2:]
    assert event == "event: complete", done.stdout + done.stderr
    (result,) = json.loads(data.removeprefix("data: "))
    (run,) = result["runs"]
    assert run["reference"] == SETTINGS["reference"]


def test_values_are_literals():
    hostile = "'''); import os; os.system('x') #\n\\"
    tree = ast.parse(snippets.python_snippet(hostile, hostile, {"reference": hostile}))
    assert [node.names[0].name for node in ast.walk(tree) if isinstance(node, ast.Import | ast.ImportFrom)] == [
        "Client"
    ]
    literals = [node.value for node in ast.walk(tree) if isinstance(node, ast.Constant)]
    assert literals.count(hostile) == 3
