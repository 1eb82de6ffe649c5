"""The fleet loop when the store has ended under it."""

from __future__ import annotations

import asyncio
import types

import structlog

from hyperhive.adapters.clock.manual import ManualClock
from hyperhive.adapters.store.memory import MemoryStore
from hyperhive.runtime.fleet_loop import FleetLoop

LOG = structlog.wrap_logger(structlog.ReturnLogger(), processors=[])


def test_a_store_that_ends_is_left_to_the_daemon():
    """It stops the daemon by ``on_broken``, which then says why; a loop's bug would hide that."""

    async def story():
        clock = ManualClock()
        store = MemoryStore(clock)
        parts = types.SimpleNamespace(store=store, clock=clock, log=LOG)
        async with asyncio.TaskGroup() as group:
            loop = FleetLoop(parts, None)  # pyright: ignore - no agent, so no task is started
            task = group.create_task(loop.run())
            await asyncio.sleep(0.01)
            await store.close()
            for _ in range(5):
                await asyncio.sleep(0.01)
                clock.advance(60)
            assert not task.done()
            task.cancel()

    asyncio.run(story())
