"""Which turn of an agent runs, and what it began with, so that asking again gives the same."""

from __future__ import annotations

import dataclasses

from hyperhive import ports
from hyperhive.domain import ids, sessions


@dataclasses.dataclass(frozen=True, slots=True)
class Running:
    """The turn that runs."""

    turn: ids.TurnId
    boot: str
    """The harness process that took it."""
    message: ids.MessageId | None
    """The message that it began with; None for a compaction."""
    why: sessions.Reason | None
    """Why it compacts; None for a turn with mail."""
    fresh: bool
    """It began its session."""


def find(tx: ports.ReadTx, agent: ids.AgentId) -> Running | None:
    """The running turn of *agent*; None when none runs."""
    stored = tx.get_value(_key(agent))
    if stored is None:
        return None
    message, why = stored["message"], stored.get("why")
    return Running(
        turn=ids.TurnId(stored["turn"]),
        boot=stored["boot"],
        message=None if message is None else ids.MessageId(message),
        why=None if why is None else sessions.Reason(why),
        fresh=stored.get("fresh", False),
    )


def put(tx: ports.Tx, agent: ids.AgentId, running: Running) -> None:
    """Note that it runs."""
    stored = dataclasses.asdict(running)
    stored["why"] = None if running.why is None else running.why.value
    tx.put_value(_key(agent), stored)


def forget(tx: ports.Tx, agent: ids.AgentId) -> None:
    """It runs no more, and nobody wants to interrupt it."""
    tx.delete_value(_key(agent))
    tx.delete_value(_interrupt_key(agent))


def ask_interrupt(tx: ports.Tx, agent: ids.AgentId, turn: ids.TurnId) -> None:
    """Somebody wants *turn* to end now."""
    tx.put_value(_interrupt_key(agent), turn)


def is_interrupt_asked(tx: ports.ReadTx, agent: ids.AgentId, turn: ids.TurnId) -> bool:
    """Whether somebody wants *turn* to end now."""
    return tx.get_value(_interrupt_key(agent)) == turn


def _key(agent: ids.AgentId) -> str:
    return f"turn:{agent}"


def _interrupt_key(agent: ids.AgentId) -> str:
    return f"interrupt:{agent}"
