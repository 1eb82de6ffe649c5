"""What passed the model gateway, per agent, since the daemon started.

Turns record what the claude program says of itself; this is what really went
over the wire, counted outside the sandbox, where no agent can talk it down.
"""

from __future__ import annotations

import dataclasses
from typing import Any

from hyperhive.domain import ids, turns


class Metering:
    """Sums in memory; a plain call per answer of the model."""

    def __init__(self) -> None:
        self._totals: dict[ids.AgentId, turns.Usage] = {}
        self._requests: dict[ids.AgentId, int] = {}

    def add(self, agent: ids.AgentId, usage: turns.Usage) -> None:
        """Count one answer."""
        before = self._totals.get(agent, turns.Usage())
        self._totals[agent] = turns.Usage(
            **{
                field.name: getattr(before, field.name) + getattr(usage, field.name)
                for field in dataclasses.fields(turns.Usage)
                if field.name != "context_tokens"
            },
            context_tokens=usage.context_tokens,
        )
        self._requests[agent] = self._requests.get(agent, 0) + 1

    def view(self, agent: ids.AgentId) -> dict[str, Any]:
        """The agent's figures as plain JSON; zeros when nothing passed."""
        usage = self._totals.get(agent, turns.Usage())
        return {
            "requests": self._requests.get(agent, 0),
            "input_tokens": usage.input_tokens,
            "output_tokens": usage.output_tokens,
            "cache_read_tokens": usage.cache_read_tokens,
            "cache_write_tokens": usage.cache_write_tokens,
        }
