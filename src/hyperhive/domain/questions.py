"""Questions: one asks, one other (or the operator) answers, and who asked always hears.

A question ends once, in one of three ways, and the first to write it down wins; nothing
leads back. Options are advice: an answer may be any of them, several, or other words (S67).
"""

from __future__ import annotations

import dataclasses
import datetime
import enum
from collections.abc import Sequence
from typing import Final

from hyperhive.domain import errors, ids, texts

TEXT_MAX: Final = 4000
ANSWER_MAX: Final = 32_000
OPTIONS_MAX: Final = 12
OPTION_MAX: Final = 200
TTL_MAX: Final = 30 * 86_400.0
"""Seconds that a question may wait at most, when it says how long."""
OPEN_TO_OPERATOR: Final = 3
"""Questions of one agent that may wait for the operator at the same time."""
HOURLY_TO_ONE: Final = 20
"""Questions that one agent may ask the operator, or one other agent, within an hour: asking and
answering is no way around the loop breaker."""
HOURLY: Final = 200
"""Questions that one agent may ask anybody within an hour."""
OPEN_TO_AGENTS: Final = 20
"""Questions of one agent that may wait for other agents at the same time."""
KEPT: Final = datetime.timedelta(days=30)
"""How long a question that has ended is kept."""
EXPIRED: Final = "[expired]"
CANCELLED: Final = "[cancelled]"


class QuestionState(enum.Enum):
    """Where one question stands."""

    OPEN = "open"
    ANSWERED = "answered"
    EXPIRED = "expired"
    CANCELLED = "cancelled"


class Ending(enum.Enum):
    """What may happen to a question."""

    ANSWER = "answer"
    EXPIRE = "expire"
    CANCEL = "cancel"


TABLE: Final[dict[tuple[QuestionState, Ending], QuestionState]] = {
    (QuestionState.OPEN, Ending.ANSWER): QuestionState.ANSWERED,
    (QuestionState.OPEN, Ending.EXPIRE): QuestionState.EXPIRED,
    (QuestionState.OPEN, Ending.CANCEL): QuestionState.CANCELLED,
}

OWNERS: Final[dict[QuestionState, str]] = {
    QuestionState.OPEN: "operator, or the agent that was asked; lapse_loop at the deadline",
}


@dataclasses.dataclass(frozen=True, slots=True)
class Question:
    """One question. Both parties are an agent or the operator."""

    id: ids.QuestionId
    asker: ids.PartyId
    asker_name: str
    asked: ids.PartyId
    asked_name: str
    text: str
    options: tuple[str, ...]
    multi: bool
    """Whether the asker expects that several options may be picked."""
    asked_at: datetime.datetime
    expires_at: datetime.datetime | None
    state: QuestionState
    answer: str
    """What the asker was told; empty while it is open."""
    answered_by: str
    answered_via: str
    changed_at: datetime.datetime

    @property
    def is_open(self) -> bool:
        """Whether it still waits."""
        return self.state is QuestionState.OPEN


def check_text(text: str) -> str:
    """Return the text of a question, or raise `HiveError` INVALID."""
    return texts.check(text, TEXT_MAX, "ask", "question")


def check_options(options: Sequence[str]) -> tuple[str, ...]:
    """Return the options, or raise `HiveError` INVALID: too many, too long, or one twice."""
    if len(options) > OPTIONS_MAX:
        raise errors.invalid(
            f"cannot ask: there are {len(options)} options and the limit is {OPTIONS_MAX}"
        )
    for option in options:
        texts.check(option, OPTION_MAX, "ask", "option")
    if len(set(options)) != len(options):
        raise errors.invalid("cannot ask: one option is there twice")
    return tuple(options)


def check_ttl(seconds: float | None) -> datetime.timedelta | None:
    """Return how long to wait, or None for ever; `HiveError` INVALID outside 1 s to 30 days."""
    if seconds is None:
        return None
    if not 1.0 <= seconds <= TTL_MAX:
        raise errors.invalid(
            f"cannot ask: ttl_seconds is {seconds:g} and must be between 1 and {TTL_MAX:g}; "
            "leave it out to wait for ever"
        )
    return datetime.timedelta(seconds=seconds)


def compose(picks: Sequence[str], text: str) -> str:
    """Return the one answer of what was picked and what was written, joined with ``, `` (S67).

    `HiveError` INVALID when there is neither, or too much.
    """
    written = [text.strip()] if text.strip() else []
    return texts.check(", ".join([*picks, *written]), ANSWER_MAX, "answer", "answer")
