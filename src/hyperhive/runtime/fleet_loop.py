"""Sees that every agent has a worker, and turns approved spawns into agents."""

from __future__ import annotations

from hyperhive import ports
from hyperhive.domain import agents, events, ids
from hyperhive.runtime import agent_worker, patience, supervisor
from hyperhive.services import spawning


class FleetLoop:
    """Creates; the workers do the rest."""

    def __init__(
        self,
        parts: agent_worker.WorkerParts,
        tasks: supervisor.Supervisor,
    ) -> None:
        self._parts = parts
        self._tasks = tasks

    async def ensure_manager(self) -> None:
        """Create the manager when there is none (S54)."""

        def work(tx: ports.Tx) -> None:
            if tx.find_agent(ids.MANAGER_NAME) is None:
                spawning.create(
                    tx,
                    self._parts.clock,
                    ids.MANAGER_NAME,
                    agents.Role.MANAGER,
                    "the hive was started for the first time",
                )

        await self._parts.store.write(work)

    async def run(self) -> None:
        """Until cancelled: look, act, wait for the fleet topic."""
        while True:
            await patience.keep_trying(self._round, self._parts.clock, self._parts.log, "fleet")

    async def _round(self) -> None:
        number = self._parts.store.number()
        await self.run_once()
        await self._parts.store.changed(events.FLEET, number)

    async def run_once(self) -> None:
        """Carry out approved spawns and start missing workers."""
        clock = self._parts.clock
        await self._parts.store.write(lambda tx: spawning.begin_approved(tx, clock))
        for agent in await self._parts.store.read(lambda tx: tx.list_agents()):
            name = f"agent {agent.id}"
            if not self._tasks.is_running(name):
                self._tasks.start(name, agent_worker.AgentWorker(agent.id, self._parts).run())
