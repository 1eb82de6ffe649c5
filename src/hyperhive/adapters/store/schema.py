"""Opening the file: who it belongs to, which version it has, how it gets to ours.

``PRAGMA application_id`` says that a database is ours, ``PRAGMA user_version``
which migration it has seen last (sqlite.org/pragma.html). A step and its number
are committed together, so an interrupted upgrade goes on where it stopped.
"""

from __future__ import annotations

import contextlib
import importlib.resources
import os
import pathlib
import re
import sqlite3
import struct
from collections.abc import Sequence
from typing import Final, NamedTuple

from hyperhive.domain import errors

APPLICATION_ID: Final = 0x68697665  # "hive"
QUICK_CHECK_MAX: Final = 64 * 1024**2
"""Files up to this size, in bytes, are checked as a whole at each start."""
_MAGIC: Final = b"SQLite format 3\x00"
_STEP_NAME: Final = re.compile(r"(\d{4})_[a-z]+(_[a-z0-9]+)+\.sql")


class Step(NamedTuple):
    """One migration."""

    number: int
    name: str
    sql: str


def load_steps() -> list[Step]:
    """The packaged migrations in order; they are numbered from 1 without a gap."""
    steps: list[Step] = []
    for entry in importlib.resources.files("hyperhive.adapters.store.migrations").iterdir():
        match = _STEP_NAME.fullmatch(entry.name)
        if match is not None:
            steps.append(Step(int(match[1]), entry.name, entry.read_text(encoding="utf-8")))
    steps.sort()
    assert [step.number for step in steps] == list(range(1, len(steps) + 1)), steps
    return steps


def refuse_foreign_file(path: pathlib.Path, newest: int) -> None:
    """Raise `HiveError` when *path* is no database of ours, judged without opening it.

    INVALID when it is something else, UNAVAILABLE when a newer hyperhive wrote it or it
    cannot be read. Offsets are those of sqlite.org/fileformat.html, section 1.3.
    """
    try:
        with path.open("rb") as file:
            head = file.read(100)
    except FileNotFoundError:
        return
    except OSError as error:
        raise errors.unavailable(f"cannot open {path}: {error.strerror}") from error
    if not head:
        return
    if len(head) < 100 or not head.startswith(_MAGIC):
        raise errors.invalid(
            f"cannot open {path}: it is not a database; move it away to start with an empty one, "
            "or put a backup in its place"
        )
    version, application = struct.unpack_from(">I4xI", head, 60)
    # A database that was made but not filled, because we died then, has neither number.
    if application != APPLICATION_ID and (application, version) != (0, 0):
        raise errors.invalid(f"cannot open {path}: it is a database of another program")
    _refuse_newer(path, version, newest)


def create_file(path: pathlib.Path) -> None:
    """Make an empty file that only its owner can read, and make its name durable."""
    path.parent.mkdir(parents=True, exist_ok=True)
    with contextlib.suppress(FileExistsError):
        os.close(os.open(path, os.O_CREAT | os.O_EXCL | os.O_WRONLY | os.O_CLOEXEC, 0o600))
        directory = os.open(path.parent, os.O_RDONLY | os.O_DIRECTORY | os.O_CLOEXEC)
        try:
            os.fsync(directory)
        finally:
            os.close(directory)


def bring_up_to_date(
    connection: sqlite3.Connection, path: pathlib.Path, steps: Sequence[Step]
) -> None:
    """Apply the steps that the database has not seen; a copy is made before the first.

    *connection* must be in autocommit mode. `HiveError` UNAVAILABLE or INVALID as in
    `refuse_foreign_file`, and UNAVAILABLE when the file is damaged.
    """
    if path.stat().st_size <= QUICK_CHECK_MAX:
        _refuse_damaged(connection, path)
    version: int = connection.execute("PRAGMA user_version").fetchone()[0]
    _refuse_newer(path, version, len(steps))
    if version == 0 and connection.execute("SELECT count(*) FROM sqlite_schema").fetchone()[0]:
        raise errors.invalid(f"cannot open {path}: it is a database of another program")
    if 0 < version < len(steps):
        _copy(connection, path.with_name(f"{path.name}.before-{version + 1:04d}"))
    for step in steps[version:]:
        # executescript commits first, so the transaction is part of the script.
        try:
            connection.executescript(
                f"BEGIN IMMEDIATE;\n{step.sql}\n"
                f"PRAGMA application_id = {APPLICATION_ID};\n"
                f"PRAGMA user_version = {step.number};\nCOMMIT;"
            )
        except sqlite3.Error as error:
            if connection.in_transaction:
                connection.execute("ROLLBACK")
            raise errors.unavailable(
                f"cannot upgrade {path} with {step.name}: {error}; the file is as it was before"
            ) from error


def _refuse_newer(path: pathlib.Path, version: int, newest: int) -> None:
    if version > newest:
        raise errors.unavailable(
            f"cannot open {path}: a newer hyperhive wrote it (schema {version}, this one knows "
            f"{newest}); use that hyperhive, or the copy that it made before its upgrade"
        )


def _refuse_damaged(connection: sqlite3.Connection, path: pathlib.Path) -> None:
    found = connection.execute("PRAGMA quick_check(1)").fetchone()[0]
    if found != "ok":
        raise errors.unavailable(
            f"cannot open {path}: the file is damaged ({found}); put a backup in its place"
        )


def _copy(connection: sqlite3.Connection, target: pathlib.Path) -> None:
    """Write a complete copy by way of a temporary name, so that a half one is never found."""
    partial = target.with_name(target.name + ".partial")
    partial.unlink(missing_ok=True)
    create_file(partial)
    with contextlib.closing(sqlite3.connect(partial)) as copy:
        connection.backup(copy)
    partial.replace(target)
