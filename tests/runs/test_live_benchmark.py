"""A data set as if somebody were speaking it: rows with lags, both ways' words, and what live costs."""

from __future__ import annotations

import json
from concurrent.futures import ThreadPoolExecutor

import numpy as np
import pytest
import soundfile

from components.core.caller import NOBODY
from components.core.errors import BusyError, LaneError, ManifestError
from components.core.files import read_rows
from components.core.types import LaneFailure, LiveFigures, WordErrors
from components.report import text
from components.runs.live_totals import live_totals
from components.runs.rescore import rescore


@pytest.fixture
def manifest(tmp_path, speechlike_clip):
    """Two clips that can be read, and one that cannot."""
    rows = [{"clip_id": "missing", "audio": "missing.wav", "text": "x"}]
    for number, said in enumerate(["a b c", "d e"]):
        soundfile.write(tmp_path / f"{number}.wav", speechlike_clip.samples[4_000 * number :], 16_000)
        rows.append({"clip_id": f"clip-{number}", "audio": f"{number}.wav", "text": said})
    path = tmp_path / "manifest.jsonl"
    path.write_text("".join(json.dumps(row) + "\n" for row in rows))
    return path


def test_rows_totals_and_another_normaliser(lab, manifest, tmp_path):
    output = tmp_path / "live.jsonl"
    report = lab.benchmark(manifest, output, live=True)
    header, rows = read_rows(output)
    assert header.settings["live"] is True
    rows = list(rows)
    assert [(row.clip_id, row.lane_id) for row in rows] == [
        (clip, lane) for clip in ("missing", "clip-0", "clip-1") for lane in ("whisper", "distil")
    ]
    for row in rows[:2]:
        assert isinstance(row, LaneFailure)
    for row in rows[2:]:
        assert row.lags.compute_max_s > 0
        assert len(row.live.pass_lags_s) >= 2
        assert row.live.offline_text is not None
        assert row.live.offline_errors.reference_words == row.word_errors.reference_words > 0
    for lane, totals in report.summary.lanes.items():
        own = [row for row in rows[2:] if row.lane_id == lane]
        assert totals.live.passes == sum(len(row.live.pass_lags_s) for row in own)
        assert totals.live.compute_max_s == max(row.lags.compute_max_s for row in own)
        more = sum(row.word_errors.edits - row.live.offline_errors.edits for row in own)
        assert totals.live.wer_difference == pytest.approx(more / sum(row.word_errors.reference_words for row in own))
    assert "Live more than at once" in text.benchmark(report)
    rescore(output, "none")
    assert {row.live.offline_errors.normalizer for row in list(read_rows(output)[1])[2:]} == {
        row.normalizer for row in list(read_rows(output)[1])[2:]
    }


def test_it_goes_on_where_it_was_stopped(lab, manifest, tmp_path):
    output = tmp_path / "live.jsonl"
    steps = lab.benchmark_steps(manifest, output, live=True)
    next(steps), next(steps)
    steps.close()
    before = output.read_text()
    lab.benchmark(manifest, output, live=True, resume=True)
    assert output.read_text().startswith(before)
    assert len(list(read_rows(output)[1])) == 6


def test_live_rows_and_others_do_not_mix(lab, manifest, tmp_path):
    output = tmp_path / "runs.jsonl"
    lab.benchmark(manifest, output, limit=1)
    with pytest.raises(ManifestError):
        lab.benchmark(manifest, output, live=True, resume=True)


@pytest.mark.parametrize("options", [{"repeats": 2}, {"batch_size": 2}])
def test_repeats_and_batches_do_not_go_with_live(lab, manifest, tmp_path, options):
    with pytest.raises(LaneError, match="leave out"):
        lab.benchmark(manifest, tmp_path / "live.jsonl", live=True, **options)


def errors(substitutions: int) -> WordErrors:
    return WordErrors(substitutions=substitutions, reference_words=100)


def test_the_difference_is_paired():
    """Clips differ widely, live costs two words on each: the interval is as narrow as that."""
    rng = np.random.default_rng(0)
    clips = [
        (LiveFigures(pass_lags_s=((1.0, 2.0), (3.0, 4.0)), offline_errors=errors(base)), errors(base + 2))
        for base in rng.integers(0, 60, size=40).tolist()
    ]
    totals = live_totals(clips, seed=0, resamples=200)
    assert totals.wer_difference == pytest.approx(0.02)
    assert totals.wer_difference_interval == pytest.approx((0.02, 0.02))
    assert (totals.passes, totals.compute_median_s, totals.policy_max_s) == (80, 2.0, 4.0)


def test_clips_without_a_reference_have_lags_alone():
    totals = live_totals([(LiveFigures(pass_lags_s=((1.0, 2.0),)), None)], seed=0, resamples=10)
    assert (totals.passes, totals.wer_difference, totals.wer_difference_interval) == (1, None, None)
    assert live_totals([], seed=0, resamples=10) is None


def test_a_run_that_has_begun_keeps_its_turn(lab, monkeypatch):
    """However many wait by then: only its first step may be refused."""
    monkeypatch.setattr("components.runs.live_service.MAX_WAITING", 0)
    begun, late = (lab.live_service._on_device(NOBODY) for _ in range(2))
    assert begun(lambda: 1) == 1
    with ThreadPoolExecutor() as pool:
        with lab.queue.turn():
            with pytest.raises(BusyError):
                late(lambda: 2)
            waiting = pool.submit(begun, lambda: 3)
            assert not waiting.done()
        assert waiting.result(timeout=5) == 3
