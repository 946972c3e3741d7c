"""A visit's totals: each comparison is a sample."""

from __future__ import annotations

import pytest

from components.core.types import LaneFailure
from components.runs.totals import Totals, report_of
from tests.core.test_files import HEADER
from tests.core.test_types import comparison, lane_run, timing


def test_the_same_clip_twice_is_two_samples():
    visit = [comparison(lane_run("whisper", timing(2.0)), lane_run("distil", timing(1.0))) for _ in range(2)]
    visit.append(comparison(lane_run("whisper", timing(5.0)), lane_run("distil", timing(1.0))))
    report = report_of(visit)
    assert report.summary.clips == 3
    assert report.summary.speed_up == {"distil": pytest.approx(9 / 3)}
    low, high = report.summary.speed_up_interval["distil"]
    assert 2 <= low < high <= 5
    assert [clip.clip_id for clip in report.clips] == ["clip"] * 6
    assert report.checkpoints == {"whisper": "owner/name", "distil": "owner/name"}


def test_lanes_may_differ_from_one_comparison_to_the_next():
    failure = LaneFailure(clip_id="clip", lane_id="distil", message="It failed.")
    other = lane_run("distil", timing(1.0), normalized_text="grüße uns")
    visit = [
        comparison(lane_run("whisper", timing(2.0)), failures=(failure,)),
        comparison(lane_run("distil", timing(1.0))),
        comparison(other, lane_run("whisper", timing(4.0))),
        comparison(lane_run("whisper")),  # silence
    ]
    report = report_of(visit)
    assert report.summary.speed_up == {"distil": pytest.approx(4)}
    assert report.summary.speed_up_interval == {"distil": None}, "one clip has no interval"
    assert [(each.lane_id, each.words) for each in report.summary.differ_most] == [("distil", 1)]
    assert report.failures == (failure,)


def test_a_row_that_comes_again_takes_the_place_of_the_one_before():
    totals = Totals(HEADER)
    totals.add(LaneFailure(clip_id="clip", lane_id="whisper", message="It failed."))
    totals.add(lane_run("whisper", timing(2.0)))
    totals.add(lane_run("whisper", timing(3.0)))
    report = totals.report()
    assert (report.failures, report.summary.lanes["whisper"].generation_time_s) == ((), 3.0)
    assert totals.seconds_a_clip == pytest.approx(3.2)


def test_a_busy_machine_is_told():
    report = report_of([comparison(lane_run("whisper", timing(2.0), busy=True))])
    assert any("busy on 1 clip" in warning for warning in report.summary.warnings)
