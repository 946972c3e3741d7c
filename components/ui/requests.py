"""What surrounds every request: a way to stop it, and errors put in words for a person."""

from __future__ import annotations

import logging
import threading
import traceback
from contextlib import contextmanager
from typing import TYPE_CHECKING, Any
from urllib.parse import urlsplit

import gradio as gr
from fastapi.responses import JSONResponse
from gradio.blocks import BlocksConfig
from gradio.context import LocalContext
from starlette.exceptions import HTTPException

from components.core.errors import Cancelled, CheckpointError, WhisperSpaceError
from components.ui.readers import Reading
from components.ui.storage import FULL, is_full

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator

    from starlette.types import ASGIApp, Message, Receive, Scope, Send

    from components.ui.microphones import Microphones

log = logging.getLogger(__name__)

UNEXPECTED = "Something went wrong on the server, not with you. It has been logged; try again, or try another clip."

UNREADABLE = (
    "This call cannot be read. Check its arguments against /gradio_api/info, and upload a file before you name it."
)


class Page(gr.Blocks):
    """Gradio's own, but a call begins once somebody reads its answer, and what fails around it is told in words.

    ``plain_words`` does the same for what fails within a callback.

    ``microphones``: what its visitors are recording. ``reading``: which answers are being read.
    """

    def __init__(self, microphones: Microphones, **options: Any) -> None:
        super().__init__(**options)
        self.default_config = Widgets(self)
        self.microphones = microphones
        self.reading = Reading()

    async def process_api(self, *arguments: Any, **options: Any) -> dict[str, Any]:
        """Answer one call.

        Raises:
            gradio.Error: in place of any error.
        """
        event = self._queue.event_ids_to_events.get(options.get("event_id") or "")
        if event is not None and options.get("iterator") is None:
            await self.reading.begins(event)
            if not event.alive:
                raise gr.Error("Nobody reads the answer to this call.", print_exception=False)
        with _told(UNEXPECTED):
            return await super().process_api(*arguments, **options)

    async def preprocess_data(self, *arguments: Any, **options: Any) -> Any:
        """Turn what a client sent into what a callback takes.

        Raises:
            gradio.Error: it cannot be: too few arguments, a file that was not uploaded, or nothing to call.
        """
        with _told(UNREADABLE):
            function, *_ = arguments
            if not function.fn:
                raise ValueError("a callback that runs in the browser alone")
            return await super().preprocess_data(*arguments, **options)


class Widgets(BlocksConfig):
    """Gradio's widgets and callbacks of a page, without the description of all of them that each visitor has.

    Gradio makes it for links to the state of a page, which ``Gate`` does not let through.
    """

    def __copy__(self) -> BlocksConfig:
        """One visitor's."""
        copied = super().__copy__()
        copied.config_for_block = lambda *_: {}  # Gradio calls it by this name
        return copied


@contextmanager
def _told(message: str) -> Iterator[None]:
    try:
        yield
    except gr.Error as error:
        if message == UNREADABLE:  # Gradio's own, as of a choice that is not on offer
            error.print_exception = False
            log.info("unreadable call: %s", _where(error))
        raise
    except Exception as error:
        if message == UNREADABLE:
            log.info("unreadable call: %s", _where(error))
        else:
            log.exception("unexpected error")
        raise gr.Error(message, print_exception=False) from error


class PlainErrors:
    """ASGI middleware: where a route of Gradio's fails, its client is told a sentence, and the log a line.

    Anybody can send what a route does not foresee; a traceback for each would fill the log.
    """

    def __init__(self, app: ASGIApp) -> None:
        self.app = app

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Pass a request on, and answer it where that fails before an answer has begun."""
        begun = False

        async def noted(message: Message) -> None:
            nonlocal begun
            begun = True
            await send(message)

        try:
            await self.app(scope, receive, noted)
        except HTTPException:
            raise
        except Exception as error:
            if scope["type"] != "http":
                raise
            answer = unreadable(error)
            if not begun:
                await answer(scope, receive, send)


def unreadable(error: Exception) -> JSONResponse:
    """What a client is told where a route of Gradio's fails."""
    if is_full(error):
        log.warning("the disk is full")
        return JSONResponse({"detail": FULL}, status_code=507)
    log.info("unreadable request: %s", _where(error))
    return JSONResponse({"detail": UNREADABLE}, status_code=400)


def _where(error: BaseException) -> str:
    """An error in a line: its kind, and the innermost place in the code that it comes from."""
    *_, (frame, line) = [(None, 0), *traceback.walk_tb(error.__traceback__)]
    place = f" at {frame.f_globals.get('__name__')}:{line}" if frame is not None else ""
    return f"{type(error).__name__}{place}: {str(error)[:200]}"


class Ticket(threading.Event):
    """One request; set where it is not wanted any more. ``replaced``: by another of the same session."""

    replaced = False


class Cancellations:
    """Who asked to stop. A request's ticket is set by its own session alone: by Stop, or by leaving the page."""

    def __init__(self) -> None:
        self._tickets: dict[str, set[Ticket]] = {}
        self._lock = threading.Lock()

    def begin(self, session: str, *, instead_of: Ticket | None = None) -> Ticket:
        """Register a request; its ``is_set`` is what the engines ask between two tokens."""
        if instead_of is not None:
            self.replace(session, instead_of)
        ticket = Ticket()
        with self._lock:
            self._tickets.setdefault(session, set()).add(ticket)
        return ticket

    def replace(self, session: str, ticket: Ticket) -> None:
        """Stop a request whose answer another one takes the place of."""
        ticket.replaced = True
        self.stop(session, ticket)

    def end(self, session: str, ticket: Ticket) -> None:
        """Forget a request that is over."""
        with self._lock:
            tickets = self._tickets.get(session, set())
            tickets.discard(ticket)
            if not tickets:
                self._tickets.pop(session, None)

    def stop(self, session: str, ticket: Ticket | None = None) -> None:
        """Ask one request of a session to stop, or every one, and forget it: one that only waited may never begin."""
        if ticket is not None:
            self.end(session, ticket)
            ticket.set()
            return
        with self._lock:
            tickets = self._tickets.pop(session, set())
        for each in tickets:
            each.set()

    @contextmanager
    def request(self, session: str) -> Iterator[Ticket]:
        """``begin`` and ``end`` around a call."""
        ticket = self.begin(session)
        try:
            yield ticket
        finally:
            self.end(session, ticket)


def session_of(request: gr.Request) -> str:
    return request.session_hash or ""


def page_url(request: gr.Request) -> str:
    """Address of this page as the visitor's browser has it, without its query."""
    headers = request.headers
    parts = urlsplit(headers.get("referer") or headers.get("origin") or f"http://{headers.get('host')}/")
    return f"{parts.scheme}://{parts.netloc}{parts.path}".rstrip("/") + "/"


class Refused(Exception):  # noqa: N818 - it carries an answer
    """A request that ends without a result. The message is plain text for a person, safe to show once escaped."""

    def __init__(self, message: str, *, cancelled: bool = False) -> None:
        super().__init__(message)
        self.message = message
        self.cancelled = cancelled


def unwanted(stop: threading.Event) -> Callable[[], bool]:
    """Whether nobody waits any more for what is being done: its session asked to stop, or its connection is closed.

    A page and Gradio's clients keep a line of their own open, whose end is seen; plain HTTP has only its stream.
    """
    blocks, event_id = LocalContext.blocks.get(None), LocalContext.event_id.get(None)
    events = blocks._queue.event_ids_to_events if blocks is not None else {}  # noqa: SLF001 - as `spaces` does
    if event_id not in events:
        return stop.is_set

    def gone() -> bool:
        event = events.get(event_id)
        return stop.is_set() or event is None or not event.alive

    return gone


@contextmanager
def plain_words() -> Iterator[None]:
    """Turn whatever goes wrong into ``Refused``: our errors keep their sentence, others are logged and told in general.

    Raises:
        Refused: always in place of the error.
    """
    try:
        yield
    except Cancelled as error:
        raise Refused("Stopped.", cancelled=True) from error
    except WhisperSpaceError as error:
        # What is wrong with what a visitor sent is in the sentence; a traceback for each would fill the log.
        log.info("refused: %s", error.message, exc_info=error.__cause__ if isinstance(error, CheckpointError) else None)
        raise Refused(error.message) from error
    except gr.Error as error:  # ZeroGPU's: a quota, or no GPU to be had
        log.warning("%s: %s", error.title, error.message)
        raise Refused(f"{error.title}: {error.message}") from error
    except Exception as error:
        log.exception("unexpected error")
        raise Refused(UNEXPECTED) from error


@contextmanager
def api_errors() -> Iterator[None]:
    """The same for a script: an error of Gradio's, which reaches the client with its message and without a traceback.

    Raises:
        gradio.Error: in place of the error.
    """
    try:
        with plain_words():
            yield
    except Refused as refused:
        raise gr.Error(refused.message, print_exception=False) from refused
