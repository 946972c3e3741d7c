"""The route by which browsers send what they record, and who sends it.

A browser numbers its recording itself, at random, and tells the number to its own session alone; whoever does not know
it cannot add to the recording. A piece is answered with the sample that is wanted next, so that what did not arrive is
sent again.
"""

from __future__ import annotations

import re
import threading
from typing import TYPE_CHECKING

from starlette.responses import JSONResponse
from starlette.routing import Route

from components.core.errors import BusyError, LaneError
from components.runs.microphone import Microphone

if TYPE_CHECKING:
    from starlette.requests import Request

PATH = "/microphone"

NAME = re.compile(r"[0-9a-f]{32}")
"""What a recording is called: 128 random bits."""

LONGEST_S = 1800.0
"""Seconds that one may speak at a time."""

MOST = 16
"""Recordings at once: half an hour of each is 115 MB in memory."""

MOST_OF_A_CLIENT = 4


class Microphones:
    """The recordings under way, by their names."""

    def __init__(self, longest_s: float) -> None:
        self.longest_s = min(longest_s, LONGEST_S)
        self._open: dict[str, tuple[Microphone, str | None]] = {}
        self._lock = threading.Lock()

    def __len__(self) -> int:
        return len(self._open)

    def open(self, name: str, rate: int, client: str | None) -> Microphone:
        """Begin a recording. ``client``: whose it is, by ``gate.client_of``.

        Raises:
            AudioError: no recording has such a sampling rate.
            BusyError: too many are under way.
            LaneError: the name is none, or taken.
        """
        microphone = Microphone(rate, self.longest_s)
        with self._lock:
            if not NAME.fullmatch(name) or name in self._open:
                raise LaneError("This recording cannot be begun. Reload the page and press Record again.")
            of_client = sum(client is not None and other == client for _, other in self._open.values())
            if len(self._open) >= MOST or of_client >= MOST_OF_A_CLIENT:
                raise BusyError("Too many people are speaking to this page. Try again in a few minutes.")
            self._open[name] = microphone, client
        return microphone

    def close(self, microphone: Microphone) -> None:
        """End a recording, and forget its name."""
        microphone.end()
        with self._lock:
            self._open = {name: each for name, each in self._open.items() if each[0] is not microphone}

    def route(self) -> Route:
        """``POST /microphone/NAME?start=SAMPLE``, with ``&last=1`` for the last piece."""
        return Route(f"{PATH}/{{name}}", self._take, methods=["POST"])

    async def _take(self, request: Request) -> JSONResponse:
        microphone, _ = self._open.get(request.path_params["name"], (None, None))
        if microphone is None:
            return JSONResponse({"detail": "No such recording is under way."}, status_code=404)
        start = request.query_params.get("start", "")
        if not start.isdecimal() or len(start) > 12:
            return JSONResponse({"detail": "Say with which sample the piece begins."}, status_code=400)
        microphone.take(int(start), await request.body(), last=request.query_params.get("last") == "1")
        return JSONResponse({"received": microphone.received, "ended": microphone.ended})
