"""The tools of the MCP server ``hive``: one table for answering and for the reference.

Every tool is safe to repeat with its key: a harness that lost the answer asks
again, also after the daemon was restarted. What is absent is a rule: nothing that
decides about an approval is here, for no role.
"""

from __future__ import annotations

from typing import Annotated, Any, Final

import msgspec

from hyperhive.domain import access, agents, approvals, errors, ids, messages
from hyperhive.edges import params
from hyperhive.edges.agent_api import configuration_tools, question_tools
from hyperhive.edges.agent_api.tool import Call, Nothing, OneAgent, Services, Tool
from hyperhive.services import fleet, plans

BATCH_CHARACTERS: Final = 256 * 1024
"""A receive takes no more beyond this: an answer has to fit on one line, escaped twice."""


class Recv(params.Params):
    """Arguments of ``recv``."""

    wait_seconds: Annotated[
        float,
        msgspec.Meta(
            description="How long to wait for mail when there is none. 0 answers at once.",
            extra_json_schema={"minimum": 0, "maximum": messages.WAIT_MAX},
        ),
    ] = 0.0
    max: Annotated[
        int,
        msgspec.Meta(
            description="How many messages to take at most.",
            extra_json_schema={"minimum": 1, "maximum": messages.BATCH_MAX},
        ),
    ] = 1


class Send(params.Params):
    """Arguments of ``send``."""

    to: Annotated[
        params.Name,
        msgspec.Meta(
            description='Name of an agent as `peers` shows it, or "operator"; "*" is every other '
            "agent, for what all must know: it costs each of them a turn."
        ),
    ]
    body: Annotated[
        str,
        msgspec.Meta(
            description="The text: short, complete, and saying what you need back. At most "
            f"{messages.BODY_MAX // 1024} KiB; put long content into a file."
        ),
    ]
    in_reply_to: Annotated[
        params.Id | None, msgspec.Meta(description="Id of the message that this answers.")
    ] = None


class SetStatus(params.Params):
    """Arguments of ``set_status``."""

    text: Annotated[
        str,
        msgspec.Meta(
            description="One line, e.g. 'writing the parser tests'; empty clears it.",
            extra_json_schema={"maxLength": fleet.STATUS_MAX},
        ),
    ]


class RequestSpawn(params.Params):
    """Arguments of ``request_spawn``."""

    name: Annotated[
        params.Name,
        msgspec.Meta(
            description=f"Name of the new agent: 1 to {ids.NAME_MAX} lower-case letters, digits "
            "and single hyphens, starting with a letter."
        ),
    ]
    description: Annotated[
        str,
        msgspec.Meta(
            description="Why it is needed and what it will do, for the human who decides.",
            extra_json_schema={"maxLength": approvals.DESCRIPTION_MAX},
        ),
    ]


async def _recv(call: Call, args: Recv) -> dict[str, Any]:
    receive = call.services.messaging.receive
    agent = call.caller.agent_id
    count = messages.check_batch(args.max)
    # The key of the first is what repeats; the following ones lease only what is there.
    found = await receive(
        agent, call.turn, wait_seconds=args.wait_seconds, count=1, key=f"{call.key}.0"
    )
    size = sum(len(message.body) for message in found)
    while 0 < len(found) < count and size < BATCH_CHARACTERS:
        key = f"{call.key}.{len(found)}"
        more = await receive(agent, call.turn, wait_seconds=0, count=1, key=key)
        if not more:
            break
        found += more
        size += sum(len(message.body) for message in more)
    return {"messages": [plans.wire_message(message) for message in found]}


async def _send(call: Call, args: Send) -> dict[str, Any]:
    call.services.allowances.spend(call.caller.agent_id, args.body)
    if args.to == messages.EVERYBODY:
        if args.in_reply_to is not None:
            raise errors.invalid('cannot send a reply to "*": name the one who gets it')
        posted = await call.services.messaging.broadcast(call.caller, args.body, key=call.key)
        return {"ids": [each.id for each in posted], "to": [each.recipient_name for each in posted]}
    sent = await call.services.messaging.send(
        call.caller, args.to, args.body, in_reply_to=args.in_reply_to, key=call.key
    )
    return {"id": sent.id, "to": sent.recipient_name}


async def _whoami(call: Call, _: Nothing) -> dict[str, Any]:
    return await call.services.fleet.whoami(call.caller)


async def _peers(call: Call, _: Nothing) -> dict[str, Any]:
    return {"agents": await call.services.fleet.peers(call.caller)}


async def _set_status(call: Call, args: SetStatus) -> dict[str, Any]:
    agent = await call.services.fleet.set_status(call.caller, args.text)
    return {"status": agent.status}


async def _request_spawn(call: Call, args: RequestSpawn) -> dict[str, Any]:
    approval = await call.services.review.request_spawn(
        call.caller, args.name, args.description, once=call.once
    )
    return {"approval": approval.id, "agent": approval.agent_name, "state": approval.state.value}


async def _start(call: Call, args: OneAgent) -> dict[str, Any]:
    return _ordered(await call.services.fleet.start(call.caller, args.name, once=call.once))


async def _kill(call: Call, args: OneAgent) -> dict[str, Any]:
    return _ordered(await call.services.fleet.kill(call.caller, args.name, once=call.once))


async def _restart(call: Call, args: OneAgent) -> dict[str, Any]:
    return _ordered(await call.services.fleet.restart(call.caller, args.name, once=call.once))


def _ordered(agent: agents.Agent) -> dict[str, Any]:
    return {"agent": agent.name, "wanted": agent.wanted.value, "phase": agent.phase.value}


__all__ = ["BY_NAME", "TOOLS", "Call", "Services", "Tool"]

TOOLS: Final[tuple[Tool, ...]] = (
    Tool(
        "recv",
        access.Right.AGENT,
        Recv,
        "Take mail from your inbox, oldest first. To wait for an answer, call this with "
        "wait_seconds (up to 180) and call it again when nothing came: it returns the moment a "
        "message arrives. Never sleep, loop in a shell or ask again at once instead. An empty "
        "list means that nothing came in time. If you have nothing left to do, end your turn: "
        "mail that comes later starts a new one. A message marked `redelivered` may have been "
        "seen by you before: check what you have done already.",
        _recv,
    ),
    Tool(
        "send",
        access.Right.AGENT,
        Send,
        "Send a message to another agent or to the human (`operator`). It is stored durably and "
        "wakes the recipient; it is not a call, so an answer comes later, through `recv` or as "
        "your next turn. Messages are the only thing that others see of you: what you write "
        "outside of them reaches nobody.",
        _send,
    ),
    Tool(
        "whoami",
        access.Right.AGENT,
        Nothing,
        "Say who you are in this hive: your name, your role and your status line.",
        _whoami,
    ),
    Tool(
        "peers",
        access.Right.AGENT,
        Nothing,
        "List the other agents with role, phase (running, stopped, ...), what they are doing and "
        "their status lines. The operator is always there and is not listed.",
        _peers,
    ),
    Tool(
        "set_status",
        access.Right.AGENT,
        SetStatus,
        "Show one line about your work to the operator and to the other agents. Set it when you "
        "begin something that takes long; it stays until you change it.",
        _set_status,
    ),
    *question_tools.TOOLS,
    Tool(
        "request_spawn",
        access.Right.MANAGER,
        RequestSpawn,
        "Ask the operator for a new agent. Nothing is made until a human approves, which may "
        "take long: do not wait for it in this turn unless you have to. The decision comes as a "
        "message of type `event` with the field event `approval_resolved`, and `spawned` when "
        "the agent is up. Weigh first: is it needed, is there a cheaper way, what does it "
        "expose. The same request again returns the one that waits.",
        _request_spawn,
    ),
    Tool(
        "start",
        access.Right.MANAGER,
        OneAgent,
        "Start a stopped or crashed agent. Needs no approval. Mail to an agent that is wanted "
        "running starts its turns by itself; this is only for agents that are stopped.",
        _start,
    ),
    Tool(
        "kill",
        access.Right.MANAGER,
        OneAgent,
        "Stop an agent at once, whatever it is doing, and keep it stopped until it is started. "
        "Its state and mail are kept. Needs no approval. Not for yourself.",
        _kill,
    ),
    Tool(
        "restart",
        access.Right.MANAGER,
        OneAgent,
        "Stop an agent and start it again with a fresh sandbox, e.g. when it hangs. Its state, "
        "session and mail are kept. Needs no approval. Not for yourself.",
        _restart,
    ),
    *configuration_tools.TOOLS,
)

BY_NAME: Final = {tool.name: tool for tool in TOOLS}
