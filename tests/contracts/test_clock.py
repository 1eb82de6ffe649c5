"""Clocks: the real one, and the one that tests move."""

from __future__ import annotations

import asyncio
import datetime

import pytest

from hyperhive.adapters.clock import manual, system

pytestmark = pytest.mark.timeout(20)


@pytest.mark.parametrize("make", [system.SystemClock, manual.ManualClock])
def test_now_is_aware_utc(make: type) -> None:
    assert make().now().utcoffset() == datetime.timedelta(0)


@pytest.mark.parametrize("make", [system.SystemClock, manual.ManualClock])
def test_zero_sleep_yields_to_others(make: type) -> None:
    async def scenario() -> None:
        order: list[str] = []

        async def other() -> None:
            order.append("other")

        async with asyncio.TaskGroup() as group:
            group.create_task(other())
            await make().sleep(0)
            order.append("sleeper")
        assert order == ["other", "sleeper"]

    asyncio.run(scenario())


def test_system_sleep_lasts_as_long_as_monotonic_says() -> None:
    clock = system.SystemClock()
    before = clock.monotonic()
    asyncio.run(clock.sleep(0.02))
    assert clock.monotonic() - before >= 0.019


def test_advance_wakes_in_order_and_only_who_is_due() -> None:
    async def scenario() -> None:
        clock = manual.ManualClock()
        woken: list[float] = []

        async def sleeper(seconds: float) -> None:
            await clock.sleep(seconds)
            woken.append(seconds)

        async with asyncio.TaskGroup() as group:
            for seconds in (30.0, 10.0, 20.0):
                group.create_task(sleeper(seconds))
            while clock.sleepers < 3:
                await asyncio.sleep(0)
            clock.advance(20.0)
            await asyncio.sleep(0)
            assert woken == [10.0, 20.0]
            assert clock.sleepers == 1
            clock.advance(10.0)

        assert woken == [10.0, 20.0, 30.0]

    asyncio.run(scenario())


def test_advance_moves_both_clocks_and_a_jump_only_the_wall() -> None:
    clock = manual.ManualClock()
    wall, ticks = clock.now(), clock.monotonic()
    clock.advance(90)
    assert (clock.now() - wall).total_seconds() == 90
    assert clock.monotonic() - ticks == 90
    clock.set_wall(wall - datetime.timedelta(days=1))
    assert clock.now() < wall
    assert clock.monotonic() - ticks == 90
    with pytest.raises(ValueError, match="does not go back"):
        clock.advance(-1)


def test_cancelled_sleeper_is_forgotten() -> None:
    async def scenario() -> None:
        clock = manual.ManualClock()
        async with asyncio.TaskGroup() as group:
            sleeper = group.create_task(clock.sleep(5))
            await asyncio.sleep(0)
            sleeper.cancel()
        assert clock.sleepers == 0
        clock.advance(10)

    asyncio.run(scenario())
