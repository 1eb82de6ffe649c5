"""An office of agents that send and receive, on both stores."""

from __future__ import annotations

import asyncio
import dataclasses
from collections.abc import Awaitable, Callable

import pytest

from hyperhive import ports
from hyperhive.adapters.clock.manual import ManualClock
from hyperhive.domain import access, agents, errors, ids, messages, turns
from hyperhive.services import messaging
from rigs import store_world

OLGA = access.operator("page")
CONFLICT, FORBIDDEN = errors.ErrorKind.CONFLICT, errors.ErrorKind.FORBIDDEN
INVALID, NOT_FOUND = errors.ErrorKind.INVALID, errors.ErrorKind.NOT_FOUND


@dataclasses.dataclass
class Office:
    store: ports.Store
    clock: ManualClock
    mail: messaging.Messaging

    async def hire(self, name: str) -> access.Caller:
        """Make an agent of that name with a running turn ``turn-NAME``."""
        now = self.clock.now()
        role = agents.Role.MANAGER if name == "manager" else agents.Role.AGENT

        def work(tx: ports.Tx) -> access.Caller:
            agent = agents.Agent(
                id=ids.AgentId((name * 12).encode().hex()[:12]), name=ids.AgentName(name),
                role=role, slot=tx.next_slot(), created_at=now, wanted=agents.Wanted.RUNNING,
                epoch=1, phase=agents.Phase.RUNNING, phase_since=now, phase_note="",
                running_epoch=1, sandbox=None, crashes=0, retry_at=None,
                turn_state=agents.TurnState.IDLE, turn_since=now, turn_note="", status="",
                model="", session_id="", session_started=False, start_reason="",
            )  # fmt: skip
            tx.insert_agent(agent)
            tx.insert_turn(
                turns.Turn(
                    id=ids.TurnId(f"turn-{name}"), agent=agent.id, started_at=now, ended_at=None,
                    outcome=turns.Outcome.RUNNING, note="", woke_by="", model="", tool_calls=0,
                    usage=turns.Usage(),
                )
            )  # fmt: skip
            return access.Caller(ids.PartyId(agent.id), name, role, "agent socket")

        return await self.store.write(work)

    async def receive(
        self, who: access.Caller, wait: float | None = None, count: int = 32, key: str | None = None
    ) -> list[messages.Message]:
        return await self.mail.receive(
            who.agent_id, turn(who), wait_seconds=wait, count=count, key=key
        )

    async def settle(self, who: access.Caller) -> list[messages.Message]:
        return await self.store.write(lambda tx: messaging.settle(tx, self.clock.now(), turn(who)))

    async def give_back(self, who: access.Caller) -> list[messages.Message]:
        return await self.store.write(
            lambda tx: messaging.give_back(tx, self.clock.now(), tx.list_leased(lease=turn(who)))
        )

    async def parked(self) -> None:
        while not self.clock.sleepers:
            await asyncio.sleep(0)

    async def refuses(self, kind: errors.ErrorKind, asked: Awaitable[object]) -> str:
        before = self.store.number()
        with pytest.raises(errors.HiveError) as caught:
            await asked
        assert caught.value.kind is kind
        assert caught.value.message.startswith("cannot ")
        assert self.store.number() == before
        return caught.value.message


def turn(who: access.Caller) -> ids.TurnId:
    return ids.TurnId(f"turn-{who.name}")


Scenario = Callable[[Office], Awaitable[None]]
Run = Callable[[Scenario], None]


@pytest.fixture
def run(in_store: store_world.Run) -> Run:
    """Runs a scenario on both stores."""

    def start(scenario: Scenario) -> None:
        async def at_work(store: ports.Store, clock: ManualClock) -> None:
            await scenario(Office(store, clock, messaging.Messaging(store, clock)))

        in_store(at_work)

    return start
