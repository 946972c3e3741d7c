"""What strangers may try with a server of its own, and an ordinary client who is served meanwhile."""

from __future__ import annotations

import re
import shutil
import subprocess
import threading
import time
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from typing import TYPE_CHECKING

import pytest

from components.ui.storage import PREFIX
from tests.benchmarks.load import server_process
from tests.browser.harness import pair_variables, running_app
from tests.ui.strangers import ATTACKS, FORGED, Visitor, addresses, clip, sentence

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator
    from pathlib import Path

    import httpx
    import psutil

LATEST_S = 60.0
MEMORY_BYTES = 300_000_000
"""What a server may take more at the height of an attack; without limits it was gigabytes."""


@dataclass
class Server:
    url: str
    folder: Path
    log: list[str]
    process: psutil.Process


@pytest.fixture(scope="module")
def server(tiny_teacher, tiny_student, tmp_path_factory) -> Iterator[Server]:
    folder, log = tmp_path_factory.mktemp("visitors"), []
    variables = {"GRADIO_TEMP_DIR": str(folder), "TMPDIR": str(folder), "GRADIO_MCP_SERVER": "True"}
    with running_app(log=log, **pair_variables(tiny_teacher, tiny_student), **variables) as url:
        made = Server(url, folder, log, server_process(url))
        with ordinary(made) as client:
            comparison(client)  # loaded and warm
        yield made
    assert [place.name for place in folder.iterdir() if place.name != ".ses"] == []  # a library's own, not a visitor's
    assert not [line for line in log if "Traceback" in line or line.startswith(FORGED)]


@pytest.fixture(scope="module")
def stranger_addresses() -> Iterator[str]:
    return addresses()


def ordinary(server: Server) -> Visitor:
    return Visitor(server.url, "203.0.113.7")


def comparison(client: Visitor) -> None:
    result = client.call("compare", {"audio": client.upload("ordinary.wav", clip(2)), "repeats": 1})
    assert result["clip_id"] == "ordinary"
    assert [run["lane_id"] for run in result["runs"]] == ["whisper", "distil"]
    assert result["failures"] == []


def wait_until(reached: Callable[[], bool]) -> None:
    deadline = time.monotonic() + LATEST_S
    while not reached():
        assert time.monotonic() < deadline, "it never came to that"
        time.sleep(0.1)


def left_over(server: Server) -> list[str]:
    """Parts of uploads, and files of runs outside the folder that is emptied."""
    (kept,) = [place for place in server.folder.iterdir() if place.name.startswith(PREFIX)]
    parts = [place.name for place in kept.iterdir() if place.is_file() and place.name != ".in-use"]
    return parts + [place.name for place in server.folder.iterdir() if place.name.startswith("benchmark-")]


def is_idle(server: Server) -> bool:
    before = sum(server.process.cpu_times()[:2])
    time.sleep(0.5)
    return sum(server.process.cpu_times()[:2]) - before < 0.3


@pytest.mark.parametrize("name", ATTACKS)
def test_an_ordinary_client_is_served_meanwhile(server, stranger_addresses, name):
    enough, begun, highest = threading.Event(), threading.Event(), []
    before = server.process.memory_info().rss

    def attack() -> None:
        while True:
            begun.set()
            with Visitor(server.url, next(stranger_addresses)) as stranger:
                ATTACKS[name](stranger)
            highest.append(server.process.memory_info().rss)
            if enough.wait(0.2):
                return

    with ThreadPoolExecutor(1) as pool, ordinary(server) as client:
        attacking = pool.submit(attack)
        begun.wait()
        try:
            comparison(client)
        finally:
            enough.set()
        attacking.result(LATEST_S)
        assert max(highest) - before < MEMORY_BYTES
        client.upload("ordinary.wav", clip(2))  # after an upload is swept; else it takes two minutes
        wait_until(lambda: not left_over(server))


def test_what_nobody_reads_does_not_go_on(server, stranger_addresses):
    """After all of them: no call is left, and the processor is free."""
    for name in ("unread_calls", "unread_benchmarks"):
        with Visitor(server.url, next(stranger_addresses)) as stranger:
            ATTACKS[name](stranger)
    wait_until(lambda: is_idle(server))


# -- every endpoint, as the app describes it

WRONG = {"string": 7, "array": "text", "integer": "many", "boolean": "perhaps", "object": 7}
"""For a type of JSON, a value that is of none of the types that a parameter of it may have."""


def endpoints(http: httpx.Client) -> dict[str, list[dict]]:
    return {name: each["parameters"] for name, each in http.get("/info").json()["named_endpoints"].items()}


def test_a_value_of_a_wrong_type_is_refused_in_words(server):
    with ordinary(server) as client:
        audio = client.upload("clip.wav", clip())
        described = endpoints(client.http)
        assert set(described) == {"/benchmark", "/compare", "/live", "/models"}
        for endpoint, parameters in described.items():
            for parameter in parameters:
                name = parameter["parameter_name"]
                kinds = [each.get("type") for each in parameter["type"].get("anyOf", [parameter["type"]])]
                wrong = next((WRONG[kind] for kind in kinds if kind in WRONG), [{"a": 1}])
                body = {"audio": audio} if endpoint in {"/compare", "/live"} else {}
                said = client.call(endpoint.strip("/"), body | {name: wrong})
                assert isinstance(said, str), (endpoint, name, wrong)
            for other in ({"unknown": 1}, [1], "text"):
                client.refused("POST", f"/gradio_api/call/v2{endpoint}", 400, 422, json=other)
            for method in ("PUT", "DELETE", "PATCH"):
                client.refused(method, f"/gradio_api/call/v2{endpoint}", 405)


@pytest.mark.parametrize(
    ("method", "path", "body"),
    [
        ("POST", "call/nothing", {"data": []}),
        ("POST", "call/v2/nothing", {}),
        ("POST", "call/models", {"data": "text"}),
        ("POST", "queue/join", {}),
        ("POST", "queue/join", [1]),
        ("POST", "queue/join", {"data": [], "fn_index": 9_999, "session_hash": "x"}),
        ("POST", "queue/join", {"data": 7, "fn_index": "models", "session_hash": 7}),
        ("POST", "run/predict", {"data": []}),
        ("POST", "upload", {}),
        ("POST", "cancel", {}),
        ("POST", "reset", 7),
        ("DELETE", "upload", None),
        ("GET", "nothing", None),
        ("GET", "queue/data", None),
        ("GET", "upload_progress", None),
        ("GET", "file=/etc/passwd", None),
        ("GET", "file=nothing.wav", None),
        ("POST", "mcp/", {"jsonrpc": "2.0", "id": 1}),
        ("POST", "mcp/", [1]),
        ("PUT", "mcp/", None),
        ("POST", "mcp/nothing", {}),
    ],
)
def test_an_unknown_route_a_wrong_method_and_a_wrong_body(server, method, path, body):
    with ordinary(server) as client:
        answer = client.http.request(method, f"/{path}", json=body, headers={"accept": "application/json"})
        assert 400 <= answer.status_code < 500, answer.text
        assert "Traceback" not in answer.text
        assert re.search(r"\w \w", answer.text), "there is no sentence"


# -- the end


SMALL_DISK = ["unshare", "--user", "--map-root-user", "--mount", "sh", "-c"]
MOUNT = "mount -t tmpfs -o size=2m tmpfs {}"
ON_A_SMALL_DISK = """
import os, shlex, sys
os.execvp("unshare", [*sys.argv[2:], f"{sys.argv[1]} && exec {shlex.join([sys.executable, 'app.py'])}"])
"""


def fits(client: Visitor, size: int) -> bool:
    answer = client.http.post("/upload", files={"files": ("large.wav", b"x" * size)})
    assert answer.status_code in {200, 507}, answer.text
    if answer.status_code == 507:
        sentence(answer.json()["detail"])
    return answer.status_code == 200


def test_a_full_disk_and_then_sigterm(tiny_teacher, tiny_student, tmp_path):
    """A full disk is told, and who has uploaded already is served; SIGTERM amid runs and uploads leaves nothing."""
    mount = MOUNT.format(tmp_path)
    fills = shutil.which("unshare") and not subprocess.run([*SMALL_DISK, mount], check=False).returncode
    command = ["-c", ON_A_SMALL_DISK, mount, *SMALL_DISK] if fills else ["app.py"]
    pair = pair_variables(tiny_teacher, tiny_student)
    with running_app(command=command, GRADIO_TEMP_DIR=str(tmp_path), **pair) as url:
        process = server_process(url)
        with Visitor(url, "203.0.113.7") as client, Visitor(url, "203.0.113.8") as stranger:
            audio = client.upload("ordinary.wav", clip(2))
            if fills:
                assert not fits(stranger, 3_000_000)
            assert client.call("compare", {"audio": audio})["failures"] == []
            assert fits(client, 1_000_000)
            for name in ("unread_calls", "benchmarks_left_at_once", "uploads_that_break_off"):
                ATTACKS[name](stranger)
            process.terminate()
            process.wait(LATEST_S)
    assert list(tmp_path.iterdir()) == []
