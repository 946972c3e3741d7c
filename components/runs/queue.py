"""Work for the device: one piece at a time, in the order in which it was asked for, in one thread for all of it."""

from __future__ import annotations

import threading
from contextlib import contextmanager
from contextvars import copy_context
from dataclasses import dataclass
from queue import SimpleQueue
from typing import TYPE_CHECKING, TypeVar, cast

from components.core.caller import NOBODY, Caller
from components.core.errors import BusyError

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable, Iterator

    Result = TypeVar("Result")

MAX_WAITING = 24
"""Comparisons that may wait for the device; further ones are refused, with a sentence."""

MAX_FETCHING = 8
"""Comparisons that may wait for downloads, beside those that wait for the device."""

POLL_S = 0.25
"""Seconds between two checks of whether a waiting caller has left."""

SETTLE_S = 0.25
"""Seconds at most that the worker waits for its caller to deal with a result before it goes on: what a caller draws
meanwhile must not slow the next measurement."""


@dataclass(frozen=True)
class Waiting:
    """Not begun: ``before`` others come first."""

    before: int


@dataclass(frozen=True)
class _End:
    """No result follows. ``error``: what ended the work early."""

    error: BaseException | None = None


class WorkQueue:
    """Two measurements at once would time each other: everybody but the first waits.

    The work is done in one thread, since every thread that computes has its own pool of threads and its own arena of
    memory.

    Args:
        what: What callers wait for, as it is told to them.
    """

    def __init__(self, what: str = "the device") -> None:
        self._what = what
        self._tickets: list[object] = []
        self._changed = threading.Condition()
        self._jobs: SimpleQueue[Callable[[], None]] = SimpleQueue()
        self._worker: threading.Thread | None = None

    def __len__(self) -> int:
        """How many there are: the one at work, and those that wait."""
        return len(self._tickets)

    def run(self, function: Callable[[], Result], caller: Caller = NOBODY, *, limit: int | None = None) -> Result:
        """Call a function in the worker's thread, in the calling thread's context; as ``stream``."""
        *_, result = self.stream(lambda: [function()], caller, limit=limit)
        return cast("Result", result)

    def stream(
        self, make: Callable[[], Iterable[Result]], caller: Caller = NOBODY, *, limit: int | None = None
    ) -> Iterator[Result | Waiting]:
        """Wait, then yield what ``make`` yields in the worker's thread, in the calling thread's context.

        While others come first, ``Waiting`` is yielded, at first and whenever their number changes.

        Args:
            make: The work. It goes on to its end where the caller stops reading.
            caller: Told how many are before it; may leave while it waits.
            limit: How many may wait; ``None`` for any number.

        Raises:
            BusyError: so many wait already.
            Cancelled: the caller left while it waited.
        """
        ticket = self._enter(limit)
        try:
            yield from self._wait(ticket, caller)
        except BaseException:
            self._leave(ticket)
            raise
        results: SimpleQueue[Result | _End] = SimpleQueue()
        dealt_with = threading.Event()

        def emit() -> None:
            for result in make():
                dealt_with.clear()
                results.put(result)
                dealt_with.wait(SETTLE_S)

        context = copy_context()

        def job() -> None:
            error: BaseException | None = None
            try:
                context.run(emit)
            except BaseException as raised:  # noqa: BLE001 - raised again in the thread that waits
                error = raised
            self._leave(ticket)
            results.put(_End(error))

        self._submit(job)
        while not isinstance(result := results.get(), _End):
            yield result
            dealt_with.set()
        if result.error is not None:
            raise result.error

    @contextmanager
    def turn(self, caller: Caller = NOBODY, *, limit: int | None = None) -> Iterator[None]:
        """Wait until all who came before have gone, and keep the others waiting until the end of the ``with``.

        Raises:
            BusyError: so many wait already.
            Cancelled: the caller left.
        """
        ticket = self._enter(limit)
        try:
            for _ in self._wait(ticket, caller):
                pass
            yield
        finally:
            self._leave(ticket)

    def _enter(self, limit: int | None) -> object:
        ticket = object()
        with self._changed:
            if limit is not None and len(self._tickets) > limit:
                raise BusyError(f"{limit} requests wait for {self._what} already. Try again in a minute.")
            self._tickets.append(ticket)
        return ticket

    def _leave(self, ticket: object) -> None:
        with self._changed:
            self._tickets.remove(ticket)
            self._changed.notify_all()

    def _wait(self, ticket: object, caller: Caller) -> Iterator[Waiting]:
        told = 0
        while before := self._tickets.index(ticket):
            if before != told:
                caller.tell(0.0, f"Waiting for {self._what}: {before} before you")
                yield Waiting(before)
                told = before
            with self._changed:
                if self._tickets.index(ticket) == before:
                    self._changed.wait(POLL_S)
            caller.check()

    def _submit(self, job: Callable[[], None]) -> None:
        if self._worker is None:
            self._worker = threading.Thread(target=self._serve, name="device", daemon=True)
            self._worker.start()
        self._jobs.put(job)

    def _serve(self) -> None:
        while True:
            job = self._jobs.get()
            job()
            del job  # or the last result would live until the next one
