"""Who waits for an answer: work that nobody reads does not begin and is ended, and one client cannot fill the queue.

Gradio runs whatever has joined its queue, whether or not anybody ever asks for the result. A page and Gradio's clients
read ``/queue/data`` of their session; plain HTTP reads ``/call/NAME/EVENT``.
"""

from __future__ import annotations

import asyncio
import logging
import math
import re
from collections import Counter
from contextlib import contextmanager, suppress
from time import monotonic
from typing import TYPE_CHECKING, Any
from urllib.parse import parse_qs

from starlette.datastructures import Headers

from components.ui.gate import Refusal, client_of, route_path

if TYPE_CHECKING:
    from collections.abc import Iterable, Iterator

    from starlette.types import ASGIApp, Receive, Scope, Send

log = logging.getLogger(__name__)

PATIENCE_S = 5.0
"""Seconds that a call may go without anybody reading its answer."""

CROWDED_S = 2.0
"""The same, where half of Gradio's queue is taken: who reads must not find it full."""

LOOK_S = 0.25
"""Seconds between two looks whether a call that waits for its reader was ended: a client joins first, then reads."""

POLL_S = 1.0
"""Seconds between two checks."""

SHARE = 12
"""Calls that one client may have waiting and running at once."""

UNREAD = 3
"""Of these, calls that nobody reads yet."""

READS = re.compile(r"/gradio_api/(queue/data|call/(?:v2/)?\w+/(?P<event>[\w-]+))")
JOINS = re.compile(r"/gradio_api/(queue/join|call/.+)/?")


class Reading:
    """Which answers are being read: those of a session, or that of one call."""

    def __init__(self) -> None:
        self._open: Counter[str] = Counter()
        self._came = asyncio.Event()

    @contextmanager
    def reads(self, key: str) -> Iterator[None]:
        """Around the answer to somebody who reads what a session, or an event, is sent."""
        self._open[key] += 1
        self._came.set()
        self._came = asyncio.Event()
        try:
            yield
        finally:
            self._open[key] -= 1
            if not self._open[key]:
                del self._open[key]

    def is_read(self, session: str, events: Iterable[str]) -> bool:
        return session in self._open or any(event in self._open for event in events)

    async def begins(self, event: Any) -> None:
        """Wait until somebody reads a call of Gradio's queue, or it is ended. ``event``: Gradio's."""
        while event.alive and not self.is_read(event.session_hash, [event._id]):  # noqa: SLF001 - as Gradio's packages
            # Gradio sets no event where a call is ended, so that is looked for now and then.
            with suppress(TimeoutError):
                await asyncio.wait_for(self._came.wait(), LOOK_S)


class Readers:
    """ASGI middleware that knows which answers are being read.

    Args:
        app: What is behind it.
        queue: Gradio's, ``blocks._queue``.
        reading: Told of everybody who reads.
    """

    def __init__(self, app: ASGIApp, queue: Any, reading: Reading) -> None:
        self.app = app
        self.queue = queue
        self.reading = reading
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
            if 2 * len(self.queue) >= (self.queue.max_size or math.inf):
                await self._end_unread(CROWDED_S)
        if scope["method"] != "GET" or (read := READS.fullmatch(path)) is None:
            await self.app(scope, receive, send)
            return
        key = read["event"] or parse_qs(scope["query_string"].decode("latin-1")).get("session_hash", [""])[0]
        with self.reading.reads(key):
            await self.app(scope, receive, send)

    def _check_share(self, scope: Scope) -> None:
        client = client_of(scope, Headers(scope=scope))
        if client is None:
            return
        events = list(self.queue.event_ids_to_events.values())
        mine = [each for each in events if client_of(each.request.scope, each.request.headers) == client]
        if len(mine) >= SHARE:
            raise Refusal(
                429, f"{len(mine)} of your requests are waiting or running already. Let one of them end first."
            )
        unread = sum(not self.reading.is_read(each.session_hash, [each._id]) for each in mine)  # noqa: SLF001 - as above
        if unread >= UNREAD:
            raise Refusal(429, f"Nobody reads the answers to {unread} of your calls. Read them, or wait, then go on.")

    async def _watch(self) -> None:
        while True:
            await asyncio.sleep(POLL_S)
            await self._end_unread(PATIENCE_S)

    async def _end_unread(self, patience_s: float) -> None:
        for session in list(self.unread(monotonic(), patience_s)):
            log.info("ended: nobody reads the answer")
            self._unread_since.pop(session, None)
            await self.queue.clean_events(session_hash=session)
            self.queue.pending_messages_per_session.pop(session, None)
            self.queue.pending_event_ids_session.pop(session, None)

    def unread(self, now: float, patience_s: float = PATIENCE_S) -> Iterator[str]:
        """Sessions with calls that nobody has read for so long. ``now``: seconds on the monotonic clock."""
        waiting = {session: set(events) for session, events in self.queue.pending_event_ids_session.items() if events}
        for gone in set(self._unread_since) - set(waiting):
            del self._unread_since[gone]
        for session, events in waiting.items():
            if self.reading.is_read(session, events):
                self._unread_since.pop(session, None)
            elif now - self._unread_since.setdefault(session, now) >= patience_s:
                yield session
