"""Terminal events of agents in one SQLite file: bounded, droppable, never in the way.

A broken or full log costs events, never an agent: `SqliteLiveLog.append` does not
raise, it logs and drops. synchronous=NORMAL, because the last second of noise may be
lost with the machine (sqlite.org/pragma.html#pragma_synchronous); facts have their own file.
"""

from __future__ import annotations

import datetime
import logging
import pathlib
from collections.abc import Mapping, Sequence
from typing import Any, Final

from hyperhive import ports
from hyperhive.adapters.live_log import encoding, tails, writer
from hyperhive.domain import errors, ids

BYTES_MAX: Final = 512 * 1024**2
"""What the file may hold; beyond it the oldest rows go."""
WAITING_MAX: Final = 20_000
"""Rows that may wait for the disk; what comes on top is dropped."""

_log = logging.getLogger(__name__)


class SqliteLiveLog:
    """`ports.LiveLog` on one file. Make it with `open`; used from one event loop."""

    def __init__(self, path: pathlib.Path, clock: ports.Clock, bytes_max: int) -> None:
        self._clock = clock
        self._waiting = 0
        self._dropped = 0
        self._closed = False
        self._tails = tails.Tails({})
        self._writer = writer.Writer(path, bytes_max, self._announce)

    @classmethod
    async def open(
        cls, path: pathlib.Path, clock: ports.Clock, *, bytes_max: int = BYTES_MAX
    ) -> SqliteLiveLog:
        """Open or create the log at *path*.

        It holds nothing that is worth a refusal to start: a file that is damaged or of
        another version is moved aside (``….damaged``) and a new one begun. `HiveError`
        UNAVAILABLE only when not even that is possible.
        """
        log = cls(path, clock, bytes_max)
        log._tails = tails.Tails(await log._writer.start())
        return log

    async def append(
        self, agent: ids.AgentId, batch: Sequence[tuple[str, str, Mapping[str, Any]]]
    ) -> int:
        """See `ports.LiveLog`. What is dropped gets no number."""
        if not batch or self._closed:
            return self.number(agent)
        if self._waiting + len(batch) > WAITING_MAX:
            self._note_dropped(len(batch), "the disk does not keep up")
            return self.number(agent)
        at = writer.time_in(self._clock.now())
        rows = [
            (at, encoding.text_in(turn), encoding.text_in(kind), encoding.data_in(data))
            for turn, kind, data in batch
        ]
        self._waiting += len(rows)
        try:
            await self._writer.append(agent, rows)
        except errors.HiveError as error:
            self._note_dropped(len(rows), error.message)
        finally:
            self._waiting -= len(rows)
        return self.number(agent)

    async def read(
        self, agent: ids.AgentId, *, after: int = 0, before: int | None = None, limit: int = 2000
    ) -> list[ports.LiveEvent]:
        """See `ports.LiveLog`; `HiveError` UNAVAILABLE when the file cannot be read."""
        self._refuse_when_closed()
        found = await self._writer.read(agent, after, before, limit)
        return [
            ports.LiveEvent(number, writer.time_out(at), turn, kind, encoding.data_out(data))
            for number, at, turn, kind, data in found
        ]

    def number(self, agent: ids.AgentId) -> int:
        """See `ports.LiveLog`."""
        return self._tails.number(agent)

    async def changed(self, agent: ids.AgentId, after: int) -> int:
        """See `ports.LiveLog`; `HiveError` UNAVAILABLE when the log is closed meanwhile."""
        return await self._tails.changed(agent, after)

    async def sweep(self, before: datetime.datetime) -> int:
        """See `ports.LiveLog`; returns how many rows went, 0 when the file cannot be written."""
        deleted = 0
        while not self._closed:
            try:
                count = await self._writer.sweep(before)
            except errors.HiveError as error:
                _log.warning("old live events stay: %s", error.message)
                break
            deleted += count
            if count < writer.SWEEP_CHUNK:
                break
        return deleted

    async def close(self) -> None:
        """Store what was appended and close the file. Idempotent."""
        self._closed = True
        await self._writer.stop()
        self._tails.end()

    def _announce(self, agent: ids.AgentId, number: int) -> None:
        self._tails.announce(agent, number)
        if self._dropped:
            _log.warning("live events are stored again; %d were dropped", self._dropped)
            self._dropped = 0

    def _note_dropped(self, count: int, why: str) -> None:
        if not self._dropped:
            # Once, not per batch: a full disk must not fill the log as well.
            _log.warning("live events are dropped: %s", why)
        self._dropped += count

    def _refuse_when_closed(self) -> None:
        if self._closed:
            raise errors.unavailable("cannot read live events: the log is closed")
