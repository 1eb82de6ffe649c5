"""Reminders: a note of an agent to itself that comes back as mail, exactly once.

At the time that was said the reminder and its mail change in one transaction, so no
restart of the daemon loses one or sends it twice. A time that passed while the daemon
was down is told as soon as it is up.
"""

from __future__ import annotations

import dataclasses
import datetime
import enum
import math
import re
from typing import Final

from hyperhive.domain import errors, ids, texts

TEXT_MAX: Final = 4000
WAITING_MAX: Final = 50
"""Reminders of one agent that may wait at the same time."""
AHEAD_MAX: Final = datetime.timedelta(days=366)
KEPT: Final = datetime.timedelta(days=30)
"""How long a reminder that has ended is kept."""


class ReminderState(enum.Enum):
    """Where one reminder stands."""

    WAITING = "waiting"
    FIRED = "fired"
    CANCELLED = "cancelled"


class Ending(enum.Enum):
    """What may happen to a reminder."""

    FIRE = "fire"
    CANCEL = "cancel"


TABLE: Final[dict[tuple[ReminderState, Ending], ReminderState]] = {
    (ReminderState.WAITING, Ending.FIRE): ReminderState.FIRED,
    (ReminderState.WAITING, Ending.CANCEL): ReminderState.CANCELLED,
}

OWNERS: Final[dict[ReminderState, str]] = {ReminderState.WAITING: "lapse_loop"}


@dataclasses.dataclass(frozen=True, slots=True)
class Reminder:
    """One reminder of the agent that set it."""

    id: ids.ReminderId
    agent: ids.AgentId
    text: str
    set_at: datetime.datetime
    due_at: datetime.datetime
    state: ReminderState
    changed_at: datetime.datetime


def check_text(text: str) -> str:
    """Return the text of a reminder, or raise `HiveError` INVALID."""
    return texts.check(text, TEXT_MAX, "remind", "text")


def find_due(
    now: datetime.datetime, *, at: str | None, after: float | str | None
) -> datetime.datetime:
    """Return the moment that is meant; exactly one of *at* and *after* must be given.

    *at* is an RFC 3339 time with its offset, *after* seconds or words such as ``90m`` or
    ``1d12h``. `HiveError` INVALID for both or neither, a time without offset, one that is
    over, and one more than 366 days ahead.
    """
    if (at is None) == (after is None):
        raise errors.invalid('cannot remind: give either "at" or "in"')
    due = _read_moment(at) if at is not None else None
    if due is None:
        assert after is not None
        seconds = after if not isinstance(after, str) else _read_duration(after)
        if not math.isfinite(seconds) or seconds > AHEAD_MAX.total_seconds():
            raise errors.invalid(f"cannot remind: that is more than {AHEAD_MAX.days} days ahead")
        due = now + datetime.timedelta(seconds=seconds)
    if due <= now:
        raise errors.invalid(
            f"cannot remind: that time is over; now is {now.isoformat(timespec='seconds')}"
        )
    if due - now > AHEAD_MAX:
        raise errors.invalid(f"cannot remind: that is more than {AHEAD_MAX.days} days ahead")
    return due


def _read_moment(text: str) -> datetime.datetime:
    try:
        moment = datetime.datetime.fromisoformat(text)
        if moment.tzinfo is not None:
            return moment.astimezone(datetime.UTC)
    except (ValueError, OverflowError):
        pass
    raise errors.invalid(
        f"cannot remind: {text[:64]!r} is not a time with an offset, "
        'such as "2026-11-23T08:15:00Z" or "2026-11-23T08:15:00+01:00"'
    )


def _read_duration(text: str) -> float:
    found = _DURATION.fullmatch(text.strip())
    if found is None or not any(found.groups()):
        raise errors.invalid(
            f"cannot remind: {text[:64]!r} is not a length of time, such as 45m, 2h or 1d12h"
        )
    return sum(
        int(number) * unit for number, unit in zip(found.groups(), _UNITS, strict=True) if number
    )


_DURATION: Final = re.compile(
    r"(?:(\d{1,9})d)? ?(?:(\d{1,9})h)? ?(?:(\d{1,9})m(?:in)?)? ?(?:(\d{1,9})s)?", re.ASCII
)
_UNITS: Final = (86_400, 3600, 60, 1)
