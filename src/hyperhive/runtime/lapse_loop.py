"""Does what is due at a time: sleeps until the next such moment, and never asks in between.

What nobody decided or answered in time ends (it fails closed), and agents are reminded.
"""

from __future__ import annotations

import datetime
from typing import Final

import structlog

from hyperhive import ports
from hyperhive.domain import approvals, events
from hyperhive.runtime import patience
from hyperhive.services import asking, queueing, reminding, waiting

LONGEST_SLEEP: Final = 600.0
"""Seconds; only while something is due some day. Deadlines are times of the wall clock, and
nobody wakes us when that is set, or when the host slept."""


class LapseLoop:
    """Owner of the time limits of approvals and questions, and of reminders."""

    def __init__(
        self,
        store: ports.Store,
        clock: ports.Clock,
        log: structlog.typing.FilteringBoundLogger,
    ) -> None:
        self._store = store
        self._clock = clock
        self._log = log

    async def run(self) -> None:
        """Until cancelled: do what is due, sleep until the next, or until something is new."""
        while True:
            await patience.keep_trying(self._round, self._clock, self._log, "lapse")

    async def _round(self) -> None:
        number = self._store.number()
        following = await self.run_once()
        changed = [
            self._store.changed(topic, number)
            for topic in (events.APPROVALS, events.QUESTIONS, events.REMINDERS)
        ]
        if following is None:
            await waiting.first(*changed)
            return
        seconds = (following - self._clock.now()).total_seconds()
        pause = min(max(0.0, seconds), LONGEST_SLEEP)
        await waiting.first(*changed, self._clock.sleep(pause))

    async def run_once(self) -> datetime.datetime | None:
        """Do what is due; when the next is, or None."""

        def expire_questions(tx: ports.Tx) -> datetime.datetime | None:
            return asking.expire_due(tx, self._clock.now())

        def fire_reminders(tx: ports.Tx) -> datetime.datetime | None:
            return reminding.fire_due(tx, self._clock.now())

        following = [
            await self._store.write(self._expire_approvals),
            await self._store.write(expire_questions),
            await self._store.write(fire_reminders),
        ]
        return min((each for each in following if each is not None), default=None)

    def _expire_approvals(self, tx: ports.Tx) -> datetime.datetime | None:
        following: list[datetime.datetime] = []
        for approval in tx.list_approvals(states=[approvals.ApprovalState.PENDING], limit=10_000):
            proposal = tx.get_proposal(approval.id)
            if proposal is None or proposal.expires_at is None:
                continue
            if proposal.expires_at <= self._clock.now():
                queueing.tell_expired(tx, self._clock, approval)
            else:
                following.append(proposal.expires_at)
        return min(following, default=None)
