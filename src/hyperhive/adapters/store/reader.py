"""The thread that reads: its own connection, read-only, one snapshot for a group of works."""

from __future__ import annotations

import asyncio
import contextlib
import pathlib
import queue
import sqlite3
import threading
from collections.abc import Callable, Sequence
from typing import Any

from hyperhive.adapters.store import faults, transaction, writer
from hyperhive.domain import errors


class Reader:
    """Owns the reading connection. In WAL mode it neither blocks the writer nor waits for it."""

    def __init__(
        self,
        path: pathlib.Path,
        connect: Callable[[], sqlite3.Connection],
        tell: Callable[[Sequence[writer.Job]], None],
        broke: Callable[[errors.HiveError], None],
    ) -> None:
        self._path = path
        self._connect = connect
        self._tell = tell
        self._broke = broke
        self._loop = asyncio.get_running_loop()
        self._queue: queue.SimpleQueue[writer.Job | None] = queue.SimpleQueue()
        self._ended: asyncio.Future[None] = self._loop.create_future()

    def start(self) -> None:
        """Start the thread; the writer must have opened the database before."""
        threading.Thread(target=self._run, name="store-reader", daemon=True).start()

    def submit(self, job: writer.Job) -> None:
        """Queue a work; it sees at least all that was committed when it was queued."""
        self._queue.put(job)

    async def stop(self) -> None:
        """Finish what is queued and close the connection. Idempotent."""
        self._queue.put(None)
        await asyncio.shield(self._ended)

    def _run(self) -> None:
        connection: sqlite3.Connection | None = None
        stopping = False
        while not stopping:
            batch: list[writer.Job] = []
            job = self._queue.get()
            while job is not None:
                batch.append(job)
                try:
                    job = self._queue.get_nowait()
                except queue.Empty:
                    break
            else:
                stopping = True
            if batch:
                connection = self._answer(connection, batch)
        if connection is not None:
            connection.close()
        self._call(_end, self._ended)

    def _answer(
        self, connection: sqlite3.Connection | None, batch: Sequence[writer.Job]
    ) -> sqlite3.Connection | None:
        try:
            if connection is None:
                connection = self._connect()
            tx = transaction.SqliteReadTx(connection)
            # Deferred: the first read of the group takes the snapshot that all of it sees.
            connection.execute("BEGIN")
            for job in batch:
                with writer.Kept() as kept:
                    job.value = job.work(tx)
                job.error = kept.error
            connection.execute("ROLLBACK")
        except sqlite3.Error as error:
            told = faults.explain(error, self._path)
            for job in batch:
                job.value = None
                job.error = errors.HiveError(told.kind, told.message)
            if faults.blame(error) is faults.Blame.DISK:
                self._call(self._broke, told)
            if connection is not None and connection.in_transaction:
                with contextlib.suppress(sqlite3.Error):
                    connection.execute("ROLLBACK")
        self._call(self._tell, batch)
        return connection

    def _call(self, function: Callable[..., None], *arguments: Any) -> None:
        # The loop is gone when a program ended without `close`; then nobody waits either.
        with contextlib.suppress(RuntimeError):
            self._loop.call_soon_threadsafe(function, *arguments)


def _end(future: asyncio.Future[None]) -> None:
    if not future.done():
        future.set_result(None)
