"""What a tool is, what it acts on, and who calls it."""

from __future__ import annotations

import dataclasses
from collections.abc import Awaitable, Callable
from typing import Annotated, Any, TypeAlias

import msgspec

from hyperhive.domain import access, agents, ids
from hyperhive.edges import params
from hyperhive.edges.agent_api import allowance
from hyperhive.services import asking, fleet, messaging, posting, proposing, reminding, review


@dataclasses.dataclass(frozen=True, slots=True)
class Services:
    """What tools act on."""

    messaging: messaging.Messaging
    fleet: fleet.Fleet
    review: review.Review
    proposing: proposing.Proposing
    asking: asking.Asking
    reminding: reminding.Reminding
    allowances: allowance.Allowances = dataclasses.field(default_factory=allowance.Allowances)


@dataclasses.dataclass(frozen=True, slots=True)
class Call:
    """Who calls, in which turn, and the key that makes a repetition harmless."""

    services: Services
    caller: access.Caller
    turn: ids.TurnId
    key: str

    @property
    def once(self) -> str:
        """Under which name the services remember that this call was heard."""
        return posting.once_key(self.turn, self.key)


@dataclasses.dataclass(frozen=True, slots=True)
class Tool:
    """One tool as agents see it."""

    name: str
    right: access.Right
    params: type[params.Params]
    description: str
    run: Callable[[Call, Any], Awaitable[dict[str, Any]]]

    @property
    def input_schema(self) -> dict[str, Any]:
        """JSON Schema of the arguments."""
        return params.schema(self.params)

    def allows(self, caller: access.Caller) -> bool:
        """Whether *caller* has this tool at all."""
        return self.right is access.Right.AGENT or caller.role is agents.Role.MANAGER


AgentParam: TypeAlias = Annotated[
    params.Name, msgspec.Meta(description="Name of the agent, as `peers` shows it.")
]


class Nothing(params.Params):
    """No arguments."""


class OneAgent(params.Params):
    """Arguments of the tools that take an agent."""

    name: AgentParam
