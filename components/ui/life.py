"""Start and end of the server: what stops a start is told in a sentence, and an end cleans up."""

from __future__ import annotations

import logging
import os
import re
import signal
import socket
import threading
from typing import TYPE_CHECKING

from components.core.errors import SettingsError

if TYPE_CHECKING:
    from collections.abc import Mapping

    import gradio as gr

    from components.ui.storage import Storage

LONGEST_END_S = 8.0
"""Seconds after SIGTERM at which the process ends whatever is still running."""


class SafeFormatter(logging.Formatter):
    """Log lines that nothing from outside can forge or leak through.

    Control characters in a message are escaped, so that it stays one line; the hub's token is left out wherever it
    stands, tracebacks included.
    """

    def __init__(self, secret: str | None) -> None:
        super().__init__("%(asctime)s %(levelname)s %(name)s: %(message)s")
        self.secret = secret

    def formatMessage(self, record: logging.LogRecord) -> str:  # noqa: N802 - logging's own name
        record.message = re.sub(r"[\x00-\x1f\x7f-\x9f\u2028\u2029]", lambda found: repr(found[0])[1:-1], record.message)
        return super().formatMessage(record)

    def format(self, record: logging.LogRecord) -> str:
        line = super().format(record)
        return line.replace(self.secret, "[HF_TOKEN]") if self.secret else line


def log_to_stderr(secret: str | None) -> None:
    """Log from INFO on, in ``SafeFormatter``'s lines. ``secret``: the hub's token."""
    handler = logging.StreamHandler()
    handler.setFormatter(SafeFormatter(secret))
    logging.basicConfig(level=logging.INFO, handlers=[handler])


def check_address(environ: Mapping[str, str]) -> None:
    """Whether the server may listen where the variables say.

    Raises:
        SettingsError: the address or the port is wrong or taken; the message names the variable.
    """
    host, port = environ.get("GRADIO_SERVER_NAME", "").strip(), environ.get("GRADIO_SERVER_PORT", "").strip()
    if port and not (port.isdecimal() and 0 < int(port[:6]) < 65536):
        raise SettingsError(f"GRADIO_SERVER_PORT says {port}; give a number from 1 to 65535, as in 7860.")
    try:
        kind, *_, address = socket.getaddrinfo(host or "127.0.0.1", int(port or 0), type=socket.SOCK_STREAM)[0]
        with socket.socket(kind, socket.SOCK_STREAM) as probe:
            probe.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
            probe.bind(address)
    except (OSError, UnicodeError) as error:
        if port and isinstance(error, OSError) and not isinstance(error, socket.gaierror):
            raise SettingsError(
                f"Nothing can listen on port {port} of {host or '127.0.0.1'}: {error.strerror or error}. "
                "Set GRADIO_SERVER_PORT to another one, or GRADIO_SERVER_NAME to an address of this machine."
            ) from error
        raise SettingsError(
            f"GRADIO_SERVER_NAME says {host}, which is no address of this machine. Give one as in 127.0.0.1 or 0.0.0.0."
        ) from error


def serve_until_told_to_stop(page: gr.Blocks, storage: Storage) -> None:
    """Keep the main thread until Ctrl-C or SIGTERM; then end what runs, and remove what visitors sent."""

    def stop(*_: object) -> None:
        deadline = threading.Timer(LONGEST_END_S, lambda: (storage.close(), os._exit(0)))  # type: ignore[func-returns-value]
        deadline.daemon = True
        deadline.start()
        raise SystemExit(0)

    signal.signal(signal.SIGTERM, stop)
    try:
        page.block_thread()
    finally:
        storage.close()
        page.close(verbose=False)
