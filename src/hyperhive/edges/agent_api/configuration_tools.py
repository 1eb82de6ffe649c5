"""The manager's tools for configurations: they ask; only a human's decision changes anything.

`update` is the exception that S24 names: it builds what was approved before.
"""

from __future__ import annotations

from typing import Annotated, Any, Final

import msgspec

from hyperhive.domain import access, approvals
from hyperhive.edges import params
from hyperhive.edges.agent_api.tool import AgentParam, Call, OneAgent, Tool


class RequestApplyCommit(params.Params):
    """Arguments of ``request_apply_commit``."""

    agent: AgentParam
    commit_ref: Annotated[
        str,
        msgspec.Meta(
            description="Id of the commit in /agents/<agent>/config: 7 to 40 hexadecimal digits, "
            "as `git rev-parse HEAD` prints it. Names of branches and tags are refused."
        ),
    ]
    description: Annotated[
        str,
        msgspec.Meta(
            description="What changes and why, for the human who decides.",
            extra_json_schema={"maxLength": approvals.DESCRIPTION_MAX},
        ),
    ] = ""


class RequestUpdateInputs(params.Params):
    """Arguments of ``request_update_inputs``."""

    names: Annotated[
        list[str],
        msgspec.Meta(description="Names of the inputs, e.g. `base`.", min_length=1, max_length=100),
    ]
    description: Annotated[
        str,
        msgspec.Meta(
            description="Why, for the human who decides.",
            extra_json_schema={"maxLength": approvals.DESCRIPTION_MAX},
        ),
    ] = ""


class OneRequest(params.Params):
    """Arguments of ``withdraw_request``."""

    approval: Annotated[params.Id, msgspec.Meta(description="Number of your request.")]


async def _request_apply_commit(call: Call, args: RequestApplyCommit) -> dict[str, Any]:
    approval = await call.services.proposing.submit(
        call.caller, args.agent, args.commit_ref, args.description, once=call.once
    )
    return await _queued(call, approval)


async def _request_update_inputs(call: Call, args: RequestUpdateInputs) -> dict[str, Any]:
    approval = await call.services.proposing.update_inputs(
        call.caller, args.names, args.description, once=call.once
    )
    return {"approval": approval.id, "state": approval.state.value}


async def _update(call: Call, args: OneAgent) -> dict[str, Any]:
    approval = await call.services.proposing.rebuild(call.caller, args.name, once=call.once)
    return {"approval": approval.id, "agent": approval.agent_name, "state": approval.state.value}


async def _withdraw(call: Call, args: OneRequest) -> dict[str, Any]:
    approval = await call.services.review.withdraw(call.caller, args.approval)
    return {"approval": approval.id, "state": approval.state.value}


async def _queued(call: Call, approval: approvals.Approval) -> dict[str, Any]:
    pinned = await call.services.proposing.pinned(approval.id)
    return {
        "approval": approval.id,
        "agent": approval.agent_name,
        "state": approval.state.value,
        "sha": pinned.sha,
        "tag": f"proposal/{approval.id}",
        "build": pinned.build.value,
    }


TOOLS: Final = (
    Tool(
        "request_apply_commit",
        access.Right.MANAGER,
        RequestApplyCommit,
        "Ask the operator to make a commit of /agents/<agent>/config the agent's configuration. "
        "Every tracked file travels with it. The commit is copied and pinned at once, so what you "
        "do there afterwards changes nothing; it is built before the operator sees it. A refusal "
        "names the rule and the path. You hear what came of it as the event `approval_resolved` "
        "with `status`, `note`, `sha` and `tag`: it may take long, do not wait in this turn. It "
        "must descend from `applied/main`: git fetch applied and rebase when it does not. A "
        "failed build harms nothing; mend it and propose again.",
        _request_apply_commit,
    ),
    Tool(
        "request_update_inputs",
        access.Right.MANAGER,
        RequestUpdateInputs,
        "Ask the operator for newer versions of what configurations are built from. After the "
        "approval every agent that depends on them is rebuilt.",
        _request_update_inputs,
    ),
    Tool(
        "update",
        access.Right.MANAGER,
        OneAgent,
        "Build an agent's deployed configuration again on the present base and inputs, and "
        "restart it. Needs no approval. You hear `rebuilt`. Not for yourself.",
        _update,
    ),
    Tool(
        "withdraw_request",
        access.Right.MANAGER,
        OneRequest,
        "Take back a request of yours that still waits for the operator.",
        _withdraw,
    ),
)
