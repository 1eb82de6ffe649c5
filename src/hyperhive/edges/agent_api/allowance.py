"""How much mail one agent may send: a token bucket each, so that none drowns the others.

In memory on purpose: counting in the store would make every send pay for it.
"""

from __future__ import annotations

import asyncio
import math
from typing import Final

from hyperhive.domain import errors, ids

PER_SECOND: Final = 10.0
"""Tokens that come back each second."""
BURST: Final = 100.0
"""Tokens that may be saved up."""
BYTES_PER_TOKEN: Final = 64 * 1024
"""A message costs one token, and one more for each of these."""


class Allowances:
    """The buckets of all agents, full at first sight. Used from one event loop."""

    def __init__(self) -> None:
        self._buckets: dict[ids.AgentId, tuple[float, float]] = {}

    def spend(self, agent: ids.AgentId, body: str) -> None:
        """Take what one message costs; `HiveError` UNAVAILABLE says how long to wait."""
        now = asyncio.get_running_loop().time()
        left, since = self._buckets.get(agent, (BURST, now))
        left = min(BURST, left + (now - since) * PER_SECOND)
        cost = 1 + len(body) // BYTES_PER_TOKEN
        if left < cost:
            self._buckets[agent] = (left, now)
            wait = math.ceil((cost - left) / PER_SECOND)
            raise errors.unavailable(
                f"cannot send: you send faster than {PER_SECOND:g} messages a second; "
                f"wait {wait} s, and say more in fewer messages"
            )
        self._buckets[agent] = (left - cost, now)

    def forget(self, agent: ids.AgentId) -> None:
        """The agent's door is closed."""
        self._buckets.pop(agent, None)
