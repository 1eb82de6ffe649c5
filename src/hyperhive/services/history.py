"""How long the past is kept: what ended long ago goes, a few rows at a time."""

from __future__ import annotations

from typing import Final

from hyperhive import ports
from hyperhive.domain import events, ids, questions, reminders, turns

SWEEP_CHUNK: Final = 500
"""Rows that one transaction deletes at most, so that others need not wait long."""


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


async def sweep_questions(store: ports.Store, clock: ports.Clock) -> int:
    """Delete questions and reminders that ended long ago and return how many they were."""
    now = clock.now()
    deleted = 0

    def drop_questions(tx: ports.Tx) -> int:
        count = tx.delete_questions(now - questions.KEPT, SWEEP_CHUNK)
        if count:
            text = f"{count} questions"
            tx.record(events.Event(events.EventKind.QUESTIONS_SWEPT, text=text))
        return count

    def drop_reminders(tx: ports.Tx) -> int:
        count = tx.delete_reminders(now - reminders.KEPT, SWEEP_CHUNK)
        if count:
            text = f"{count} reminders"
            tx.record(events.Event(events.EventKind.REMINDERS_SWEPT, text=text))
        return count

    for drop in (drop_questions, drop_reminders):
        while count := await store.write(drop):
            deleted += count
            if count < SWEEP_CHUNK:
                break
    return deleted
