"""The pair `base` as it is shipped: real words of the example clips, by every lane."""

from __future__ import annotations

import pytest

from components.core.audio import load_audio
from components.core.catalog import EXAMPLES, LANES, PAIRS, lane_specs
from components.core.manifests import read_manifest
from components.core.scoring import word_errors
from components.core.settings import Settings
from components.core.types import WordErrors
from components.engines import packaged
from components.engines.base import DecodingOptions
from components.engines.device import Device
from components.engines.pool import Pool

CLIPS = ("rainbow-1", "golden-leaves")
"""A man and a woman reading; 19 s together."""

pytestmark = pytest.mark.skipif(
    not packaged.installed(PAIRS["base"].teacher), reason="examples/checkpoints/requirements.txt is not installed"
)


@pytest.fixture(scope="module")
def written() -> dict[str, dict[str, object]]:
    """Lane -> clip -> what it wrote."""
    from tests.engines.conftest import Parts

    rows = {row.clip_id: row for row in read_manifest(EXAMPLES)}
    clips = [load_audio(rows[clip_id].audio, clip_id=clip_id) for clip_id in CLIPS]
    pool = Pool(Settings(), Device("cpu"))
    return {
        lane.lane_id: {clip.clip_id: pool.get(lane).transcribe(clip, DecodingOptions(), Parts()) for clip in clips}
        | {"info": pool.get(lane).info}
        for lane in lane_specs(PAIRS["base"], tuple(LANES))
    }


@pytest.mark.parametrize(("lane", "most"), [("whisper", 0.05), ("distil", 0.3)])
def test_the_words_are_those_that_were_said(written, lane, most):
    rows = {row.clip_id: row for row in read_manifest(EXAMPLES)}
    scores = [word_errors(rows[clip_id].text, written[lane][clip_id].transcript.text, "en") for clip_id in CLIPS]
    assert sum((score.errors for score in scores), WordErrors()).wer <= most


@pytest.mark.parametrize(
    ("lane", "other"), [("speculative", "whisper"), ("faster-whisper", "whisper"), ("faster-distil", "distil")]
)
def test_lanes_of_one_checkpoint_write_the_same(written, lane, other):
    for clip_id in CLIPS:
        ours, theirs = written[lane][clip_id], written[other][clip_id]
        assert ours.transcript == theirs.transcript
        assert ours.generated_tokens == theirs.generated_tokens


def test_the_pair_is_whisper_base_and_two_decoder_layers(written):
    teacher, student = written["whisper"]["info"], written["distil"]["info"]
    assert teacher.num_parameters == 72_593_920
    assert (teacher.decoder_layers, student.decoder_layers) == (6, 2)
    assert student.encoder_parameters == teacher.encoder_parameters
