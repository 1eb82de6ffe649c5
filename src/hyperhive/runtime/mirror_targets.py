"""What the mirror loop pushes: the applied repository of every agent, and meta.

Asking git for the refs of a repository starts a program. So only repositories of agents that a
fact with the topic MIRROR has named since the last look are asked again; every ten minutes all.
"""

from __future__ import annotations

import dataclasses
from typing import Final

from hyperhive import ports
from hyperhive.domain import agents, errors, events, ids

META: Final = "meta"
"""Name of meta on the forge; reserved, so no agent has it."""
PERIOD: Final = 590.0
"""Seconds; a little less than the loop's own, so that its look finds everything fresh."""
_FACTS: Final = 1000
"""When there are more, all repositories are asked."""


@dataclasses.dataclass(frozen=True, slots=True)
class _Look:
    number: int
    agents: list[agents.Agent]
    touched: set[ids.AgentId]
    many: bool


class MirrorTargets:
    """Call it for the targets as they are now."""

    def __init__(
        self,
        store: ports.Store,
        clock: ports.Clock,
        repos: ports.ConfigRepos,
        meta: ports.Meta,
    ) -> None:
        self._store = store
        self._clock = clock
        self._repos = repos
        self._meta = meta
        self._known: dict[ids.AgentId, dict[str, str]] = {}
        self._number = 0
        self._all_at = 0.0

    async def __call__(self) -> list[ports.MirrorTarget]:
        """Every seeded agent's repository by name, then meta once it has a commit."""
        now = self._clock.monotonic()
        look = await self._store.read(self._look)
        if look.many or now >= self._all_at:
            self._known.clear()
            self._all_at = now + PERIOD
        for agent in look.touched:
            self._known.pop(agent, None)
        targets: list[ports.MirrorTarget] = []
        for agent in look.agents:
            if agent.id not in self._known:
                try:
                    self._known[agent.id] = await self._repos.refs(agent.id)
                except errors.HiveError as error:
                    if error.kind is not errors.ErrorKind.NOT_FOUND:
                        raise
                    # Being purged; what is wrong with it otherwise, the reconciliation says.
                    continue
            path = self._repos.repository(agent.id)
            targets.append(ports.MirrorTarget(agent.name, path, self._known[agent.id]))
        refs = await self._meta.refs()
        if refs:
            targets.append(ports.MirrorTarget(META, self._meta.repository(), refs))
        # Only now: after an error the same facts are looked at again.
        self._number = look.number
        return targets

    def _look(self, tx: ports.ReadTx) -> _Look:
        facts = tx.facts_after(self._number, _FACTS)
        seeded = {row.agent_id for row in tx.list_deployments()}
        return _Look(
            number=tx.last_number(),
            agents=[agent for agent in tx.list_agents() if agent.id in seeded],
            touched={
                fact.event.agent
                for fact in facts
                if fact.event.agent is not None and events.MIRROR in fact.event.topics
            },
            many=len(facts) == _FACTS,
        )
