"""The endpoints, from gradio_client and from plain HTTP."""

from __future__ import annotations

import json
import re
from concurrent.futures import ThreadPoolExecutor
from typing import TYPE_CHECKING

import pytest
import soundfile
from gradio_client import Client, handle_file
from gradio_client.exceptions import AppError

from components.core.types import SAMPLING_RATE, Comparison, LaneRun, Models
from components.ui.schema import json_type

if TYPE_CHECKING:
    from pathlib import Path

FILE = {"_type": "gradio.FileData"}
LANES = ["whisper", "distil"]


@pytest.fixture(scope="module")
def client(url):
    client = Client(url, verbose=False)
    yield client
    client.close()


def upload(http, path: Path) -> dict:
    with path.open("rb") as file:
        (uploaded,) = http.post("/upload", files={"files": (path.name, file)}).raise_for_status().json()
    return {"path": uploaded, "meta": FILE}


def call(http, name: str, body: object) -> tuple[str, object]:
    """The last event of a call and its data."""
    event_id = http.post(f"/call/v2/{name}", json=body).raise_for_status().json()["event_id"]
    lines = [line for line in http.get(f"/call/{name}/{event_id}").text.splitlines() if line]
    *_, event, data = lines
    return event.removeprefix("event: "), json.loads(data.removeprefix("data: "))


def without_times(value: object) -> object:
    """The same JSON, with every figure that depends on the clock left out."""
    if isinstance(value, dict):
        measured = {key for key in value if key.endswith("_time_s")} | {
            "rtfx",
            "speed_up",
            "repeats",
            "token_times_s",
            "busy",
        }
        return {key: without_times(item) for key, item in value.items() if key not in measured}
    return [without_times(item) for item in value] if isinstance(value, list) else value


def test_client_and_http_get_the_same_json(client, http, clip_file):
    options = {"reference": "some words", "repeats": 2, "lanes": LANES}
    by_client = client.predict(audio=handle_file(clip_file), **options, api_name="/compare")
    event, (by_http,) = call(http, "compare", {"audio": upload(http, clip_file), **options})
    assert event == "complete"
    assert without_times(by_client) == without_times(by_http)
    assert set(by_http) == set(json_type(Comparison).__annotations__)
    for run in by_http["runs"]:
        assert set(run) == set(json_type(LaneRun).__annotations__)
        assert run["generation_time_s"] == pytest.approx(run["encoder_time_s"] + run["decoder_time_s"])
        assert len(run["repeats"]) == 2
        assert run["word_errors"]["reference_words"] == 2
        assert "/" not in run["checkpoint"], "a server's path reached a client"
    whisper, distil = by_http["runs"]
    assert by_http["clip_id"] == "clip"
    assert by_http["speed_up"] == {"distil": pytest.approx(whisper["generation_time_s"] / distil["generation_time_s"])}


def test_only_the_contract_is_public_and_typed(http):
    endpoints = http.get("/info").json()["named_endpoints"]
    assert set(endpoints) == {"/benchmark", "/compare", "/live", "/models"}
    compare = endpoints["/compare"]
    assert "Transcribe one audio clip" in compare["description"]
    names = [parameter["parameter_name"] for parameter in compare["parameters"]]
    assert names == ["audio", "reference", "pair", "lanes", "repeats", "long_form", "timestamps", "language"]
    assert [parameter["parameter_has_default"] for parameter in compare["parameters"]] == [False] + [True] * 7
    returns = compare["returns"][0]["type"]
    assert set(returns["required"]) == set(json_type(Comparison).__annotations__)
    assert set(returns["properties"]["runs"]["items"]["required"]) == set(json_type(LaneRun).__annotations__)
    assert set(endpoints["/models"]["returns"][0]["type"]["required"]) == set(json_type(Models).__annotations__)


def test_models_of_large_v2_to_twelve_digits(client):
    result = client.predict(pair="large-v2", api_name="/models")
    assert result["parameter_ratio"] == pytest.approx(0.49000047275167184, rel=1e-12)
    assert result["decoder_parameter_ratio"] == pytest.approx(0.13175161920253482, rel=1e-12)
    assert [(lane["encoder_layers"], lane["decoder_layers"]) for lane in result["lanes"]] == [(32, 32), (32, 2)]


def test_models_of_the_default_pair_over_http(http):
    event, (result,) = call(http, "models", {})
    assert event == "complete"
    assert result["pair"] == "custom"
    assert [lane["lane_id"] for lane in result["lanes"]] == LANES


def test_five_at_once_get_their_own(url, http, speechlike_clip, tmp_path):
    lengths = [16_000, 20_000, 24_000, 28_000, 32_000]
    for length in lengths:
        soundfile.write(tmp_path / f"clip-{length}.wav", speechlike_clip.samples[:length], SAMPLING_RATE)

    def compare(length: int) -> dict:
        event, (result,) = call(http, "compare", {"audio": upload(http, tmp_path / f"clip-{length}.wav")})
        assert event == "complete"
        return result

    with ThreadPoolExecutor(len(lengths)) as pool:
        results = list(pool.map(compare, lengths))
    assert [result["clip_id"] for result in results] == [f"clip-{length}" for length in lengths]
    assert [result["audio_length_s"] for result in results] == [length / SAMPLING_RATE for length in lengths]


def refused(http, body: object) -> str:
    event, data = call(http, "compare", body)
    assert event == "error", data
    return data["error"]


def test_bad_input_is_an_error_with_a_sentence_and_the_next_request_is_right(client, http, clip_file, tmp_path):
    good = upload(http, clip_file)
    text = tmp_path / "text.wav"
    text.write_text("not sound\n" * 100)
    empty = tmp_path / "empty.wav"
    empty.write_bytes(b"")
    assert "WAV" in refused(http, {"audio": upload(http, text)})
    assert "empty" in refused(http, {"audio": upload(http, empty)})
    assert "No audio was sent" in refused(http, {"audio": None})
    assert "whisper, distil" in refused(http, {"audio": good, "lanes": ["<img src=x>"]})
    assert "custom, large-v2" in refused(http, {"audio": good, "pair": "huge-v9"})
    assert "'sequential' or 'chunked'" in refused(http, {"audio": good, "long_form": "sideways"})
    assert "Repeats" in refused(http, {"audio": good, "repeats": 0})
    with pytest.raises(AppError, match="custom, large-v2"):
        client.predict(audio=handle_file(clip_file), pair="huge-v9", api_name="/compare")
    event, (result,) = call(http, "compare", {"audio": good})
    assert event == "complete"
    assert [run["lane_id"] for run in result["runs"]] == LANES


@pytest.mark.parametrize("repeats", ["many", 1.5, [], 10**30])
def test_repeats_of_a_wrong_kind(http, clip_file, repeats):
    message = refused(http, {"audio": upload(http, clip_file), "repeats": repeats})
    assert "repeats" in message.lower()


@pytest.mark.parametrize(
    "options",
    [
        {"lanes": "whisper"},
        {"lanes": [1]},
        {"lanes": {"a": 1}},
        {"pair": 7},
        {"pair": ["custom"]},
        {"reference": 5},
        {"long_form": []},
        {"timestamps": "perhaps"},
    ],
)
def test_values_of_a_wrong_kind_are_refused_in_words(http, clip_file, options):
    message = refused(http, {"audio": upload(http, clip_file)} | options)
    assert next(iter(options)) in message


@pytest.mark.parametrize("meta", [{"meta": FILE}, {}, {"meta": {}}, {"meta": {"_type": "other"}}])
def test_no_file_outside_the_uploads_is_read(http, clip_file, meta):
    # A clip that would be transcribed, were its path taken.
    message = refused(http, {"audio": {"path": str(clip_file), **meta}})
    assert re.search("No audio was sent|upload a file", message)


@pytest.mark.parametrize("audio", [7, "clip.wav", [], {}, {"path": 7, "meta": FILE}])
def test_audio_that_is_no_upload(http, audio):
    event, _ = call(http, "compare", {"audio": audio})
    assert event == "error"


def test_silence_is_answered_without_times(http, tmp_path):
    soundfile.write(tmp_path / "silence.wav", [0.0] * SAMPLING_RATE, SAMPLING_RATE)
    event, (result,) = call(http, "compare", {"audio": upload(http, tmp_path / "silence.wav")})
    assert event == "complete"
    assert result["speed_up"] == {}
    for run in result["runs"]:
        assert run["text"] == ""
        assert run["generation_time_s"] is None
        assert run["warnings"]


def test_live_tells_words_and_lags(http, clip_file):
    event, (result,) = call(http, "live", {"audio": upload(http, clip_file), "reference": "some words"})
    assert event == "complete"
    assert [run["lane_id"] for run in result["live"]["runs"]] == ["whisper", "distil"]
    for run in result["live"]["runs"]:
        passes = [each for each in result["passes"] if each["lane_id"] == run["lane_id"]]
        assert "".join(each["committed"] for each in passes).split() == run["text"].split()
        assert run["generation_time_s"] is None
        assert run["word_errors"]["reference_words"] == 2
        assert (run["lags"] is None) == (not passes)
    assert [run["lane_id"] for run in result["offline"]["runs"]] == ["whisper", "distil"]
