"""Waiting for whichever comes first."""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Coroutine


async def first(*waits: Awaitable[object]) -> None:
    """Return when one of *waits* is done; the others are cancelled and awaited.

    An exception of the one that finished first is raised as it is.
    """
    tasks: list[asyncio.Task[None]] = []
    raised: list[Exception] = []

    async def run(wait: Awaitable[object]) -> None:
        try:
            await wait
        except Exception as error:  # noqa: BLE001 - raised again below, outside the group
            raised.append(error)
        current = asyncio.current_task()
        for task in tasks:
            if task is not current:
                task.cancel()

    try:
        async with asyncio.TaskGroup() as group:
            tasks.extend(group.create_task(run(wait)) for wait in waits)
    finally:
        for wait in waits:
            # A task that was cancelled before its first step never awaited its coroutine.
            if isinstance(wait, Coroutine):
                wait.close()
    if raised:
        raise raised[0]
