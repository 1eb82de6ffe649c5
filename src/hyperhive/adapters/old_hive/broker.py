"""Reads the older broker's database: a copy of it, opened read-only, whatever its columns are.

The original belongs to the older daemon and is only copied. A copy that is kept beside the
marker holds what is not brought over: nothing is lost.
"""

from __future__ import annotations

import contextlib
import datetime
import pathlib
import shutil
import sqlite3
from collections.abc import Iterator
from typing import Any, Final

from hyperhive.adapters.old_hive import layout
from hyperhive.domain import errors, imports

BESIDE: Final = ("-wal", "-shm")
"""What SQLite keeps beside a database (sqlite.org/tempfiles.html): not yet in it, but true."""
_LATEST: Final = 4_102_444_800.0
"""The year 2100 in seconds; a greater number is milliseconds."""
_MESSAGES: Final = ("sender", "recipient", "body")
_APPROVALS: Final = ("agent", "kind", "status")


def keep(database: pathlib.Path, target: pathlib.Path) -> None:
    """Copy *database* with what belongs to it to *target*, whole or not at all. Blocks."""
    layout.check_owner(database)
    layout.check_owner(database.parent)
    try:
        fresh = target.with_name(f".{target.name}")
        for end in ("", *BESIDE):
            source = database.with_name(database.name + end)
            copy = fresh.with_name(fresh.name + end)
            copy.unlink(missing_ok=True)
            if source.exists():
                shutil.copyfile(source, copy, follow_symlinks=False)
                copy.chmod(0o600)
        # The log is written into the copy, so that the copy is one file, and complete.
        with contextlib.closing(sqlite3.connect(fresh, isolation_level=None)) as connection:
            connection.execute("PRAGMA trusted_schema = OFF")
            connection.execute("PRAGMA journal_mode = DELETE").fetchall()
        for end in BESIDE:
            fresh.with_name(fresh.name + end).unlink(missing_ok=True)
        fresh.rename(target)
    except OSError as error:
        raise errors.unavailable(f"cannot copy {database}: {error.strerror}") from error
    except sqlite3.Error as error:
        raise errors.unavailable(
            f"cannot use {database}: {error}; stop the older daemon, or mend it with sqlite3 "
            "and its .recover"
        ) from error


def read(copy: pathlib.Path) -> imports.OldMail:
    """Read what `keep` has copied; UNAVAILABLE when it is no database. Blocks."""
    try:
        address = f"{copy.absolute().as_uri()}?mode=ro&immutable=1"
        with contextlib.closing(sqlite3.connect(address, uri=True)) as connection:
            connection.execute("PRAGMA query_only = ON")
            connection.execute("PRAGMA trusted_schema = OFF")
            connection.text_factory = _text
            return _read(connection)
    except sqlite3.Error as error:
        raise errors.unavailable(f"cannot read {copy}: {error}") from error


def _read(connection: sqlite3.Connection) -> imports.OldMail:
    # Tables only: a view of that name could be any query.
    names = {
        str(row[0])
        for row in connection.execute("SELECT name FROM sqlite_schema WHERE type = 'table'")
    }
    left: dict[str, int] = {}
    found: list[imports.OldMessage] = []
    decided: list[imports.OldApproval] = []
    for name in sorted(names):
        if name.startswith("sqlite_"):
            continue
        columns = _columns(connection, name)
        if name == "messages" and columns.issuperset(_MESSAGES):
            found, handled = _messages(connection, columns)
            _count(left, "messages that were handled", handled)
        elif name == "approvals" and columns.issuperset(_APPROVALS):
            decided, unknown = _approvals(connection, columns)
            for kind, count in unknown.items():
                _count(left, f"approvals of the kind {kind}", count)
        else:
            _count(left, f"rows of the table {name}", _number(connection, name))
    return imports.OldMail(tuple(found), tuple(decided), left)


def _messages(
    connection: sqlite3.Connection, columns: frozenset[str]
) -> tuple[list[imports.OldMessage], int]:
    found: list[imports.OldMessage] = []
    handled = 0
    for row in _rows(connection, "messages"):
        # A message was delivered first and acknowledged later, once the table said so.
        if row.get("acked_at" if "acked_at" in columns else "delivered_at") is not None:
            handled += 1
            continue
        found.append(
            imports.OldMessage(
                id=row["id"],
                sender=_word(row.get("sender")),
                recipient=_word(row.get("recipient")),
                body=_word(row.get("body")),
                sent_at=_time(row.get("sent_at")),
            )
        )
    return found, handled


def _approvals(
    connection: sqlite3.Connection, columns: frozenset[str]
) -> tuple[list[imports.OldApproval], dict[str, int]]:
    del columns
    found: list[imports.OldApproval] = []
    unknown: dict[str, int] = {}
    for row in _rows(connection, "approvals"):
        kind = _word(row.get("kind"))
        if kind not in imports.KINDS:
            _count(unknown, kind[:40] or "unknown", 1)
            continue
        found.append(
            imports.OldApproval(
                id=row["id"],
                agent=_word(row.get("agent")),
                kind=kind,
                commit_ref=_word(row.get("commit_ref")),
                status=_word(row.get("status")),
                note=_word(row.get("note")),
                description=_word(row.get("description")),
                requested_at=_time(row.get("requested_at")),
                decided_at=_time(row.get("resolved_at")),
            )
        )
    return found, unknown


def _rows(connection: sqlite3.Connection, table: str) -> Iterator[dict[str, Any]]:
    """Every row by column; ``id`` is its number, also where the table calls it otherwise."""
    cursor = connection.execute(f'SELECT rowid AS "rowid", * FROM "{table}" ORDER BY 1')  # noqa: S608 - our own two names
    names = [str(column[0]) for column in cursor.description]
    for row in cursor:
        values = dict(zip(names, row, strict=True))
        if not isinstance(values.get("id"), int):
            values["id"] = values["rowid"]
        yield values


def _columns(connection: sqlite3.Connection, table: str) -> frozenset[str]:
    rows = connection.execute("SELECT name FROM pragma_table_info(?)", (table,))
    return frozenset(str(row[0]) for row in rows)


def _number(connection: sqlite3.Connection, table: str) -> int:
    quoted = table.replace('"', '""')
    try:
        return int(connection.execute(f'SELECT count(*) FROM "{quoted}"').fetchone()[0])  # noqa: S608 - quoted
    except sqlite3.Error:
        # A virtual table of a module that we do not have: it has something, nobody knows what.
        return 1


def _count(counts: dict[str, int], what: str, number: int) -> None:
    if number:
        counts[what] = counts.get(what, 0) + number


def _word(value: Any) -> str:
    """A text as it may be stored here: no NUL, no lone surrogate."""
    if value is None:
        return ""
    text = value.decode("utf-8", "replace") if isinstance(value, bytes) else str(value)
    return text.replace("\0", "\N{REPLACEMENT CHARACTER}")


def _text(raw: bytes) -> str:
    return raw.decode("utf-8", "replace")


def _time(value: Any) -> datetime.datetime | None:
    """A time from seconds, milliseconds or ISO 8601; None where it is none of them."""
    try:
        if isinstance(value, str) and not value.lstrip("-").replace(".", "", 1).isdigit():
            read = datetime.datetime.fromisoformat(value)
            return (
                read.astimezone(datetime.UTC) if read.tzinfo else read.replace(tzinfo=datetime.UTC)
            )
        seconds = float(value)
        if seconds > _LATEST:
            seconds /= 1000
        return datetime.datetime.fromtimestamp(seconds, datetime.UTC)
    except (TypeError, ValueError, OverflowError, OSError):
        return None
