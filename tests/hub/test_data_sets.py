"""Data sets of the hub, streamed: the preset on the page's API, and any by its id on the command line."""

from __future__ import annotations

import io
import json
import os
import subprocess
import sys
from typing import TYPE_CHECKING

import datasets
import pyarrow as pa
import pytest
import soundfile
from gradio_client import Client
from gradio_client.exceptions import AppError
from pyarrow import parquet

from components.core.types import SAMPLING_RATE
from components.runs.sources import PRESETS
from tests.browser.harness import ROOT, pair_variables, running_app
from tests.hub.server import Hub

if TYPE_CHECKING:
    from collections.abc import Iterator

PRESET, FOLDER = PRESETS["librispeech"].path, "somebody/spoken"
CLIPS = 3
CARD = f"""---
dataset_info:
  config_name: clean
  splits:
  - name: validation
    num_bytes: 1
    num_examples: {CLIPS}
  download_size: 1
  dataset_size: 1
configs:
- config_name: clean
  data_files:
  - split: validation
    path: clean/validation-*
---
"""


@pytest.fixture(scope="module")
def flac(speechlike_clip) -> bytes:
    file = io.BytesIO()
    soundfile.write(file, speechlike_clip.samples, SAMPLING_RATE, format="FLAC")
    return file.getvalue()


@pytest.fixture(scope="module")
def hub(flac, tmp_path_factory) -> Hub:
    """The preset as it stands on the hub, Parquet with the audio in it, and a data set whose audio lies in files."""
    embedded, files = tmp_path_factory.mktemp("embedded"), tmp_path_factory.mktemp("files")
    text = datasets.Value("string")
    features = datasets.Features({"file": text, "audio": datasets.Audio(SAMPLING_RATE), "text": text, "id": text})
    rows = [
        {"file": f"{n}.flac", "audio": {"bytes": flac, "path": f"{n}.flac"}, "text": "TWO WORDS", "id": f"1272-{n}"}
        for n in range(CLIPS)
    ]
    (embedded / "clean").mkdir()
    table = pa.Table.from_pylist(rows, schema=features.arrow_schema)
    parquet.write_table(table, embedded / "clean" / "validation-00000-of-00001.parquet")
    (embedded / "README.md").write_text(CARD)

    (files / "test").mkdir()
    for name in ("one", "two"):
        (files / "test" / f"{name}.flac").write_bytes(flac)
    (files / "test" / "metadata.csv").write_text("file_name,sentence\none.flac,Two words.\ntwo.flac,\n")
    return Hub({PRESET: embedded, FOLDER: files})


@pytest.fixture(scope="module")
def variables(hub, tiny_teacher, tiny_student, tmp_path_factory) -> Iterator[dict[str, str]]:
    with hub.serving() as endpoint:
        here = {"HF_ENDPOINT": endpoint, "HF_HOME": str(tmp_path_factory.mktemp("cache")), "HF_HUB_OFFLINE": "0"}
        yield pair_variables(tiny_teacher, tiny_student) | here


def test_the_preset_runs_from_the_api_and_a_refusal_has_its_sentence(hub, variables):
    with running_app(**variables) as url:
        client = Client(url, verbose=False)
        hub.faults[PRESET] = "gated"
        with pytest.raises(AppError, match=r"validation is gated\. Accept its terms"):
            client.predict(source="librispeech", api_name="/benchmark")
        del hub.faults[PRESET]
        job = client.submit(source="librispeech", api_name="/benchmark")
        report = job.result(timeout=120)["report"]
        client.close()
    assert [line["total"] for line in job.outputs()] == [CLIPS] * (CLIPS + 1)
    assert report["data"] == f"{PRESET}, clean, validation"
    assert {clip["clip_id"] for clip in report["clips"]} == {f"1272-{n}" for n in range(CLIPS)}
    assert report["summary"]["lanes"]["whisper"]["word_errors"]["reference_words"] == 2 * CLIPS
    assert report["summary"]["failures"] == {}


def test_any_data_set_by_its_id_from_the_command_line(variables, tmp_path):
    output = tmp_path / "runs.jsonl"
    options = ["--dataset", FOLDER, "--split", "test", "--text-column", "sentence", "--output", str(output)]
    ran = subprocess.run(
        [sys.executable, "-m", "components.runs", "benchmark", *options, "--json"],
        cwd=ROOT,
        env=os.environ | variables,
        capture_output=True,
        text=True,
        check=False,
        timeout=200,
    )
    assert ran.returncode == 0, ran.stderr
    header, *rows = map(json.loads, output.read_text().splitlines())
    assert header["data"] == f"{FOLDER}, test"
    assert {(row["clip_id"], row["reference"]) for row in rows} == {("one", "Two words."), ("two", None)}
    assert all(row["audio_length_s"] == 3 for row in rows)
