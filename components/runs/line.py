"""Who waits for the device: served one at a time, in the order in which they came."""

from __future__ import annotations

import threading
from contextlib import contextmanager
from typing import TYPE_CHECKING

from components.core.errors import BusyError, Cancelled

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator

MAX_WAITING = 24
"""Comparisons that may wait for the device; further ones are refused, with a sentence."""

MAX_FETCHING = 8
"""Comparisons that may wait for downloads, beside those: no download takes a place from the pairs that are here."""

POLL_S = 0.25
"""Seconds between two looks of one who waits at whether they are still wanted."""


class Line:
    """Two measurements at once would time each other: everybody but the first waits."""

    def __init__(self) -> None:
        self._line: list[object] = []
        self._moved = threading.Condition()

    def __len__(self) -> int:
        """How many there are, the one who is served among them."""
        return len(self._line)

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
