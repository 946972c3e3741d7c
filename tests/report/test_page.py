"""A report as charts, tables and files."""

from __future__ import annotations

import csv
import io
import re

import pytest

from components.core.types import Difference, LaneFailure, Machine, Report, RowsHeader, WordErrors
from components.report.benchmark_figures import FIGURES
from components.report.files import contents, write_report

HOSTILE = "</script><img src=x onerror=alert(1)>"


@pytest.fixture
def report(make_run):
    """Three clips, one of them with a hostile name; the student writes a word less on the first."""
    from components.runs.totals import Totals

    machine = Machine(
        device="cpu",
        device_name=HOSTILE,
        platform="Linux",
        python="3.11",
        libraries={"torch": "2"},
        threads=2,
        processes=2,
    )
    header = RowsHeader(
        pair="base",
        checkpoints={"whisper": "a/b", "distil": "c/d"},
        settings={"repeats": 1},
        machine=machine,
        data=HOSTILE,
    )
    totals = Totals(header)
    for number, clip in enumerate(("one", "two", HOSTILE)):
        for lane, words, decoder_s in (
            ("whisper", "a b c d", 0.7),
            ("distil", "a b c" if clip == "one" else "a b c d", 0.1),
        ):
            errors = WordErrors(deletions=4 - len(words.split()), reference_words=4)
            changes = {"text": words, "normalized_text": words, "word_errors": errors}
            totals.add(make_run(clip, lane, 0.1, decoder_s + number / 10, generated_tokens=10 + number, **changes))
    totals.add(LaneFailure(clip_id="four", lane_id="distil", message="It failed."))
    return totals.report()


def test_summary_of_known_rows(report):
    summary = report.summary
    assert summary.speed_up["distil"] == pytest.approx(2.7 / 0.9)
    assert summary.qoi == {"distil": pytest.approx(2 / 3)}
    assert summary.lanes["distil"].ms_per_token == pytest.approx(100)
    assert summary.lanes["distil"].word_errors.wer == pytest.approx(1 / 12)
    assert summary.differ_most == (Difference(clip_id="one", lane_id="distil", words=1, baseline_wer=0.0, wer=0.25),)
    assert summary.failures == {"distil": 1}
    assert summary.processes == 2
    assert "2 processes shared the clips" in summary.warnings[0]


def test_figures(report):
    figures = {name: draw(report) for name, (_, draw) in FIGURES.items()}
    for figure in figures.values():
        assert figure.layout.height
        assert re.search(r"\(.+\)", figure.layout.xaxis.title.text)
        assert re.search(r"\(.+\)", figure.layout.yaxis.title.text)
    assert list(figures["clip-latency"].data[0].y) == pytest.approx([0.8, 0.9, 1.0])
    assert list(figures["clip-speed-up"].data[0].y) == pytest.approx([4, 3, 2.5])
    assert any("100.00 ms a token" in trace.name for trace in figures["token-latency"].data)
    assert [trace.y[0] for trace in figures["wer-rtfx"].data] == pytest.approx([0, 100 / 12])


def test_files(report, tmp_path):
    paths = write_report(report, tmp_path / "new")
    assert [path.name for path in paths] == ["report.json", "report.csv", "report.html"]
    assert Report.model_validate_json(paths[0].read_text()) == report
    rows = list(csv.DictReader(io.StringIO(paths[1].read_text())))
    assert [row["clip_id"] for row in rows] == ["one", "one", "two", "two", HOSTILE, HOSTILE]
    assert float(rows[1]["generation_time_s"]) == pytest.approx(0.2)


def test_the_page_needs_nothing_else_and_runs_nothing_of_the_data(report):
    page = contents(report)["report.html"]
    assert HOSTILE not in page
    assert "<img" not in page.split("</head>")[1]
    body = page.split("</head>")[1]
    assert not re.search(r"""(?:src|href)=['"]?(?:https?:)?//""", body)
    assert body.count("Plotly.newPlot") == 4
    assert "Plotly" in page.split("</head>")[0]


def test_a_folder_that_cannot_be_written(report, tmp_path):
    from components.core.errors import ManifestError

    (tmp_path / "file").write_text("")
    with pytest.raises(ManifestError, match="cannot be written"):
        write_report(report, tmp_path / "file" / "below")
