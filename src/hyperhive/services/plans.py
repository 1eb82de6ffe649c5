"""The plan of a turn: all that a harness needs to run it, made anew for each."""

from __future__ import annotations

import dataclasses
from collections.abc import Sequence
from typing import Any

from hyperhive import ports
from hyperhive.domain import agents, ids, messages, turns
from hyperhive.services import prompts
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


def write(
    tx: ports.ReadTx,
    agent: agents.Agent,
    row: turns.Turn,
    leased: Sequence[messages.Message],
    settings: TurnSettings,
    credential: str,
) -> dict[str, Any]:
    """The answer to ``take`` (`wire.agent_protocol` says what its members are)."""
    return {
        "turn": row.id,
        "model": row.model,
        "session": agent.session_id,
        "resume": agent.session_started,
        "system_prompt": prompts.render(agent, hive=settings.hive, pronouns=settings.pronouns),
        "woke_by": row.woke_by,
        "messages": [wire_message(message) for message in leased],
        "unread": tx.count_queued(ids.PartyId(agent.id)),
        "settings": {
            "warm_seconds": settings.warm_seconds,
            "warm_bytes": settings.warm_bytes,
            "max_retries": settings.max_retries,
            "turn_seconds": settings.turn_seconds,
            "credential": credential,
            "tools": list(settings.tools),
            "allowed_tools": [*settings.tools, "mcp__hive"],
        },
    }


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
