"""The README's snippets, run as they stand against the started app."""

from __future__ import annotations

import json
import re
import shutil
import subprocess
import sys
from typing import TYPE_CHECKING

import pytest

from tests.browser.harness import ROOT, running_app

if TYPE_CHECKING:
    from collections.abc import Iterator
    from pathlib import Path

ADDRESS = "http://127.0.0.1:7860"
CLIENT = "@gradio/client@2.7.0"
INSTALL_S, RUN_S = 120, 120


@pytest.fixture(scope="module")
def url() -> Iterator[str]:
    with running_app() as url:
        yield url


def snippet(language: str, url: str) -> str:
    """The first block in a language of the section on scripts, pointed at the app under test."""
    section = (ROOT / "README.md").read_text(encoding="utf-8").partition("\n## Script it\n")[2].partition("\n## ")[0]
    found = re.search(rf"^```{language}\n(.*?)^```$", section, flags=re.DOTALL | re.MULTILINE)
    assert found is not None, language
    assert ADDRESS in found[1]
    return found[1].replace(ADDRESS, url)


def run(*command: str) -> str:
    done = subprocess.run(command, cwd=ROOT, capture_output=True, text=True, timeout=RUN_S, check=False)
    assert done.returncode == 0, done.stderr
    return done.stdout


def check_lines(output: str) -> None:
    """What the Python and the JavaScript print at last: the speed-up, then a line for each lane."""
    *_, speed_up, whisper, distil = output.strip().splitlines()
    assert re.search(r"distil'?: [\d.]+", speed_up)
    for lane_id, line in (("whisper", whisper), ("distil", distil)):
        assert re.match(rf"{lane_id} [\d.]+ \S", line), line


def test_python(url):
    check_lines(run(sys.executable, "-c", snippet("python", url)))


@pytest.fixture(scope="module")
def node_modules(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A folder of the test's own that holds the JavaScript client."""
    npm = shutil.which("npm")
    if npm is None or shutil.which("node") is None:
        pytest.skip("Node and npm are not installed")
    folder = tmp_path_factory.mktemp("node")
    patience = ["--fetch-retries=1", "--fetch-timeout=20000"]
    install = [npm, "install", "--no-audit", "--no-fund", *patience, "--prefix", str(folder), CLIENT]
    try:
        done = subprocess.run(install, capture_output=True, text=True, timeout=INSTALL_S, check=False)
    except subprocess.TimeoutExpired:
        pytest.skip(f"npm cannot get {CLIENT}: no answer in {INSTALL_S} s")
    if done.returncode:
        pytest.skip(f"npm cannot get {CLIENT}: {done.stderr[-300:]}")
    return folder


def test_javascript(url, node_modules):
    script = node_modules / "snippet.mjs"
    script.write_text(snippet("javascript", url))
    check_lines(run("node", str(script)))


def test_curl(url):
    if shutil.which("curl") is None:
        pytest.skip("curl is not installed")
    output = run("bash", "-c", snippet("bash", url))
    assert "event: complete" in output
    (result,) = json.loads(output.rpartition("data: ")[2])
    assert [run["lane_id"] for run in result["runs"]] == ["whisper", "distil"]
    assert len(result["runs"][0]["repeats"]) == 3
