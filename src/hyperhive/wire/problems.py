"""The one table from a refusal to what each border says."""

from __future__ import annotations

from typing import Any, Final

from hyperhive.domain import errors

HTTP_STATUS: Final[dict[errors.ErrorKind, int]] = {
    errors.ErrorKind.INVALID: 400,
    errors.ErrorKind.FORBIDDEN: 403,
    errors.ErrorKind.NOT_FOUND: 404,
    errors.ErrorKind.CONFLICT: 409,
    errors.ErrorKind.UNAVAILABLE: 503,
}

EXIT_CODE: Final[dict[errors.ErrorKind, int]] = {
    errors.ErrorKind.INVALID: 2,
    errors.ErrorKind.FORBIDDEN: 4,
    errors.ErrorKind.NOT_FOUND: 5,
    errors.ErrorKind.CONFLICT: 6,
    errors.ErrorKind.UNAVAILABLE: 7,
}
"""Exit codes of `hive`; 1 is a bug, 3 means that no daemon answers."""

EXIT_BUG: Final = 1
EXIT_NO_DAEMON: Final = 3


def problem(error: errors.HiveError) -> dict[str, Any]:
    """An RFC 9457 problem object for *error*."""
    return {
        "type": "about:blank",
        "title": error.kind.value.replace("_", " "),
        "status": HTTP_STATUS[error.kind],
        "detail": error.message,
        "kind": error.kind.value,
    }


def rpc_error(error: errors.HiveError) -> dict[str, str]:
    """The ``error`` member of a line-protocol answer."""
    return {"kind": error.kind.value, "message": error.message}


def from_rpc(error: dict[str, Any]) -> errors.HiveError:
    """The `HiveError` that an ``error`` member stands for; a bug becomes UNAVAILABLE."""
    text = str(error.get("message", "no message"))
    for kind in errors.ErrorKind:
        if kind.value == error.get("kind"):
            return errors.HiveError(kind, text)
    return errors.HiveError(errors.ErrorKind.UNAVAILABLE, text)
