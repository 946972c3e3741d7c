"""Teacher and student of one kind, or a sentence that names both and how they differ."""

from __future__ import annotations

import json

import pytest

from components.core.catalog import ARCHITECTURE_KEYS, PAIRS
from components.core.errors import CheckpointError, SettingsError
from components.core.fitting import check_fit, kind_of, known_kind
from components.core.settings import Settings

SIZES = {"num_mel_bins": 80, "vocab_size": 51_864}


@pytest.mark.parametrize("pair", PAIRS.values())
def test_the_pairs_of_the_catalogue_fit(pair):
    check_fit(known_kind(pair.teacher), known_kind(pair.student))


@pytest.mark.parametrize(
    ("changes", "multilingual", "misfit"),
    [
        ({"num_mel_bins": 128}, False, "80 mel bins against 128"),
        (
            {"vocab_size": 51_866},
            None,
            "a vocabulary of 51,864 tokens against 51,866, English-only against multilingual",
        ),
        ({}, True, "English-only against multilingual"),
    ],
)
def test_a_misfit_names_both_and_how_they_differ(changes, multilingual, misfit):
    with pytest.raises(CheckpointError) as caught:
        check_fit(kind_of("a/teacher", SIZES), kind_of("b/student", SIZES | changes, multilingual))
    assert caught.value.message == (
        f"The teacher a/teacher and the student b/student do not fit each other: {misfit}. "
        "Choose a student that was distilled from this teacher."
    )


def test_what_nothing_says_is_no_misfit():
    small = {"num_mel_bins": 80, "vocab_size": 600}
    check_fit(kind_of("a/teacher", small), kind_of("b/student", small, multilingual=False))


def variables(teacher: object, student: object) -> dict[str, str]:
    return {"TEACHER_CHECKPOINT": str(teacher), "STUDENT_CHECKPOINT": str(student)}


def folder(path, **config: int):
    path.mkdir()
    (path / "config.json").write_text(json.dumps(dict.fromkeys(ARCHITECTURE_KEYS, 2) | SIZES | config))
    return path


def test_a_wrong_pair_of_folders_stops_the_start_beside_other_mistakes(tmp_path):
    teacher, student = folder(tmp_path / "teacher"), folder(tmp_path / "student", num_mel_bins=128)
    with pytest.raises(SettingsError) as caught:
        Settings.from_env(variables(teacher, student) | {"DTYPE": "float7"})
    assert "teacher and the student student do not fit each other: 80 mel bins against 128." in caught.value.message
    assert "DTYPE says float7" in caught.value.message
    assert str(tmp_path) not in caught.value.message


def test_a_wrong_pair_of_the_catalogue_stops_the_start():
    with pytest.raises(SettingsError, match="large-v3 and the student distil-whisper"):
        Settings.from_env(variables("openai/whisper-large-v3", "distil-whisper/distil-small.en@main"))


def test_what_only_the_hub_knows_does_not_stop_the_start():
    Settings.from_env(variables("openai/whisper-large-v3", "somebody/student"))
