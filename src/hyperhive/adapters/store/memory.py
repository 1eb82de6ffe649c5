"""The store's twin in memory: the same meaning, nothing durable. For tests and stories."""

from __future__ import annotations

import asyncio
from collections.abc import Callable
from typing import TypeVar

from hyperhive import ports
from hyperhive.adapters.store import feed, memory_tx
from hyperhive.domain import errors, events

T = TypeVar("T")


class MemoryStore:
    """`ports.Store` without a disk. Several may share tables: that is a daemon's restart."""

    def __init__(self, clock: ports.Clock, tables: memory_tx.Tables | None = None) -> None:
        self._clock = clock
        self.tables = memory_tx.Tables() if tables is None else tables
        self._feed = feed.Feed(self.tables.last_number())
        self._closed: errors.HiveError | None = None

    async def write(self, work: Callable[[ports.Tx], T]) -> T:
        """See `ports.Store`. The work runs at once; told is later, as on a real disk."""
        self._refuse_when_closed()
        tx = memory_tx.MemoryTx(self.tables, self._clock)
        try:
            value = work(tx)
        except BaseException:
            tx.undo()
            raise
        told: asyncio.Future[None] = asyncio.get_running_loop().create_future()
        asyncio.get_running_loop().call_soon(self._tell, tx, self.tables.last_number(), told)
        await told
        return value

    async def read(self, work: Callable[[ports.ReadTx], T]) -> T:
        """See `ports.Store`."""
        self._refuse_when_closed()
        value = work(memory_tx.MemoryTx(self.tables, self._clock))
        await asyncio.sleep(0)
        return value

    def number(self) -> int:
        """See `ports.Store`."""
        return self._feed.number

    async def changed(self, topic: events.Topic, after: int) -> int:
        """See `ports.Store`; `HiveError` UNAVAILABLE when the store is closed meanwhile."""
        return await self._feed.changed(topic, after)

    async def close(self) -> None:
        """See `ports.Store`. Idempotent."""
        self._closed = errors.unavailable("cannot use the store: it is closed")
        self._feed.end(self._closed)

    def _tell(self, tx: memory_tx.MemoryTx, number: int, told: asyncio.Future[None]) -> None:
        self._feed.announce(number, tx.topics)
        if not told.done():
            told.set_result(None)

    def _refuse_when_closed(self) -> None:
        if self._closed is not None:
            raise errors.HiveError(self._closed.kind, self._closed.message)
