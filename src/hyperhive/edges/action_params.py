"""What each verb of the operator takes. Descriptions end up in the reference."""

from __future__ import annotations

from typing import Annotated, Literal

from msgspec import Meta, field

from hyperhive.edges.params import Id, Name, Params
from hyperhive.services import fleet

Count = Annotated[int, Meta(ge=1, le=1000, description="How many at most.")]
Before = Annotated[Id | None, Meta(description="Only older ones than this id: pages back.")]
AgentName = Annotated[Name, Meta(description="An agent's name.")]


class Nothing(Params):
    """No parameters."""


class Send(Params):
    """Of ``send``."""

    to: Annotated[Name, Meta(description="Name of the agent; `*` is every agent.")]
    body: Annotated[str, Meta(description="The text.")]
    in_reply_to: Annotated[Id | None, Meta(description="Id of the message answered.")] = None
    key: Annotated[
        str | None, Meta(description="The same key again sends nothing a second time.")
    ] = None


class Inbox(Params):
    """Of ``inbox``."""

    limit: Count = 50
    before: Before = None
    all: Annotated[bool, Meta(description="Also what is handled.")] = False


class Messages(Params):
    """Of ``messages``."""

    agent: Annotated[
        Name | None, Meta(description="Only mail to this agent, or to `operator`.")
    ] = None
    before: Before = None
    limit: Count = 100


class OneMessage(Params):
    """Of the verbs about one message."""

    id: Annotated[Id, Meta(description="The message.")]


class Approvals(Params):
    """Of ``approvals``."""

    limit: Count = 100


class OneApproval(Params):
    """Of the verbs about one approval."""

    id: Annotated[Id, Meta(description="The approval.")]


class Approve(Params):
    """Of ``approve``."""

    id: Annotated[Id, Meta(description="The approval.")]
    digest: Annotated[
        str, Meta(min_length=1, max_length=128, description="`digest` of what was shown.")
    ]
    acknowledged: Annotated[
        list[Annotated[str, Meta(max_length=8192)]],
        Meta(
            max_length=10_000,
            description="Files that count as seen although nobody can have read them: all of "
            "`needs_acknowledgement` of the card.",
        ),
    ] = field(default_factory=list[str])


class Deny(Params):
    """Of ``deny``."""

    id: Annotated[Id, Meta(description="The approval.")]
    note: Annotated[str, Meta(description="Told to who asked.")] = ""


class Spawn(Params):
    """Of ``spawn`` and ``request-spawn``."""

    name: Annotated[Name, Meta(description="Name of the new agent.")]
    description: Annotated[str, Meta(description="Why, and what it will do.")] = ""


class Order(Params):
    """Of the verbs that say what is wanted of an agent."""

    name: AgentName
    reason: Annotated[
        str,
        Meta(
            max_length=fleet.REASON_MAX,
            description="Why; shown, and told to an agent that is started.",
        ),
    ] = ""


class Recipients(Params):
    """Of ``recipients``."""

    name: AgentName
    only: Annotated[
        Annotated[list[Name], Meta(max_length=1000)] | None,
        Meta(description="Whom it may write to; null: everybody."),
    ]


class OneAgent(Params):
    """Of the verbs about one agent."""

    name: AgentName


class Turns(Params):
    """Of ``turns``."""

    name: AgentName
    limit: Count = 50


class Logs(Params):
    """Of ``logs``."""

    name: AgentName
    lines: Annotated[int, Meta(ge=0, le=5000, description="How many of the last lines.")] = 200
    follow: Annotated[bool, Meta(description="Go on with new ones.")] = False


class Watch(Params):
    """Of ``watch``."""

    name: AgentName
    after: Annotated[
        Id | None, Meta(description="Begin behind this number instead of with the newest.")
    ] = None
    lines: Annotated[int, Meta(ge=0, le=2000, description="How many of the newest.")] = 200
    follow: Annotated[bool, Meta(description="Go on with new ones.")] = False


class Subscribe(Params):
    """Of ``subscribe``."""

    after: Annotated[Id, Meta(description="The number that the caller has seen.")]


class ModelSource(Params):
    """Of ``model-source``."""

    kind: Literal["api_key", "token", "demo", "none"]
    secret: Annotated[
        str, Meta(max_length=8192, description="The key or the token; never shown again.")
    ] = ""


class Shutdown(Params):
    """Of ``shutdown``."""

    agents: Annotated[
        bool, Meta(description="Also end the agents' sandboxes; else they are adopted later.")
    ] = False
