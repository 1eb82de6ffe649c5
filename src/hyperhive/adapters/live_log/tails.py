"""Who waits for an agent's next live event. Event loop only."""

from __future__ import annotations

import asyncio

from hyperhive.domain import errors, ids


class Tails:
    """The newest number of each agent, and its waiters."""

    def __init__(self, newest: dict[ids.AgentId, int]) -> None:
        self._newest = newest
        self._waiters: dict[ids.AgentId, set[asyncio.Future[None]]] = {}
        self._closed = False

    def number(self, agent: ids.AgentId) -> int:
        """The newest number of *agent*; 0 when it never had an event."""
        return self._newest.get(agent, 0)

    def announce(self, agent: ids.AgentId, number: int) -> None:
        """Make *number* known and wake who waits for *agent*."""
        self._newest[agent] = number
        self._wake(agent)

    async def changed(self, agent: ids.AgentId, after: int) -> int:
        """Return the newest number as soon as it is greater than *after*."""
        while self.number(agent) <= after:
            if self._closed:
                raise errors.unavailable("cannot follow live events: the log is closed")
            waiter: asyncio.Future[None] = asyncio.get_running_loop().create_future()
            waiters = self._waiters.setdefault(agent, set())
            waiters.add(waiter)
            try:
                await waiter
            finally:
                waiters.discard(waiter)
                if not waiters and self._waiters.get(agent) is waiters:
                    del self._waiters[agent]
        return self.number(agent)

    def end(self) -> None:
        """Let every waiter fail: nothing will be appended any more."""
        self._closed = True
        for agent in list(self._waiters):
            self._wake(agent)

    def _wake(self, agent: ids.AgentId) -> None:
        for waiter in self._waiters.pop(agent, ()):
            if not waiter.done():
                waiter.set_result(None)
