"""Hourly retention: old mail, turns, questions and terminal events go (S6, S100)."""

from __future__ import annotations

import datetime

import structlog

from hyperhive import ports
from hyperhive.runtime import patience
from hyperhive.services import history, messaging

PERIOD = 3600.0


class SweepLoop:
    """The first pass is at start; then one an hour."""

    def __init__(
        self,
        store: ports.Store,
        mail: messaging.Messaging,
        live_log: ports.LiveLog,
        clock: ports.Clock,
        live_days: float,
        log: structlog.typing.FilteringBoundLogger,
    ) -> None:
        self._store = store
        self._mail = mail
        self._live_log = live_log
        self._clock = clock
        self._live_days = live_days
        self._log = log

    async def run(self) -> None:
        """Until cancelled."""
        while True:
            await patience.keep_trying(self.run_once, self._clock, self._log, "sweep")
            await self._clock.sleep(PERIOD)

    async def run_once(self) -> None:
        """One pass over both stores."""
        await self._mail.sweep()
        await history.sweep(self._store, self._clock)
        await history.sweep_questions(self._store, self._clock)
        before = self._clock.now() - datetime.timedelta(days=self._live_days)
        await self._live_log.sweep(before)
