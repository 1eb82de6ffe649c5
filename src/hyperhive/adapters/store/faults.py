"""What an error of SQLite means for the store: the work's fault, the moment's, or the disk's.

Codes are those of sqlite.org/rescode.html. After a failed fsync the kernel may have
dropped the pages and the next fsync succeeds, so nothing may be acknowledged any more
(PostgreSQL panics at the same place).
"""

from __future__ import annotations

import enum
import pathlib
import sqlite3
from typing import Final

from hyperhive.domain import errors


class Blame(enum.Enum):
    """Who is at fault, and so how much is lost."""

    WORK = "work"
    """Only this work: a constraint, a wrong type, a wrong query."""
    MOMENT = "moment"
    """This commit: the disk is full or the file is locked. The next one may succeed."""
    DISK = "disk"
    """The file or the device: nothing may be promised any more."""


_MOMENT: Final = frozenset(
    {sqlite3.SQLITE_FULL, sqlite3.SQLITE_BUSY, sqlite3.SQLITE_LOCKED, sqlite3.SQLITE_NOMEM}
)
_DISK: Final = frozenset(
    {
        sqlite3.SQLITE_IOERR, sqlite3.SQLITE_CORRUPT, sqlite3.SQLITE_NOTADB,
        sqlite3.SQLITE_CANTOPEN, sqlite3.SQLITE_READONLY, sqlite3.SQLITE_PERM,
        sqlite3.SQLITE_PROTOCOL,
    }
)  # fmt: skip
_OUT_OF_SPACE: Final = frozenset({sqlite3.SQLITE_IOERR_SHMSIZE})
"""Growing the shared index of the log is where a full disk shows as an I/O error."""


def blame(error: sqlite3.Error) -> Blame:
    """Say whose fault *error* is."""
    code = _code(error)
    if code in _OUT_OF_SPACE or code & 0xFF in _MOMENT:
        return Blame.MOMENT
    if code & 0xFF in _DISK:
        return Blame.DISK
    return Blame.WORK


def explain(error: sqlite3.Error, path: pathlib.Path) -> errors.HiveError:
    """Return *error* as what the callers of the store are told."""
    code = _code(error)
    if code & 0xFF == sqlite3.SQLITE_FULL or code in _OUT_OF_SPACE:
        return errors.unavailable(
            f"cannot store anything: the disk is full; free space at {path.parent} and try again"
        )
    if blame(error) is Blame.MOMENT:
        return errors.unavailable(
            f"cannot store anything now: {error}; end the program that holds {path} and try again"
        )
    name = getattr(error, "sqlite_errorname", "") or type(error).__name__
    return errors.unavailable(
        f"cannot use the store any more: {error} ({name}) at {path}; nothing is acknowledged "
        "until the disk is mended and the daemon is started again"
    )


def explain_open(error: Exception, path: pathlib.Path) -> errors.HiveError:
    """Return what kept the store from opening as what the operator is told."""
    if isinstance(error, errors.HiveError):
        return error
    if isinstance(error, OSError):
        return errors.unavailable(f"cannot open {path}: {error.strerror or error}")
    code = _code(error) & 0xFF if isinstance(error, sqlite3.Error) else 0
    if code in (sqlite3.SQLITE_CORRUPT, sqlite3.SQLITE_NOTADB):
        return errors.unavailable(
            f"cannot open {path}: the file is damaged ({error}); put a backup in its place"
        )
    return errors.unavailable(f"cannot open {path}: {error}")


def _code(error: sqlite3.Error) -> int:
    """The extended result code; 0 for what Python's own layer raises."""
    return getattr(error, "sqlite_errorcode", 0)
