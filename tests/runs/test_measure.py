"""The stopwatch, and what is timed."""

from __future__ import annotations

import time
from dataclasses import replace

import numpy as np
import pytest

from components.core.caller import Caller
from components.core.errors import Cancelled
from components.core.types import Timing
from components.engines.base import DecodingOptions
from components.runs.measure import RequestStopwatch, lower_median, measure, warm_up
from tests.runs.delayed import DelayedEngine

OPTIONS = DecodingOptions()


def test_the_device_is_waited_for_on_both_sides_of_a_part():
    waits_s = [1.0, 0.02]  # what was launched before the part, and within it
    stopwatch = RequestStopwatch(lambda: time.sleep(waits_s.pop(0)))
    with stopwatch.part("encoder"):
        pass
    assert not waits_s
    assert 0.02 <= stopwatch.seconds["encoder"] < 1.0


def test_parts_nest_and_add_up():
    stopwatch = RequestStopwatch(lambda: None)
    for _ in range(3):
        with stopwatch.part("generation"), stopwatch.part("encoder"):
            time.sleep(0.01)
    assert stopwatch.seconds["generation"] >= stopwatch.seconds["encoder"] >= 0.03


def test_a_measurement_has_every_part(pool, lanes, speechlike_clip):
    measurement = measure(pool.get(lanes[0]), speechlike_clip, OPTIONS)
    timing = measurement.timing
    assert min(timing.feature_time_s, timing.encoder_time_s, timing.decoder_time_s) > 0
    assert timing.generation_time_s == pytest.approx(timing.encoder_time_s + timing.decoder_time_s)
    assert timing.end_to_end_time_s > timing.feature_time_s + timing.generation_time_s
    assert measurement.output.generated_tokens > 1
    assert measurement.peak_memory_bytes is None or measurement.peak_memory_bytes > 0


@pytest.mark.parametrize("part", ["features", "encoder", "generation"])
def test_a_delay_shows_in_its_own_part(pool, lanes, speechlike_clip, part):
    engine = pool.get(lanes[0])
    measure(engine, speechlike_clip, OPTIONS)
    timing = measure(DelayedEngine(engine, 0.5, part), speechlike_clip, OPTIONS).timing
    seconds = {
        "features": timing.feature_time_s,
        "encoder": timing.encoder_time_s,
        "generation": timing.decoder_time_s,
    }
    assert seconds[part] >= 0.5
    # Counted twice, the parts would add up to more than the whole, however busy the machine is.
    assert sum(seconds.values()) <= timing.end_to_end_time_s


def test_an_engine_is_warmed_up_once_on_one_window(pool, lanes, speechlike_clip, watch):
    clips = []
    watch(pool, lanes[:1], lambda _, clip: clips.append(clip))
    engine = pool.get(lanes[0])
    long = replace(speechlike_clip, samples=np.tile(speechlike_clip.samples, 15))
    with pytest.raises(Cancelled):
        warm_up(engine, long, OPTIONS, Caller(cancelled=lambda: True))
    warm_up(engine, long, OPTIONS)  # the cancelled one did not count
    warm_up(engine, long, OPTIONS)
    assert [clip.audio_length_s for clip in clips] == [30.0, 30.0]
    assert len(long.samples) == 45 * 16_000


def timing(time_s):
    return Timing(
        feature_time_s=0, encoder_time_s=0, decoder_time_s=time_s, generation_time_s=time_s, end_to_end_time_s=time_s
    )


@pytest.mark.parametrize(("seconds", "index"), [([3.0], 0), ([3.0, 1.0], 1), ([3.0, 1.0, 2.0], 2), ([4, 1, 3, 2], 3)])
def test_the_lower_median(seconds, index):
    assert lower_median([timing(time_s) for time_s in seconds]) == index
