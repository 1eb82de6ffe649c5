"""The one exception that callers may branch on.

A `HiveError` is an answer, not a bug: it has a kind that every border (page,
socket, tool, command line) maps in one table (`wire/problems.py`). Anything
else that is raised is a bug and propagates to the request boundary.
"""

from __future__ import annotations

import enum


class ErrorKind(enum.Enum):
    """What a caller may do about the failure."""

    INVALID = "invalid"
    """The request itself is wrong; sending it again changes nothing."""

    FORBIDDEN = "forbidden"
    """The caller has no right to this; another caller may."""

    NOT_FOUND = "not_found"
    """Nothing by that name or id."""

    CONFLICT = "conflict"
    """The facts have moved on since the caller looked; look again."""

    UNAVAILABLE = "unavailable"
    """Not now: something outside is missing, full or away; try again later."""


class HiveError(Exception):
    """A refusal with a reason: "cannot X: reason", and what to do."""

    def __init__(self, kind: ErrorKind, message: str) -> None:
        super().__init__(message)
        self.kind = kind
        self.message = message


def invalid(message: str) -> HiveError:
    """Build an INVALID refusal."""
    return HiveError(ErrorKind.INVALID, message)


def forbidden(message: str) -> HiveError:
    """Build a FORBIDDEN refusal."""
    return HiveError(ErrorKind.FORBIDDEN, message)


def not_found(message: str) -> HiveError:
    """Build a NOT_FOUND refusal."""
    return HiveError(ErrorKind.NOT_FOUND, message)


def conflict(message: str) -> HiveError:
    """Build a CONFLICT refusal."""
    return HiveError(ErrorKind.CONFLICT, message)


def unavailable(message: str) -> HiveError:
    """Build an UNAVAILABLE refusal."""
    return HiveError(ErrorKind.UNAVAILABLE, message)
