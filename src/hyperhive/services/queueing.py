"""Rows of new proposals, inside the transactions of others."""

from __future__ import annotations

import dataclasses
import datetime
from collections.abc import Callable

from hyperhive import ports
from hyperhive.domain import access, agents, approvals, events, ids, proposals
from hyperhive.domain.proposals import BuildState, DeployStep, Origin
from hyperhive.services import building, deploying, review


def insert(
    tx: ports.Tx,
    now: datetime.datetime,
    caller: access.Caller,
    agent: agents.Agent,
    kind: approvals.ApprovalKind,
    origin: Origin,
    description: str,
    *,
    commit_ref: str = "",
    sha: str = "",
    tree: str = "",
    base_sha: str = "",
    build: BuildState = BuildState.IMPORTING,
    state: approvals.ApprovalState = approvals.ApprovalState.PENDING,
    configuration: dict[str, object] | None = None,
    expires_at: datetime.datetime | None = None,
) -> approvals.Approval:
    """In a transaction: an approval with its proposal, announced as requested."""
    approval = tx.insert_approval(
        approvals.Approval(
            id=ids.ApprovalId(0),
            kind=kind,
            agent_name=agent.name,
            agent_id=agent.id,
            description=description,
            requested_by=caller.party,
            requested_by_name=caller.name,
            requested_at=now,
            state=state,
            digest="",
            decided_by="",
            decided_via="",
            decided_at=None,
            note="",
            changed_at=now,
        )
    )
    proposal = proposals.Proposal(
        approval=approval.id,
        agent_id=agent.id,
        origin=origin,
        commit_ref=commit_ref,
        sha=sha,
        tree=tree,
        base_sha=base_sha,
        build=build,
        build_note="",
        generation="",
        configuration=configuration or {},
        effects={},
        step=DeployStep.NONE,
        epoch=0,
        deadline=None,
        expires_at=expires_at,
        tag="",
        changed_at=now,
    )
    tx.insert_proposal(proposal)
    tx.record(
        events.Event(
            events.EventKind.APPROVAL_REQUESTED,
            agent=agent.id,
            approval=approval.id,
            text=f"{kind.value} for {agent.name}, by {caller.name}",
            topics=(events.APPROVALS, events.DEPLOYS),
        )
    )
    return building.renew_digest(tx, proposal)


def approve_at_once(
    tx: ports.Tx, clock: ports.Clock, caller: access.Caller, approval: approvals.Approval
) -> approvals.Approval:
    """In a transaction: what the caller may do without anybody's decision."""
    now = clock.now()
    approved = dataclasses.replace(
        review.move(tx, approval, approvals.Decision.APPROVE, clock),
        decided_by=caller.name,
        decided_via=caller.via,
        decided_at=now,
    )
    tx.update_approval(approved)
    return approved


def queue_rebuild(
    tx: ports.Tx,
    clock: ports.Clock,
    caller: access.Caller,
    agent: agents.Agent,
    reason: str,
) -> approvals.Approval:
    """In a transaction: build what is deployed anew; the one under way, if there is one."""
    for other in tx.list_proposals(agent=agent.id, limit=1000):
        approval = review.require_approval(tx, other.approval)
        if other.origin is Origin.REBUILD and approval.state in approvals.LIVE:
            return approval
    deployment = deploying.require_deployment(tx, agent.id)
    approval = insert(
        tx,
        clock.now(),
        caller,
        agent,
        approvals.ApprovalKind.REBUILD,
        Origin.REBUILD,
        f"Rebuild: {reason}",
        commit_ref=deployment.sha[:12],
        sha=deployment.sha,
        tree=deployment.tree,
        base_sha=deployment.sha,
        build=BuildState.QUEUED,
    )
    tx.record(
        events.Event(
            events.EventKind.REBUILD_ASKED,
            agent=agent.id,
            approval=approval.id,
            text=f"{reason}, by {caller.name}",
        )
    )
    return approve_at_once(tx, clock, caller, approval)


def rebuild_stale(
    tx: ports.Tx, clock: ports.Clock, is_stale: Callable[[str], bool], reason: str
) -> None:
    """In a transaction: queue rebuilds of all agents whose environment is of older inputs (S60)."""
    for deployment in tx.list_deployments():
        agent = tx.get_agent(deployment.agent_id)
        if agent is not None and deployment.generation and is_stale(deployment.built_from):
            queue_rebuild(tx, clock, access.SYSTEM_CALLER, agent, reason)


def note_inputs(
    tx: ports.Tx,
    clock: ports.Clock,
    proposal: proposals.Proposal,
    is_stale: Callable[[str], bool],
) -> None:
    """The inputs are newer now: rebuild every agent whose environment is of the older ones."""
    approval = review.require_approval(tx, proposal.approval)
    review.move(tx, approval, approvals.Decision.DEPLOY, clock)
    building.move_step(tx, clock, proposal, DeployStep.RECORDING)
    tx.record(
        events.Event(
            events.EventKind.INPUTS_UPDATED,
            approval=proposal.approval,
            text=", ".join(proposal.configuration["inputs"]),
            topics=(events.DEPLOYS, events.SETTINGS),
        )
    )
    rebuild_stale(tx, clock, is_stale, f"inputs updated (approval {proposal.approval})")


def tell_expired(tx: ports.Tx, clock: ports.Clock, approval: approvals.Approval) -> None:
    """In a transaction: nobody decided in time, so it is not approved (fails closed)."""
    note = "nobody decided in time; propose again if it is still wanted"
    proposal = tx.get_proposal(approval.id)
    expired = review.move(tx, approval, approvals.Decision.EXPIRE, clock, note=note)
    if proposal is not None and proposal.build in proposals.UNDER_WAY:
        building.move_build(tx, clock, proposal, proposals.BuildMove.CANCEL, note=note)
    review.tell_requester(tx, clock, expired)


def same_request(
    tx: ports.ReadTx, caller: access.Caller, agent: ids.AgentId, commit_ref: str
) -> ids.ApprovalId | None:
    """The request that this one repeats; None when it is a new one."""
    for other in tx.list_proposals(agent=agent, limit=50):
        approval = review.require_approval(tx, other.approval)
        same = other.commit_ref == commit_ref or (
            other.origin is Origin.COMMIT and other.sha and other.sha.startswith(commit_ref)
        )
        if (
            same
            and approval.requested_by == caller.party
            and approval.state is approvals.ApprovalState.PENDING
        ):
            return approval.id
    return None
