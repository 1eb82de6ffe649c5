"""What the stories about turns ask again and again."""

from __future__ import annotations

import asyncio
from collections.abc import Callable
from typing import Any

from hyperhive.domain import ids, messages


async def states(desk: Any, name: str) -> list[tuple[str, messages.MessageState, int]]:
    """Body, state and deliveries of the mail to an agent, oldest first."""
    row = await desk.row(name)
    found = await desk.store.read(lambda tx: tx.list_messages(recipient=ids.PartyId(row.id)))
    return [(m.body, m.state, m.deliveries) for m in reversed(found)]


async def until(reached: Callable[[], bool]) -> None:
    """Let the others go on until it is so."""
    async with asyncio.timeout(5):
        while not reached():
            await asyncio.sleep(0)
