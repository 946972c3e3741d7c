"""Reports and speed runs as files: written, opened again, refused."""

from __future__ import annotations

import csv
import io
import json
import random
import re

import pytest

from components.core.catalog import LANES
from components.core.errors import ManifestError
from components.core.types import LaneFailure, SpeedRun
from components.report import files
from components.report.pages import speed_page
from tests.report.nouns import HOSTILE, MACHINE, make_clip, make_report, make_speed


def rows_of(report):
    return list(csv.DictReader(io.StringIO(files.to_csv(report).removeprefix("\ufeff"))))


def test_a_report_is_written_and_opened_again(report, tmp_path):
    paths = files.write_report(report, tmp_path / "new")
    assert [path.name for path in paths] == ["report.json", "report.csv", "report.html"]
    assert files.open_report(paths[0]) == report


def test_csv_holds_every_row_and_failure_as_numbers(report):
    rows = rows_of(report)
    assert [row["clip_id"] for row in rows] == ["a", "a", "b", "b", "c", "c", "d"]
    assert float(rows[1]["generation_time_s"]) == pytest.approx(0.2)
    assert rows[-1]["message"] == "It failed."
    assert rows[-1]["generation_time_s"] == ""


def test_csv_opens_in_excel(report, tmp_path):
    data = files.write_report(report, tmp_path)[1].read_bytes()
    assert data.startswith(b"\xef\xbb\xbf")
    assert b"\r\n" in data
    assert b"\r\r\n" not in data


@pytest.mark.parametrize("sign", files.FORMULA_SIGNS)
def test_no_text_of_a_csv_is_a_formula(sign):
    text = f"{sign}HYPERLINK(1)"
    clip = make_clip(text, "whisper", 0.1, 0.2, warnings=(text,))
    failures = (LaneFailure(clip_id=text, lane_id="distil", message=text),)
    for row in rows_of(make_report([clip], failures=failures)):
        texts = [row[name] for name in ("clip_id", "warnings", "message")]
        assert not [text for text in texts if text.startswith(files.FORMULA_SIGNS)]


def test_a_folder_that_cannot_be_written(report, tmp_path):
    (tmp_path / "file").write_text("")
    with pytest.raises(ManifestError, match="cannot be written"):
        files.write_report(report, tmp_path / "file" / "below")


def check_alone(page):
    """A page fetches nothing, and its text starts no tag of its own."""
    assert HOSTILE not in page
    head, body = page.split("</head>")
    assert "Plotly" in head
    assert "<img" not in body
    assert not re.search(r"""(?:src|href)=['"]?(?:https?:)?//""", body)


def test_the_page_needs_nothing_else_and_runs_nothing_of_the_data():
    clips = [make_clip(HOSTILE, lane, 0.1, 0.2, warnings=(HOSTILE,)) for lane in ("whisper", "distil")]
    machine = MACHINE.model_copy(update={"device_name": HOSTILE, "platform": HOSTILE})
    page = files.contents(make_report(clips, data=HOSTILE, machine=machine, settings={HOSTILE: HOSTILE}))["report.html"]
    check_alone(page)
    assert page.split("</head>")[1].count("Plotly.newPlot") == 2


def test_the_page_of_a_speed_run():
    failure = LaneFailure(clip_id="shapes", lane_id="speculative", message=HOSTILE)
    page = speed_page([make_speed(pair=HOSTILE, failures=(failure,))])
    check_alone(page)
    assert page.split("</head>")[1].count("Plotly.newPlot") == 3


def test_a_speed_run_is_opened_from_what_the_command_line_printed(tmp_path):
    run = make_speed()
    path = tmp_path / "run.json"
    path.write_text(f"a table\n\n{json.dumps(run.model_dump(mode='json'))}\n")
    assert files.open_speed(path) == run


def test_saved_runs_can_be_opened_and_have_names_of_their_own():
    saved = files.saved_speed()
    assert saved
    assert len({name for name, _ in saved}) == len(saved)


def test_saved_runs_name_no_kernel():
    paths = sorted(files.SAVED_SPEED.glob("speed_*.json"))
    assert len(paths) == len(files.saved_speed())
    assert {run.machine.platform for _, run in files.saved_speed()} == {"Linux x86_64"}


def test_the_schema_that_ships_is_that_of_the_class():
    assert json.loads(files.SPEED_SCHEMA.read_text()) == SpeedRun.model_json_schema()


def damaged(rng, run):
    """A run with one thing wrong, as bytes; never a run that would be right."""
    text = json.dumps(run)
    broken = json.loads(text)
    lane = rng.choice(broken["lanes"])
    figures = [key for key, value in lane.items() if isinstance(value, float)]
    wrong = rng.choice([None, "text", [], {}, True, -1e300, 1e300, float("nan"), float("inf"), 10**400])
    kind = rng.randrange(8)
    if kind == 0:
        lane[rng.choice(figures)] = wrong if wrong is not None else "none"
        lane["ratio"] = "1"
    elif kind == 1:
        del lane[rng.choice([key for key in lane if key != "batch_size"])]
    elif kind == 2:
        del broken[rng.choice([key for key in broken if key != "format"])]
    elif kind == 3:
        broken["lanes"] = rng.choice([[], None, {}, [wrong], [{**lane, "lane_id": "other"}]])
    elif kind == 4:
        lane[rng.choice(["runtime", "note", "dtype"])] = rng.choice(
            [1, None, [], "x" * 20_000_000 if rng.random() < 0.02 else {}]
        )
    elif kind == 5:
        return text[: rng.randrange(len(text) - 1)].encode()
    elif kind == 6:
        return ("[" * rng.choice([300, 100_000]) + text).encode()
    else:
        return rng.choice(
            [b"", b"\xff\xfe\x00", b"null", b"[]", b"0", b"\x00" * 99, b'{"lanes": ' + b"9" * 5000 + b"}"]
        )
    return json.dumps(broken).encode()


def test_a_thousand_damaged_runs_are_refused_with_a_sentence(tmp_path):
    rng = random.Random(0)
    run = make_speed().model_dump(mode="json")
    path = tmp_path / "run.json"
    for _ in range(1000):
        path.write_bytes(damaged(rng, run))
        with pytest.raises(ManifestError) as refused:
            files.open_speed(path)
        assert refused.value.message.startswith("run.json is")
        assert len(refused.value.message) < 200


def test_a_random_change_is_refused_or_gives_a_run_that_can_be_shown(tmp_path):
    rng = random.Random(1)
    data = json.dumps(make_speed().model_dump(mode="json")).encode()
    path = tmp_path / "run.json"
    for _ in range(300):
        changed = bytearray(data)
        for _ in range(rng.randrange(1, 4)):
            changed[rng.randrange(len(changed))] = rng.randrange(256)
        path.write_bytes(changed)
        try:
            run = files.open_speed(path)
        except ManifestError:
            continue
        assert isinstance(run, SpeedRun)
        assert {lane.lane_id for lane in run.lanes} <= LANES.keys()
        json.dumps(run.model_dump(mode="json"), allow_nan=False)


@pytest.mark.parametrize("value", [float("nan"), {"a": {}}, [[[]]]])
def test_a_report_with_settings_that_no_benchmark_has_is_refused(report, tmp_path, value):
    changed = report.model_dump(mode="json")
    changed["settings"]["x"] = value
    (tmp_path / "report.json").write_text(json.dumps(changed))
    with pytest.raises(ManifestError):
        files.open_report(tmp_path / "report.json")


@pytest.mark.parametrize("text", ["", "{}", "[]", '{"format": "whisper-vs-distil-whisper/report/9"}', "[" * 100_000])
def test_what_is_no_report_is_refused(tmp_path, text):
    (tmp_path / "report.json").write_text(text)
    with pytest.raises(ManifestError, match=r"^report.json is not a saved report"):
        files.open_report(tmp_path / "report.json")


def test_a_report_that_is_too_large_is_refused(tmp_path, monkeypatch):
    monkeypatch.setattr(files, "MAX_REPORT_BYTES", 1000)
    (tmp_path / "report.json").write_text(" " * 1001)
    with pytest.raises(ManifestError, match="too large"):
        files.open_report(tmp_path / "report.json")
