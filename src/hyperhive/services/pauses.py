"""Pauses: after failed turns, and those that the operator wants.

A pause after a failure ends by itself, or with another credential than it failed with; one of the
operator ends when the operator says so. While either lasts, no turn begins and mail stays queued.
"""

from __future__ import annotations

import dataclasses
import datetime
import math
from typing import Any, Final

from hyperhive import ports
from hyperhive.domain import agents, ids, turns
from hyperhive.services import holds
from hyperhive.wire import views

NOTE_MAX: Final = 2000
SECONDS: Final = (5.0, 15.0, 60.0, 300.0)
"""Between a failed turn and the next try, by failures in a row; the last one repeats."""
STATES: Final = {
    turns.Outcome.NEEDS_LOGIN: agents.TurnState.NEEDS_LOGIN,
    turns.Outcome.RATE_LIMITED: agents.TurnState.RATE_LIMITED,
}
"""What an agent does while it pauses after such a turn; after others it backs off."""
LIMITED_SECONDS: Final = (300.0, 600.0, 1200.0, 2400.0, 3600.0)
"""The same after a rate limit whose end was not named."""


def seconds_left(tx: ports.ReadTx, agent: ids.AgentId, now: datetime.datetime) -> float | None:
    """How long the agent still pauses; infinity until something changes; None when it does not."""
    pause = tx.get_value(_key(agent))
    if pause is None or pause["source"] != tx.get_value("model_source"):
        return None
    if pause["until"] is None:
        return math.inf
    left = float(pause["until"]) - now.timestamp()
    return left if left > 0 else None


def is_running(tx: ports.ReadTx, agent: ids.AgentId) -> bool:
    """Whether the agent pauses, or has not tried again since its pause was over."""
    pause = tx.get_value(_key(agent))
    return pause is not None and pause["source"] == tx.get_value("model_source")


def end(tx: ports.Tx, agent: ids.AgentId, now: datetime.datetime) -> None:
    """End a running pause. The failures stay counted: if the next try fails too, it is longer."""
    pause = tx.get_value(_key(agent))
    assert pause is not None
    tx.put_value(_key(agent), {**pause, "until": now.timestamp()})


def begin(
    tx: ports.Tx,
    agent: ids.AgentId,
    now: datetime.datetime,
    outcome: turns.Outcome,
    note: str,
    retry_at: float | None,
) -> str:
    """Start a pause after a failed turn and return the sentence that the page shows.

    A rate limit lasts until *retry_at* (Unix seconds) when the API named a time to come; a refused
    credential lasts until the operator gives another.
    """
    earlier = tx.get_value(_key(agent))
    failures = (int(earlier["failures"]) if earlier else 0) + 1
    until: float | None = now.timestamp() + SECONDS[min(failures, len(SECONDS)) - 1]
    if outcome is turns.Outcome.NEEDS_LOGIN:
        until = None
    elif outcome is turns.Outcome.RATE_LIMITED:
        named = retry_at is not None and retry_at > now.timestamp()
        grown = LIMITED_SECONDS[min(failures, len(LIMITED_SECONDS)) - 1]
        until = retry_at if named else now.timestamp() + grown
    source = tx.get_value("model_source")
    if until is None:
        said = note or "the model's side refused the credential"
    else:
        moment = datetime.datetime.fromtimestamp(until, datetime.UTC)
        said = f"{note or 'the turn failed'}; next try at {views.timestamp(moment)}"
    tx.put_value(
        _key(agent),
        {
            "until": until,
            "failures": failures,
            "source": source,
            "outcome": outcome.value,
            "note": said[:NOTE_MAX],
        },
    )
    return said


@dataclasses.dataclass(frozen=True, slots=True)
class AfterFailure:
    """A pause after a failed turn; *until* None: until there is another credential."""

    outcome: turns.Outcome
    note: str
    until: datetime.datetime | None


def after_failure(tx: ports.ReadTx, agent: ids.AgentId) -> AfterFailure | None:
    """The pause after a failed turn, which may be over by its time; None when there is none."""
    pause = tx.get_value(_key(agent))
    if pause is None or pause["source"] != tx.get_value("model_source"):
        return None
    until = pause["until"]
    return AfterFailure(
        turns.Outcome(pause.get("outcome", turns.Outcome.FAILED.value)),
        pause.get("note", ""),
        None if until is None else datetime.datetime.fromtimestamp(until, datetime.UTC),
    )


def clear(tx: ports.Tx, agent: ids.AgentId) -> turns.Outcome | None:
    """Forget the pause and the failures in a row; return how the last of them ended, if any did."""
    pause = tx.get_value(_key(agent))
    if pause is None:
        return None
    tx.delete_value(_key(agent))
    return turns.Outcome(pause.get("outcome", turns.Outcome.FAILED.value))


def put_by_operator(
    tx: ports.Tx, agent: ids.AgentId, now: datetime.datetime, by: str, reason: str
) -> None:
    """Let *agent* begin no turn until `end_by_operator`."""
    tx.put_value(_operators_key(agent), {"since": views.timestamp(now), "by": by, "reason": reason})


def end_by_operator(tx: ports.Tx, agent: ids.AgentId) -> None:
    """Let it begin turns again."""
    tx.delete_value(_operators_key(agent))


def by_operator(tx: ports.ReadTx, agent: ids.AgentId) -> dict[str, Any] | None:
    """``since``, ``by`` and ``reason`` of the operator's pause; None when there is none."""
    return tx.get_value(_operators_key(agent))


def resting_state(
    tx: ports.ReadTx, agent: ids.AgentId, now: datetime.datetime
) -> tuple[agents.TurnState, str]:
    """What an agent without a turn does, and the sentence that says why."""
    paused = by_operator(tx, agent)
    if paused is not None:
        why = f": {paused['reason']}" if paused["reason"] else ""
        return agents.TurnState.PAUSED, f"paused {paused['by']}{why}"
    held = holds.note(tx, agent, now)
    if held:
        return agents.TurnState.PAUSED, held
    if seconds_left(tx, agent, now) is not None:
        failed = after_failure(tx, agent)
        assert failed is not None
        return STATES.get(failed.outcome, agents.TurnState.BACKING_OFF), failed.note
    return agents.TurnState.IDLE, ""


def _key(agent: ids.AgentId) -> str:
    return f"pause:{agent}"


def _operators_key(agent: ids.AgentId) -> str:
    return f"paused:{agent}"
