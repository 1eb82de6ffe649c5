"""The thread that owns the live log's file; what is queued together is committed together."""

from __future__ import annotations

import asyncio
import contextlib
import dataclasses
import datetime
import logging
import os
import pathlib
import queue
import sqlite3
import threading
from collections.abc import Callable, Sequence
from typing import Any, Final

from hyperhive.domain import errors, ids

SCHEMA: Final = 1
SWEEP_CHUNK: Final = 5000
GROUP_MAX: Final = 256

_CREATE: Final = """
CREATE TABLE heads (agent TEXT PRIMARY KEY, number INTEGER NOT NULL) STRICT, WITHOUT ROWID;
CREATE TABLE live (
    id INTEGER PRIMARY KEY,
    agent TEXT NOT NULL,
    number INTEGER NOT NULL,
    at INTEGER NOT NULL,
    turn TEXT NOT NULL,
    kind TEXT NOT NULL,
    data TEXT NOT NULL
) STRICT;
CREATE UNIQUE INDEX live_by_agent ON live (agent, number);
CREATE INDEX live_by_time ON live (at);
"""
_INSERT: Final = "INSERT INTO live (agent, number, at, turn, kind, data) VALUES (?, ?, ?, ?, ?, ?)"
_PUT_HEAD: Final = "INSERT OR REPLACE INTO heads (agent, number) VALUES (?, ?)"
_READ: Final = (
    "SELECT number, at, turn, kind, data FROM live "
    "WHERE agent = ? AND number > ? AND number < ? ORDER BY number DESC LIMIT ?"
)
_SWEEP: Final = (
    "DELETE FROM live WHERE id IN (SELECT id FROM live WHERE at < ? ORDER BY at LIMIT ?)"
)
_SPAN: Final = "SELECT min(id), max(id) FROM live"
_DROP_OLDEST: Final = "DELETE FROM live WHERE id < ?"

_EPOCH: Final = datetime.datetime(1970, 1, 1, tzinfo=datetime.UTC)
_MICROSECOND: Final = datetime.timedelta(microseconds=1)
_NUMBER_MAX: Final = 2**63 - 1
_DAMAGED: Final = frozenset({sqlite3.SQLITE_CORRUPT, sqlite3.SQLITE_NOTADB})

_log = logging.getLogger(__name__)

Work = Callable[[sqlite3.Connection], Any]


def time_in(at: datetime.datetime) -> int:
    """Microseconds since 1970 UTC."""
    return (at - _EPOCH) // _MICROSECOND


def time_out(value: int) -> datetime.datetime:
    """The inverse of `time_in`."""
    return _EPOCH + datetime.timedelta(microseconds=value)


@dataclasses.dataclass(slots=True)
class _Job:
    work: Work
    future: asyncio.Future[Any]
    value: Any = None
    error: errors.HiveError | None = None


class Writer:
    """Owns the connection. Called from the event loop; ``_run`` and what it calls is the thread."""

    def __init__(
        self,
        path: pathlib.Path,
        bytes_max: int,
        announce: Callable[[ids.AgentId, int], None],
    ) -> None:
        self._path = path
        self._bytes_max = bytes_max
        self._announce = announce
        self._loop = asyncio.get_running_loop()
        self._queue: queue.SimpleQueue[_Job | None] = queue.SimpleQueue()
        self._ended: asyncio.Future[None] = self._loop.create_future()
        # The thread's: numbers as committed, and those of the commit under way.
        self._heads: dict[ids.AgentId, int] = {}
        self._moved: dict[ids.AgentId, int] = {}

    async def start(self) -> dict[ids.AgentId, int]:
        """Open the file and return the newest number of each agent."""
        opened: asyncio.Future[dict[ids.AgentId, int]] = self._loop.create_future()
        threading.Thread(target=self._run, args=(opened,), name="live-log", daemon=True).start()
        return await opened

    async def append(self, agent: ids.AgentId, rows: Sequence[tuple[int, str, str, str]]) -> None:
        """Store (at, turn, kind, data) rows; `HiveError` UNAVAILABLE when they are lost."""

        def work(connection: sqlite3.Connection) -> None:
            first = self._moved.get(agent, self._heads.get(agent, 0)) + 1
            newest = first + len(rows) - 1
            connection.executemany(
                _INSERT, [(agent, number, *row) for number, row in enumerate(rows, first)]
            )
            connection.execute(_PUT_HEAD, (agent, newest))
            self._moved[agent] = newest

        await self._ask(work)

    async def read(
        self, agent: ids.AgentId, after: int, before: int | None, limit: int
    ) -> list[tuple[int, int, str, str, str]]:
        """Rows of (number, at, turn, kind, data), oldest first; the newest *limit* of them."""
        # Numbers come from outside and may be more than a database can bind.
        bound = (
            agent,
            min(max(after, 0), _NUMBER_MAX),
            _NUMBER_MAX if before is None else min(max(before, 0), _NUMBER_MAX),
            min(max(limit, 0), _NUMBER_MAX),
        )
        found = await self._ask(lambda connection: connection.execute(_READ, bound).fetchall())
        return found[::-1]

    async def sweep(self, before: datetime.datetime) -> int:
        """Delete up to SWEEP_CHUNK rows older than *before* and return how many."""
        bound = (time_in(before), SWEEP_CHUNK)
        return await self._ask(lambda connection: connection.execute(_SWEEP, bound).rowcount)

    async def stop(self) -> None:
        """Finish what is queued and close the file. Idempotent."""
        self._queue.put(None)
        await asyncio.shield(self._ended)

    async def _ask(self, work: Work) -> Any:
        job = _Job(work, self._loop.create_future())
        self._queue.put(job)
        return await job.future

    def _run(self, opened: asyncio.Future[dict[ids.AgentId, int]]) -> None:
        try:
            connection = self._open()
        except (OSError, sqlite3.Error) as error:
            told = errors.unavailable(f"cannot open {self._path}: {error}")
            self._call(_settle, opened, None, told)
            self._call(_settle, self._ended, None, None)
            return
        self._call(_settle, opened, dict(self._heads), None)
        stopping = False
        while not stopping:
            batch: list[_Job] = []
            job = self._queue.get()
            while job is not None:
                batch.append(job)
                if len(batch) == GROUP_MAX:
                    break
                try:
                    job = self._queue.get_nowait()
                except queue.Empty:
                    break
            else:
                stopping = True
            if batch:
                connection = self._commit(connection, batch)
        connection.close()
        self._call(_settle, self._ended, None, None)

    def _commit(self, connection: sqlite3.Connection, batch: Sequence[_Job]) -> sqlite3.Connection:
        self._moved = {}
        try:
            connection.execute("BEGIN IMMEDIATE")
            for job in batch:
                job.value = job.work(connection)
            if self._moved:
                self._bound(connection)
            connection.execute("COMMIT")
        except sqlite3.Error as error:
            self._moved = {}
            for job in batch:
                job.error = errors.unavailable(f"cannot use {self._path}: {error}")
            connection = self._recover(connection, error)
        self._heads.update(self._moved)
        self._call(self._tell, batch, self._moved)
        return connection

    def _tell(self, batch: Sequence[_Job], moved: dict[ids.AgentId, int]) -> None:
        for agent, number in moved.items():
            self._announce(agent, number)
        for job in batch:
            _settle(job.future, job.value, job.error)

    def _bound(self, connection: sqlite3.Connection) -> None:
        """Drop the oldest tenth when too much is held, in chunks, so that no commit is long."""
        pages, free, size = (
            connection.execute(f"PRAGMA {name}").fetchone()[0]
            for name in ("page_count", "freelist_count", "page_size")
        )
        if (pages - free) * size > self._bytes_max:
            first, last = connection.execute(_SPAN).fetchone()
            count = min(SWEEP_CHUNK, (last - first) // 10 + 1)
            connection.execute(_DROP_OLDEST, (first + count,))

    def _recover(self, connection: sqlite3.Connection, error: sqlite3.Error) -> sqlite3.Connection:
        """Undo; begin a new file in place of a damaged one, going on with the numbers."""
        with contextlib.suppress(sqlite3.Error):
            if connection.in_transaction:
                connection.execute("ROLLBACK")
        if getattr(error, "sqlite_errorcode", 0) & 0xFF not in _DAMAGED:
            return connection
        try:
            heads = dict(self._heads)
            connection.close()
            self._move_aside(str(error))
            connection = self._open()
            connection.executemany(_PUT_HEAD, heads.items())
            self._heads = heads
        except (OSError, sqlite3.Error):
            _log.exception("cannot begin a new live log at %s", self._path)
        return connection

    def _open(self) -> sqlite3.Connection:
        self._path.parent.mkdir(parents=True, exist_ok=True)
        try:
            return self._connect()
        except sqlite3.DatabaseError as error:
            if getattr(error, "sqlite_errorcode", sqlite3.SQLITE_NOTADB) & 0xFF not in _DAMAGED:
                raise
            self._move_aside(str(error))
            return self._connect()

    def _connect(self) -> sqlite3.Connection:
        with contextlib.suppress(FileExistsError):
            os.close(os.open(self._path, os.O_CREAT | os.O_EXCL | os.O_CLOEXEC, 0o600))
        connection = sqlite3.connect(
            f"{self._path.absolute().as_uri()}?mode=rw", uri=True, isolation_level=None
        )
        try:
            connection.execute("PRAGMA journal_mode = WAL").fetchall()
            connection.execute("PRAGMA synchronous = NORMAL")
            version = connection.execute("PRAGMA user_version").fetchone()[0]
            if version == 0:
                connection.executescript(
                    f"BEGIN IMMEDIATE;{_CREATE}PRAGMA user_version = {SCHEMA};COMMIT;"
                )
            elif version != SCHEMA:
                raise sqlite3.DatabaseError(f"schema {version} is not {SCHEMA}")
            self._heads = dict(connection.execute("SELECT agent, number FROM heads"))
        except BaseException:
            connection.close()
            raise
        return connection

    def _move_aside(self, why: str) -> None:
        _log.warning("the live log at %s is moved aside: %s", self._path, why)
        self._path.replace(self._path.with_name(self._path.name + ".damaged"))
        for ending in ("-wal", "-shm"):
            self._path.with_name(self._path.name + ending).unlink(missing_ok=True)

    def _call(self, function: Callable[..., None], *arguments: Any) -> None:
        # The loop is gone when a program ended without `close`; then nobody waits either.
        with contextlib.suppress(RuntimeError):
            self._loop.call_soon_threadsafe(function, *arguments)


def _settle(future: asyncio.Future[Any], value: Any, error: errors.HiveError | None) -> None:
    if future.done():
        return
    if error is None:
        future.set_result(value)
    else:
        future.set_exception(error)
