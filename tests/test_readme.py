"""The README: its card is one that Spaces accept, and its tree is the repository's."""

from __future__ import annotations

import json
import re
import subprocess
import sys
from pathlib import Path

import pytest
from huggingface_hub import metadata_load

from components.core.catalog import LANES, PAIRS
from components.core.settings import ACCELERATED_PAIR
from components.engines.hub import FILES

ROOT = Path(__file__).resolve().parents[1]
REQUIREMENTS = ("requirements.txt", "tests/requirements.txt", "examples/checkpoints/requirements.txt")
README = (ROOT / "README.md").read_text(encoding="utf-8")

CARD_KEYS = set(
    "title emoji colorFrom colorTo sdk sdk_version python_version app_file app_port base_path fullWidth header "
    "short_description models datasets tags thumbnail pinned license suggested_hardware preload_from_hub "
    "startup_duration_timeout hf_oauth hf_oauth_scopes hf_oauth_expiration_minutes disable_embedding "
    "custom_headers".split()
)
"""What huggingface.co/docs/hub/spaces-config-reference documents."""
CARD_COLOURS = {"red", "yellow", "green", "blue", "indigo", "purple", "pink", "gray"}


def tree_files() -> set[str]:
    """Paths of the files that the architecture's tree names, each folder's in the lines indented under it."""
    block = re.search(r"^```\n(app\.py.*?)^```", README, flags=re.DOTALL | re.MULTILINE)
    assert block is not None
    folders: list[str] = []
    files = set()
    for line in block[1].splitlines():
        name = line.split()[0]
        depth = (len(line) - len(line.lstrip())) // 2
        folders = folders[:depth]
        if name.endswith("/"):
            folders.append(name)
        else:
            files.add("".join(folders) + name)
    return files


def test_the_card_has_only_keys_that_spaces_know():
    card = metadata_load(ROOT / "README.md")
    assert card is not None
    assert set(card) <= CARD_KEYS
    assert card["sdk"] == "gradio"
    assert {card["colorFrom"], card["colorTo"]} <= CARD_COLOURS
    assert len(card["short_description"]) <= 60
    assert (ROOT / card["app_file"]).is_file()
    assert card["python_version"] == "3.12"


def test_the_card_preloads_the_default_pair_and_only_what_loading_reads():
    card = metadata_load(ROOT / "README.md")
    preloaded = dict(line.split() for line in card["preload_from_hub"])
    pair = PAIRS[ACCELERATED_PAIR]
    assert set(preloaded) == {pair.teacher, pair.student} == set(card["models"])
    for files in preloaded.values():
        assert {"config.json", "model.safetensors"} <= set(files.split(",")) <= set(FILES)
    assert re.fullmatch(r"\d+[mh]", card["startup_duration_timeout"])


def test_the_cards_gradio_is_the_one_installed():
    pinned = re.search(r"^gradio==(.+)$", (ROOT / "requirements.txt").read_text(), flags=re.MULTILINE)
    assert pinned is not None
    assert metadata_load(ROOT / "README.md")["sdk_version"] == pinned[1].strip()


def test_the_variables_name_every_lane():
    (row,) = [line for line in README.splitlines() if line.startswith("| `LANES` ")]
    assert set(re.findall(r"`([a-z-]+)`", row)) == set(LANES)


@pytest.mark.parametrize("name", REQUIREMENTS)
def test_every_dependency_is_pinned(name):
    lines = [line for line in (ROOT / name).read_text().splitlines() if line and not line.startswith("#")]
    assert [line for line in lines if not re.fullmatch(r"[\w\[\]-]+==[\w.]+", line)] == []


@pytest.mark.parametrize("name", REQUIREMENTS)
def test_nothing_pinned_has_a_known_vulnerability(name):
    """As the package index lists them; skipped where it does not answer."""
    command = [
        sys.executable,
        "-m",
        "pip_audit",
        "--requirement",
        name,
        "--no-deps",
        "--disable-pip",
        "--format",
        "json",
    ]
    audit = subprocess.run(command, cwd=ROOT, capture_output=True, text=True, check=False)
    if not audit.stdout.startswith("{"):
        pytest.skip(f"the advisories cannot be read: {audit.stderr.strip().rpartition(chr(10))[2]}")
    packages = json.loads(audit.stdout)["dependencies"]
    if all("skip_reason" in package for package in packages):
        pytest.skip(f"the advisories cannot be read: {packages[0]['skip_reason']}")
    found = {package["name"]: [each["id"] for each in package.get("vulns", ())] for package in packages}
    assert {name: ids for name, ids in found.items() if ids} == {}


def test_the_tree_is_the_repositorys():
    named = {path for path in tree_files() if path.startswith(("components/", "app.py"))}
    found = {path.relative_to(ROOT).as_posix() for path in (ROOT / "components").rglob("*.py")} | {"app.py"}
    assert named == {path for path in found if not path.endswith("__init__.py")}


def test_what_the_readme_names_is_there():
    for path in re.findall(r"\]\((?!https?:|#)([^)]+)\)", README):
        assert (ROOT / path).exists(), path
