"""Who waits for the device: served one at a time, by one thread, in the order in which they came."""

from __future__ import annotations

import threading
from concurrent.futures import Future
from contextlib import contextmanager
from contextvars import copy_context
from queue import SimpleQueue
from typing import TYPE_CHECKING, Any, TypeVar

from components.core.errors import BusyError, Cancelled

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator

    Result = TypeVar("Result")

MAX_WAITING = 24
"""Comparisons that may wait for the device; further ones are refused, with a sentence."""

MAX_FETCHING = 8
"""Comparisons that may wait for downloads, beside those: no download takes a place from the pairs that are here."""

POLL_S = 0.25
"""Seconds between two looks of one who waits at whether they are still wanted."""


class Line:
    """Two measurements at once would time each other: everybody but the first waits.

    What is measured runs in one thread for all. Each thread that computes has its own pools of threads and of memory,
    and a server's many would keep them all.
    """

    def __init__(self) -> None:
        self._line: list[object] = []
        self._moved = threading.Condition()
        self._work: SimpleQueue[tuple[Future[Any], Callable[[], Any]]] = SimpleQueue()
        self._thread: threading.Thread | None = None

    def __len__(self) -> int:
        """How many there are, the one who is served among them."""
        return len(self._line)

    def run(
        self,
        function: Callable[[], Result],
        *,
        places: int | None = None,
        tell: Callable[[int], None] | None = None,
        cancelled: Callable[[], bool] | None = None,
    ) -> Result:
        """Wait for the turn (see there), and call the function in the device's thread, with the caller's context.

        Raises:
            BusyError: so many wait already.
            Cancelled: ``cancelled()`` turned true while waiting.
        """
        future: Future[Result] = Future()
        context = copy_context()
        with self.turn(places=places, tell=tell, cancelled=cancelled):
            if self._thread is None:
                self._thread = threading.Thread(target=self._serve, name="device", daemon=True)
                self._thread.start()
            self._work.put((future, lambda: context.run(function)))
            return future.result()

    def _serve(self) -> None:
        while True:
            future, function = self._work.get()
            try:
                future.set_result(function())
            except BaseException as error:  # noqa: BLE001 - raised again in the thread that waits
                future.set_exception(error)
            del future, function  # or the last result would live until the next

    @contextmanager
    def turn(
        self,
        *,
        places: int | None = None,
        tell: Callable[[int], None] | None = None,
        cancelled: Callable[[], bool] | None = None,
    ) -> Iterator[None]:
        """Wait until all who came before have gone, and hold the device until the end of the ``with``.

        Args:
            places: How many may wait; ``None`` for any number.
            tell: Called with the number of those before, at first and whenever it changes; not where there are none.
            cancelled: Asked while waiting.

        Raises:
            BusyError: so many wait already.
            Cancelled: ``cancelled()`` turned true.
        """
        mine = object()
        with self._moved:
            if places is not None and len(self._line) > places:
                raise BusyError(f"{places} requests wait for the device already. Try again in a minute.")
            self._line.append(mine)
        try:
            self._wait(mine, tell, cancelled)
            yield
        finally:
            with self._moved:
                self._line.remove(mine)
                self._moved.notify_all()

    def _wait(self, mine: object, tell: Callable[[int], None] | None, cancelled: Callable[[], bool] | None) -> None:
        told = 0
        with self._moved:
            while before := self._line.index(mine):
                if tell is not None and before != told:
                    tell(told := before)
                self._moved.wait(POLL_S)
                if cancelled is not None and cancelled():
                    raise Cancelled
