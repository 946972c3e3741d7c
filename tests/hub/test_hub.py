"""The page against a hub that misbehaves: a sentence for each fault, a pair that is here after each, and a retry."""

from __future__ import annotations

import json
import threading
import time
from concurrent.futures import ThreadPoolExecutor, as_completed
from contextlib import contextmanager
from itertools import islice
from pathlib import Path
from typing import TYPE_CHECKING

import httpx
import pytest
import soundfile
import torch
from huggingface_hub import constants, hf_hub_download, metadata_load

from components.core.caller import Caller
from components.core.catalog import PAIRS
from components.core.errors import Cancelled, CheckpointError
from components.core.settings import ACCELERATED_PAIR
from components.core.types import SAMPLING_RATE, LaneSpec
from components.engines.checkpoints import load_config, load_model, load_processor
from components.engines.hub import CHECKED, FILES, Downloads, fetch
from components.runs.queue import MAX_FETCHING
from tests.browser.harness import ROOT, pair_variables, running_app
from tests.hub.server import COMMIT, Hub

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator

TOKEN = "hf_LoopbackSecret"
CATALOGUE = [pair for pair in PAIRS if pair != "base"]


@pytest.fixture(scope="module")
def hub(tiny_teacher: Path, tiny_student: Path) -> Hub:
    pairs = [PAIRS[pair] for pair in CATALOGUE]
    return Hub({pair.teacher: tiny_teacher for pair in pairs} | {pair.student: tiny_student for pair in pairs})


@pytest.fixture(scope="module")
def log() -> list[str]:
    return []


@pytest.fixture(scope="module")
def clip_file(speechlike_clip, tmp_path_factory: pytest.TempPathFactory) -> Path:
    path = tmp_path_factory.mktemp("audio") / "clip.wav"
    soundfile.write(path, speechlike_clip.samples, SAMPLING_RATE)
    return path


@pytest.fixture(scope="module")
def start(log: list[str], tiny_teacher, tiny_student, tmp_path_factory) -> Callable:
    """Start the app on a hub, with the catalogue and a pair of folders, and nothing in its cache."""

    @contextmanager
    def start(endpoint: str, **variables: str) -> Iterator[httpx.Client]:
        usual = pair_variables(tiny_teacher, tiny_student) | {
            "PAIRS": ",".join(("custom", *CATALOGUE)),
            "HF_ENDPOINT": endpoint,
            "HF_HOME": str(tmp_path_factory.mktemp("cache")),
            "HF_HUB_OFFLINE": "0",
            "HF_HUB_DOWNLOAD_TIMEOUT": "1",
            "HF_TOKEN": TOKEN,
        }
        with (
            running_app(log=log, **(usual | variables)) as url,
            httpx.Client(base_url=f"{url}/gradio_api", timeout=120) as client,
        ):
            yield client

    return start


@pytest.fixture(scope="module")
def api(hub: Hub, start: Callable) -> Iterator[httpx.Client]:
    with hub.serving() as endpoint, start(endpoint) as client:
        yield client


def answered(api: httpx.Client, clip: Path, pair: str, *lanes: str) -> tuple[str, object]:
    """The event that ends a call of ``/compare``, and its data."""
    (file,) = api.post("/upload", files={"files": (clip.name, clip.read_bytes())}).raise_for_status().json()
    body = {"audio": {"path": file, "meta": {"_type": "gradio.FileData"}}, "pair": pair, "lanes": list(lanes)}
    body["repeats"] = 1
    event_id = api.post("/call/v2/compare", json=body).raise_for_status().json()["event_id"]
    answer = api.get(f"/call/compare/{event_id}").text
    assert TOKEN not in answer
    *_, event, data = [line for line in answer.splitlines() if line]
    return event.removeprefix("event: "), json.loads(data.removeprefix("data: "))


def compared(api: httpx.Client, clip: Path, pair: str, *lanes: str) -> dict:
    event, data = answered(api, clip, pair, *lanes)
    assert event == "complete", data
    (result,) = data
    return result


def ran(result: dict) -> list[str]:
    assert result["failures"] == []
    assert all(run["text"] for run in result["runs"])
    return [run["lane_id"] for run in result["runs"]]


FAULTS = [  # another checkpoint of the catalogue for each, since one that has been fetched asks the hub no more
    ("gated", "large-v2", "whisper", "is gated. Accept its terms on the hub, then set HF_TOKEN."),
    ("missing", "large-v2", "distil", "is neither a folder here nor a checkpoint on the hub."),
    ("bad token", "large-v3", "whisper", "may not be read with this HF_TOKEN"),
    ("busy", "large-v3", "distil", "Try again in a few minutes."),
    ("broken", "large-v3.5", "distil", "the hub answers with error 500. Try again later."),
    ("slow", "medium.en", "whisper", "the hub is too slow. Try again later."),
    ("truncated", "medium.en", "distil", "arrived cut off. Try again"),
    ("altered", "small.en", "whisper", "arrived damaged"),
    ("pickles", "small.en", "distil", "has no safetensors weights. Pickles are refused"),
]


@pytest.mark.parametrize("case", FAULTS, ids=[case[0] for case in FAULTS])
def test_a_fault_has_its_sentence_and_the_page_serves_on(hub, api, clip_file, case):
    fault, pair, lane, sentence = case
    checkpoint = PAIRS[pair].teacher if lane == "whisper" else PAIRS[pair].student
    hub.faults[checkpoint] = fault
    hub.hurry.clear()
    result = compared(api, clip_file, pair, lane)
    assert result["runs"] == []
    (failure,) = result["failures"]
    assert failure["lane_id"] == lane
    assert failure["message"].startswith(f"{checkpoint} ")
    assert sentence in failure["message"]
    assert ran(compared(api, clip_file, "custom")) == ["whisper", "distil"]
    del hub.faults[checkpoint]
    hub.hurry.set()
    assert ran(compared(api, clip_file, pair, lane)) == [lane]


def test_a_checkpoint_that_is_here_needs_no_hub(hub, api, clip_file):
    """Follows the test above, which fetched it."""
    hub.faults[PAIRS["large-v2"].teacher] = "broken"
    assert ran(compared(api, clip_file, "large-v2", "whisper")) == ["whisper"]
    hub.faults.clear()


def test_the_token_is_sent_and_never_shown(hub, api, log):
    assert all(sent == f"Bearer {TOKEN}" for requests in hub.authorizations.values() for sent in requests)
    assert len(hub.authorizations) == len(hub.repositories)
    page = api.get(str(api.base_url).removesuffix("gradio_api/")).text
    assert TOKEN not in page + api.get("/info").text + "".join(log)
    assert any("cannot be fetched" in line for line in log), "the log of the app was read"


def test_the_page_serves_while_its_own_pair_is_still_being_fetched(hub, start, clip_file):
    """As on a Space that starts with a large pair: visitors use the pair that is here meanwhile."""
    waiting = Hub(hub.repositories)
    waiting.faults[PAIRS["small.en"].teacher] = "slow"
    with waiting.serving() as endpoint, start(endpoint, PAIR="small.en", HF_HUB_DOWNLOAD_TIMEOUT="60") as api:
        assert ran(compared(api, clip_file, "custom")) == ["whisper", "distil"]
        assert not waiting.hurry.is_set()
        waiting.hurry.set()
        assert ran(compared(api, clip_file, "small.en")) == ["whisper", "distil"]


def test_who_waits_for_a_slow_download_takes_nobodys_place(hub, start, clip_file):
    """Neither the place on the device, nor those in Gradio's queue, however many ask."""
    slow = Hub(hub.repositories)
    slow.faults[PAIRS["small.en"].teacher] = "slow"
    too_many = 2
    with (
        slow.serving() as endpoint,
        start(endpoint, HF_HUB_DOWNLOAD_TIMEOUT="60") as api,
        ThreadPoolExecutor(MAX_FETCHING + too_many) as visitors,
    ):
        asked = [visitors.submit(answered, api, clip_file, "small.en") for _ in range(MAX_FETCHING + too_many)]
        refused = list(islice(as_completed(asked, timeout=60), too_many))
        for event, data in (future.result() for future in refused):
            assert event == "error"
            assert data["error"].startswith(f"{MAX_FETCHING} requests wait for downloads from the hub already.")
        for _ in range(2):
            assert ran(compared(api, clip_file, "custom")) == ["whisper", "distil"]
        waiting = [future for future in asked if future not in refused]
        assert not any(future.done() for future in waiting)
        slow.hurry.set()
        for event, data in (future.result(timeout=60) for future in waiting):
            assert event == "complete"
            assert ran(data[0]) == ["whisper", "distil"]
    assert len(slow.authorizations[PAIRS["small.en"].teacher]) == len(slow.authorizations[PAIRS["small.en"].student])


NOT_PUBLISHED = {"model-*-of-*.safetensors", "model.safetensors.index.json", "processor_config.json"}
"""Of the files that are asked for, those that neither checkpoint of the default pair on a GPU has."""


def preloaded_by_the_card() -> dict[str, list[str]]:
    lines = metadata_load(ROOT / "README.md")["preload_from_hub"]
    return {repository: names.split(",") for repository, names in map(str.split, lines)}


def test_the_card_preloads_every_file_that_a_fetch_asks_for():
    pair = PAIRS[ACCELERATED_PAIR]
    card = preloaded_by_the_card()
    assert set(card) == {pair.teacher, pair.student}
    for names in card.values():
        assert names == sorted(set(FILES) - NOT_PUBLISHED)


def test_what_the_card_preloads_is_enough_without_a_hub(here, hub, start, clip_file, tmp_path):
    """And where the hub is there, no weights are fetched again."""
    for repository, names in preloaded_by_the_card().items():
        there = {path.name for path in hub.repositories[repository].iterdir()}
        for name in there.intersection(names):
            hf_hub_download(repository, name)
        weights = Path(hf_hub_download(repository, "model.safetensors")).resolve()
        changed = weights.stat().st_mtime_ns
        fetch(repository, None)
        assert weights.stat().st_mtime_ns == changed
        hub.faults[repository] = "unreachable"
    variables = {"PAIR": ACCELERATED_PAIR, "HF_HUB_CACHE": str(tmp_path)}
    with hub.serving() as endpoint, start(endpoint, **variables) as api:
        assert ran(compared(api, clip_file, ACCELERATED_PAIR)) == ["whisper", "distil"]
    hub.faults.clear()


@pytest.fixture
def here(hub: Hub, monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> Iterator[None]:
    """This process has the hub as its own, and an empty cache."""
    hub.hurry.clear()
    with hub.serving() as endpoint:
        monkeypatch.setattr(constants, "ENDPOINT", endpoint)
        monkeypatch.setattr(
            constants, "HUGGINGFACE_CO_URL_TEMPLATE", endpoint + "/{repo_id}/resolve/{revision}/{filename}"
        )
        monkeypatch.setattr(constants, "HF_HUB_CACHE", str(tmp_path))
        monkeypatch.setattr(constants, "HF_HUB_OFFLINE", False)
        yield


STUDENT = PAIRS["small.en"].student


def test_a_download_tells_how_far_it_is(here):
    told = []
    fetch(STUDENT, None, caller=Caller(lambda *state: told.append(state)))
    fractions, texts = zip(*told, strict=True)
    assert fractions[-1] == 1.0
    assert texts[-1].startswith(f"Fetching {STUDENT} from the hub: 100% of ")


def test_a_download_is_cancelled_and_goes_on_later(here):
    with pytest.raises(Cancelled):
        fetch(STUDENT, None, caller=Caller(cancelled=lambda: True))
    fetch(STUDENT, None)


@pytest.mark.parametrize(
    ("fault", "sentence"),
    [
        ("unreachable", "is not here, and the hub cannot be reached. Check the connection and try again."),
        ("no revision", "has no such revision. Check what follows the @."),
        ("private", "If it is private, set HF_TOKEN."),
    ],
)
def test_faults_that_come_before_a_download(here, hub, fault, sentence):
    hub.faults[STUDENT] = fault
    with pytest.raises(CheckpointError) as caught:
        fetch(STUDENT, None)
    assert caught.value.message.startswith(f"{STUDENT} ")
    assert sentence in caught.value.message
    del hub.faults[STUDENT]
    fetch(STUDENT, None)


@pytest.mark.parametrize("torn", ["", "[", "nothing"])
def test_a_torn_list_of_what_was_checked_breaks_nothing(here, hub, torn):
    """As a full disk or a kill leaves it: all is checked, and the list is gone."""
    fetch(STUDENT, None)
    (kept,) = (folder / CHECKED for folder in Path(constants.HF_HUB_CACHE).glob(f"*{STUDENT.split('/')[-1]}"))
    assert not kept.exists()
    kept.write_text(torn)
    fetch(STUDENT, None)
    assert not kept.exists()


def test_what_was_fetched_is_loaded_without_the_hub_and_known_by_its_commit(here, hub):
    fetch(STUDENT, None)
    lane = LaneSpec("distil", "Distil-Whisper", "whisper", STUDENT)
    asked = len(hub.authorizations[STUDENT])
    assert load_config(lane)._commit_hash == COMMIT
    load_processor(lane)
    load_model(lane, dtype=torch.float32, attention="sdpa")
    assert len(hub.authorizations[STUDENT]) == asked


def test_those_who_want_the_same_wait_for_one_download(here, hub):
    alone = len(hub.authorizations.setdefault(STUDENT, []))
    fetch(STUDENT, None)
    alone = len(hub.authorizations[STUDENT]) - alone
    other = PAIRS["medium.en"].student
    before, hub.faults[other] = len(hub.authorizations.setdefault(other, [])), "slow"
    downloads, told = Downloads(), []
    with ThreadPoolExecutor(3) as visitors:
        waiting = [
            visitors.submit(downloads.fetch, other, None, Caller(lambda *state: told.append(state))) for _ in range(3)
        ]
        wait_until(lambda: len(told) >= 3)
        assert not any(future.done() for future in waiting)
        assert all(0 <= fraction < 1 for fraction, _ in list(told))
        hub.hurry.set()
        assert [future.result(60) for future in waiting] == [None] * 3
    assert len(hub.authorizations[other]) - before == alone
    assert all(0 <= fraction <= 1 for fraction, _ in told)
    del hub.faults[other]


def test_a_download_goes_on_while_one_of_those_who_waited_is_left(here, hub, tiny_student):
    hub.faults[STUDENT] = "slow"
    downloads, leave, left = Downloads(), threading.Event(), threading.Event()
    with ThreadPoolExecutor(2) as visitors:
        gone = visitors.submit(downloads.fetch, STUDENT, None, Caller(cancelled=leave.is_set))
        stays = visitors.submit(downloads.fetch, STUDENT, None, Caller(cancelled=left.is_set))
        wait_until(lambda: downloads.waiting == 2)
        leave.set()
        with pytest.raises(Cancelled):
            gone.result(60)
        hub.hurry.set()
        assert stays.result(60) is None

        hub.hurry.clear()
        other = PAIRS["medium.en"].student
        hub.faults[other] = "slow"
        last = visitors.submit(downloads.fetch, other, None, Caller(cancelled=left.is_set))
        wait_until(lambda: downloads.waiting == 1)
        left.set()
        with pytest.raises(Cancelled):
            last.result(60)
        assert downloads.waiting == 0
    hub.faults.clear()
    hub.hurry.set()
    downloads.fetch(other, None)


def test_a_failed_download_fails_for_all_who_waited_and_the_next_tries_again(here, hub):
    hub.faults[STUDENT] = "altered"
    downloads = Downloads()
    with ThreadPoolExecutor(3) as visitors:
        for future in [visitors.submit(downloads.fetch, STUDENT, None) for _ in range(3)]:
            with pytest.raises(CheckpointError, match="arrived damaged"):
                future.result(60)
    del hub.faults[STUDENT]
    downloads.fetch(STUDENT, None)


def wait_until(reached: Callable[[], bool], seconds: float = 30) -> None:
    """Look again and again; there is no event to wait for."""
    deadline = time.monotonic() + seconds
    while not reached():
        assert time.monotonic() < deadline, "it never came to that"
        time.sleep(0.02)
