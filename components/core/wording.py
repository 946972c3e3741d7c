"""Counts and durations in words."""

from __future__ import annotations


def counted(count: int, one: str, many: str = "") -> str:
    """``1 clip``, ``2 clips``; ``many`` where the plural is not made with an s."""
    return f"{count:,} {one if count == 1 else many or f'{one}s'}"


def duration(seconds: float) -> str:
    """A length of time in round figures: ``40 s``, ``3 min``, ``2 h 5 min``."""
    whole = max(1, round(seconds))
    if whole < 100:
        return f"{whole} s"
    minutes = round(whole / 60)
    return f"{minutes} min" if minutes < 100 else f"{minutes // 60} h {minutes % 60} min"
