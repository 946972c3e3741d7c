"""Calls that no client of ours would make: an answer each, and the next good one right.

FUZZ_CALLS is how many, FUZZ_PAIR=base has them made to real models.
"""

from __future__ import annotations

import json
import os
import random
from contextlib import suppress
from typing import TYPE_CHECKING, Any
from urllib.parse import quote

import httpx
import pytest
import soundfile

from components.core.types import SAMPLING_RATE
from components.ui.requests import UNEXPECTED
from tests.browser.harness import ROOT, pair_variables, running_app

if TYPE_CHECKING:
    from collections.abc import Iterator

COUNT = int(os.environ.get("FUZZ_CALLS", "50"))
PAIR = os.environ.get("FUZZ_PAIR")
ANSWER_S = 60
FILE = {"_type": "gradio.FileData"}
PARAMETERS = {
    "compare": ("audio", "reference", "pair", "lanes", "repeats", "long_form", "timestamps"),
    "benchmark": ("source", "files", "references", "pair", "lanes", "repeats", "limit"),
    "models": ("pair",),
}
SCALARS = (None, True, 0, -1, 0.5, 10**30, 1e308, float("nan"), "", " ", "\0", "\ud800", "custom/../custom")
TEXTS = ("ü" * 100_000, "<img src=x onerror=alert(1)>", "../../etc/passwd", "/etc/passwd", "{{value}}", "1" * 5000)
SHAPES = ([], {}, [None], {"a": 1}, [[[[]]]], ["whisper"] * 500, {"__type__": "update"}, {"path": "/etc/passwd"})
FILES = (
    {"path": "/etc/passwd", "meta": FILE},
    {"path": 7, "meta": FILE},
    {"path": None, "meta": FILE},
    {"path": "", "meta": FILE},
    {"path": "a\0b", "meta": FILE},
    {"path": "/" + "a" * 5000, "meta": FILE},
    {"path": "file:///etc/passwd", "meta": FILE},
    {"path": ["/etc/passwd"], "meta": FILE},
    {"path": "http://127.0.0.1:1/", "url": "http://127.0.0.1:1/", "meta": FILE},
    {"url": "http://127.0.0.1:1/", "meta": FILE},
    {"meta": FILE},
)
VALUES = (*SCALARS, *TEXTS, *SHAPES, *FILES)
BODIES = (b"", b"{", b"[]", b"null", b"NaN", b'"text"', b"\xff\xfe", b'{"audio": ' * 200, b"[" * 5000, b"{}" * 9)
IDS = ("", "0", "..", "%2e%2e", "a" * 5000, "%00", "<img>", "null", "00000000-0000-0000-0000-000000000000")
BUGS = ("Traceback", "MemoryError", "RecursionError")
LEAKS = ("Traceback", 'File "', "site-packages", str(ROOT), "root:x:")

Call = tuple[str, str, bytes]
"""Method, address, body."""


@pytest.fixture(scope="module")
def log() -> list[str]:
    return []


@pytest.fixture(scope="module")
def api(tiny_teacher, tiny_student, log) -> Iterator[httpx.Client]:
    with (
        running_app(log=log, **({"PAIR": PAIR} if PAIR else pair_variables(tiny_teacher, tiny_student))) as url,
        # A connection for each call: a server may close one after a bad request.
        httpx.Client(
            base_url=f"{url}/gradio_api", timeout=ANSWER_S, limits=httpx.Limits(max_keepalive_connections=0)
        ) as client,
    ):
        yield client


@pytest.fixture(scope="module")
def good(api, speechlike_clip, tmp_path_factory) -> dict[str, Any]:
    """A clip that was uploaded as it should be."""
    path = ROOT / "examples" / "audio" / "rainbow-1.ogg"
    if not PAIR:
        path = tmp_path_factory.mktemp("audio") / "clip.wav"
        soundfile.write(path, speechlike_clip.samples[:SAMPLING_RATE], SAMPLING_RATE)
    (file,) = api.post("/upload", files={"files": (path.name, path.read_bytes())}).raise_for_status().json()
    return {"path": file, "meta": FILE}


def no_json(rng: random.Random, good: dict) -> Call:
    """A body that is no JSON, or not the JSON of a call."""
    name = rng.choice((*PARAMETERS, "nothing"))
    addresses = (
        f"/call/v2/{name}",
        f"/call/{name}",
        f"/run/{name}",
        f"/api/{name}",
        "/queue/join",
        "/cancel",
        "/upload",
    )
    return "POST", rng.choice(addresses), rng.choice(BODIES)


def by_position(rng: random.Random, good: dict) -> Call:
    """Too few arguments and too many, or something in place of their list."""
    name = rng.choice(tuple(PARAMETERS))
    data = [rng.choice((*VALUES, good)) for _ in range(rng.randrange(12))]
    return "POST", f"/call/{name}", encoded({"data": rng.choice((data, data, rng.choice(VALUES)))})


def by_name(rng: random.Random, good: dict) -> Call:
    """Values of a wrong kind, and names that no endpoint has."""
    name = rng.choice(tuple(PARAMETERS))
    body = {"compare": {"audio": good}, "benchmark": {"source": "files", "files": [good]}, "models": {}}[name]
    wrong = rng.sample(PARAMETERS[name], rng.randint(1, min(3, len(PARAMETERS[name]))))
    body |= {parameter: rng.choice(VALUES) for parameter in wrong}
    if "files" in wrong:
        body["files"] = rng.choice((body["files"], [body["files"]], [good, body["files"]]))
    if rng.random() < 0.3:
        body[rng.choice(("fn_index", "unknown", "request", "session_hash", "event_data"))] = rng.choice(VALUES)
    return "POST", f"/call/v2/{name}", encoded(body)


def by_number(rng: random.Random, good: dict) -> Call:
    """The page's own callbacks, which are private and can be called all the same."""
    data = [rng.choice((*VALUES, good)) for _ in range(rng.randrange(12))]
    session = f"session-{rng.random()}" if rng.random() < 0.8 else rng.choice(SCALARS)
    body = {"data": data, "fn_index": rng.choice((*range(40), *SCALARS)), "session_hash": session}
    return "POST", rng.choice(("/queue/join", "/run/predict")), encoded(body)


def wrong_ids(rng: random.Random, good: dict) -> Call:
    """Events and sessions that nobody has."""
    some = rng.choice(IDS)
    if rng.random() < 0.3:
        return (
            "POST",
            rng.choice(("/cancel", "/reset")),
            encoded({"event_id": some, "session_hash": some, "fn_index": 0}),
        )
    name = rng.choice(tuple(PARAMETERS))
    # A session of the queue that nobody joined is told so on a stream that stays open: it is not asked for here.
    return "GET", rng.choice((f"/call/{name}/{some}", f"/file={some}", f"/stream/{some}/0/0/a.wav")), b""


KINDS = (no_json, by_position, by_name, by_name, by_number, wrong_ids)


def encoded(body: object) -> bytes:
    return json.dumps(body).encode()


def answer(api: httpx.Client, method: str, address: str, body: bytes) -> tuple[int, str]:
    """Status, and everything that was sent back: for a call that was accepted its result, too."""
    status, text = exchange(api, method, address, body)
    if method == "POST" and status == httpx.codes.OK and "event_id" in text:
        session = f"/queue/data?session_hash={quote(str(json.loads(body).get('session_hash')), errors='replace')}"
        event = f"/call/{address.rpartition('/')[2]}/{json.loads(text)['event_id']}"
        text += "\n" + exchange(api, "GET", session if address == "/queue/join" else event)[1]
    return status, text


def exchange(api: httpx.Client, method: str, address: str, body: bytes = b"") -> tuple[int, str]:
    """One request; Gradio ends the stream of an event that nobody has with an error, and then just hangs up."""
    received = []
    headers = {"Content-Type": "application/json"}
    with api.stream(method, address, content=body, headers=headers) as response, suppress(httpx.RemoteProtocolError):
        received.extend(response.iter_text())
    return response.status_code, "".join(received)


def right(api: httpx.Client, good: dict) -> None:
    status, text = answer(api, "POST", "/call/v2/compare", encoded({"audio": good, "repeats": 1}))
    assert status == httpx.codes.OK
    assert "event: complete" in text, text
    (result,) = json.loads(text.rpartition("data: ")[2])
    assert [run["lane_id"] for run in result["runs"]] == ["whisper", "distil"]
    assert all(run["text"] for run in result["runs"])


def test_a_malformed_call_is_answered_and_the_next_good_one_is_right(api, good, log):
    refused = 0
    for seed in range(COUNT):
        rng = random.Random(seed)
        kind = rng.choice(KINDS)
        call = kind(rng, good)
        status, text = answer(api, *call)
        told = f"seed {seed}, {kind.__name__}: {call[0]} {call[1][:100]} {call[2][:500]!r} -> {status} {text[:1000]}"
        assert text, told
        assert not [leak for leak in LEAKS if leak in text], told
        assert status < 500 or json.loads(text)["error"], told
        if kind in {by_name, by_position} and status == httpx.codes.OK:
            assert UNEXPECTED not in text, told
            event, _, data = text.rpartition("event: ")[2].partition("\ndata: ")
            assert event == "complete" or json.loads(data)["error"], told
            refused += event == "error"
        if seed % 25 == 0:
            right(api, good)
    right(api, good)
    assert refused > COUNT // 10
    assert not [line for line in log if any(name in line for name in BUGS)]
