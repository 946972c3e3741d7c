"""Sharing a result: as text, as a picture, and as a link that opens the page with the same choices."""

from __future__ import annotations

from html import escape
from typing import TYPE_CHECKING
from urllib.parse import urlencode

from components.report import text

if TYPE_CHECKING:
    from collections.abc import Sequence

    from components.core.types import Comparison


def link(page: str, pair: str, lanes: Sequence[str], example: str | None) -> str:
    """Address of the page with a pair, lanes and, where the clip is a shipped one, the example set."""
    query = {"pair": pair, "lanes": ",".join(lanes)} | ({"example": example} if example else {})
    return f"{page}?{urlencode(query, safe=',')}"


def buttons(comparison: Comparison, address: str) -> str:
    """Buttons for the page's script: copy as Markdown, save as a picture, copy the link."""
    markdown = text.comparison_markdown(comparison, address)
    return (
        "<div class='actions' role='group' aria-label='Share this result'>"
        f"<button type='button' data-copy='{escape(markdown)}'>Copy as Markdown</button>"
        "<button type='button' data-save-picture>Save as a picture</button>"
        f"<button type='button' data-copy='{escape(address)}'>Copy the link</button></div>"
    )
