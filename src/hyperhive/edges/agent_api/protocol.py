"""Parameters of each method of `wire.agent_protocol`, and what they may hold."""

from __future__ import annotations

from typing import Annotated, Any, Final

import msgspec

from hyperhive.domain import agents, turns
from hyperhive.edges import params
from hyperhive.edges.agent_api import events
from hyperhive.services import turns as turns_service

NOTE_MAX: Final = 2000
"""Longer notes are cut: an error text of any length must not keep a turn from ending."""

Boot = Annotated[str, msgspec.Meta(min_length=1, max_length=64)]
Turn = Annotated[str, msgspec.Meta(min_length=1, max_length=64)]
Count = Annotated[int, msgspec.Meta(ge=0, le=2**53)]


class Hello(params.Params):
    """Parameters of ``hello``."""

    protocol: int
    boot: Boot


class Take(params.Params):
    """Parameters of ``take``."""

    boot: Boot
    kinds: Annotated[
        list[Annotated[str, msgspec.Meta(max_length=32)]], msgspec.Meta(max_length=16)
    ] = msgspec.field(default_factory=lambda: [turns.TurnKind.MAIL.value])

    def known(self) -> frozenset[turns.TurnKind]:
        """Those of them that this daemon knows too; mail always."""
        asked = {kind for kind in turns.TurnKind if kind.value in self.kinds}
        return frozenset(asked | {turns.TurnKind.MAIL})


class Session(params.Params):
    """Parameters of ``session``."""

    turn: Turn
    session: Annotated[str, msgspec.Meta(pattern=r"\A[0-9a-f-]{36}\Z")]


class UsageParams(params.Params):
    """Tokens and money of a turn."""

    input_tokens: Count = 0
    output_tokens: Count = 0
    cache_read_tokens: Count = 0
    cache_write_tokens: Count = 0
    cost_usd: Annotated[float, msgspec.Meta(ge=0, le=1e9)] = 0.0
    context_tokens: Count = 0


class Finish(params.Params):
    """Parameters of ``finish``."""

    turn: Turn
    outcome: turns.Outcome
    note: str = ""
    tool_calls: Count = 0
    usage: UsageParams = msgspec.field(default_factory=UsageParams)
    retry_at: Annotated[float, msgspec.Meta(ge=0, le=1e11)] | None = None
    window: Count = 0

    def report(self) -> turns_service.FinishReport:
        """The same for the service."""
        return turns_service.FinishReport(
            outcome=self.outcome,
            note=cut(self.note),
            tool_calls=self.tool_calls,
            usage=turns.Usage(**msgspec.structs.asdict(self.usage)),
            retry_at=self.retry_at,
            window=self.window,
        )


class State(params.Params):
    """Parameters of ``state``."""

    state: agents.TurnState
    note: str = ""


class Server(params.Params):
    """How one extra MCP server stands."""

    name: Annotated[str, msgspec.Meta(pattern=r"\A[A-Za-z0-9_-]{1,64}\Z")]
    status: Annotated[str, msgspec.Meta(pattern=r"\A[a-z_-]{1,32}\Z")]


class Servers(params.Params):
    """Parameters of ``servers``."""

    turn: Turn
    servers: Annotated[list[Server], msgspec.Meta(max_length=64)]


class Events(params.Params):
    """Parameters of ``events``."""

    boot: Boot
    first: Count
    events: Annotated[list[events.Event], msgspec.Meta(max_length=events.BATCH_MAX)]


class Mcp(params.Params):
    """Parameters of ``mcp``."""

    turn: Annotated[str, msgspec.Meta(max_length=32)]
    key: Annotated[str, msgspec.Meta(pattern=r"\A[\x21-\x7e]{1,128}\Z")]
    message: dict[str, Any]


class Orders(params.Params):
    """Parameters of ``orders``."""

    turn: Turn


class Request(params.Params):
    """One line from a harness."""

    id: params.Id
    method: str
    params: dict[str, Any] = msgspec.field(default_factory=dict[str, Any])


def cut(note: str) -> str:
    """At most `NOTE_MAX` characters of *note*."""
    return note if len(note) <= NOTE_MAX else note[: NOTE_MAX - 1] + "…"
