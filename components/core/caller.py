"""Who asked for a piece of work: where to report progress, and whether the result is still wanted."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

from components.core.errors import Cancelled

if TYPE_CHECKING:
    import threading
    from collections.abc import Callable


@dataclass(frozen=True)
class Caller:
    """One request's progress and cancellation, handed from the entry down to the engine.

    ``progress``: called with a fraction from 0 to 1 and a short text for a person.
    ``cancelled``: returns true once the result is no longer wanted; cheap, since engines ask after every token.
    """

    progress: Callable[[float, str], None] | None = None
    cancelled: Callable[[], bool] | None = None

    def tell(self, fraction: float, text: str) -> None:
        """Report progress, where somebody listens."""
        if self.progress is not None:
            self.progress(fraction, text)

    def until(self, left: threading.Event) -> Caller:
        """The same caller, who also leaves once the event is set."""
        return Caller(self.progress, lambda: left.is_set() or (self.cancelled is not None and self.cancelled()))

    def check(self) -> None:
        """Stop here if the result is no longer wanted.

        Raises:
            Cancelled: ``cancelled()`` turned true.
        """
        if self.cancelled is not None and self.cancelled():
            raise Cancelled


NOBODY = Caller()
"""A caller who wants no progress and never cancels."""
