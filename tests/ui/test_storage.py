"""The folder of uploads: what goes, what stays, and what is left when the process has ended."""

from __future__ import annotations

import errno
import os
import subprocess
import sys
import tempfile
import time
from pathlib import Path

import pytest

from components.core.errors import SettingsError
from components.core.types import RowsHeader
from components.report.files import write_report
from components.runs.benchmark import read_report
from components.runs.rescore import rescore
from components.runs.rowfile import RowFile
from components.ui import storage as module
from components.ui.storage import PREFIX, Storage, is_full, runs_parent
from tests.report.nouns import MACHINE, make_run


@pytest.fixture
def storage(tmp_path, monkeypatch):
    monkeypatch.setenv("GRADIO_TEMP_DIR", str(tmp_path))
    made = Storage()
    yield made
    made.close()


def aged(file: Path, seconds: float, size: int = 10) -> Path:
    file.parent.mkdir(exist_ok=True)
    file.write_bytes(b"x" * size)
    os.utime(file, (time.time() - seconds,) * 2)
    return file


def test_the_folder_is_the_owners_alone(storage):
    assert storage.folder.stat().st_mode & 0o777 == 0o700
    assert os.environ["GRADIO_TEMP_DIR"] == str(storage.folder)


def test_rows_and_reports_are_the_owners_alone(tmp_path):
    """Wherever they are written, also as the command line does it, and whatever the umask lets others do."""
    header = RowsHeader(pair="base", checkpoints={"whisper": "a/b"}, settings={}, machine=MACHINE)
    before = os.umask(0)
    try:
        with RowFile(tmp_path / "runs.jsonl", header) as rows:
            rows.append([make_run("whisper", (0.1, 0.2))])
        rescore(tmp_path / "runs.jsonl", "none", tmp_path / "again.jsonl")
        write_report(read_report(tmp_path / "runs.jsonl"), tmp_path)
    finally:
        os.umask(before)
    files = [file for file in tmp_path.iterdir() if file.is_file()]
    assert {file.name: file.stat().st_mode & 0o777 for file in files} == dict.fromkeys(
        ("runs.jsonl", "again.jsonl", "report.json", "report.csv", "report.html"), 0o600
    )


def test_a_run_is_as_old_as_the_newest_of_its_files(storage):
    folder = Path(tempfile.mkdtemp(prefix="benchmark-", dir=runs_parent()))
    assert folder.parent == storage.folder
    clip = aged(folder / "clip.wav", module.MAX_AGE_S + 1)
    rows = aged(folder / "runs.jsonl", 10)
    storage.sweep(parts=True)
    assert clip.exists()
    aged(rows, module.MAX_AGE_S + 1)
    storage.sweep()
    assert not folder.exists()


def test_old_files_go_and_new_ones_stay(storage):
    old = aged(storage.folder / "a" / "old.wav", module.MAX_AGE_S + 1)
    new = aged(storage.folder / "b" / "new.wav", 10)
    storage.sweep()
    assert (old.exists(), old.parent.exists(), new.exists()) == (False, False, True)


def test_an_upload_that_broke_off_goes_with_the_last_upload(storage):
    part = storage.folder / "tmpabc"
    with storage.upload():
        with storage.upload():
            aged(part, 0)
        assert part.exists()
    assert not part.exists()


def test_where_the_disk_is_short_the_oldest_go_first(storage, monkeypatch):
    files = [aged(storage.folder / str(age) / "clip.wav", age) for age in (900, 600, 300, 5)]
    free = os.statvfs(storage.folder)
    monkeypatch.setattr(module, "LEAST_FREE_BYTES", free.f_bavail * free.f_frsize + 15)
    storage.sweep()
    assert [file.exists() for file in files][-1] is True
    gone = [file.exists() for file in files]
    assert gone == sorted(gone)
    assert not files[0].exists()


def test_what_a_killed_process_left_goes_and_what_is_in_use_stays(storage, tmp_path):
    code = "import os; from components.ui.storage import Storage; print(Storage().folder, flush=True); os._exit(9)"
    environ = {**os.environ, "GRADIO_TEMP_DIR": str(tmp_path)}
    done = subprocess.run([sys.executable, "-c", code], env=environ, capture_output=True, text=True, check=False)
    left = Path(done.stdout.strip())
    assert left.name.startswith(PREFIX)
    assert left.is_dir()
    os.environ["GRADIO_TEMP_DIR"] = str(tmp_path)
    Storage().close()
    assert not left.exists()
    assert storage.folder.is_dir()


def test_a_folder_that_cannot_be_made_names_the_variable(tmp_path, monkeypatch):
    (tmp_path / "file").write_text("")
    monkeypatch.setenv("GRADIO_TEMP_DIR", str(tmp_path / "file" / "below"))
    with pytest.raises(SettingsError, match="GRADIO_TEMP_DIR"):
        Storage()


@pytest.mark.parametrize(("code", "full"), [(errno.ENOSPC, True), (errno.EDQUOT, True), (errno.EACCES, False)])
def test_a_full_disk_is_told_from_other_errors(code, full):
    error = ValueError("wrapped")
    error.__cause__ = OSError(code, "said")
    assert is_full(error) is full
