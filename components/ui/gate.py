"""What every HTTP request passes before Gradio sees it: allowed routes, sizes, rates, origins, and links.

Gradio serves more than this page needs, and bounds little of it. A request that is refused here has cost no more than
its headers, or its body up to the limit.
"""

from __future__ import annotations

import ipaddress
import json
import re
from collections import OrderedDict
from contextlib import nullcontext
from dataclasses import dataclass
from time import monotonic
from typing import TYPE_CHECKING, Any
from urllib.parse import urlsplit

from python_multipart.multipart import MultipartParser, parse_options_header
from starlette.datastructures import Headers
from starlette.exceptions import HTTPException
from starlette.responses import JSONResponse

if TYPE_CHECKING:
    from collections.abc import Iterator
    from contextlib import AbstractContextManager

    from starlette.types import ASGIApp, Message, Receive, Scope, Send

    from components.ui.storage import Storage

ROUTES: tuple[tuple[str, str], ...] = (
    ("GET HEAD", r"/"),
    ("GET HEAD", r"/(config|theme\.css|robots\.txt|favicon\.ico|manifest\.json|pwa_icon(/\d+)?)/?"),
    ("GET HEAD", r"/(assets|static|svelte)/.+"),
    ("GET HEAD", r"/preview\.png"),
    ("GET HEAD", r"/gradio_api/(info|openapi\.json|app_id|startup-events|theme\.css|upload_progress)/?"),
    ("GET HEAD", r"/gradio_api/file=(?!\w+:/).+"),  # no address: Gradio would fetch it
    ("GET", r"/gradio_api/heartbeat/[\w-]+"),
    ("GET", r"/gradio_api/queue/data"),
    ("GET", r"/gradio_api/call/(v2/)?\w+/[\w-]+"),
    ("POST", r"/gradio_api/(upload|queue/join|run/predict|cancel|reset)/?"),
    ("POST", r"/gradio_api/call/(v2/)?\w+/?"),
    ("POST", r"/microphone/[0-9a-f]{32}"),
)
"""Methods and paths that the page, Gradio's clients and plain HTTP use. All else is answered 404 or 405."""

MCP = re.compile(r"/gradio_api/mcp(/.*)?")
MCP_ROUTE = ("GET POST DELETE", MCP.pattern)

UPLOAD = re.compile(r"/gradio_api/upload/?")

MICROPHONE = re.compile(r"/microphone/.+")

WORK = re.compile(r"/gradio_api/(queue/join|run/predict|call/.+)/?")
"""What starts work, when it is a POST."""

PEERS = 10_000
"""Clients whose rates are remembered; the ones seen least recently are forgotten."""


@dataclass(frozen=True)
class Limits:
    """Bytes of a body, a form field and a text; items of lists; requests a client may make.

    ``rate`` and ``work_rate`` are requests a second, with ``burst`` and ``work_burst`` at once: a page takes some
    eighty to open, a live microphone four a second.
    """

    upload_bytes: int
    json_bytes: int = 1_000_000
    mcp_bytes: int = 20_000_000
    piece_bytes: int = 2_000_000
    field_bytes: int = 16_384
    parts: int = 60
    items: int = 200
    depth: int = 24
    nodes: int = 20_000
    text: int = 100_000
    rate: float = 30.0
    burst: int = 400
    work_rate: float = 3.0
    work_burst: int = 60


class Refusal(HTTPException):
    """A request that is answered with a status and a sentence, here or, once its body is being read, by FastAPI."""


class Gate:
    """ASGI middleware around Gradio's app.

    Args:
        app: What is behind the gate.
        limits: See there.
        origins: Other sites whose pages may call this one, ``https://example.org``; ``*`` for all.
        links: Whether audio may be named by its address instead of being uploaded.
        mcp: Whether the routes of the MCP server are open.
        storage: Told when an upload begins and ends.
    """

    def __init__(
        self,
        app: ASGIApp,
        limits: Limits,
        *,
        origins: tuple[str, ...] = (),
        links: bool = False,
        mcp: bool = False,
        storage: Storage | None = None,
    ) -> None:
        self.app = app
        self.storage = storage
        self.limits = limits
        self.origins = origins
        self.links = links
        routes = (*ROUTES, MCP_ROUTE) if mcp else ROUTES
        self.routes = [(frozenset(methods.split()), re.compile(path)) for methods, path in routes]
        self.requests = Rate(limits.rate, limits.burst)
        self.work = Rate(limits.work_rate, limits.work_burst)

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Let a request through, or answer it."""
        if scope["type"] == "websocket":
            await send({"type": "websocket.close", "code": 1008})
            return
        if scope["type"] != "http":
            await self.app(scope, receive, send)
            return
        try:
            self.check_head(scope)
            with self._uploading(scope):
                await self.app(scope, await self.checked_body(scope, receive), send)
        except Refusal as refusal:
            await JSONResponse({"detail": refusal.detail}, refusal.status_code)(scope, receive, send)

    def _uploading(self, scope: Scope) -> AbstractContextManager[None]:
        upload = self.storage is not None and scope["method"] == "POST" and UPLOAD.fullmatch(route_path(scope))
        return self.storage.upload() if self.storage is not None and upload else nullcontext()

    # -- what stands in the head

    def check_head(self, scope: Scope) -> None:
        """Check route, method, origin and rate.

        Raises:
            Refusal: 403, 404, 405 or 429.
        """
        path, method, headers = route_path(scope), scope["method"], Headers(scope=scope)
        methods = [allowed for allowed, route in self.routes if route.fullmatch(path)]
        if not methods:
            raise Refusal(404, "There is nothing at this address.")
        if not any(method in allowed for allowed in methods) and method != "OPTIONS":
            raise Refusal(405, f"This address does not take {method} requests.")
        if method not in {"GET", "HEAD", "OPTIONS"}:
            self.check_origin(headers)
        client = client_of(scope, headers)
        works = method == "POST" and WORK.fullmatch(path) is not None
        if client is not None and not (self.requests.allows(client) and (not works or self.work.allows(client))):
            raise Refusal(429, "Too many requests from you in a short time. Wait a minute, then go on more slowly.")

    def check_origin(self, headers: Headers) -> None:
        """A page of another site may not act here in its visitor's name; scripts send no origin.

        Raises:
            Refusal: 403.
        """
        origin = headers.get("origin")
        if origin is None or "*" in self.origins or origin in self.origins:
            return
        hosts = {headers.get("host", ""), *re.split(r"\s*,\s*", headers.get("x-forwarded-host", ""))}
        if urlsplit(origin).netloc not in hosts - {""}:
            raise Refusal(403, "Pages of other sites may not call this one. Set ALLOWED_ORIGINS to let them.")

    # -- what stands in the body

    async def checked_body(self, scope: Scope, receive: Receive) -> Receive:
        """A ``receive`` that gives the same body, checked: JSON before it is handed on, a form while it is.

        Raises:
            Refusal: 400, 411 or 413.
        """
        headers = Headers(scope=scope)
        if scope["method"] != "POST":
            return receive
        path = route_path(scope)
        is_upload, is_piece = UPLOAD.fullmatch(path) is not None, MICROPHONE.fullmatch(path) is not None
        limit = self.limits.upload_bytes if is_upload else self.limits.json_bytes
        if MCP.fullmatch(path):  # its clients put audio into the JSON
            limit = self.limits.mcp_bytes
        if is_piece:
            limit = self.limits.piece_bytes
        length = headers.get("content-length", "")
        if length.isdecimal() and int(length[:20]) > limit:
            raise Refusal(413, f"This is over {limit / 1e6:,.0f} MB, which is more than may be sent.")
        if is_upload:
            return self.checked_form(headers, bounded(receive, limit))
        if is_piece or MCP.fullmatch(path):
            return bounded(receive, limit)
        body = await read(bounded(receive, limit))
        self.check_json(body)
        return replayed(body, receive)

    def check_json(self, body: bytes) -> None:
        """Bound depth, texts and lists; refuse links to audio unless they are allowed.

        Raises:
            Refusal: 400 or 413.
        """
        try:
            value = json.loads(body) if body.strip() else None
        except (ValueError, RecursionError) as error:
            raise Refusal(400, "The body of this request is not JSON that can be read.") from error
        limits = self.limits
        for count, (each, depth) in enumerate(walk(value), start=1):
            if depth > limits.depth or count > limits.nodes:
                raise Refusal(413, "The JSON of this request is too deep or too long.")
            if isinstance(each, str) and len(each) > limits.text:
                raise Refusal(413, f"A text of this request is over {limits.text:,} characters.")
            if isinstance(each, list | dict) and len(each) > limits.items:
                raise Refusal(413, f"A list of this request has over {limits.items} items.")
            if isinstance(each, dict) and not self.links and "://" in str(each.get("path") or ""):
                raise Refusal(400, "The audio is a link. Upload the file itself.")

    def checked_form(self, headers: Headers, receive: Receive) -> Receive:
        """A ``receive`` that counts the parts and fields of a form while they arrive."""
        kind, options = parse_options_header(headers.get("content-type", ""))
        if kind != b"multipart/form-data" or not options.get(b"boundary"):
            raise Refusal(400, "Send files as a form: multipart/form-data, each in the field “files”.")
        form = Form(self.limits, options[b"boundary"])

        async def receive_checked() -> Message:
            message = await receive()
            if message["type"] == "http.request":
                form.feed(message.get("body", b""))
            return message

        return receive_checked


class Form:
    """Counts what a form holds while its bytes pass.

    Raises, from ``feed``:
        Refusal: 400 for a field that is no file called ``files``, or a form that cannot be read; 413 for too many.
    """

    def __init__(self, limits: Limits, boundary: bytes) -> None:
        self.limits = limits
        self.parts = 0
        self.header = b""
        callbacks: Any = {
            "on_part_begin": self.begin,
            "on_header_field": self.note_header,
            "on_header_value": self.note_header,
            "on_headers_finished": self.check_part,
        }
        self.parser = MultipartParser(boundary, callbacks)

    def feed(self, data: bytes) -> None:
        try:
            self.parser.write(data)
        except ValueError as error:  # python_multipart's errors are
            raise Refusal(400, "This form cannot be read. Send files as multipart/form-data.") from error

    def begin(self) -> None:
        self.parts += 1
        self.header = b""
        if self.parts > self.limits.parts:
            raise Refusal(413, f"At most {self.limits.parts} files can be sent at once.")

    def note_header(self, data: bytes, start: int, end: int) -> None:
        self.header += data[start:end]
        if len(self.header) > self.limits.field_bytes:
            raise Refusal(413, "A file's name or head is too long.")

    def check_part(self) -> None:
        if b"filename" not in self.header or b'name="files"' not in self.header:
            raise Refusal(400, "This form has a field that is not taken. Send each file in the field “files”.")


class Rate:
    """Token buckets: each client may make ``burst`` requests at once, and ``rate`` a second in the long run."""

    def __init__(self, rate: float, burst: int) -> None:
        self.rate = rate
        self.burst = burst
        self._buckets: OrderedDict[str, tuple[float, float]] = OrderedDict()

    def allows(self, client: str) -> bool:
        """Count one more request of a client; whether it is within its rate."""
        now = monotonic()
        tokens, since = self._buckets.pop(client, (float(self.burst), now))
        tokens = min(self.burst, tokens + (now - since) * self.rate)
        allowed = tokens >= 1
        self._buckets[client] = (tokens - allowed, now)
        while len(self._buckets) > PEERS:
            self._buckets.popitem(last=False)
        return allowed


def route_path(scope: Scope) -> str:
    """The path within this app: a proxy may serve it under a prefix, which ``root_path`` names."""
    path, root = scope["path"], scope.get("root_path", "").rstrip("/")
    return (path.removeprefix(root) if root and path.startswith(f"{root}/") else path) or "/"


def client_of(scope: Scope, headers: Headers) -> str | None:
    """Whose request it is: the peer's address, or the last public one that proxies on a private network name.

    ``None`` for somebody at this machine itself, who is bound by no rate.
    """
    peer = (scope.get("client") or ("",))[0]
    try:
        address = ipaddress.ip_address(peer)
    except ValueError:
        return peer
    named = list(addresses(headers.get("x-forwarded-for", ""))) if address.is_private else []
    if named:
        return str(next((each for each in named if not each.is_private), named[0]))
    return None if address.is_loopback else peer


def addresses(forwarded: str) -> Iterator[ipaddress.IPv4Address | ipaddress.IPv6Address]:
    """What ``X-Forwarded-For`` names, the last first, up to what is no address: from there on a client made it up."""
    for each in reversed(forwarded.split(",")):
        try:
            yield ipaddress.ip_address(each.strip())
        except ValueError:
            return


def walk(value: Any) -> Iterator[tuple[Any, int]]:
    """Every value inside a JSON value, keys of objects too, with its depth."""
    waiting = [(value, 0)]
    while waiting:
        each, depth = waiting.pop()
        yield each, depth
        if isinstance(each, dict):
            waiting += [(inner, depth + 1) for pair in each.items() for inner in pair]
        elif isinstance(each, list):
            waiting += [(inner, depth + 1) for inner in each]


def bounded(receive: Receive, limit: int) -> Receive:
    """A ``receive`` that refuses the bytes after the limit, whatever length was declared."""
    received = 0

    async def receive_bounded() -> Message:
        nonlocal received
        message = await receive()
        received += len(message.get("body", b""))
        if received > limit:
            raise Refusal(413, f"This is over {limit / 1e6:,.0f} MB, which is more than may be sent.")
        return message

    return receive_bounded


async def read(receive: Receive) -> bytes:
    """The whole body."""
    body = bytearray()
    while True:
        message = await receive()
        if message["type"] != "http.request":
            return bytes(body)
        body += message.get("body", b"")
        if not message.get("more_body"):
            return bytes(body)


def replayed(body: bytes, receive: Receive) -> Receive:
    """A ``receive`` that gives a body that was read already, then what comes."""
    given = False

    async def receive_again() -> Message:
        nonlocal given
        if given:
            return await receive()
        given = True
        return {"type": "http.request", "body": body, "more_body": False}

    return receive_again
