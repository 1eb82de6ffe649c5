"""Services on the memory twins: state in, one verb, state out."""

from __future__ import annotations

import dataclasses
from collections.abc import Callable

import pytest

from hyperhive.adapters.clock.manual import ManualClock
from hyperhive.adapters.store.memory import MemoryStore
from hyperhive.domain import access, agents, ids
from hyperhive.services import fleet, messaging, refusals, review, spawning, turns


@dataclasses.dataclass
class Desk:
    """Everything a service test needs, with short verbs."""

    clock: ManualClock
    store: MemoryStore
    mail: messaging.Messaging
    turns: turns.Turns
    fleet: fleet.Fleet
    review: review.Review
    refused: refusals.Refusals
    ready: list[bool]
    olga: access.Caller = dataclasses.field(default_factory=lambda: access.operator("page"))

    async def agent(self, name: str) -> agents.Agent:
        """A running agent of that name, made when missing."""

        def work(tx):
            found = tx.find_agent(name)
            if found is None:
                manager = name == ids.MANAGER_NAME
                role = agents.Role.MANAGER if manager else agents.Role.AGENT
                made = spawning.create(tx, self.clock, ids.AgentName(name), role, "test")
                found = dataclasses.replace(
                    made, phase=agents.Phase.RUNNING, running_epoch=made.epoch
                )
                tx.update_agent(found)
            return found

        return await self.store.write(work)

    async def caller(self, name: str) -> access.Caller:
        """That agent as a caller."""
        return await self.fleet.identify((await self.agent(name)).id)

    async def row(self, name: str) -> agents.Agent:
        """The agent's row as of now."""
        found = await self.store.read(lambda tx: tx.find_agent(name))
        assert found is not None
        return found


@pytest.fixture
def make_desk() -> Callable[[], Desk]:
    """Builds a desk; call it inside the event loop."""

    def make() -> Desk:
        clock = ManualClock()
        store = MemoryStore(clock)
        ready = [True]
        settings = turns.TurnSettings(
            hive="test", pronouns="they/them", model="m-1", warm_seconds=1.0, warm_bytes=1,
            max_retries=1, turn_seconds=60.0, tools=("Bash",),
        )  # fmt: skip
        return Desk(
            clock=clock,
            store=store,
            mail=messaging.Messaging(store, clock),
            turns=turns.Turns(
                store, clock, settings, lambda: "api_key" if ready[0] else "", "run-1"
            ),
            fleet=fleet.Fleet(store, clock),
            review=review.Review(store, clock),
            refused=refusals.Refusals(store, clock),
            ready=ready,
        )

    return make
