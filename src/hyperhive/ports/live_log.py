"""The terminals of agents: noise, kept for days."""

from __future__ import annotations

import dataclasses
import datetime
from collections.abc import Mapping, Sequence
from typing import Any, Protocol

from hyperhive.domain import ids


@dataclasses.dataclass(frozen=True, slots=True)
class LiveEvent:
    """One line of an agent's terminal: noise, kept for days, never a fact."""

    number: int
    at: datetime.datetime
    turn: str
    kind: str
    data: Mapping[str, Any]


class LiveLog(Protocol):
    """Per-agent terminal events. Loss under pressure is allowed; stopping an agent is not."""

    async def append(
        self, agent: ids.AgentId, batch: Sequence[tuple[str, str, Mapping[str, Any]]]
    ) -> int:
        """Store (turn, kind, data) rows and return the newest number of that agent."""
        ...

    async def read(
        self, agent: ids.AgentId, *, after: int = 0, before: int | None = None, limit: int = 2000
    ) -> list[LiveEvent]:
        """Rows with ``after < number < before``, oldest first; the newest *limit* of them."""
        ...

    def number(self, agent: ids.AgentId) -> int: ...
    async def changed(self, agent: ids.AgentId, after: int) -> int:
        """Return a number greater than *after* as soon as there is one."""
        ...

    async def sweep(self, before: datetime.datetime) -> int: ...
    async def close(self) -> None: ...
