"""Gives every agent its configuration repository: once, before its first start if it can be.

An agent runs also without one (the default configuration), so nothing waits long for this.
"""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Mapping

from hyperhive import ports
from hyperhive.domain import agents, configuration, ids
from hyperhive.services import agent_toml, deploying, lookup


class Seeder:
    """Makes *applied* and *proposed* and writes down what they begin with (S40)."""

    def __init__(
        self,
        store: ports.Store,
        clock: ports.Clock,
        repos: ports.ConfigRepos,
        builder: ports.Builder,
        *,
        files: Callable[[agents.Agent], Mapping[str, bytes]],
        owner: Callable[[agents.Agent], int],
    ) -> None:
        self._store = store
        self._clock = clock
        self._repos = repos
        self._builder = builder
        self._files = files
        self._owner = owner
        """Whose uid the proposed repositories belong to, given the manager."""
        self._one_at_a_time = asyncio.Lock()

    async def ensure(self, agent: agents.Agent) -> None:
        """Seed *agent* unless it is; every part may be repeated after a crash."""
        async with self._one_at_a_time:
            if await self._store.read(lambda tx: tx.get_deployment(agent.id)) is not None:
                return
            manager = await self._store.read(lambda tx: lookup.require_named(tx, ids.MANAGER_NAME))
            files = self._files(agent)
            commit = await self._repos.seed(agent.id, agent.name, files, self._owner(manager))
            begins = configuration.to_json(agent_toml.load(files))
            await self._store.write(
                lambda tx: deploying.seed(
                    tx, self._clock, agent, commit, begins, self._builder.built_from()
                )
            )

    async def ensure_all(self) -> None:
        """Seed every agent that has no repository: those of an older hive, say."""

        def missing(tx: ports.ReadTx) -> list[agents.Agent]:
            seeded: set[ids.AgentId] = {row.agent_id for row in tx.list_deployments()}
            return [agent for agent in tx.list_agents() if agent.id not in seeded]

        for agent in await self._store.read(missing):
            await self.ensure(agent)
