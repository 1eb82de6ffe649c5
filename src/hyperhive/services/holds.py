"""Holds: the rows that say why the hive itself lets an agent begin no turn.

A hold is a row, so it survives a restart. It ends when its time is over, when its reason
is gone, or when the operator lets the agent go on. Mail stays queued meanwhile.
"""

from __future__ import annotations

import dataclasses
import datetime
import enum
from typing import Any

from hyperhive import ports
from hyperhive.domain import ids
from hyperhive.wire import views

_PREFIX = "hold:"


class Reason(enum.Enum):
    """Why an agent is held."""

    BUDGET = "budget"
    LOOP = "loop"


@dataclasses.dataclass(frozen=True, slots=True)
class Hold:
    """One reason why an agent begins no turn."""

    reason: Reason
    since: datetime.datetime
    until: datetime.datetime
    text: str
    """A sentence for the operator, without the time."""
    about: str = ""
    """The scope of the budget, or the other agent of the loop."""

    @property
    def note(self) -> str:
        """The sentence that the page shows."""
        return f"{self.text}; goes on by itself at {views.timestamp(self.until)}"


def found(tx: ports.ReadTx, agent_id: ids.AgentId) -> list[Hold]:
    """All holds of an agent, also those that are over by their time."""
    rows = tx.list_values(f"{_PREFIX}{agent_id}:")
    return [_hold(key.rpartition(":")[2], row) for key, row in sorted(rows.items())]


def held_agents(tx: ports.ReadTx, reason: Reason) -> list[ids.AgentId]:
    """Who is held for *reason*."""
    keys = (key.split(":") for key in tx.list_values(_PREFIX))
    return [ids.AgentId(agent) for _, agent, why in keys if why == reason.value]


def seconds_left(tx: ports.ReadTx, agent_id: ids.AgentId, now: datetime.datetime) -> float | None:
    """How long the agent is held yet; None when it is not. Zero: over, but not ended yet."""
    holds = found(tx, agent_id)
    if not holds:
        return None
    return max(0.0, max((hold.until - now).total_seconds() for hold in holds))


def is_out_of_budget(tx: ports.ReadTx, agent_id: ids.AgentId) -> bool:
    """Whether the model gateway lets no request of the agent out."""
    return any(hold.reason is Reason.BUDGET for hold in found(tx, agent_id))


def note(tx: ports.ReadTx, agent_id: ids.AgentId, now: datetime.datetime) -> str:
    """Why the agent is held now, in words; empty when it is not."""
    return "; ".join(hold.note for hold in found(tx, agent_id) if hold.until > now)


def store(tx: ports.Tx, agent_id: ids.AgentId, hold: Hold) -> None:
    """Write the row; `holding.hold` says so too."""
    tx.put_value(
        _key(agent_id, hold.reason),
        {
            "since": hold.since.timestamp(),
            "until": hold.until.timestamp(),
            "text": hold.text,
            "about": hold.about,
        },
    )


def delete(tx: ports.Tx, agent_id: ids.AgentId, reason: Reason) -> None:
    """Forget the row; `holding.end` says so too."""
    tx.delete_value(_key(agent_id, reason))


def _hold(reason: str, row: dict[str, Any]) -> Hold:
    return Hold(
        reason=Reason(reason),
        since=datetime.datetime.fromtimestamp(row["since"], datetime.UTC),
        until=datetime.datetime.fromtimestamp(row["until"], datetime.UTC),
        text=row["text"],
        about=row["about"],
    )


def _key(agent: ids.AgentId, reason: Reason) -> str:
    return f"{_PREFIX}{agent}:{reason.value}"
