"""What the harness of an agent is doing: the one place that writes it down."""

from __future__ import annotations

import dataclasses
import datetime

from hyperhive import ports
from hyperhive.domain import agents, events

NOTE_MAX = 500


def put(
    tx: ports.Tx,
    now: datetime.datetime,
    agent: agents.Agent,
    state: agents.TurnState,
    note: str,
) -> agents.Agent:
    """Write the state with the time since when it holds, which a new note does not change."""
    changed = dataclasses.replace(
        agent,
        turn_state=state,
        turn_note=note[:NOTE_MAX],
        turn_since=agent.turn_since if agent.turn_state is state else now,
    )
    tx.update_agent(changed)
    tx.record(events.Event(events.EventKind.TURN_STATE_CHANGED, agent=agent.id, text=state.value))
    return changed
