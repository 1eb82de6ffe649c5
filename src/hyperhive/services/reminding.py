"""Reminders: set, take back, and fire each exactly once.

`fire_due` moves the row and posts the mail in one transaction; `lapse_loop` calls it at the
right moment, and at a start for what came due meanwhile.
"""

from __future__ import annotations

import dataclasses
import datetime
from typing import Final

from hyperhive import ports
from hyperhive.domain import access, errors, events, ids, machine, reminders
from hyperhive.domain.reminders import Ending, Reminder, ReminderState
from hyperhive.services import posting
from hyperhive.wire import views

FIRED_AT_ONCE: Final = 100
"""Reminders that one transaction fires at most."""
_NUMBER_MAX: Final = 2**63 - 1


class Reminding:
    """Verbs over reminders; each agent has its own."""

    def __init__(self, store: ports.Store, clock: ports.Clock) -> None:
        self._store = store
        self._clock = clock

    async def remind(
        self,
        caller: access.Caller,
        text: str,
        *,
        at: str | None = None,
        after: float | str | None = None,
        once: str | None = None,
    ) -> Reminder:
        """Remind the caller at a time, or after a while (`reminders.find_due`).

        With *once* (`posting.once_key`) a repetition returns what the first call set.
        `HiveError` UNAVAILABLE when 50 wait already.
        """
        agent = caller.agent_id
        reminders.check_text(text)

        def work(tx: ports.Tx) -> Reminder:
            made = None if once is None else tx.get_value(once)
            if made is not None:
                return _require(tx, agent, made)
            now = self._clock.now()
            due = reminders.find_due(now, at=at, after=after)
            if len(waiting(tx, agent)) >= reminders.WAITING_MAX:
                raise errors.unavailable(
                    f"cannot remind: {reminders.WAITING_MAX} reminders of yours wait already; "
                    "take one back that is not needed (loose_ends lists them)"
                )
            row = tx.insert_reminder(
                Reminder(
                    id=ids.ReminderId(0),
                    agent=agent,
                    text=text,
                    set_at=now,
                    due_at=due,
                    state=ReminderState.WAITING,
                    changed_at=now,
                )
            )
            _record(tx, events.EventKind.REMINDER_SET, row, f"for {views.timestamp(due)}")
            if once is not None:
                tx.put_value(once, row.id)
            return row

        return await self._store.write(work)

    async def cancel(self, caller: access.Caller, reminder: int) -> Reminder:
        """Take one of the caller's reminders back; again is harmless, CONFLICT once it fired."""

        def work(tx: ports.Tx) -> Reminder:
            found = _require(tx, caller.agent_id, reminder)
            if found.state is ReminderState.CANCELLED:
                return found
            return _end(tx, self._clock.now(), found, Ending.CANCEL)

        return await self._store.write(work)


def waiting(tx: ports.ReadTx, agent: ids.AgentId) -> list[Reminder]:
    """The reminders of an agent that have not fired, the next one first."""
    return tx.list_reminders(agent)


def fire_due(tx: ports.Tx, now: datetime.datetime) -> datetime.datetime | None:
    """In a transaction: mail what is due to whoever set it; when the next one is."""
    timed = tx.list_reminders(limit=FIRED_AT_ONCE)
    for row in timed:
        if row.due_at > now:
            return row.due_at
        fired = _end(tx, now, row, Ending.FIRE)
        agent = tx.get_agent(fired.agent)
        if agent is not None:
            posting.post_event(
                tx, now, agent, "reminder",
                id=fired.id, text=fired.text, set_at=views.timestamp(fired.set_at),
                due_at=views.timestamp(fired.due_at),
            )  # fmt: skip
    # There may be more that are due.
    return now if len(timed) == FIRED_AT_ONCE else None


def _end(tx: ports.Tx, now: datetime.datetime, reminder: Reminder, ending: Ending) -> Reminder:
    state = machine.advance(reminders.TABLE, reminder.state, ending, f"reminder {reminder.id}")
    ended = dataclasses.replace(reminder, state=state, changed_at=now)
    tx.update_reminder(ended)
    _record(tx, events.EventKind.REMINDER_ENDED, ended, state.value)
    return ended


def _record(tx: ports.Tx, kind: events.EventKind, reminder: Reminder, text: str) -> None:
    tx.record(events.Event(kind, agent=reminder.agent, text=text, topics=(events.REMINDERS,)))


def _require(tx: ports.ReadTx, agent: ids.AgentId, reminder: int) -> Reminder:
    found = tx.get_reminder(ids.ReminderId(reminder)) if 0 < reminder <= _NUMBER_MAX else None
    # One answer for both: what others want to be reminded of is not the caller's business.
    if found is None or found.agent != agent:
        raise errors.not_found(f"cannot find reminder {reminder}: you have none of that id")
    return found
