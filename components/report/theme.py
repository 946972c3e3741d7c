"""The lanes' colours, the same in every card, chart and table."""

from __future__ import annotations

from components.core.catalog import LANES

COLOURS = ("#2b7fc4", "#d55e00", "#009e73", "#c2699a", "#8a7500")
"""Told apart with any kind of colour blindness (after Okabe and Ito, 2008); each has a contrast of at least
3:1 against the page's panels in light and in dark, so that they serve for bars and borders, never for text."""

INK = "#757575"
"""Text of a chart outside a page that restyles it: 4.5:1 on white and on black."""

ON_COLOUR = "#000000"
"""Text on a lane's colour: at least 4.5:1 on each of them, which white is not."""

GRID = "rgba(128, 128, 128, 0.25)"

UNKNOWN = "#80868f"
"""A lane that the catalogue does not know: rows of another version."""


def lane_colour(lane_id: str) -> str:
    """Hex colour of a lane."""
    lane = LANES.get(lane_id)
    return COLOURS[lane.colour] if lane else UNKNOWN
