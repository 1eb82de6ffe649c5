"""Where agents wanted to go and may not: what the egress proxy refused since the daemon started.

An agent chooses what it asks for and how often, so memory is bounded (`HOSTS_KEPT` an agent) and
a fact, which moves the page on, comes at most once in `QUIET` an agent; the counts are exact.
"""

from __future__ import annotations

import dataclasses
import datetime
from typing import Any, Final

from hyperhive import ports
from hyperhive.domain import errors, events, ids
from hyperhive.wire import views

HOSTS_KEPT: Final = 10
"""Hosts remembered of one agent: those that it asked for last."""
QUIET: Final = datetime.timedelta(minutes=1)


@dataclasses.dataclass(slots=True)
class _Refused:
    count: int
    at: datetime.datetime
    reason: str


class Refusals:
    """Counts in memory; the newest hosts of each agent with how often and when."""

    def __init__(self, store: ports.Store, clock: ports.Clock) -> None:
        self._store = store
        self._clock = clock
        self._counts: dict[ids.AgentId, int] = {}
        self._hosts: dict[ids.AgentId, dict[str, _Refused]] = {}
        self._told: dict[ids.AgentId, datetime.datetime] = {}

    async def add(self, agent: ids.AgentId, host: str, reason: str) -> None:
        """Count one refusal of *host*, a name and port."""
        now = self._clock.now()
        hosts = self._hosts.setdefault(agent, {})
        # Put in anew, so that the order is that of the last time.
        before = hosts.pop(host, None)
        hosts[host] = _Refused(1 if before is None else before.count + 1, now, reason)
        if len(hosts) > HOSTS_KEPT:
            del hosts[next(iter(hosts))]
        self._counts[agent] = self._counts.get(agent, 0) + 1
        told = self._told.get(agent)
        if told is not None and now - told < QUIET:
            return
        self._told[agent] = now
        event = events.Event(
            events.EventKind.EGRESS_REFUSED, agent=agent, text=f"{host}: {reason}"[:500]
        )
        try:
            await self._store.write(lambda tx: tx.record(event))
        except errors.HiveError:
            # A full disk must not make the proxy fail; the next refusal tells of this one too.
            self._told.pop(agent, None)

    def view(self, agent: ids.AgentId) -> dict[str, Any]:
        """The agent's figures as plain JSON: all refusals counted, the newest hosts first."""
        hosts = self._hosts.get(agent, {})
        return {
            "count": self._counts.get(agent, 0),
            "hosts": [
                {
                    "host": host,
                    "count": refused.count,
                    "at": views.timestamp(refused.at),
                    "reason": refused.reason,
                }
                for host, refused in reversed(hosts.items())
            ],
        }
