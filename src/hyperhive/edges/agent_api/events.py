"""Live events of one agent on their way to the live log; a batch sent twice is stored once."""

from __future__ import annotations

import asyncio
from collections.abc import Mapping
from typing import Annotated, Any, Final

import msgspec

from hyperhive import ports
from hyperhive.domain import ids
from hyperhive.edges import params

BATCH_MAX: Final = 2000


class Event(params.Params):
    """One live event as the harness sends it."""

    turn: Annotated[str, msgspec.Meta(max_length=64)]
    kind: Annotated[str, msgspec.Meta(min_length=1, max_length=64)]
    data: dict[str, Any]


class Intake:
    """Knows which number of which boot comes next.

    Kept in memory: after a restart of the daemon a batch whose answer was lost may be
    stored twice, which is a doubled line in a terminal and nothing else.
    """

    def __init__(self, agent: ids.AgentId, live_log: ports.LiveLog) -> None:
        self._agent = agent
        self._live_log = live_log
        self._boot = ""
        self._next = 0
        self._one_at_a_time = asyncio.Lock()

    async def take(self, boot: str, first: int, events: list[Event]) -> int:
        """Store what is new and return the number expected next."""
        async with self._one_at_a_time:
            known = self._next if boot == self._boot else first
            # A gap is the harness's own choice: it drops noise under pressure.
            fresh: list[tuple[str, str, Mapping[str, Any]]] = [
                (event.turn, event.kind, event.data) for event in events[max(0, known - first) :]
            ]
            if fresh:
                await self._live_log.append(self._agent, fresh)
            self._boot, self._next = boot, max(known, first + len(events))
            return self._next
