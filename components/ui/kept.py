"""What is the same for every visitor, Gradio's own files and the page itself: made and compressed once, then kept."""

from __future__ import annotations

import gzip
import re
from collections import OrderedDict
from dataclasses import dataclass
from typing import TYPE_CHECKING

import brotli
from starlette.concurrency import run_in_threadpool
from starlette.datastructures import Headers

from components.ui.gate import route_path

if TYPE_CHECKING:
    from starlette.types import ASGIApp, Message, Receive, Scope, Send

    RawHeaders = tuple[tuple[bytes, bytes], ...]
    Key = tuple[str, str, tuple[str | None, ...]]

KEPT = re.compile(r"/|/theme\.css|/(assets|static|svelte)/[\w./@-]+")
NAMED_BY_CONTENT = re.compile(r"/assets/.+-[\w-]{8,}\.\w+|/theme\.css")
"""Another content has another address, so that a browser need not ask again."""
TEXT = re.compile(r"text/|image/svg|application/(javascript|json|manifest)")
ADDRESS = ("host", "x-forwarded-host", "x-forwarded-proto")
"""Headers by which the page knows its own address, which stands in it."""
MOST_BYTES = 64_000_000
"""Kept at most; what was asked for least recently goes."""
LEAST_BYTES = 400
"""What is smaller is not worth compressing."""


@dataclass(frozen=True)
class Answer:
    """A whole answer with the status 200."""

    headers: RawHeaders
    body: bytes


class Kept:
    """ASGI middleware: answers from memory what it has, and keeps what may be kept. ``app``: what is behind it."""

    def __init__(self, app: ASGIApp) -> None:
        self.app = app
        self._answers: OrderedDict[Key, Answer] = OrderedDict()
        self._bytes = 0

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Answer one request."""
        key = _key(scope)
        if key is None:
            await self.app(scope, receive, send)
            return
        if (answer := self._answers.get(key)) is None:
            whole = await self._asked(scope, receive, send)
            if whole is None:
                return
            answer = await run_in_threadpool(_compressed, whole, key)
            self._keep(key, answer)
        self._answers.move_to_end(key)
        await send({"type": "http.response.start", "status": 200, "headers": list(answer.headers)})
        await send({"type": "http.response.body", "body": answer.body})

    async def _asked(self, scope: Scope, receive: Receive, send: Send) -> Answer | None:
        """The answer of what is behind; ``None`` where it was another than 200, which has been handed on."""
        start: Message = {}
        body = bytearray()

        async def collect(message: Message) -> None:
            if message["type"] == "http.response.start":
                start.update(message)
            if start["status"] != 200:
                await send(message)
            body.extend(message.get("body", b""))

        await self.app(scope, receive, collect)
        return Answer(tuple(start["headers"]), bytes(body)) if start.get("status") == 200 else None

    def _keep(self, key: Key, answer: Answer) -> None:
        replaced = self._answers.pop(key, None)
        self._answers[key] = answer
        self._bytes += len(answer.body) - (len(replaced.body) if replaced else 0)
        while self._bytes > MOST_BYTES and len(self._answers) > 1:
            self._bytes -= len(self._answers.popitem(last=False)[1].body)


def _key(scope: Scope) -> Key | None:
    """What an answer depends on; ``None`` where it cannot be kept."""
    path = route_path(scope) if scope["type"] == "http" else ""
    if scope.get("method") != "GET" or not KEPT.fullmatch(path) or b"deep_link" in scope["query_string"]:
        return None
    headers = Headers(scope=scope)
    if "range" in headers:
        return None
    accepted = headers.get("accept-encoding", "")
    encoding = next((name for name in ("br", "gzip") if name in accepted), "")
    address = (scope["scheme"], scope.get("root_path"), *map(headers.get, ADDRESS)) if path == "/" else ()
    return path, encoding, address


def _compressed(answer: Answer, key: Key) -> Answer:
    path, encoding, _ = key
    headers = {name.lower(): value for name, value in answer.headers}
    headers[b"vary"] = b"accept-encoding"
    if NAMED_BY_CONTENT.fullmatch(path):
        headers[b"cache-control"] = b"public, max-age=31536000, immutable"
    body = answer.body
    worthwhile = len(body) >= LEAST_BYTES and TEXT.match(headers.get(b"content-type", b"").decode("latin-1"))
    if encoding and worthwhile and b"content-encoding" not in headers:
        body = brotli.compress(body, quality=5) if encoding == "br" else gzip.compress(body, compresslevel=6)
        headers[b"content-encoding"] = encoding.encode()
        headers.pop(b"etag", None)  # that of other bytes
    headers[b"content-length"] = str(len(body)).encode()
    return Answer(tuple(headers.items()), body)
