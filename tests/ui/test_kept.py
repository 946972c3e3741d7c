"""What is the same for every visitor is made once, and is what Gradio would have sent."""

from __future__ import annotations

import asyncio
import re

import httpx
import pytest

from components.ui import kept
from components.ui.kept import Kept


@pytest.fixture(scope="module")
def visitor(url):
    with httpx.Client(base_url=url, headers={"Accept-Encoding": "br"}) as client:
        yield client


@pytest.fixture(scope="module")
def asset(visitor):
    return re.search(r"assets/index-[\w-]+\.js", visitor.get("/").text).group()


@pytest.mark.parametrize("encoding", ["br", "gzip", "identity"])
def test_the_page_and_its_files_come_whole_in_every_encoding(visitor, asset, encoding):
    for path in ("/", f"/{asset}", "/theme.css"):
        headers = {"Accept-Encoding": encoding}
        first, again = (visitor.get(path, headers=headers) for _ in range(2))
        assert first.status_code == again.status_code == 200
        assert first.content == again.content == visitor.get(path, headers={"Accept-Encoding": "identity"}).content
        assert first.headers.get("content-encoding", "identity") == encoding
        assert first.headers["content-type"] == again.headers["content-type"]
        assert len(first.content) > kept.LEAST_BYTES


def test_a_browser_keeps_what_is_named_by_its_content_and_nothing_else(visitor, asset):
    assert "immutable" in visitor.get(f"/{asset}").headers["cache-control"]
    assert "immutable" not in visitor.get("/").headers.get("cache-control", "")


def test_the_page_names_the_address_at_which_it_was_asked_for(visitor):
    for host in ("one.example", "two.example"):
        page = visitor.get("/", headers={"X-Forwarded-Host": host, "X-Forwarded-Proto": "https"}).text
        assert f"https://{host}" in page
        assert len(set(re.findall(r"https://(\w+)\.example", page))) == 1


@pytest.mark.parametrize("path", ["/assets/nothing.js", "/assets/../routes.py", "/static/img/..%2f..%2fpackage.json"])
def test_what_is_not_there_stays_not_there(visitor, path):
    for _ in range(2):
        assert visitor.get(path).status_code in {403, 404}


def test_memory_is_bounded(monkeypatch):
    async def app(_scope, _receive, send):
        await send({"type": "http.response.start", "status": 200, "headers": [(b"content-type", b"font/woff2")]})
        await send({"type": "http.response.body", "body": bytes(1000)})

    async def send(_message):
        pass

    monkeypatch.setattr(kept, "MOST_BYTES", 5000)
    middleware = Kept(app)

    async def ask():
        for number in range(20):
            scope = {"type": "http", "method": "GET", "path": f"/assets/{number}", "query_string": b"", "headers": []}
            await middleware(scope, None, send)

    asyncio.run(ask())
    assert [path for path, *_ in middleware._answers] == [f"/assets/{number}" for number in range(15, 20)]
