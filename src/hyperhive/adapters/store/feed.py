"""Waiting for facts: the feed carries a number, the tables carry the facts.

A waiter compares numbers and reads the table, so there is no buffer that could
overflow and no wake-up that could be lost. A commit wakes only those who wait
for a topic that it touched.
"""

from __future__ import annotations

import asyncio
from collections.abc import Iterable
from typing import Final

from hyperhive.domain import errors, events

TOPICS_REMEMBERED: Final = 4096
"""Beyond this, the topics that changed longest ago share one number, which wakes
their next waiter once for nothing."""


class Feed:
    """The newest announced number, and who waits for which topic. Event loop only."""

    def __init__(self, number: int) -> None:
        self._number = number
        # What happened before we looked may have touched any topic.
        self._floor = number
        self._last: dict[events.Topic, int] = {}
        self._waiters: dict[events.Topic, set[asyncio.Future[None]]] = {}
        self._ended: errors.HiveError | None = None

    @property
    def number(self) -> int:
        """The newest announced number."""
        return self._number

    def announce(self, number: int, topics: Iterable[events.Topic]) -> None:
        """Make *number* known and wake the waiters of *topics* and of ANY."""
        if number <= self._number:
            return
        self._number = number
        for topic in topics:
            # Taken out first, so that the order of the dict is that of the changes.
            self._last.pop(topic, None)
            self._last[topic] = number
            self._wake(topic)
        self._wake(events.ANY)
        while len(self._last) > TOPICS_REMEMBERED:
            forgotten = next(iter(self._last))
            self._floor = max(self._floor, self._last.pop(forgotten))

    async def changed(self, topic: events.Topic, after: int) -> int:
        """Return the newest number once *topic* has changed after *after*."""
        while self._number_of(topic) <= after:
            if self._ended is not None:
                # A new one for each: a raised exception keeps the frames of all who raised it.
                raise errors.HiveError(self._ended.kind, self._ended.message)
            waiter: asyncio.Future[None] = asyncio.get_running_loop().create_future()
            waiters = self._waiters.setdefault(topic, set())
            waiters.add(waiter)
            try:
                await waiter
            finally:
                waiters.discard(waiter)
                if not waiters and self._waiters.get(topic) is waiters:
                    del self._waiters[topic]
        return self._number

    def end(self, error: errors.HiveError) -> None:
        """Let every waiter, now and later, fail with *error*: nothing will change any more."""
        self._ended = error
        for topic in list(self._waiters):
            self._wake(topic)

    def _number_of(self, topic: events.Topic) -> int:
        if topic == events.ANY:
            return self._number
        return self._last.get(topic, self._floor)

    def _wake(self, topic: events.Topic) -> None:
        for waiter in self._waiters.pop(topic, ()):
            if not waiter.done():
                waiter.set_result(None)
