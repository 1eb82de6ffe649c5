"""What a monitoring system may read of the hive, and the token that lets it.

The token opens ``/metrics`` and nothing else. Only its SHA-256 is kept, so nobody can read it
out of the store; it has 256 random bits, so a slow hash would add nothing. All figures come from
a few small rows or from memory: scraping every few seconds costs no walk through the turns.
"""

from __future__ import annotations

import dataclasses
import datetime
import hashlib
import hmac
import secrets
from collections.abc import Mapping, Sequence
from typing import Any, Final

from hyperhive import ports
from hyperhive.domain import access, agents, approvals, errors, events, ids, proposals, statistics
from hyperhive.services import metering, refusals

_KEY: Final = "metrics_token"


@dataclasses.dataclass(frozen=True, slots=True)
class Queue:
    """The mail that waits for one agent, or for the operator."""

    name: str
    queued: int
    oldest_seconds: float
    """How long the one that waits longest has waited; 0 when none waits."""


@dataclasses.dataclass(frozen=True, slots=True)
class Figures:
    """One picture of the hive for monitoring."""

    version: str
    number: int
    names: Mapping[ids.AgentId, str]
    agents: Sequence[agents.Agent]
    totals: Sequence[statistics.TurnSum]
    queues: Sequence[Queue]
    approvals: Mapping[str, int]
    builds: Mapping[str, int]
    steps: Mapping[str, int]
    gateway: Mapping[str, Mapping[str, Any]]
    """By agent's name, since the daemon started."""
    refused: Mapping[str, int]


class Scraping:
    """Figures for scrapers, and their token."""

    def __init__(
        self,
        store: ports.Store,
        clock: ports.Clock,
        meter: metering.Metering,
        refused: refusals.Refusals,
        version: str,
    ) -> None:
        self._store = store
        self._clock = clock
        self._meter = meter
        self._refused = refused
        self._version = version

    async def renew(self, caller: access.Caller) -> str:
        """Make a new token and return it, for the only time; the one before ends."""
        access.require(caller, access.Right.OPERATOR, "make a token for metrics")
        token = f"hm_{secrets.token_urlsafe(32)}"

        def work(tx: ports.Tx) -> None:
            tx.put_value(_KEY, _digest(token))
            tx.record(_changed(caller, "made"))

        await self._store.write(work)
        return token

    async def revoke(self, caller: access.Caller) -> None:
        """End the token; CONFLICT when there is none."""
        access.require(caller, access.Right.OPERATOR, "revoke the token for metrics")

        def work(tx: ports.Tx) -> None:
            if tx.get_value(_KEY) is None:
                raise errors.conflict("cannot revoke the metrics token: there is none")
            tx.delete_value(_KEY)
            tx.record(_changed(caller, "revoked"))

        await self._store.write(work)

    async def admits(self, token: str) -> bool:
        """Whether *token* is the one that may scrape."""
        kept = await self._store.read(lambda tx: tx.get_value(_KEY))
        return isinstance(kept, str) and hmac.compare_digest(kept, _digest(token))

    async def look(self) -> Figures:
        """The figures as of now."""
        now = self._clock.now()

        def read(tx: ports.ReadTx) -> Figures:
            rows = tx.list_agents()
            parties = [(row.name, ids.PartyId(row.id)) for row in rows]
            return Figures(
                version=self._version,
                number=tx.last_number(),
                names={row.id: row.name for row in rows},
                agents=rows,
                totals=tx.turn_totals(),
                queues=[
                    _queue(tx, now, name, party)
                    for name, party in [*parties, ("operator", ids.OPERATOR)]
                ],
                approvals={one.value: tx.count_approvals(one) for one in approvals.ApprovalState},
                builds={one.value: tx.count_builds(one) for one in proposals.BuildState},
                steps={one.value: tx.count_steps(one) for one in proposals.DeployStep},
                gateway={row.name: self._meter.view(row.id) for row in rows},
                refused={row.name: self._refused.view(row.id)["count"] for row in rows},
            )

        return await self._store.read(read)


def _queue(tx: ports.ReadTx, now: datetime.datetime, name: str, party: ids.PartyId) -> Queue:
    oldest = tx.oldest_queued(party)
    waited = 0.0 if oldest is None else max(0.0, (now - oldest).total_seconds())
    return Queue(name, tx.count_queued(party), waited)


def _changed(caller: access.Caller, what: str) -> events.Event:
    text = f"{what} by {caller.name} on the {caller.via}"
    return events.Event(events.EventKind.METRICS_TOKEN_CHANGED, text=text)


def _digest(token: str) -> str:
    return hashlib.sha256(token.encode()).hexdigest()
