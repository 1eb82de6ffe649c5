"""Holding agents and letting them go, inside the transactions of other services."""

from __future__ import annotations

import datetime
from collections.abc import Callable

from hyperhive import ports
from hyperhive.domain import agents, events, ids
from hyperhive.services import holds, pauses, running, turn_state

BeforeTurn = Callable[[ports.Tx, agents.Agent], None]
"""May hold an agent, in the transaction that would begin its turn."""


def hold(tx: ports.Tx, agent_id: ids.AgentId, why: holds.Hold) -> None:
    """Hold an agent from now on; a turn that runs goes on to its end."""
    agent = tx.get_agent(agent_id)
    if agent is None:
        return
    holds.store(tx, agent_id, why)
    _record(tx, agent_id, events.EventKind.AGENT_HELD, f"{why.reason.value}: {why.text}")
    if running.find(tx, agent_id) is None and agent.turn_state is not agents.TurnState.OFFLINE:
        _rest(tx, why.since, agent)


def end(
    tx: ports.Tx,
    now: datetime.datetime,
    agent_id: ids.AgentId,
    reason: holds.Reason,
    because: str,
) -> None:
    """End the hold of that reason; harmless when there is none."""
    if all(each.reason is not reason for each in holds.found(tx, agent_id)):
        return
    holds.delete(tx, agent_id, reason)
    _record(tx, agent_id, events.EventKind.AGENT_LET_GO, f"{reason.value}: {because}")
    agent = tx.get_agent(agent_id)
    if agent is not None and agent.turn_state is agents.TurnState.PAUSED:
        _rest(tx, now, agent)


def end_expired(tx: ports.Tx, now: datetime.datetime, agent_id: ids.AgentId) -> None:
    """End what is over by its time."""
    for each in holds.found(tx, agent_id):
        if each.until <= now:
            end(tx, now, agent_id, each.reason, "its time is over")


def stops_turn(
    tx: ports.Tx, now: datetime.datetime, agent: agents.Agent, before_turn: BeforeTurn | None
) -> bool:
    """Whether *agent* must not begin the turn that it could; asks *before_turn* first."""
    if before_turn is not None:
        before_turn(tx, agent)
    return bool(holds.found(tx, agent.id))


def _rest(tx: ports.Tx, now: datetime.datetime, agent: agents.Agent) -> None:
    turn_state.put(tx, now, agent, *pauses.resting_state(tx, agent.id, now))


def _record(tx: ports.Tx, agent: ids.AgentId, kind: events.EventKind, text: str) -> None:
    # What `take` waits for.
    tx.record(events.Event(kind, agent=agent, text=text[:500], topics=(events.agent_topic(agent),)))
