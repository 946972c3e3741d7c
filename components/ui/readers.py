"""Who still waits for an answer: work that nobody reads is ended, and one client cannot fill the queue.

Gradio runs whatever has joined its queue, whether or not anybody ever asks for the result. A page and Gradio's clients
read ``/queue/data`` of their session; plain HTTP reads ``/call/NAME/EVENT``.
"""

from __future__ import annotations

import asyncio
import logging
import re
from collections import Counter
from time import monotonic
from typing import TYPE_CHECKING, Any
from urllib.parse import parse_qs

from starlette.datastructures import Headers

from components.ui.gate import Refusal, client_of, route_path

if TYPE_CHECKING:
    from collections.abc import Iterator

    from starlette.types import ASGIApp, Receive, Scope, Send

log = logging.getLogger(__name__)

PATIENCE_S = 5.0
"""Seconds that a call may go without anybody reading its answer."""

POLL_S = 1.0
"""Seconds between two checks."""

SHARE = 12
"""Calls that one client may have waiting and running at once."""

READS = re.compile(r"/gradio_api/(queue/data|call/(?:v2/)?\w+/(?P<event>[\w-]+))")
JOINS = re.compile(r"/gradio_api/(queue/join|call/.+)/?")


class Readers:
    """ASGI middleware that knows which answers are being read.

    Args:
        app: What is behind it.
        queue: Gradio's, ``blocks._queue``.
    """

    def __init__(self, app: ASGIApp, queue: Any) -> None:
        self.app = app
        self.queue = queue
        self._open: Counter[str] = Counter()
        self._unread_since: dict[str, float] = {}
        self._watching: asyncio.Task[None] | None = None

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Note who reads, and refuse a client whose share of the queue is used up."""
        if scope["type"] != "http":
            await self.app(scope, receive, send)
            return
        if self._watching is None:
            self._watching = asyncio.create_task(self._watch())
        path = route_path(scope)
        if scope["method"] == "POST" and JOINS.fullmatch(path):
            self._check_share(scope)
        if scope["method"] != "GET" or (read := READS.fullmatch(path)) is None:
            await self.app(scope, receive, send)
            return
        key = read["event"] or parse_qs(scope["query_string"].decode("latin-1")).get("session_hash", [""])[0]
        self._open[key] += 1
        try:
            await self.app(scope, receive, send)
        finally:
            self._open[key] -= 1
            if not self._open[key]:
                del self._open[key]

    def _check_share(self, scope: Scope) -> None:
        client = client_of(scope, Headers(scope=scope))
        if client is None:
            return
        events = list(self.queue.event_ids_to_events.values())
        mine = sum(client_of(each.request.scope, each.request.headers) == client for each in events)
        if mine >= SHARE:
            raise Refusal(429, f"{mine} of your requests are waiting or running already. Let one of them end first.")

    async def _watch(self) -> None:
        while True:
            await asyncio.sleep(POLL_S)
            for session in list(self.unread(monotonic())):
                log.info("ended: nobody reads the answer")
                self._unread_since.pop(session, None)
                await self.queue.clean_events(session_hash=session)
                self.queue.pending_messages_per_session.pop(session, None)
                self.queue.pending_event_ids_session.pop(session, None)

    def unread(self, now: float) -> Iterator[str]:
        """Sessions with calls that nobody has read for ``PATIENCE_S``. ``now``: seconds on the monotonic clock."""
        waiting = {session: set(events) for session, events in self.queue.pending_event_ids_session.items() if events}
        for gone in set(self._unread_since) - set(waiting):
            del self._unread_since[gone]
        for session, events in waiting.items():
            if session in self._open or events & self._open.keys():
                self._unread_since.pop(session, None)
            elif now - self._unread_since.setdefault(session, now) >= PATIENCE_S:
                yield session
