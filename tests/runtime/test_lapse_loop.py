"""What is due at a time: earlier ones that come later, clocks that jump, many at once."""

from __future__ import annotations

import asyncio
import datetime
import json
from collections.abc import Callable

import pytest

from hyperhive.domain import access
from hyperhive.services import asking, reminding
from rigs.hive_tester import HiveTester

pytestmark = pytest.mark.timeout(30)

Play = Callable[..., None]


async def caller(host: HiveTester) -> access.Caller:
    row = await host.row("manager")
    return await host.running.fleet.identify(row.id)


async def told(host: HiveTester, event: str) -> list[dict[str, object]]:
    bodies = [json.loads(body) for body in await host.events_to("manager")]
    return [body for body in bodies if body["event"] == event]


async def asleep(host: HiveTester) -> None:
    """Wait until the loop sleeps on the clock."""
    while not host.clock.sleepers:
        await asyncio.sleep(0)


def test_an_earlier_deadline_that_comes_later_wakes_the_loop(play: Play) -> None:
    async def story(host: HiveTester) -> None:
        me = await caller(host)
        await host.running.reminding.remind(me, "late", after="1h")
        await asleep(host)
        await host.running.reminding.remind(me, "early", after=10)
        await host.running.asking.ask(me, "operator", "now?", ttl_seconds=5)
        host.clock.advance(5)
        await host.until(lambda tx: not tx.list_open_questions())
        assert [e["text"] for e in await told(host, "reminder")] == []
        host.clock.advance(5)
        await host.until(lambda tx: len(tx.list_reminders()) == 1)
        assert [e["text"] for e in await told(host, "reminder")] == ["early"]
        assert [e["answer"] for e in await told(host, "operator_answered")] == ["[expired]"]

    play(story)


def test_a_wall_clock_that_jumps_is_noticed(play: Play) -> None:
    async def story(host: HiveTester) -> None:
        me = await caller(host)
        set_ = await host.running.reminding.remind(me, "x", after="30d")
        await asleep(host)
        # The host slept through it: the monotonic clock has not moved.
        host.clock.set_wall(set_.due_at)
        host.clock.advance(600)
        await host.until(lambda tx: not tx.list_reminders())

    play(story)


def test_what_came_due_while_the_daemon_was_away_is_done_at_its_start(play: Play) -> None:
    async def story(host: HiveTester) -> None:
        me = await caller(host)
        await host.running.reminding.remind(me, "x", after="1h")
        await host.running.asking.ask(me, "operator", "now?", ttl_seconds=60)
        await host.down()
        host.clock.advance(86_400)
        await host.up()
        await host.until(lambda tx: not tx.list_reminders() and not tx.list_open_questions())
        assert len(await told(host, "reminder")) == 1
        assert len(await told(host, "operator_answered")) == 1

    play(story)


def test_more_than_one_transaction_takes_are_all_done(
    play: Play, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(reminding, "FIRED_AT_ONCE", 3)
    monkeypatch.setattr(asking, "EXPIRED_AT_ONCE", 2)

    async def story(host: HiveTester) -> None:
        me = await caller(host)
        for n in range(10):
            await host.running.reminding.remind(me, f"note {n}", after=60)
        for n in range(3):
            await host.running.asking.ask(me, "operator", f"question {n}?", ttl_seconds=60)
        host.clock.advance(60)
        await host.until(lambda tx: not tx.list_reminders() and not tx.list_open_questions())
        assert len({str(e["id"]) for e in await told(host, "reminder")}) == 10
        assert len(await told(host, "operator_answered")) == 3

    play(story)


def test_a_stopped_agent_finds_its_reminder_when_it_starts(play: Play) -> None:
    async def story(host: HiveTester) -> None:
        me = await caller(host)
        made = await host.running.reminding.remind(me, "x", after=60)
        assert made.due_at - made.set_at == datetime.timedelta(seconds=60)
        await host.ask(lambda d: d.fleet.stop(access.operator("page"), "manager", ""))
        host.clock.advance(60)
        await host.until(lambda tx: not tx.list_reminders())
        (mail,) = await told(host, "reminder")
        assert mail["text"] == "x"

    play(story)
