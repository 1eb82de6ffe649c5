"""The one thread that writes: it takes what is queued, commits it together, then tells.

Group commit: while one commit waits for the disk, the next works queue up, so the
price of one fdatasync is shared. A work that raises undoes only itself: when it has
changed something already, the group runs again with a savepoint for each, and so a work
must be a function of the transaction alone. Results and the new number reach the event
loop in one callback that is sent from here, after the commit: the awaiting task may
have been cancelled meanwhile, but those who wait for the fact still need to know.
"""

from __future__ import annotations

import asyncio
import contextlib
import dataclasses
import logging
import pathlib
import queue
import sqlite3
import threading
import types
from collections.abc import Callable, Sequence
from typing import Any, Final

from hyperhive import ports
from hyperhive.adapters.store import faults, transaction
from hyperhive.domain import errors, events

GROUP_MAX: Final = 512
"""Works in one commit; bounds how long the first of them waits."""
CHECKPOINT_BYTES: Final = 4 * 1024**2
"""Size of the log from which it is copied into the database when there is nothing else to do."""
CHECKPOINT_PATIENCE: Final = 10
"""How many times as large it may get while works are waiting."""
_COMMIT_BYTES: Final = 4 * 4096
_ROW_BYTES: Final = 2048

_log = logging.getLogger(__name__)


@dataclasses.dataclass(slots=True)
class Job:
    """A work, where its outcome goes, and the outcome until it is durable."""

    work: Callable[[Any], Any]
    future: asyncio.Future[Any]
    value: Any = None
    error: BaseException | None = None

    def tell(self) -> None:
        """Give the outcome to whoever still waits for it. Event loop only."""
        if self.future.done():
            return
        if self.error is None:
            self.future.set_result(self.value)
        elif isinstance(self.error, StopIteration):
            # A future cannot carry it (PEP 479).
            self.future.set_exception(RuntimeError("a work raised StopIteration"))
        else:
            self.future.set_exception(self.error)


class Kept:
    """Keeps what a work raises for its caller.

    An error that has cost us the whole transaction, or says that the disk cannot be
    trusted, passes through: it is not the work's own.
    """

    def __init__(self) -> None:
        self.error: BaseException | None = None

    def __enter__(self) -> Kept:
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: types.TracebackType | None,
    ) -> bool:
        if isinstance(error, sqlite3.Error) and faults.blame(error) is not faults.Blame.WORK:
            return False
        self.error = error
        return True


class Writer:
    """Owns the writing connection. `submit` from the event loop; the rest is the thread's."""

    def __init__(
        self,
        path: pathlib.Path,
        clock: ports.Clock,
        connect: Callable[[], sqlite3.Connection],
        tell: Callable[[Sequence[Job], int, Sequence[events.Topic]], None],
        broke: Callable[[errors.HiveError], None],
    ) -> None:
        self._path = path
        self._clock = clock
        self._connect = connect
        self._tell = tell
        self._broke = broke
        self._loop = asyncio.get_running_loop()
        self._queue: queue.SimpleQueue[Job | None] = queue.SimpleQueue()
        self._number = 0
        self._lookups = transaction.Lookups()
        # An estimate: the log's file never shrinks, so its size does not say what is in use.
        self._logged = 0
        self._error: errors.HiveError | None = None
        self._ended: asyncio.Future[None] = self._loop.create_future()

    async def start(self) -> int:
        """Open the database and return the number of its newest fact."""
        opened: asyncio.Future[int] = self._loop.create_future()
        threading.Thread(target=self._run, args=(opened,), name="store-writer", daemon=True).start()
        return await opened

    def submit(self, job: Job) -> None:
        """Queue a work; its outcome comes through ``tell``."""
        self._queue.put(job)

    async def stop(self) -> None:
        """Finish what is queued and close the connection. Idempotent."""
        self._queue.put(None)
        await asyncio.shield(self._ended)

    def _run(self, opened: asyncio.Future[int]) -> None:
        try:
            connection = self._connect()
            self._number = transaction.SqliteReadTx(connection).last_number()
        except (errors.HiveError, sqlite3.Error, OSError) as error:
            self._call(_settle, opened, None, faults.explain_open(error, self._path))
            self._call(_settle, self._ended, None, None)
            return
        self._call(_settle, opened, self._number, None)
        with contextlib.closing(connection):
            self._serve(connection)
        self._call(_settle, self._ended, None, None)

    def _serve(self, connection: sqlite3.Connection) -> None:
        stopping = False
        while not stopping:
            batch: list[Job] = []
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
                self._commit(connection, batch)
                self._checkpoint(connection)

    def _commit(self, connection: sqlite3.Connection, batch: Sequence[Job]) -> None:
        if self._error is not None:
            self._fail(batch, self._error)
            return
        try:
            rows = connection.total_changes
            tx = self._run_together(connection, batch) or self._run_apart(connection, batch)
            connection.execute("COMMIT")
        except sqlite3.Error as error:
            self._fail(batch, self._judge(connection, error))
            return
        self._logged += _COMMIT_BYTES + (connection.total_changes - rows) * _ROW_BYTES + tx.weight
        self._number = tx.number
        self._call(self._tell, batch, tx.number, tx.topics)

    def _run_together(
        self, connection: sqlite3.Connection, batch: Sequence[Job]
    ) -> transaction.SqliteTx | None:
        """Run the works without savepoints, which cost as much as the works themselves.

        None when one had to be undone alone: then all of this was for nothing.
        """
        tx = self._begin(connection)
        start = tx.mark()
        for job in batch:
            before, mark = connection.total_changes, tx.mark()
            with Kept() as kept:
                job.value = job.work(tx)
            job.error = kept.error
            if job.error is not None:
                tx.rewind(mark)
                if connection.total_changes != before:
                    connection.execute("ROLLBACK")
                    return None
        with Kept() as kept:
            tx.flush()
        if kept.error is not None:
            # Somebody's row cannot be stored; alone they will show whose.
            tx.rewind(start)
            connection.execute("ROLLBACK")
            return None
        return tx

    def _run_apart(
        self, connection: sqlite3.Connection, batch: Sequence[Job]
    ) -> transaction.SqliteTx:
        """Run the works again, each in its own savepoint."""
        tx = self._begin(connection)
        for job in batch:
            mark = tx.mark()
            connection.execute("SAVEPOINT work")
            job.value = None
            with Kept() as kept:
                job.value = job.work(tx)
                tx.flush()
            job.error = kept.error
            if job.error is not None:
                connection.execute("ROLLBACK TO work")
                tx.rewind(mark)
            connection.execute("RELEASE work")
        return tx

    def _begin(self, connection: sqlite3.Connection) -> transaction.SqliteTx:
        connection.execute("BEGIN IMMEDIATE")
        return transaction.SqliteTx(connection, self._clock, self._number, self._lookups)

    def _judge(self, connection: sqlite3.Connection, error: sqlite3.Error) -> errors.HiveError:
        """Undo the group, and say what its callers are told; nothing of it was durable."""
        self._lookups.forget()
        if connection.in_transaction:
            # After a disk error this may fail too; what counts is that we never acknowledge.
            with contextlib.suppress(sqlite3.Error):
                connection.execute("ROLLBACK")
        told = faults.explain(error, self._path)
        if faults.blame(error) is faults.Blame.DISK:
            self._error = told
            _log.critical("the store is broken: %s", told.message)
            self._call(self._broke, told)
        return told

    def _fail(self, batch: Sequence[Job], error: errors.HiveError) -> None:
        for job in batch:
            job.value = None
            if job.error is None:
                job.error = errors.HiveError(error.kind, error.message)
        self._call(self._tell, batch, self._number, ())

    def _checkpoint(self, connection: sqlite3.Connection) -> None:
        """Copy the log into the database: when idle, so that no sender waits for it.

        SQLite's automatic checkpoint is off because it hides a failed fsync, and after one
        the kernel may have dropped the pages (lwn.net/Articles/752063).
        """
        if self._error is not None:
            return
        patience = 1 if self._queue.empty() else CHECKPOINT_PATIENCE
        if self._logged < CHECKPOINT_BYTES * patience:
            return
        # PASSIVE does not wait for readers; the log starts over after a copy that was complete.
        try:
            connection.execute("PRAGMA wal_checkpoint(PASSIVE)").fetchall()
        except sqlite3.Error as error:
            self._judge(connection, error)
        self._logged = 0

    def _call(self, function: Callable[..., None], *arguments: object) -> None:
        # The loop is gone when a program ended without `close`; then nobody waits either.
        with contextlib.suppress(RuntimeError):
            self._loop.call_soon_threadsafe(function, *arguments)


def _settle(future: asyncio.Future[Any], value: object, error: BaseException | None) -> None:
    if future.done():
        return
    if error is None:
        future.set_result(value)
    else:
        future.set_exception(error)
