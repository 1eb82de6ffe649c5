"""How long the past is kept: turns that ended go after `turns.KEPT`, a few at a time."""

from __future__ import annotations

from typing import Final

from hyperhive import ports
from hyperhive.domain import events, ids, turns

SWEEP_CHUNK: Final = 500
"""Turns that one transaction deletes at most, so that others need not wait long."""


async def sweep(store: ports.Store, clock: ports.Clock) -> int:
    """Delete the old turns of every agent and return how many they were.

    The newest turn of an agent stays for ever: it tells that the agent has a past to go on with.
    """
    before = clock.now() - turns.KEPT
    deleted = 0
    for agent in await store.read(lambda tx: tx.list_agents()):

        def work(tx: ports.Tx, agent: ids.AgentId = agent.id) -> int:
            count = tx.delete_turns(agent, before, SWEEP_CHUNK)
            if count:
                text = f"{count} turns that ended before {before:%Y-%m-%d}"
                tx.record(events.Event(events.EventKind.TURNS_SWEPT, agent=agent, text=text))
            return count

        while count := await store.write(work):
            deleted += count
            if count < SWEEP_CHUNK:
                break
    return deleted
