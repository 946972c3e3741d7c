from __future__ import annotations

import pytest

from components.core.catalog import LANES, PAIRS
from components.core.errors import CheckpointError, SettingsError
from components.core.languages import LANGUAGE_NAMES
from components.core.settings import Settings


def test_an_empty_environment_is_the_default():
    assert Settings.from_env({}) == Settings()
    assert Settings.from_env({"PAIR": "", "DTYPE": " "}) == Settings()


@pytest.mark.parametrize(
    ("hardware", "pairs"),
    [
        ("cpu", ("base", "small.en")),
        ("gpu", ("large-v2", "large-v3.5", "base")),
        ("zero-gpu", ("large-v2", "base")),
    ],
)
def test_auto_is_settled_by_the_hardware(hardware, pairs):
    settings = Settings.from_env({})
    assert settings.resolve_pair(hardware) == pairs[0]
    assert settings.resolve_pairs(hardware) == pairs


def test_what_cannot_be_had_is_not_offered_unless_a_variable_names_it():
    def here(checkpoint: str) -> bool:
        return "base" in checkpoint

    assert Settings().resolve_pairs("cpu", here) == ("base",)
    assert Settings().resolve_pairs("gpu", here) == ("large-v2", "base")
    assert Settings.from_env({"PAIRS": "small.en"}).resolve_pairs("cpu", here) == ("base", "small.en")
    assert Settings.from_env({"PAIR": "small.en"}).resolve_pairs("cpu", here) == ("small.en", "base")


def test_the_former_name_of_base_is_read():
    settings = Settings.from_env({"PAIR": "offline", "PAIRS": "large-v2,offline"})
    assert settings.resolve_pairs("cpu") == ("base", "large-v2")
    with pytest.raises(SettingsError, match="LANES says offline"):
        Settings.from_env({"LANES": "offline"})


def test_every_variable_is_read():
    settings = Settings.from_env(
        {
            "PAIR": "small.en",
            "PAIRS": "medium.en, large-v3.5",
            "LANES": "distil,whisper,distil",
            "LANGUAGE": "de",
            "DTYPE": "bfloat16",
            "ATTENTION": "sdpa",
            "RUNTIME": "compiled",
            "MAX_AUDIO_S": "90.5",
            "HF_TOKEN": "hf_secret",
        }
    )
    assert settings.resolve_pairs("gpu") == ("small.en", "medium.en", "large-v3.5")
    assert settings.lanes == ("distil", "whisper")
    assert (settings.language, settings.dtype, settings.attention, settings.runtime) == (
        "de",
        "bfloat16",
        "sdpa",
        "compiled",
    )
    assert settings.max_audio_s == 90.5
    assert settings.token == "hf_secret"
    assert "hf_secret" not in repr(settings)


def test_all_mistakes_are_listed_at_once_with_their_choices():
    environ = {
        "PAIR": "huge",
        "PAIRS": "base,tiny",
        "LANES": "whisper,murmur",
        "LANGUAGE": "english",
        "DTYPE": "float8",
        "ATTENTION": "full",
        "RUNTIME": "fast",
        "MAX_AUDIO_S": "-1",
        "TEACHER_CHECKPOINT": "../nowhere/at all",
        "STUDENT_CHECKPOINT": "/no/such/folder",
    }
    with pytest.raises(SettingsError) as raised:
        Settings.from_env(environ)
    lines = raised.value.message.splitlines()[1:]
    assert len(lines) == len(environ)
    for name, line in zip(sorted(environ), sorted(lines), strict=True):
        assert line.startswith(f"- {name}")
    for choices in (PAIRS, LANES, ("float16", "flash_attention_2", "compiled")):
        assert all(choice in raised.value.message for choice in choices)


@pytest.mark.parametrize("text", ["0", "nan", "inf", "-3", "an hour", "1e308", "86401"])
def test_the_limit_is_between_zero_and_a_day(text):
    with pytest.raises(SettingsError, match="MAX_AUDIO_S"):
        Settings.from_env({"MAX_AUDIO_S": text})


def test_checkpoints_define_a_custom_pair(tmp_path):
    (tmp_path / "config.json").write_text("{}")
    environ = {"TEACHER_CHECKPOINT": str(tmp_path), "STUDENT_CHECKPOINT": "someone/student@v1.0"}
    settings = Settings.from_env(environ)
    assert settings.resolve_pairs("gpu") == ("custom", "base")
    assert settings.get_pair("custom").teacher == str(tmp_path)
    assert settings.get_pair("custom").student == "someone/student@v1.0"
    assert settings.get_pair("base") is PAIRS["base"]
    assert Settings.from_env({**environ, "PAIR": "small.en"}).resolve_pairs("cpu") == (
        "small.en",
        "custom",
        "base",
    )
    with pytest.raises(CheckpointError, match=r"huge.*base.*custom"):
        settings.get_pair("huge")


def test_a_custom_pair_needs_both():
    with pytest.raises(SettingsError, match="STUDENT_CHECKPOINT is not set"):
        Settings.from_env({"TEACHER_CHECKPOINT": "someone/teacher"})
    with pytest.raises(SettingsError, match="PAIR says custom"):
        Settings.from_env({"PAIR": "custom"})


def test_a_folder_must_hold_a_checkpoint(tmp_path):
    with pytest.raises(SettingsError, match=r"without a config\.json"):
        Settings.from_env({"TEACHER_CHECKPOINT": str(tmp_path), "STUDENT_CHECKPOINT": "someone/student"})


def test_languages_are_those_of_whisper():
    from transformers.models.whisper.tokenization_whisper import LANGUAGES as PUBLISHED

    assert tuple(PUBLISHED) == tuple(LANGUAGE_NAMES)
