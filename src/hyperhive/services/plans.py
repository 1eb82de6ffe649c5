"""The plan of a turn: all that a harness needs to run it, made anew for each.

In two steps: `write` in the transaction that begins the turn, and `complete` outside, because
the values of secrets are never in the store.
"""

from __future__ import annotations

import dataclasses
from collections.abc import Callable, Mapping, Sequence
from typing import Any

from hyperhive import ports
from hyperhive.domain import agents, configuration, ids, messages, turns
from hyperhive.services import effective, named_secrets, prompts, sessions
from hyperhive.wire import views


@dataclasses.dataclass(frozen=True, slots=True)
class TurnSettings:
    """What every turn plan carries besides the mail."""

    hive: str
    pronouns: str
    model: str
    warm_seconds: float
    warm_bytes: int
    max_retries: int
    turn_seconds: float
    tools: tuple[str, ...]
    compact_at: float = 0.75
    """The share of the model's window from which on a session is compacted ahead of time."""


@dataclasses.dataclass(frozen=True, slots=True)
class Begun:
    """The plan of a turn without what is not in the store."""

    plan: dict[str, Any] = dataclasses.field(repr=False)
    configured: configuration.Configuration


class Planner:
    """Writes plans; what its arguments are says `turns.Turns`."""

    def __init__(
        self,
        settings: TurnSettings,
        credential: Callable[[], str],
        secrets: named_secrets.NamedSecrets | None,
    ) -> None:
        self._settings = settings
        self._credential = credential
        self._secrets = secrets

    def begin(
        self,
        tx: ports.ReadTx,
        agent: agents.Agent,
        row: turns.Turn,
        leased: Sequence[messages.Message],
    ) -> Begun:
        """In the transaction that begins the turn: all but secrets."""
        configured = effective.current(tx, agent.id).configuration
        plan = write(tx, agent, row, leased, self._settings, self._credential(), configured)
        return Begun(plan, configured)

    async def complete(self, begun: Begun) -> dict[str, Any]:
        """The answer to ``take``: the same with the values of its secrets."""
        if self._secrets is None:
            return complete(begun.plan, begun.configured, {}, [])
        values, warnings = await self._secrets.values(begun.configured)
        return complete(begun.plan, begun.configured, values, warnings)


def write(
    tx: ports.ReadTx,
    agent: agents.Agent,
    row: turns.Turn,
    leased: Sequence[messages.Message],
    settings: TurnSettings,
    credential: str,
    configured: configuration.Configuration,
) -> dict[str, Any]:
    """The answer to ``take`` without secrets (`wire.agent_protocol` says what its members are)."""
    tools = settings.tools if configured.tools is None else configured.tools
    return {
        "turn": row.id,
        "kind": row.kind.value,
        "model": row.model,
        "session": agent.session_id,
        "resume": agent.session_started,
        "system_prompt": prompts.render(
            agent,
            hive=settings.hive,
            pronouns=settings.pronouns,
            added=configured.prompt_text,
        ),
        "woke_by": row.woke_by,
        "preface": sessions.preface(tx, agent) if leased else "",
        "messages": [wire_message(message) for message in leased],
        "unread": tx.count_queued(ids.PartyId(agent.id)),
        "settings": {
            "warm_seconds": settings.warm_seconds,
            "warm_bytes": settings.warm_bytes,
            "max_retries": settings.max_retries,
            "turn_seconds": settings.turn_seconds,
            "credential": credential,
            "tools": list(tools),
            "allowed_tools": [*tools, "mcp__hive", *_extra_tools(configured)],
        },
    }


def complete(
    plan: dict[str, Any],
    configured: configuration.Configuration,
    values: Mapping[str, str],
    warnings: Sequence[str],
) -> dict[str, Any]:
    """Add the MCP servers and the *values* of secrets; one without a value is left out."""

    def known(named: Mapping[str, str]) -> dict[str, str]:
        return {name: values[secret] for name, secret in named.items() if secret in values}

    servers = {
        key: {
            "command": server.command,
            "args": list(server.args),
            "env": dict(server.env),
            "secrets": known(server.secrets),
        }
        for key, server in configured.mcp_servers.items()
    }
    return plan | {
        "mcp_servers": servers,
        "secrets": known(configured.secrets),
        "warnings": list(warnings),
    }


def _extra_tools(configured: configuration.Configuration) -> list[str]:
    """What the program need not ask for: all tools of a server, or those on its list."""
    allowed: list[str] = []
    for key, server in configured.mcp_servers.items():
        if server.allowed_tools is None:
            allowed.append(f"mcp__{key}")
        else:
            allowed += [f"mcp__{key}__{tool}" for tool in server.allowed_tools]
    return allowed


def wire_message(message: messages.Message) -> dict[str, Any]:
    """A message as a turn plan and the tool `recv` show it."""
    return {
        "id": message.id,
        "from": message.sender_name,
        "type": message.type.value,
        "body": message.body,
        "in_reply_to": message.in_reply_to,
        "sent_at": views.timestamp(message.sent_at),
        "redelivered": message.redelivered,
    }
