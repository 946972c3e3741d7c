"""The gate before a small app: what passes, what is refused, and that a refusal is a sentence."""

from __future__ import annotations

import httpx
import pytest
from starlette.applications import Starlette
from starlette.datastructures import Headers
from starlette.requests import Request  # noqa: TC002 - Starlette reads it
from starlette.responses import JSONResponse
from starlette.routing import Route

from components.ui.gate import Gate, Limits, Rate, client_of

LIMITS = Limits(upload_bytes=10_000, json_bytes=2_000, parts=3, items=10, depth=5, nodes=100, text=500)


async def echo(request: Request) -> JSONResponse:
    return JSONResponse({"bytes": len(await request.body()), "path": request.url.path})


def client(limits: Limits = LIMITS, peer: str = "203.0.113.5", root: str = "", **options: object) -> httpx.AsyncClient:
    app = Starlette(routes=[Route("/{path:path}", echo, methods=["GET", "POST", "PUT", "DELETE"])])
    transport = httpx.ASGITransport(Gate(app, limits, **options), client=(peer, 1234), root_path=root)
    return httpx.AsyncClient(transport=transport, base_url="http://space.test")


@pytest.fixture
def anyio_backend() -> str:
    return "asyncio"


pytestmark = pytest.mark.anyio

PAGE = ["/", "/config", "/theme.css", "/assets/index-1.js", "/gradio_api/info", "/gradio_api/heartbeat/abc"]
CLOSED = [
    "/monitoring",
    "/monitoring/summary",
    "/gradio_api/dev/reload",
    "/gradio_api/deep_link",
    "/gradio_api/proxy=http://localhost/",
    "/gradio_api/run-history/buckets",
    "/gradio_api/mcp/sse",
    "/gradio_api/file=http://127.0.0.1:9/a.wav",
    "/gradio_api/file=https:%2F%2Fexample.org/a.wav",
    "/docs",
    "/%2e%2e/etc/passwd",
    "/.env",
]


@pytest.mark.parametrize("path", PAGE)
async def test_the_page_passes(path):
    async with client() as http:
        assert (await http.get(path)).status_code == 200


@pytest.mark.parametrize("path", CLOSED)
async def test_other_routes_are_not_there(path):
    async with client() as http:
        answer = await http.get(path)
        assert (answer.status_code, bool(answer.json()["detail"])) == (404, True)


@pytest.mark.parametrize(
    "path", ["/gradio_api/process_recording", "/gradio_api/vibe-edit/", "/gradio_api/run/x", "/login"]
)
async def test_closed_posts(path):
    async with client() as http:
        assert (await http.post(path, json={})).status_code in {404, 405}


@pytest.mark.parametrize(
    ("method", "path"), [("PUT", "/"), ("DELETE", "/config"), ("POST", "/"), ("GET", "/gradio_api/upload")]
)
async def test_a_wrong_method_is_405(method, path):
    async with client() as http:
        assert (await http.request(method, path)).status_code == 405


async def test_under_a_proxys_prefix():
    async with client(root="/space") as http:
        assert (await http.get("/space/config")).status_code == 200
        assert (await http.get("/space/monitoring")).status_code == 404


@pytest.mark.parametrize(
    ("body", "status"),
    [
        (b'{"data": ["hello", null, 1.5]}', 200),
        (b"", 200),
        (b"[" * 1000, 400),
        (b"[" * 500 + b"]" * 500, 413),
        (b'{"data": [[[[[[1]]]]]]}', 413),
        (b'{"reference": "' + b"(" * 501 + b'"}', 413),
        (b'{"' + b"k" * 501 + b'": 1}', 413),
        (b'{"files": [' + b"1," * 10 + b"1]}", 413),
        (b'"' + b"9" * 3000 + b'"', 413),
        (b"\xff\xfe{", 400),
        (b'{"audio": {"path": "http://169.254.169.254/a.wav"}}', 400),
        (b'{"audio": {"path": "/tmp/a.wav", "url": "http://space.test/gradio_api/file=/tmp/a.wav"}}', 200),
    ],
)
async def test_json(body, status):
    async with client() as http:
        answer = await http.post("/gradio_api/call/v2/compare", content=body)
        assert answer.status_code == status
        assert status == 200 or answer.json()["detail"]


async def test_links_where_they_are_allowed():
    async with client(links=True) as http:
        body = {"audio": {"path": "https://example.org/a.wav"}}
        assert (await http.post("/gradio_api/call/compare", json=body)).status_code == 200


async def test_a_body_without_a_length_is_bounded_too():
    async def endless():
        for _ in range(100):
            yield b" " * 1000

    async with client() as http:
        assert (await http.post("/gradio_api/queue/join", content=endless())).status_code == 413
        assert (await http.post("/gradio_api/upload", content=endless())).status_code in {400, 413}


def form(name: str = "files", filename: str | None = "a.wav", size: int = 10) -> tuple[str, tuple]:
    return name, (filename, b"x" * size)


@pytest.mark.parametrize(
    ("parts", "status"),
    [
        ([form()], 200),
        ([form()] * 3, 200),
        ([form()] * 4, 413),
        ([form(size=20_000)], 413),
        ([form("other")], 400),
        ([form(filename=None)], 400),
        ([form(filename="n" * 20_000)], 413),
    ],
)
async def test_forms(parts, status):
    async with client(Limits(upload_bytes=15_000, parts=3, field_bytes=1_000)) as http:
        answer = await http.post("/gradio_api/upload", files=parts)
        assert answer.status_code == status


async def test_a_foreign_page_may_not_post():
    foreign, own = {"origin": "https://evil.example"}, {"origin": "http://space.test"}
    async with client() as http:
        assert (await http.post("/gradio_api/queue/join", json={}, headers=foreign)).status_code == 403
        assert (await http.post("/gradio_api/queue/join", json={}, headers=own)).status_code == 200
        forwarded = {"origin": "https://a.hf.space", "x-forwarded-host": "a.hf.space"}
        assert (await http.post("/gradio_api/queue/join", json={}, headers=forwarded)).status_code == 200
    async with client(origins=("https://evil.example",)) as http:
        assert (await http.post("/gradio_api/queue/join", json={}, headers=foreign)).status_code == 200


async def test_rates_are_a_clients_own():
    limits = Limits(upload_bytes=1, work_burst=2, work_rate=0.001)
    async with client(limits, peer="10.0.0.1") as http:
        statuses = [
            (
                await http.post("/gradio_api/queue/join", json={}, headers={"x-forwarded-for": f"spoofed, {address}"})
            ).status_code
            for address in ["203.0.113.1"] * 3 + ["203.0.113.2"]
        ]
        assert statuses == [200, 200, 429, 200]
        assert (await http.get("/", headers={"x-forwarded-for": "203.0.113.1"})).status_code == 200


@pytest.mark.parametrize(
    ("forwarded", "client"),
    [
        ("", "10.0.0.1"),
        ("no address", "10.0.0.1"),
        ("8.8.8.8", "8.8.8.8"),
        ("1.1.1.1, 8.8.8.8", "8.8.8.8"),
        ("1.1.1.1, 8.8.8.8, 10.0.0.7", "8.8.8.8"),
        ("made up, 8.8.8.8", "8.8.8.8"),
        ("192.168.0.3, 10.0.0.7", "10.0.0.7"),
        ("2606:4700::1111", "2606:4700::1111"),
    ],
)
def test_whose_request_it_is(forwarded, client):
    assert client_of({"client": ("10.0.0.1", 1)}, Headers({"x-forwarded-for": forwarded})) == client


async def test_a_client_that_is_no_proxy_cannot_name_another():
    limits = Limits(upload_bytes=1, work_burst=1, work_rate=0.001)
    async with client(limits, peer="8.8.8.8") as http:
        headers = [{"x-forwarded-for": f"203.0.113.{number}"} for number in range(2)]
        statuses = [(await http.post("/gradio_api/queue/join", json={}, headers=each)).status_code for each in headers]
        assert statuses == [200, 429]


def test_a_rate_forgets_the_clients_seen_least_recently(monkeypatch):
    monkeypatch.setattr("components.ui.gate.PEERS", 3)
    rate = Rate(0.001, 1)
    assert all(rate.allows(str(number)) for number in range(5))
    assert not rate.allows("4")
    assert rate.allows("0")
