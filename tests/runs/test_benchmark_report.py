"""What a run reports: against jiwer alone, against the truth of a simulation, and over `ROWS` rows."""

from __future__ import annotations

import gc
import json
import os
import resource
import time

import jiwer
import numpy as np
import psutil
import pytest
import soundfile

from components.core.errors import ManifestError
from components.core.files import read_rows
from components.core.types import LaneRun
from components.runs.benchmark import read_report
from components.runs.intervals import ratio_intervals
from tests.runs.voice import spoken

ROWS = int(os.environ.get("ROWS", "2000"))


def write_manifest(folder, texts, rng=None):
    """A clip of speech for each text; without ``rng`` one file for all."""
    for number in range(len(texts) if rng else 1):
        soundfile.write(folder / f"{number}.wav", spoken(rng or np.random.default_rng(0)), 16_000)
    rows = [
        {"clip_id": f"clip-{number}", "audio": f"{number if rng else 0}.wav", "text": text}
        for number, text in enumerate(texts)
    ]
    path = folder / "manifest.jsonl"
    path.write_text("".join(json.dumps(row) + "\n" for row in rows))
    return path


@pytest.fixture
def output(tmp_path):
    return tmp_path / "runs.jsonl"


def runs_of(path):
    return [row for row in read_rows(path)[1] if isinstance(row, LaneRun)]


@pytest.fixture
def measured(trivial_lab, tmp_path, output):
    texts = ["One two, three four!", "5 six seven", "", None, "nine ten one", "two two three"] * 4
    trivial_lab.benchmark(write_manifest(tmp_path, texts, np.random.default_rng(1)), output)
    return list(read_rows(output)[1])


def test_wer_by_jiwer_alone(measured, output):
    summary = read_report(output).summary
    for lane in ("whisper", "distil"):
        rows = [row for row in measured if row.lane_id == lane and row.reference]
        told = [row for row in measured if row.lane_id == lane and row.reference == ""]
        said = jiwer.process_words([row.normalized_reference for row in rows], [row.normalized_text for row in rows])
        words = said.hits + said.substitutions + said.deletions
        unasked = sum(len(row.normalized_text.split()) for row in told)
        wer = (said.substitutions + said.deletions + said.insertions + unasked) / words
        totals = summary.lanes[lane]
        assert totals.word_errors.wer == pytest.approx(wer, abs=1e-6)
        assert totals.insertion_rate == pytest.approx((said.insertions + unasked) / words)
        assert totals.wer_interval[0] <= wer <= totals.wer_interval[1]
    assert any(warning.startswith("Without a reference: 4 clips.") for warning in summary.warnings)
    assert any(warning.startswith("With an empty reference: 4 clips.") for warning in summary.warnings)


def test_totals_are_those_of_the_rows(measured, output):
    report = read_report(output)
    summary = report.summary
    lanes = ("whisper", "distil")
    timed = {lane: [row for row in measured if row.lane_id == lane and row.generation_time_s] for lane in lanes}
    both = set.intersection(*({row.clip_id for row in rows} for rows in timed.values()))
    times = {
        lane: np.array([row.generation_time_s for row in rows if row.clip_id in both]) for lane, rows in timed.items()
    }
    assert summary.speed_up == {"distil": pytest.approx(times["whisper"].sum() / times["distil"].sum())}
    low, high = summary.speed_up_interval["distil"]
    assert low <= summary.speed_up["distil"] <= high
    for lane, rows in timed.items():
        totals, seconds = summary.lanes[lane], [row.generation_time_s for row in rows]
        assert totals.median_generation_time_s == pytest.approx(np.median(seconds))
        assert totals.p90_generation_time_s == pytest.approx(np.percentile(seconds, 90))
        tokens = [row.generated_tokens for row in rows]
        if len(set(tokens)) > 1:
            assert totals.ms_per_token == pytest.approx(1000 * np.polyfit(tokens, seconds, 1)[0])
    errors = {
        lane: {row.clip_id: row.word_errors for row in measured if row.lane_id == lane and row.word_errors}
        for lane in times
    }

    no_worse = [errors["distil"][clip].edits <= errors["whisper"][clip].edits for clip in errors["whisper"]]
    assert summary.qoi == {"distil": pytest.approx(np.mean(no_worse))}
    assert 0 < summary.qoi["distil"] <= 1
    texts = {(row.clip_id, row.lane_id): row.text for row in measured}
    for each in summary.differ_most:
        before, after = texts[each.clip_id, "whisper"], texts[each.clip_id, "distil"]
        assert each.words == round(jiwer.wer(before, after) * len(before.split()))
    counts = [each.words for each in summary.differ_most]
    assert counts == sorted(counts, reverse=True)
    assert counts[0] == 2
    assert len(report.clips) == 48
    assert read_report(output).summary == summary, "the same resamples every time"


def test_the_interval_covers_the_truth():
    """Ratio of totals over 73 clips, times lognormal and paired: 95 % intervals hold it 95 times in 100, or nearly."""
    rng = np.random.default_rng(5)
    truth, trials, held = 4.0, 300, 0
    for trial in range(trials):
        student = rng.lognormal(0, 0.5, 73)
        teacher = truth * student * rng.lognormal(-0.08, 0.4, 73)  # of mean one
        ((low, high),) = ratio_intervals(teacher[:, None], student[:, None], seed=trial)
        held += low <= truth <= high
    assert 0.90 <= held / trials <= 0.98


def test_intervals_are_paired_and_need_two_clips():
    seconds = np.random.default_rng(0).lognormal(0, 1, (40, 1))
    ((low, high),) = ratio_intervals(3 * seconds, seconds)
    assert (low, high) == (pytest.approx(3), pytest.approx(3)), "clips are drawn for both lanes at once"
    assert ratio_intervals(seconds[:1], seconds[:1]) == [None]
    assert ratio_intervals(seconds, np.zeros_like(seconds)) == [None]


def test_many_rows_cost_little_and_memory_stays_flat(trivial_lab, tmp_path, output):
    """Processor time, not the clock: a machine that is busy elsewhere does not make the pipeline slow."""
    manifest = write_manifest(tmp_path, ["one two three four"] * (ROWS // 2))  # two lanes
    process = psutil.Process()
    marks = []
    steps = trivial_lab.benchmark_steps(manifest, output)
    for number, _ in enumerate(steps, start=1):
        if number % (ROWS // 8) == 0:
            gc.collect()
            marks.append((2 * number, time.process_time(), process.memory_info().rss))
    (first, early_s, early), *middle, (last, late_s, late) = marks
    assert last == ROWS
    assert late <= 1.05 * early
    half, half_s, _ = middle[0]
    quarter = (half_s - early_s) / (half - first)
    assert (late_s - half_s) / (last - half) <= 1.5 * quarter, "time grows faster than the rows"
    assert read_report(output).summary.clips == ROWS // 2
    assert process.memory_info().rss <= 1.25 * early, "nor does the report keep more"


def test_a_full_disk(trivial_lab, tmp_path):
    manifest = write_manifest(tmp_path, ["one"] * 20)
    full = tmp_path / "full.jsonl"
    full.symlink_to("/dev/full")
    with pytest.raises(ManifestError, match=r"full\.jsonl cannot be written: No space left on device"):
        trivial_lab.benchmark(manifest, full)
    output = tmp_path / "runs.jsonl"
    soft, hard = resource.getrlimit(resource.RLIMIT_FSIZE)
    resource.setrlimit(resource.RLIMIT_FSIZE, (10_000, hard))  # the system then refuses what lies beyond
    try:
        with pytest.raises(ManifestError, match="Finished rows are kept"):
            trivial_lab.benchmark(manifest, output)
    finally:
        resource.setrlimit(resource.RLIMIT_FSIZE, (soft, hard))
    kept = output.read_text()
    assert kept.endswith("\n")
    assert len(runs_of(output)) >= 2
    trivial_lab.benchmark(manifest, output, resume=True)
    assert output.read_text().startswith(kept)
    assert len(runs_of(output)) == 40


def test_retry_failed(trivial_lab, tmp_path, output):
    manifest = write_manifest(tmp_path, ["one", "two"], np.random.default_rng(0))
    sound = (tmp_path / "0.wav").read_bytes()
    (tmp_path / "0.wav").unlink()
    first = trivial_lab.benchmark(manifest, output)
    assert first.summary.failures == {"whisper": 1, "distil": 1}
    assert "Whisper failed on 1 clip. The first, clip-0: The file 0.wav is not there" in first.summary.warnings[0]
    (tmp_path / "0.wav").write_bytes(sound)
    assert trivial_lab.benchmark(manifest, output, resume=True).summary.failures == first.summary.failures
    report = trivial_lab.benchmark(manifest, output, resume=True, retry_failed=True)
    assert (len(runs_of(output)), report.summary.failures) == (4, {})
    assert len(output.read_text().splitlines()) == 5


def test_limit_and_shuffle(trivial_lab, tmp_path):
    manifest = write_manifest(tmp_path, ["one"] * 20)
    found = {}
    for name, options in {"a": {"seed": 1}, "b": {"seed": 1}, "c": {"seed": 2}, "d": {}}.items():
        trivial_lab.benchmark(manifest, tmp_path / name, limit=5, **options)
        found[name] = [run.clip_id for run in runs_of(tmp_path / name)]
    assert found["a"] == found["b"] != found["c"]
    assert found["d"] == [f"clip-{number}" for number in range(5) for _ in range(2)]
    trivial_lab.benchmark(manifest, tmp_path / "a", seed=1, resume=True)
    assert len({run.clip_id for run in runs_of(tmp_path / "a")}) == 20


def test_another_machine_is_told(trivial_lab, tmp_path, output):
    manifest = write_manifest(tmp_path, ["one", "two"])
    trivial_lab.benchmark(manifest, output, limit=1)
    header, *rows = output.read_text().splitlines()
    changed = json.loads(header)
    changed["machine"]["device_name"] = "Another"
    output.write_text("\n".join([json.dumps(changed), *rows]) + "\n")
    report = trivial_lab.benchmark(manifest, output, resume=True)
    assert "more than one machine" in report.summary.warnings[0]
    assert report.machine.device_name == "Another"


def test_another_data_set_is_refused(trivial_lab, tmp_path, output):
    manifest = write_manifest(tmp_path, ["one"])
    trivial_lab.benchmark(manifest, output)
    before = output.read_bytes()
    other = manifest.rename(tmp_path / "other.jsonl")
    with pytest.raises(ManifestError, match="belongs to another run: its data"):
        trivial_lab.benchmark(other, output, resume=True)
    assert output.read_bytes() == before
