"""The conversation that an agent's turns go on with: when it is made shorter, or begun anew.

Everything that is wanted of it is a fact; `next_turn` looks at the facts before each turn. So
whoever dies in the middle of a compaction, the next look finds what is still to be done.
"""

from __future__ import annotations

import dataclasses
import enum
from typing import Final

from hyperhive.domain import turns

TRIES_MAX: Final = 3
"""After so many compactions that came to nothing in a row, it is not tried again."""


class Reason(enum.Enum):
    """Why a session is compacted or begun anew."""

    ASKED = "asked"
    """The operator wants it."""
    TOO_LONG = "too_long"
    """A turn did not fit into the model's window."""
    FULL = "full"
    """The settable share of the window is in use."""
    SPOILED = "spoiled"
    """It holds nothing but mail that is too long by itself."""


@dataclasses.dataclass(frozen=True, slots=True)
class Session:
    """What is known and wanted of the session of one agent."""

    compact: Reason | None = None
    """It is compacted before the next turn."""
    renew: Reason | None = None
    """The next turn begins a new one."""
    tries: int = 0
    """Compactions in a row that came to nothing."""
    retrying: bool = False
    """A turn was too long; what comes after compacting is its second try."""
    resting: bool = False
    """Compacting ahead of time has failed; first a turn must go well."""
    told: bool = True
    """False: it was begun because the one before was too long, and no turn has gone well since."""
    context: int = 0
    """Tokens in the window at the last request; 0 when that is not known."""
    window: int = 0
    """The window of the model that said so; 0 when that is not known."""


@dataclasses.dataclass(frozen=True, slots=True)
class Next:
    """What the next turn is, and why when it is a compaction."""

    kind: turns.TurnKind
    why: Reason | None = None


def is_full(session: Session, share: float) -> bool:
    """Whether at least *share* of the window is in use; never with a share of 1."""
    return share < 1 and 0 < session.window * share <= session.context


def next_turn(session: Session, *, started: bool, share: float, has_mail: bool) -> Next | None:
    """What is to be done next; None when there is nothing to do."""
    if started and session.renew is None:
        if session.compact is not None:
            return Next(turns.TurnKind.COMPACTION, session.compact)
        rested = not session.resting and session.tries < TRIES_MAX
        if has_mail and rested and is_full(session, share):
            return Next(turns.TurnKind.COMPACTION, Reason.FULL)
    return Next(turns.TurnKind.MAIL) if has_mail else None


def begun_anew(session: Session) -> Session:
    """After `renew` was obeyed: a new session, of which nothing is known yet."""
    if session.renew is Reason.SPOILED:
        return Session(told=session.told)
    return Session(told=session.renew is not Reason.TOO_LONG)


def after_mail(
    session: Session, outcome: turns.Outcome, *, context: int, window: int, hopeless: bool
) -> Session:
    """After a turn with mail. *hopeless*: it was too long at once in a session of its own."""
    if context > 0:
        session = dataclasses.replace(session, context=context, window=window or session.window)
    if outcome is turns.Outcome.TOO_LONG:
        if hopeless:
            # The mail itself is too long; the next must not stand behind it in one session.
            return dataclasses.replace(session, compact=None, renew=Reason.SPOILED)
        if session.retrying:
            return dataclasses.replace(
                session, compact=None, renew=Reason.TOO_LONG, retrying=False, tries=0
            )
        return dataclasses.replace(session, compact=Reason.TOO_LONG, retrying=True, tries=0)
    if outcome in turns.FINAL_HANDLED:
        return dataclasses.replace(session, retrying=False, resting=False, told=True)
    return session


def after_compaction(
    session: Session, why: Reason, outcome: turns.Outcome, *, context: int
) -> Session:
    """After a compaction: what it was for is done, tried again, or given up."""
    if outcome is turns.Outcome.OK:
        return dataclasses.replace(session, compact=None, tries=0, resting=False, context=context)
    if outcome is turns.Outcome.INTERRUPTED:
        # The operator does not want it; if a turn is too long again it begins from the start.
        return dataclasses.replace(session, compact=None, retrying=False, resting=True)
    if outcome in (turns.Outcome.NEEDS_LOGIN, turns.Outcome.RATE_LIMITED):
        return session
    tried = dataclasses.replace(session, tries=session.tries + 1)
    final = outcome is turns.Outcome.TOO_LONG or tried.tries >= TRIES_MAX
    if why is Reason.TOO_LONG:
        if not final:
            return tried
        return dataclasses.replace(
            tried, compact=None, renew=Reason.TOO_LONG, retrying=False, tries=0
        )
    if outcome is turns.Outcome.LOST and not final:
        return tried
    return dataclasses.replace(tried, compact=None, resting=True)


def ask_compaction(session: Session) -> Session:
    """The operator wants it shorter."""
    if session.compact is Reason.TOO_LONG:
        return session
    return dataclasses.replace(session, compact=Reason.ASKED, tries=0)


def ask_new(session: Session) -> Session:
    """The operator wants the next turn to begin a new one, which makes compacting pointless."""
    return dataclasses.replace(session, renew=Reason.ASKED, compact=None, retrying=False, tries=0)
