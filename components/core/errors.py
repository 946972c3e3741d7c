"""The errors a person may see: the message is for the person, the cause is for the log."""

from __future__ import annotations

from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from collections.abc import Iterable


class WhisperSpaceError(Exception):
    """Base of every error whose message may be shown to a visitor as it stands."""

    def __init__(self, message: str) -> None:
        super().__init__(message)
        self.message = message


class AudioError(WhisperSpaceError):
    """The audio cannot be used: unreadable, empty, too long, not finite."""


class CheckpointError(WhisperSpaceError):
    """A checkpoint cannot be loaded, or the two of a pair do not fit each other."""


class LaneError(WhisperSpaceError):
    """A lane is unknown, or cannot run on this machine."""


class BusyError(WhisperSpaceError):
    """Too many wait already; asking again later helps."""


class SettingsError(WhisperSpaceError):
    """One or more settings are wrong; the message lists every mistake and its choices."""


class ManifestError(WhisperSpaceError):
    """A manifest or a file of rows cannot be read, or belongs to another run."""


class TextError(WhisperSpaceError):
    """A text is too long to be compared, or there is no normaliser of that name."""


def no_such(kind: str, name: str, choices: Iterable[str]) -> str:
    """What to tell a person who named something that there is not, for instance a lane."""
    return f"There is no {kind} called “{name}”. Choose from: {', '.join(choices)}."


class Cancelled(Exception):  # noqa: N818 - a request, not a fault
    """The visitor asked to stop; raised between two tokens, caught by the entry that started the run."""
