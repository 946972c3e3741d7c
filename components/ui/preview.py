"""What other sites show of a link to this page: title, description and picture, in place of Gradio's own."""

from __future__ import annotations

import re
from html import escape
from typing import TYPE_CHECKING

from starlette.requests import Request
from starlette.responses import FileResponse

from components.core.catalog import ROOT

if TYPE_CHECKING:
    from starlette.types import ASGIApp, Message, Receive, Scope, Send

PICTURE = ROOT / "examples" / "screenshot.png"
PICTURE_PATH = "/preview.png"
_SOCIAL = re.compile(rb'<meta\s+(?:property="og:|name="twitter:)[^>]*>\s*')


class Preview:
    """ASGI middleware: serves the picture, and writes the tags into the page."""

    def __init__(self, app: ASGIApp, title: str, description: str) -> None:
        self.app = app
        self.title = title
        self.description = description

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Answer one request."""
        path = scope.get("path", "")
        if scope["type"] != "http" or scope["method"] not in {"GET", "HEAD"} or path not in {"/", PICTURE_PATH}:
            await self.app(scope, receive, send)
        elif path == PICTURE_PATH:
            await FileResponse(PICTURE)(scope, receive, send)
        else:
            await self._page(scope, receive, send)

    async def _page(self, scope: Scope, receive: Receive, send: Send) -> None:
        start: Message = {}
        body = bytearray()

        async def write(message: Message) -> None:
            nonlocal start
            if message["type"] == "http.response.start":
                start = message
                return
            body.extend(message.get("body", b""))
            if message.get("more_body"):
                return
            page = self._tagged(bytes(body), Request(scope))
            headers = [(name, value) for name, value in start["headers"] if name.lower() != b"content-length"]
            await send({**start, "headers": [*headers, (b"content-length", str(len(page)).encode())]})
            await send({"type": "http.response.body", "body": page})

        await self.app(scope, receive, write)

    def _tagged(self, page: bytes, request: Request) -> bytes:
        """The page with our tags in place of every tag of that kind."""
        if b"</head>" not in page:
            return page
        return _SOCIAL.sub(b"", page).replace(b"<head>", b"<head>" + self._tags(request).encode(), 1)

    def _tags(self, request: Request) -> str:
        forwarded = request.headers.get("x-forwarded-proto", request.url.scheme).split(",")[0].strip()
        address = f"{forwarded if forwarded in {'http', 'https'} else 'http'}://{request.url.netloc}"
        values = {
            "og:type": "website",
            "og:url": f"{address}/",
            "og:title": self.title,
            "og:description": self.description,
            "og:image": f"{address}{PICTURE_PATH}",
            "twitter:card": "summary_large_image",
        }
        tags = "".join(f'<meta property="{escape(name)}" content="{escape(text)}" />' for name, text in values.items())
        return f'{tags}<meta name="description" content="{escape(self.description)}" />'
