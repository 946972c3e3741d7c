"""What strangers have tried, each as a function that tries it once and checks that it is answered as it should be.

``ATTACKS`` has them by name: ``test_strangers`` makes one after another, ``tests/benchmarks/hostile_load`` all at once.
"""

from __future__ import annotations

import functools
import json
import secrets
import socket
import time
from contextlib import suppress
from typing import TYPE_CHECKING, Any, Self
from urllib.parse import urlsplit

import httpx
import numpy as np

from components.core.files import to_line
from components.core.types import RowsHeader
from components.report.files import to_json
from components.ui.requests import UNEXPECTED
from tests.core.test_recordings import flac_with_pictures, wav
from tests.report.nouns import MACHINE, make_clip, make_report, make_run

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator

FILE = {"_type": "gradio.FileData"}
ANSWER_S = 120.0
FORGED = "2026-01-01 00:00:00,000 CRITICAL forged"


class Visitor:
    """Somebody with an address of their own, as a proxy tells it.

    ``hurried``: too many of their kind ask at once, so that any request may be told to wait.
    """

    def __init__(self, url: str, address: str, *, hurried: bool = False) -> None:
        self.url = url
        self.hurried = hurried
        headers = {"x-forwarded-for": address}
        self.http = httpx.Client(base_url=f"{url}/gradio_api", headers=headers, timeout=ANSWER_S)

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        self.http.close()

    def upload(self, name: str, data: bytes) -> dict[str, Any] | None:
        """The file as a call names it; nothing where the visitor is told to wait."""
        answer = self.http.post("/upload", files={"files": (name, data)})
        if self.told(answer, 200):
            return None
        return {"path": answer.json()[0], "meta": FILE, "orig_name": name}

    def told(self, answer: httpx.Response, *statuses: int) -> bool:
        """Check the status of an answer, and that a refusal is a sentence. Whether the visitor is to wait."""
        waits = self.hurried and answer.status_code in {429, 503}
        assert waits or answer.status_code in statuses, (answer.status_code, answer.text[:300])
        if answer.status_code >= 400:
            detail = answer.json()["detail"]
            assert isinstance(detail, list) or detail.endswith("."), answer.text[:300]  # a list: FastAPI's, of a body
        return waits

    def refused(self, method: str, path: str, *statuses: int, **options: Any) -> None:
        address = f"{self.url}{path}" if path.startswith("/") else path
        self.told(self.http.request(method, address, **options), *statuses)

    def join(self, name: str, body: dict[str, Any]) -> str | None:
        """Ask an endpoint; the event, or nothing where the visitor is to wait."""
        answer = self.http.post(f"/call/v2/{name}", json=body)
        return None if self.told(answer, 200) else answer.json()["event_id"]

    def call(self, name: str, body: dict[str, Any]) -> Any:
        """The result of an endpoint, or the sentence with which it is refused."""
        event = self.join(name, body)
        if event is None:
            return ""
        try:
            text = self.http.get(f"/call/{name}/{event}").text
        except httpx.RemoteProtocolError:  # read too late, and ended
            if self.hurried:
                return ""
            raise
        *_, kind, data = [line.partition(": ")[2] for line in text.splitlines() if line]
        if kind == "complete":
            return json.loads(data)[0]
        return sentence(json.loads(data)["error"])

    def press(self, element: str, event: str, data: list[Any]) -> str:
        """What the page is sent where one of its widgets is used, without a page."""
        number = callbacks(self.url)[element, event]
        session = secrets.token_hex(5)
        answer = self.http.post("/queue/join", json={"data": data, "fn_index": number, "session_hash": session})
        if self.told(answer, 200):
            return ""
        with self.http.stream("GET", "/queue/data", params={"session_hash": session}) as lines:
            for line in lines.iter_lines():
                message = json.loads(line.removeprefix("data: ")) if line.startswith("data: ") else {}
                if message.get("msg") == "process_completed":
                    assert UNEXPECTED not in line, element
                    return line
                if message.get("msg") == "unexpected_error" and self.hurried:  # read too late, and ended
                    return ""
        raise AssertionError(f"{element} was not answered")


def sentence(said: str) -> str:
    assert said.endswith((".", "…")), said
    assert said != UNEXPECTED
    return said


@functools.cache
def config(url: str) -> dict[str, Any]:
    return httpx.get(f"{url}/config").json()


def callbacks(url: str) -> dict[tuple[str, str], int]:
    """Element and event -> number of the callback, as the page's own script knows them."""
    elements = {component["id"]: component["props"].get("elem_id") for component in config(url)["components"]}
    return {
        (elements[component], event): each["id"]
        for each in config(url)["dependencies"]
        for component, event in each["targets"]
        if elements.get(component)
    }


def untouched(url: str, number: int) -> list[Any]:
    """What a callback gets from a page on which nothing was changed."""
    values = {component["id"]: component["props"].get("value") for component in config(url)["components"]}
    (inputs,) = [each["inputs"] for each in config(url)["dependencies"] if each["id"] == number]
    return [values[component] for component in inputs]


# -- files


@functools.cache
def clip(seconds: int = 1) -> bytes:
    time_s = np.arange(16_000 * seconds) / 16_000
    voice = np.sin(2 * np.pi * 150 * time_s) * np.clip(np.sin(2 * np.pi * 3 * time_s), 0, None)
    return wav((0.3 * voice).astype(np.float32))


@functools.cache
def pictures() -> bytes:
    return flac_with_pictures(8, 8_000)


@functools.cache
def wide() -> bytes:
    return wav(np.zeros((655_350, 8), np.int16), 655_350, file_format="FLAC")


def rows(reference: str, clip_id: str = "clip") -> bytes:
    """A benchmark's file of rows with one clip."""
    header = RowsHeader(pair="base", checkpoints={"whisper": "a/b"}, settings={}, machine=MACHINE)
    runs = [make_run(lane, (0.1, 0.2), clip_id=clip_id, text=reference) for lane in ("whisper", "distil")]
    return "".join([to_line(header), *map(to_line, runs)]).encode()


@functools.cache
def reports() -> dict[str, bytes]:
    """Reports that were tampered with."""
    clips = [make_clip(name, lane, 0.1, 0.3) for name in ("a", "b") for lane in ("whisper", "distil")]
    plain = json.loads(to_json(make_report(clips)))
    text = json.dumps(plain)
    figure = '"generation_time_s": 0.4'
    assert figure in text
    return {
        "infinite": text.replace(figure, '"generation_time_s": 1e999').encode(),
        "nan": text.replace(figure, '"generation_time_s": NaN').encode(),
        "digits": text.replace(figure, '"generation_time_s": ' + "9" * 4_000).encode(),
        "nested": b"[" * 200_000,
        "surrogate": text.replace('"base"', '"\\ud800"').encode(),
        "interval": json.dumps(plain | {"summary": plain["summary"] | {"speed_up_interval": {"distil": []}}}).encode(),
        "texts.jsonl": rows("(" * 100_000),
        "digits.jsonl": rows("9" * 100_000),
    }


@functools.cache
def large_report() -> bytes:
    """Some 17 MB of clips."""
    clips = [make_clip(f"clip-{number}", lane, 0.1, 0.3) for number in range(2) for lane in ("whisper", "distil")]
    report = json.loads(to_json(make_report(clips)))
    one = len(json.dumps(report["clips"][0]))
    report["clips"] = [
        each | {"clip_id": f"clip-{number}"}
        for number in range(17_000_000 // (2 * one))
        for each in report["clips"][:2]
    ]
    return json.dumps(report).encode()


# -- the attacks


def long_texts(stranger: Visitor) -> None:
    audio = stranger.upload("clip.wav", clip())
    for reference in ("(" * 100_000, "9" * 100_000, "\u0344" * 10_000):
        stranger.call("compare", {"audio": audio, "reference": reference, "lanes": ["whisper"]})
    body = {"audio": audio, "reference": "(" * 100_001}
    stranger.refused("POST", "/gradio_api/call/v2/compare", 413, json=body)


def pictures_in_a_sound_file(stranger: Visitor) -> None:
    result = stranger.call("compare", {"audio": stranger.upload("pictures.flac", pictures()), "lanes": ["whisper"]})
    assert stranger.hurried or result["runs"][0]["audio_length_s"] > 1


def uploads_that_break_off(stranger: Visitor) -> None:
    address = urlsplit(stranger.url)
    head = (
        f"POST /gradio_api/upload HTTP/1.1\r\nHost: {address.netloc}\r\n"
        f"X-Forwarded-For: {stranger.http.headers['x-forwarded-for']}\r\n"
        "Content-Type: multipart/form-data; boundary=x\r\nContent-Length: 5000000\r\n\r\n"
        '--x\r\nContent-Disposition: form-data; name="files"; filename="a.wav"\r\n\r\n'
    )
    with socket.create_connection((address.hostname or "", address.port or 80)) as line:
        line.sendall(head.encode() + b"x" * 1_000_000)
        time.sleep(0.05)


def other_fields(stranger: Visitor) -> None:
    sent = [{"files": {"other": ("a.wav", b"x" * 100_000)}}, {"files": {"files": (None, b"x" * 100_000)}}]
    sent += [{"content": b"x" * 400_000}]
    for each in sent:
        with suppress(httpx.NetworkError):  # refused, and hung up, before all of it was sent
            stranger.refused("POST", "/gradio_api/upload", 400, 413, **each)
    with suppress(httpx.NetworkError):
        stranger.refused("POST", "/gradio_api/queue/join", 413, content=b'"' + b"x" * 2_000_000 + b'"')


def closed_routes(stranger: Visitor) -> None:
    for path in ("process_recording", "vibe-edit", "dev/reload", "deep_link", "component_server", "login"):
        stranger.refused("POST", f"/gradio_api/{path}", 404, json={})
    for path in ("/monitoring", "/monitoring/summary", "/gradio_api/dev/reload", "/gradio_api/deep_link", "/docs"):
        stranger.refused("GET", path, 404)


def unread_calls(stranger: Visitor) -> None:
    audio = stranger.upload("clip.wav", clip(20))
    stranger.hurried = True  # beyond a client's share
    for _ in range(20):
        stranger.join("compare", {"audio": audio, "repeats": 100})


def unread_benchmarks(stranger: Visitor) -> None:
    stranger.hurried = True
    for _ in range(12):
        stranger.join("benchmark", {"source": "examples", "repeats": 100})


def benchmarks_left_at_once(stranger: Visitor) -> None:
    """As the page runs them, by somebody who never had a heartbeat and is gone before the first clip is done."""
    start = callbacks(stranger.url)["benchmark-run", "click"]
    stranger.hurried = True  # where other runs of theirs are there already
    for _ in range(3):
        session = {"session_hash": secrets.token_hex(5)}
        stranger.told(stranger.http.post("/run/predict", json={"data": [], "fn_index": start} | session), 200)
        body = {"data": untouched(stranger.url, start + 1), "fn_index": start + 1}
        stranger.told(stranger.http.post("/queue/join", json=body | session), 200)


def tampered_reports(stranger: Visitor) -> None:
    for name, data in reports().items():
        file = stranger.upload(name if "." in name else f"{name}.json", data)
        shown = stranger.press("benchmark-open", "upload", [file, None])
        assert stranger.hurried or name.endswith("jsonl") or "is not a saved report" in shown, name
        if not name.endswith("jsonl"):
            stranger.press("speed-upload", "upload", [file])


def a_large_report(stranger: Visitor) -> None:
    shown = stranger.press("benchmark-open", "upload", [stranger.upload("report.json", large_report()), None])
    assert stranger.hurried or "too large" in shown


def a_long_list(stranger: Visitor) -> None:
    body = {"source": "files", "files": [{"path": "", "meta": FILE}] * 2_000}
    stranger.refused("POST", "/gradio_api/call/v2/benchmark", 413, json=body)


def invented_sessions(stranger: Visitor) -> None:
    number = callbacks(stranger.url)["benchmark-source", "change"]
    stranger.hurried = True  # after the first sixty
    for _ in range(70):
        body = {"data": ["examples"], "fn_index": number, "session_hash": secrets.token_hex(5)}
        stranger.told(stranger.http.post("/run/predict", json=body), 200)


def more_channels_than_anybody_has(stranger: Visitor) -> None:
    said = stranger.call("compare", {"audio": stranger.upload("wide.flac", wide())})
    assert stranger.hurried or "8 channels at 655350 Hz" in said


def forged_log_lines(stranger: Visitor) -> None:
    name = f"a\n{FORGED}\r\n{FORGED}.wav"
    audio = stranger.upload("text.wav", b"no sound")
    for body in ({"audio": audio, "lanes": [name]}, {"audio": audio, "pair": name}, {"audio": audio, "language": name}):
        stranger.call("compare", body)
    broken = stranger.upload(name, b"no sound")
    stranger.call("compare", {"audio": broken})
    stranger.refused("GET", "/gradio_api/file=%0A" + FORGED, 403, 404)


def links(stranger: Visitor) -> None:
    for address in ("http://127.0.0.1:9/a.wav", "https://example.org/a.wav", "ftp://127.0.0.1/a.wav"):
        audio = {"path": address, "url": address, "meta": FILE}
        stranger.refused("POST", "/gradio_api/call/v2/compare", 400, json={"audio": audio})
        stranger.refused("POST", "/gradio_api/queue/join", 400, json={"data": [audio], "fn_index": 0})
    stranger.refused("GET", "/gradio_api/file=http://127.0.0.1:9/a.wav", 404)
    stranger.refused("GET", "/gradio_api/file=https%3A//example.org/a.wav", 404)


def other_sites(stranger: Visitor) -> None:
    headers = {"origin": "https://evil.example", "accept": "application/json, text/event-stream"}
    for path in ("mcp/", "queue/join", "call/v2/compare", "upload"):
        stranger.refused("POST", f"/gradio_api/{path}", 403, json={}, headers=headers)


ATTACKS: dict[str, Callable[[Visitor], None]] = {
    attack.__name__: attack
    for attack in (
        long_texts,
        pictures_in_a_sound_file,
        uploads_that_break_off,
        other_fields,
        closed_routes,
        unread_calls,
        unread_benchmarks,
        benchmarks_left_at_once,
        tampered_reports,
        a_large_report,
        a_long_list,
        invented_sessions,
        more_channels_than_anybody_has,
        forged_log_lines,
        links,
        other_sites,
    )
}


def addresses() -> Iterator[str]:
    """Of strangers, none twice in a test's time; some are reserved for documentation, the others for benchmarks."""
    number = 0
    while True:
        number += 1
        yield f"198.18.{number // 250 % 250}.{number % 250}"
