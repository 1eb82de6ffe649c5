"""Ends what nobody decided in time: it fails closed. Sleeps until the next such moment."""

from __future__ import annotations

import datetime

import structlog

from hyperhive import ports
from hyperhive.domain import approvals, events
from hyperhive.runtime import patience
from hyperhive.services import queueing, waiting


class LapseLoop:
    """Owner of the time limit of pending approvals."""

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
        """Until cancelled: expire what is due, sleep until the next, or until something is new."""
        while True:
            await patience.keep_trying(self._round, self._clock, self._log, "lapse")

    async def _round(self) -> None:
        number = self._store.number()
        following = await self.run_once()
        changed = self._store.changed(events.APPROVALS, number)
        if following is None:
            await changed
            return
        seconds = (following - self._clock.now()).total_seconds()
        await waiting.first(changed, self._clock.sleep(max(0.0, seconds)))

    async def run_once(self) -> datetime.datetime | None:
        """Expire what is due; when the next one is, or None."""

        def work(tx: ports.Tx) -> datetime.datetime | None:
            following: list[datetime.datetime] = []
            for approval in tx.list_approvals(
                states=[approvals.ApprovalState.PENDING], limit=10_000
            ):
                proposal = tx.get_proposal(approval.id)
                if proposal is None or proposal.expires_at is None:
                    continue
                if proposal.expires_at <= self._clock.now():
                    queueing.tell_expired(tx, self._clock, approval)
                else:
                    following.append(proposal.expires_at)
            return min(following, default=None)

        return await self._store.write(work)
