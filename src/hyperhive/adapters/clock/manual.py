"""A clock that stands still until a test moves it, so that no test waits for luck."""

from __future__ import annotations

import asyncio
import datetime
import heapq
import itertools

_START = datetime.datetime(2030, 1, 1, tzinfo=datetime.UTC)


class ManualClock:
    """Time that moves by `advance` only. Used from one event loop."""

    def __init__(self, start: datetime.datetime = _START) -> None:
        self._now = start
        self._monotonic = 1000.0
        self._order = itertools.count()
        self._sleepers: list[tuple[float, int, asyncio.Future[None]]] = []

    def now(self) -> datetime.datetime:
        """The wall-clock time that was set, aware, UTC."""
        return self._now

    def monotonic(self) -> float:
        """Seconds advanced since some arbitrary start."""
        return self._monotonic

    async def sleep(self, seconds: float) -> None:
        """Return once `advance` has moved this clock by *seconds*; zero or less only yields."""
        if seconds <= 0:
            await asyncio.sleep(0)
            return
        woken: asyncio.Future[None] = asyncio.get_running_loop().create_future()
        heapq.heappush(self._sleepers, (self._monotonic + seconds, next(self._order), woken))
        await woken

    def advance(self, seconds: float) -> None:
        """Move both clocks forward and wake, in order, every sleeper whose time has come."""
        if seconds < 0:
            raise ValueError("a monotonic clock does not go back; use set_wall for jumps")
        self._monotonic += seconds
        self._now += datetime.timedelta(seconds=seconds)
        while self._sleepers and self._sleepers[0][0] <= self._monotonic:
            _, _, woken = heapq.heappop(self._sleepers)
            if not woken.done():
                woken.set_result(None)

    def set_wall(self, now: datetime.datetime) -> None:
        """Let the wall clock jump, also backwards; durations and sleepers are not touched."""
        self._now = now

    @property
    def sleepers(self) -> int:
        """How many sleep now; a test waits for this before it advances."""
        return sum(1 for _, _, woken in self._sleepers if not woken.done())
