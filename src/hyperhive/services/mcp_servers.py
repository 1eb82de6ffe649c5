"""How the extra MCP servers of agents stand, as their harness saw it last."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

from hyperhive import ports
from hyperhive.domain import configuration, events, ids

CONNECTED = "connected"
UNKNOWN = "unknown"
"""No turn has begun yet with this server."""


def note(tx: ports.Tx, agent: ids.AgentId, told: Sequence[Mapping[str, str]]) -> None:
    """Keep what a harness reported; the same again writes nothing."""
    statuses = {one["name"]: one["status"] for one in told}
    if statuses == (tx.get_value(_key(agent)) or {}):
        return
    tx.put_value(_key(agent), statuses)
    away = [name for name, status in statuses.items() if status != CONNECTED]
    text = f"not connected: {', '.join(away)}"[:200] if away else "all connected"
    tx.record(events.Event(events.EventKind.MCP_SERVERS_REPORTED, agent=agent, text=text))


def view(
    tx: ports.ReadTx, agent: ids.AgentId, configured: configuration.Configuration
) -> list[dict[str, Any]]:
    """Every server of a configuration with its status; only names that it has are shown."""
    statuses: dict[str, str] = tx.get_value(_key(agent)) or {}
    return [{"name": key, "status": statuses.get(key, UNKNOWN)} for key in configured.mcp_servers]


def _key(agent: ids.AgentId) -> str:
    return f"mcp_servers:{agent}"
