"""Which tags a proposal's row stands for: tags are a projection, the row decides (S32)."""

from __future__ import annotations

from typing import Final

from hyperhive import ports
from hyperhive.domain import agents, approvals, ids, proposals
from hyperhive.domain.proposals import DeployStep, Origin

_FINAL: Final = {
    approvals.ApprovalState.DEPLOYED: ports.TagKind.DEPLOYED,
    approvals.ApprovalState.FAILED: ports.TagKind.FAILED,
    approvals.ApprovalState.DENIED: ports.TagKind.DENIED,
}


def seed_key(agent: ids.AgentId) -> str:
    """Under which name the store keeps the commit that deployed/0 names."""
    return f"seed:{agent}"


def begun(proposal: proposals.Proposal) -> list[ports.Tag]:
    """What says that it was approved and that its deploy has begun."""
    number = proposal.approval
    return [
        ports.Tag(ports.TagKind.APPROVED, number, proposal.sha),
        ports.Tag(ports.TagKind.BUILDING, number, proposal.sha),
    ]


def outcome(approval: approvals.Approval, proposal: proposals.Proposal) -> ports.Tag:
    """The final tag; that of a failure carries the error, that of a denial the note."""
    kind = _FINAL[approval.state]
    message = ""
    if kind is ports.TagKind.FAILED:
        message = approval.note or "failed"
    elif kind is ports.TagKind.DENIED:
        message = approval.note or f"denied by {approval.decided_by}"
    return ports.Tag(kind, approval.id, proposal.sha, message)


def everything(
    tx: ports.ReadTx,
) -> list[tuple[agents.Agent, list[ports.Tag], str | None]]:
    """For each agent with a repository: the tags that must be there, and main.

    What a deploy under way has still to write is left to its step.
    """
    found: list[tuple[agents.Agent, list[ports.Tag], str | None]] = []
    for agent in tx.list_agents():
        deployment = tx.get_deployment(agent.id)
        if deployment is None:
            continue
        seed = tx.get_value(seed_key(agent.id))
        tags = [] if seed is None else [ports.Tag(ports.TagKind.DEPLOYED, 0, seed)]
        for proposal in tx.list_proposals(agent=agent.id, limit=1_000_000):
            approval = tx.get_approval(proposal.approval)
            if approval is not None:
                tags += _of(approval, proposal)
        recording = tx.list_proposals(agent=agent.id, steps=[DeployStep.RECORDING], limit=1)
        found.append((agent, tags, None if recording else deployment.sha))
    return found


def _of(approval: approvals.Approval, proposal: proposals.Proposal) -> list[ports.Tag]:
    if not proposal.sha or proposal.origin in (Origin.REBUILD, Origin.INPUTS):
        return []
    tags = [ports.Tag(ports.TagKind.PROPOSAL, approval.id, proposal.sha)]
    if approval.decided_at is not None and approval.state in (
        approvals.ApprovalState.DEPLOYED,
        approvals.ApprovalState.FAILED,
    ):
        tags += begun(proposal)
    if proposal.step is DeployStep.NONE and approval.state in _FINAL:
        tags.append(outcome(approval, proposal))
    return tags
