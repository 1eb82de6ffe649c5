"""Hourly retention, at a start and then by the clock."""

from __future__ import annotations

import asyncio
import datetime

import pytest
import structlog

from hyperhive import ports
from hyperhive.adapters.clock.manual import ManualClock
from hyperhive.adapters.live_log.memory import MemoryLiveLog
from hyperhive.adapters.store.memory import MemoryStore
from hyperhive.domain import access, agents, errors, events, ids, turns
from hyperhive.runtime import sweep_loop
from hyperhive.services import history, messaging, spawning

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
        self.loop = sweep_loop.SweepLoop(self.store, self.mail, self.live, self.clock, 7.0, log)

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


def test_old_turns_go_in_chunks_but_never_the_newest(monkeypatch: pytest.MonkeyPatch):
    monkeypatch.setattr(history, "SWEEP_CHUNK", 2)

    async def story():
        house = _House()
        day = datetime.timedelta(days=1)
        start = house.clock.now()

        def fill(tx: ports.Tx) -> ids.AgentId:
            role = agents.Role.AGENT
            agent = spawning.create(tx, house.clock, ids.AgentName("coder"), role, "test").id
            for number in range(6):
                at = start + number * day
                tx.insert_turn(
                    turns.Turn(
                        ids.TurnId(f"t{number}"), agent, at, at, turns.Outcome.OK, "", "operator",
                        "m", 0, turns.Usage(),
                    )
                )  # fmt: skip
            return agent

        agent = await house.store.write(fill)
        house.clock.advance((turns.KEPT + 4 * day).total_seconds())
        await house.loop.run_once()
        left = await house.store.read(lambda tx: tx.list_turns(agent))
        assert [turn.id for turn in left] == ["t5", "t4"]
        house.clock.advance((9 * day).total_seconds())
        number = house.store.number()
        await house.loop.run_once()
        left = await house.store.read(lambda tx: tx.list_turns(agent))
        assert [turn.id for turn in left] == ["t5"]
        facts = await house.store.read(lambda tx: tx.facts_after(number, 9))
        kind = events.EventKind.TURNS_SWEPT
        assert [(fact.event.kind, fact.event.agent) for fact in facts] == [(kind, agent)]
        await house.loop.run_once()
        assert house.store.number() == facts[-1].number

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
