"""Real time, the only place that asks the host for it."""

from __future__ import annotations

import asyncio
import datetime
import time


class SystemClock:
    """The host's clocks: CLOCK_REALTIME for dates, CLOCK_MONOTONIC for durations."""

    def now(self) -> datetime.datetime:
        """Wall-clock time, aware, UTC. It may jump when somebody sets the clock."""
        return datetime.datetime.now(datetime.UTC)  # noqa: TID251 - the clock adapter

    def monotonic(self) -> float:
        """Seconds that never jump; not comparable across a reboot."""
        return time.monotonic()

    async def sleep(self, seconds: float) -> None:
        """Return after *seconds*; at once, but not without yielding, for zero or less."""
        await asyncio.sleep(seconds)
