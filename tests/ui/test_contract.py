"""The names in the JSON that scripts rely on, as they were before the nouns became classes: none goes, none changes."""

from __future__ import annotations

import pytest

from components.core import types
from components.ui.schema import json_type

TIMES = "feature_time_s encoder_time_s decoder_time_s generation_time_s end_to_end_time_s"

NAMES = {
    "LaneRun": f"clip_id lane_id checkpoint text segments language audio_length_s generated_tokens {TIMES} rtfx "
    "repeats dtype attention runtime reference normalized_reference normalized_text word_errors warnings "
    "acceptance_rate tokens_per_pass peak_memory_bytes",
    "Segment": "start_s end_s text",
    "Timing": TIMES,
    "WordErrors": "substitutions deletions insertions reference_words wer",
    "LaneFailure": "clip_id lane_id message",
    "Machine": "device device_name platform python libraries threads processes",
    "Comparison": "clip_id audio_length_s pair runs failures speed_up machine",
    "ModelInfo": "lane_id checkpoint num_parameters encoder_parameters decoder_parameters encoder_layers "
    "decoder_layers dtype device attention",
    "Models": "pair lanes parameter_ratio decoder_parameter_ratio",
    "SpeedLane": "lane_id encoder_time_s decoder_time_s generation_time_s generated_tokens ms_per_token "
    "peak_memory_bytes ratio bandwidth_fraction tokens_per_pass dtype attention runtime note",
    "SpeedRun": "pair clips lanes failures bandwidth_bytes_per_s notebook machine",
    "RowsHeader": "format pair checkpoints settings machine data machines",
    "LaneTotals": "clips audio_length_s encoder_time_s decoder_time_s generation_time_s median_generation_time_s "
    "p90_generation_time_s rtfx generated_tokens ms_per_token word_errors wer_interval insertion_rate repeated_5_grams "
    "suspect_clips",
    "Difference": "clip_id lane_id words baseline_wer wer",
    "Summary": "clips lanes failures speed_up speed_up_interval qoi differ_most warnings processes resamples seed",
    "ClipFigures": "clip_id lane_id audio_length_s encoder_time_s decoder_time_s generation_time_s rtfx "
    "generated_tokens wer words_from_baseline warnings",
    "Report": "format pair data checkpoints settings machine summary clips",
    "BenchmarkProgress": "done total clip_id time_left_s report",
}


@pytest.mark.parametrize("noun", NAMES)
def test_no_name_is_gone(noun):
    assert set(NAMES[noun].split()) <= set(json_type(getattr(types, noun)).__annotations__)
