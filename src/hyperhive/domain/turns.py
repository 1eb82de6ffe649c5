"""Turns: one run of the model on leased mail, and how it ended."""

from __future__ import annotations

import dataclasses
import datetime
import enum
from typing import Final

from hyperhive.domain import ids

KEPT: Final = datetime.timedelta(days=30)
"""How long a turn that ended is kept; the newest of an agent always is."""


class TurnKind(enum.Enum):
    """What a turn is for."""

    MAIL = "mail"
    COMPACTION = "compaction"
    """It makes the session shorter and takes no mail."""


class Outcome(enum.Enum):
    """How a turn ended. RUNNING is the only one that is not final."""

    RUNNING = "running"
    OK = "ok"
    FAILED = "failed"
    """The model's side failed; the mail went back and the harness backs off."""
    NEEDS_LOGIN = "needs_login"
    RATE_LIMITED = "rate_limited"
    TOO_LONG = "too_long"
    """The session does not fit into the model's window; the mail went back."""
    INTERRUPTED = "interrupted"
    """The operator cancelled it; the mail counts as handled."""
    LOST = "lost"
    """The harness, the sandbox or the machine died; the mail went back."""


FINAL_HANDLED = frozenset({Outcome.OK, Outcome.INTERRUPTED})
"""Outcomes after which the mail of the turn is settled; after all others it is returned."""


@dataclasses.dataclass(frozen=True, slots=True)
class Usage:
    """Tokens and money of one turn, from the turn's own figures, never cumulative ones."""

    input_tokens: int = 0
    output_tokens: int = 0
    cache_read_tokens: int = 0
    cache_write_tokens: int = 0
    cost_usd: float = 0.0
    context_tokens: int = 0
    """Tokens in the window at the last request: fill, not spend."""


@dataclasses.dataclass(frozen=True, slots=True)
class Turn:
    """One turn of one agent."""

    id: ids.TurnId
    agent: ids.AgentId
    started_at: datetime.datetime
    ended_at: datetime.datetime | None
    outcome: Outcome
    note: str
    woke_by: str
    """The sender whose message started the turn, or why the session is compacted."""
    model: str
    tool_calls: int
    usage: Usage
    kind: TurnKind = TurnKind.MAIL
