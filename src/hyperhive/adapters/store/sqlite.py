"""The durable store: SQLite in WAL mode with synchronous=FULL, one writer thread, one reader.

An acknowledged write survives the end of the process and of the machine: the commit
has reached the disk before anyone is told (sqlite.org/pragma.html#pragma_synchronous).
That only one daemon opens the file is the daemon's business.
"""

from __future__ import annotations

import asyncio
import pathlib
import sqlite3
import sys
from collections.abc import Callable, Sequence
from typing import Final, TypeVar

from hyperhive import ports
from hyperhive.adapters.store import feed, reader, schema, writer
from hyperhive.domain import errors, events

T = TypeVar("T")

BUSY_SECONDS: Final = 5.0
"""How long to wait for somebody who looks at the file with another program."""

HANDOVER_SECONDS: Final = 0.0002
"""The interpreter's switch interval (sys.setswitchinterval) in a process with a store."""


class SqliteStore:
    """`ports.Store` on one file. Make it with `open`; used from the event loop that opened it."""

    def __init__(
        self,
        path: pathlib.Path,
        clock: ports.Clock,
        on_broken: Callable[[errors.HiveError], None] | None,
        steps: Sequence[schema.Step],
    ) -> None:
        self._path = path
        self._on_broken = on_broken
        self._steps = steps
        self._loop = asyncio.get_running_loop()
        self._feed = feed.Feed(0)
        self._error: errors.HiveError | None = None
        self._writer = writer.Writer(path, clock, self._open_writing, self._tell, self._break)
        self._reader = reader.Reader(path, self._open_reading, _tell_all, self._break)

    @classmethod
    async def open(
        cls,
        path: pathlib.Path,
        clock: ports.Clock,
        on_broken: Callable[[errors.HiveError], None] | None = None,
        *,
        steps: Sequence[schema.Step] | None = None,
    ) -> SqliteStore:
        """Open or create the database at *path* and upgrade it to this version's schema.

        `HiveError` INVALID when the file is something else, UNAVAILABLE when it is damaged,
        unreadable or of a newer hyperhive; the file is then left as it is. *on_broken* is
        called once, on the event loop, when the disk has failed and the daemon should exit.
        """
        store = cls(path, clock, on_broken, schema.load_steps() if steps is None else steps)
        # The loop and the writer hand over thousands of times a second. With the default of 5 ms
        # the one that computes may keep the other, just back from the disk, waiting that long.
        sys.setswitchinterval(min(sys.getswitchinterval(), HANDOVER_SECONDS))
        store._feed = feed.Feed(await store._writer.start())
        store._reader.start()
        return store

    async def write(self, work: Callable[[ports.Tx], T]) -> T:
        """See `ports.Store`."""
        self._refuse_unless_usable()
        job = writer.Job(work, self._loop.create_future())
        self._writer.submit(job)
        return await job.future

    async def read(self, work: Callable[[ports.ReadTx], T]) -> T:
        """See `ports.Store`."""
        self._refuse_unless_usable()
        job = writer.Job(work, self._loop.create_future())
        self._reader.submit(job)
        return await job.future

    def number(self) -> int:
        """See `ports.Store`."""
        return self._feed.number

    async def changed(self, topic: events.Topic, after: int) -> int:
        """See `ports.Store`; `HiveError` UNAVAILABLE when the store ends meanwhile."""
        return await self._feed.changed(topic, after)

    async def close(self) -> None:
        """Finish what was asked for, then close. Idempotent; later calls are UNAVAILABLE."""
        if self._error is None:
            self._error = errors.unavailable("cannot use the store: it is closed")
        await self._reader.stop()
        await self._writer.stop()
        self._feed.end(self._error)

    def _tell(
        self, batch: Sequence[writer.Job], number: int, topics: Sequence[events.Topic]
    ) -> None:
        """The number first, so that a writer who looks at it finds its own fact announced."""
        self._feed.announce(number, topics)
        _tell_all(batch)

    def _break(self, error: errors.HiveError) -> None:
        if self._error is not None:
            return
        self._error = error
        self._feed.end(error)
        if self._on_broken is not None:
            self._on_broken(error)

    def _refuse_unless_usable(self) -> None:
        if self._error is not None:
            raise errors.HiveError(self._error.kind, self._error.message)

    def _open_writing(self) -> sqlite3.Connection:
        schema.refuse_foreign_file(self._path, len(self._steps))
        schema.create_file(self._path)
        connection = self._connect("rw")
        try:
            connection.execute("PRAGMA synchronous = FULL")
            # Before anything that changes the file: it may turn out not to be ours.
            schema.bring_up_to_date(connection, self._path, self._steps)
            connection.execute("PRAGMA journal_mode = WAL").fetchall()
            connection.execute("PRAGMA wal_autocheckpoint = 0").fetchall()
        except BaseException:
            connection.close()
            raise
        return connection

    def _open_reading(self) -> sqlite3.Connection:
        connection = self._connect("rw")
        # Not mode=ro: the last one to close must be able to tidy the log away.
        connection.execute("PRAGMA query_only = ON")
        return connection

    def _connect(self, mode: str) -> sqlite3.Connection:
        """Open in autocommit mode: transactions begin where we say so."""
        connection = sqlite3.connect(
            f"{self._path.absolute().as_uri()}?mode={mode}",
            uri=True,
            timeout=BUSY_SECONDS,
            isolation_level=None,
            cached_statements=256,
        )
        connection.execute("PRAGMA cell_size_check = ON")
        connection.execute("PRAGMA trusted_schema = OFF")
        connection.execute("PRAGMA temp_store = MEMORY")
        return connection


def _tell_all(batch: Sequence[writer.Job]) -> None:
    for job in batch:
        job.tell()
