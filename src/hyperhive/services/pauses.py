"""Pauses after failed turns: how long an agent waits before it tries again.

A pause belongs to the credential that it failed with: a new credential ends it.
"""

from __future__ import annotations

import datetime
import math
from typing import Final

from hyperhive import ports
from hyperhive.domain import ids, turns
from hyperhive.wire import views

SECONDS: Final = (5.0, 15.0, 60.0, 300.0)
"""Between a failed turn and the next try, by failures in a row; the last one repeats."""
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
    tx.put_value(
        _key(agent),
        {"until": until, "failures": failures, "source": source, "outcome": outcome.value},
    )
    if until is None:
        return note or "the model's side refused the credential"
    moment = datetime.datetime.fromtimestamp(until, datetime.UTC)
    return f"{note or 'the turn failed'}; next try at {views.timestamp(moment)}"


def clear(tx: ports.Tx, agent: ids.AgentId) -> turns.Outcome | None:
    """Forget the pause and the failures in a row; return how the last of them ended, if any did."""
    pause = tx.get_value(_key(agent))
    if pause is None:
        return None
    tx.delete_value(_key(agent))
    return turns.Outcome(pause.get("outcome", turns.Outcome.FAILED.value))


def _key(agent: ids.AgentId) -> str:
    return f"pause:{agent}"
