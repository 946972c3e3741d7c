import pytest

from components.report import totals


def test_samples_follow_clips_and_repeated_lanes(make_run):
    rows = [
        make_run("a", "whisper", 1),
        make_run("a", "distil", 1),
        make_run("a", "whisper", 1),
        make_run("b", "distil", 1),
    ]
    assert [list(sample) for sample in totals.samples(rows)] == [["whisper", "distil"], ["whisper"], ["distil"]]


def test_total_is_over_samples_that_both_lanes_finished(rows):
    assert totals.total_speed_up(rows, "distil") == pytest.approx(1.2 / 0.4)
    assert totals.total_speed_up(rows, "whisper") == pytest.approx(1)
    assert totals.total_speed_up(rows[1:2], "distil") is None


def test_decoder_share_sums_before_it_divides(rows):
    assert totals.decoder_share(rows, "whisper") == pytest.approx(1.5 / 1.8)
    assert totals.decoder_share(rows, "distil") == pytest.approx(0.5)
    assert totals.decoder_share([], "distil") is None
