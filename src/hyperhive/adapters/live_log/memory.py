"""The live log's twin in memory. For tests and stories."""

from __future__ import annotations

import asyncio
import datetime
from collections.abc import Mapping, Sequence
from typing import Any

from hyperhive import ports
from hyperhive.adapters.live_log import encoding, tails
from hyperhive.domain import ids


class MemoryLiveLog:
    """`ports.LiveLog` without a disk."""

    def __init__(self, clock: ports.Clock) -> None:
        self._clock = clock
        self._rows: dict[ids.AgentId, list[ports.LiveEvent]] = {}
        self._tails = tails.Tails({})

    async def append(
        self, agent: ids.AgentId, batch: Sequence[tuple[str, str, Mapping[str, Any]]]
    ) -> int:
        """See `ports.LiveLog`."""
        number = self._tails.number(agent)
        rows = self._rows.setdefault(agent, [])
        for turn, kind, data in batch:
            number += 1
            stored = encoding.data_out(encoding.data_in(data))
            turn, kind = encoding.text_in(turn), encoding.text_in(kind)
            rows.append(ports.LiveEvent(number, self._clock.now(), turn, kind, stored))
        await asyncio.sleep(0)
        if batch:
            self._tails.announce(agent, number)
        return number

    async def read(
        self, agent: ids.AgentId, *, after: int = 0, before: int | None = None, limit: int = 2000
    ) -> list[ports.LiveEvent]:
        """See `ports.LiveLog`."""
        found = [
            row
            for row in self._rows.get(agent, [])
            if after < row.number and (before is None or row.number < before)
        ]
        await asyncio.sleep(0)
        return found[-limit:] if limit > 0 else []

    def number(self, agent: ids.AgentId) -> int:
        """See `ports.LiveLog`."""
        return self._tails.number(agent)

    async def changed(self, agent: ids.AgentId, after: int) -> int:
        """See `ports.LiveLog`."""
        return await self._tails.changed(agent, after)

    async def sweep(self, before: datetime.datetime) -> int:
        """See `ports.LiveLog`."""
        deleted = 0
        for agent, rows in self._rows.items():
            kept = [row for row in rows if row.at >= before]
            deleted += len(rows) - len(kept)
            self._rows[agent] = kept
        await asyncio.sleep(0)
        return deleted

    async def close(self) -> None:
        """See `ports.LiveLog`. Idempotent."""
        self._tails.end()
