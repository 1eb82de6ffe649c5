"""What the stories about the fleet do again and again."""

from __future__ import annotations

import asyncio
import json

from hyperhive.domain import agents
from hyperhive.domain.agents import Phase
from rigs.hive_tester import OLGA, HiveTester


async def spawn(host: HiveTester, name: str = "bob") -> agents.Agent:
    """A running agent, spawned by the operator."""
    await host.ask(lambda d: d.review.spawn(OLGA, name, ""))
    return await host.is_in(name, Phase.RUNNING)


async def end_sandbox(host: HiveTester, name: str, code: int = 1) -> None:
    """The payload ends by itself."""
    row = await host.row(name)
    host.world.end(host.world.running(row.id), code)


async def sleeper(host: HiveTester) -> None:
    """Wait until somebody sleeps on the clock: a backoff, a limit."""
    while not host.clock.sleepers:
        await asyncio.sleep(0)


async def told(host: HiveTester, event: str) -> list[dict[str, object]]:
    """What the manager was told of that kind, oldest first."""
    bodies = [json.loads(body) for body in await host.events_to("manager")]
    return [body for body in bodies if body["event"] == event]
