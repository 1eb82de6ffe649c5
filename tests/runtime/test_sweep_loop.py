"""Hourly retention, at a start and then by the clock."""

from __future__ import annotations

import asyncio
import datetime

import structlog

from hyperhive.adapters.clock.manual import ManualClock
from hyperhive.adapters.live_log.memory import MemoryLiveLog
from hyperhive.adapters.store.memory import MemoryStore
from hyperhive.domain import access, errors, ids
from hyperhive.runtime import sweep_loop
from hyperhive.services import messaging

OLGA = access.operator("page")
AGENT = ids.AgentId("a" * 12)


class _Mail(messaging.Messaging):
    full = False

    async def sweep(self) -> int:
        if self.full:
            raise errors.unavailable("cannot store anything: the disk is full")
        return await super().sweep()


class _House:
    def __init__(self) -> None:
        self.clock = ManualClock()
        self.store = MemoryStore(self.clock)
        self.mail = _Mail(self.store, self.clock)
        self.live = MemoryLiveLog(self.clock)
        log = structlog.wrap_logger(structlog.ReturnLogger(), processors=[])
        self.loop = sweep_loop.SweepLoop(self.mail, self.live, self.clock, 7.0, log)

    async def fill(self) -> None:
        """One handled mail and one terminal event, as of now."""
        sent = await self.mail.send(access.SYSTEM_CALLER, "operator", "hello")
        await self.mail.handle_for_operator(OLGA, sent.id)
        await self.live.append(AGENT, [("turn", "text", {})])

    async def left(self) -> tuple[int, int]:
        """How much mail and how many events there are."""
        found = await self.store.read(lambda tx: tx.list_messages())
        return len(found), len(await self.live.read(AGENT))

    async def passed(self) -> None:
        """Wait until the loop sleeps."""
        async with asyncio.timeout(5):
            while not self.clock.sleepers:
                await asyncio.sleep(0)


def test_old_events_and_handled_mail_go_in_their_own_time():
    async def story():
        house = _House()
        await house.fill()
        async with asyncio.TaskGroup() as group:
            task = group.create_task(house.loop.run())
            await house.passed()
            assert await house.left() == (1, 1)
            house.clock.advance(8 * 86400)
            await house.fill()
            await house.passed()
            assert await house.left() == (2, 1)
            house.clock.advance(23 * 86400)
            await house.passed()
            assert await house.left() == (1, 0)
            task.cancel()

    asyncio.run(story())


def test_it_sweeps_once_an_hour():
    async def story():
        house = _House()
        await house.fill()
        house.clock.advance(7 * 86400 - 1800)
        async with asyncio.TaskGroup() as group:
            task = group.create_task(house.loop.run())
            await house.passed()
            house.clock.advance(sweep_loop.PERIOD - 1)
            await asyncio.sleep(0)
            assert await house.left() == (1, 1)
            house.clock.advance(1)
            await house.passed()
            assert await house.left() == (1, 0)
            task.cancel()

    asyncio.run(story())


def test_a_full_disk_does_not_end_it():
    async def story():
        house = _House()
        await house.fill()
        house.clock.advance(40 * 86400)
        house.mail.full = True
        async with asyncio.TaskGroup() as group:
            task = group.create_task(house.loop.run())
            await house.passed()
            assert await house.left() == (1, 1)
            house.mail.full = False
            house.clock.advance(datetime.timedelta(minutes=1).total_seconds())
            await house.passed()
            assert await house.left() == (0, 0)
            task.cancel()

    asyncio.run(story())
