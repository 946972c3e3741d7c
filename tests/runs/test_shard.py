"""What several processes leave behind is one file of rows in the end."""

from __future__ import annotations

import json

import numpy as np
import pytest
import soundfile

from components.runs.shard import ALONE, join
from tests.runs.trivial import without_times


def rows(output):
    found = [without_times(json.loads(line)) for line in output.read_text().splitlines()[1:]]
    return sorted(found, key=lambda row: (row["clip_id"], row["lane_id"]))


@pytest.fixture
def manifest(tmp_path):
    rng = np.random.default_rng(0)
    lines = []
    for number in range(12):
        if number != 5:
            soundfile.write(tmp_path / f"{number}.wav", 0.1 * rng.standard_normal(1600), 16_000)
        lines.append(json.dumps({"clip_id": str(number), "audio": f"{number}.wav", "text": "red green blue"}))
    path = tmp_path / "manifest.jsonl"
    path.write_text("\n".join(lines))
    return path


def test_alone_unless_launched():
    assert join({}) is ALONE
    assert join({"WORLD_SIZE": "1"}) is ALONE


def test_parts_that_a_kill_left_are_gathered(trivial_lab, manifest, tmp_path):
    """What two processes were killed over, one goes on with."""
    output = tmp_path / "runs.jsonl"
    trivial_lab.benchmark(manifest, output)
    whole, (header, *lines) = rows(output), output.read_text().splitlines(keepends=True)
    output.write_text("".join([header, *lines[:6]]))
    (tmp_path / "runs.jsonl.part-1").write_text("".join([header, *lines[4:14], lines[14][:40]]))
    (tmp_path / "runs.jsonl.part-2").write_text(header[:30])
    trivial_lab.benchmark(manifest, output, resume=True)
    assert rows(output) == whole
    assert not list(tmp_path.glob("*.part-*"))
