"""How a proposal's row moves: builds, steps, and the digest that names what was shown.

Plain functions on a `ports.Tx`; the loops decide when. Every change is a fact that names
the approval and its agent, so that a page which missed it needs only those rows.
"""

from __future__ import annotations

import dataclasses
import hashlib
import json
from collections.abc import Mapping
from typing import Any

from hyperhive import ports
from hyperhive.domain import approvals, errors, events, ids, machine, proposals
from hyperhive.services import review

NOTE_MAX = 2000


def require_proposal(tx: ports.ReadTx, approval: int) -> proposals.Proposal:
    """The proposal's row, or NOT_FOUND."""
    found = tx.get_proposal(ids.ApprovalId(approval))
    if found is None:
        raise errors.not_found(f"cannot find a proposal of approval {approval}")
    return found


def digest(approval: approvals.Approval, proposal: proposals.Proposal) -> str:
    """What an approval of exactly this must name: contents, base and build, not only a number."""
    shown = [
        approval.kind.value, proposal.agent_id, proposal.origin.value, proposal.sha,
        proposal.tree, proposal.base_sha, proposal.generation, approval.description,
        approval.requested_by, _names(proposal),
    ]  # fmt: skip
    return hashlib.sha256(json.dumps(shown, ensure_ascii=True).encode()).hexdigest()


def move_build(
    tx: ports.Tx,
    clock: ports.Clock,
    proposal: proposals.Proposal,
    move: proposals.BuildMove,
    *,
    note: str = "",
    **changes: Any,
) -> proposals.Proposal:
    """Take one edge of the build's table; *changes* are other fields of the row."""
    state = machine.advance(
        proposals.BUILD_TABLE, proposal.build, move, f"the build of approval {proposal.approval}"
    )
    changed = dataclasses.replace(
        proposal,
        build=state,
        build_note=note[:NOTE_MAX],
        changed_at=clock.now(),
        **changes,
    )
    _write(tx, changed, events.EventKind.BUILD_MOVED, state.value)
    return changed


def move_step(
    tx: ports.Tx,
    clock: ports.Clock,
    proposal: proposals.Proposal,
    step: proposals.DeployStep,
    **changes: Any,
) -> proposals.Proposal:
    """Write down the next step of the deploy, before it is begun."""
    changed = dataclasses.replace(proposal, step=step, changed_at=clock.now(), **changes)
    _write(tx, changed, events.EventKind.DEPLOY_MOVED, step.value)
    return changed


def finish(
    tx: ports.Tx,
    clock: ports.Clock,
    proposal: proposals.Proposal,
    generation: str,
    configuration: Mapping[str, Any],
    effects: Mapping[str, Any],
) -> proposals.Proposal:
    """The build is done: what waits for approval now has a generation, so a new digest.

    Built again after its approval, it must come out as it was approved.
    """
    approval = review.require_approval(tx, proposal.approval)
    decided = approval.state is not approvals.ApprovalState.PENDING
    same = not proposal.generation or proposal.generation == generation
    if decided and not same and proposal.origin is not proposals.Origin.REBUILD:
        note = "built again, it came out different from what was approved; propose it again"
        return fail(tx, clock, proposal, note)
    built = move_build(
        tx,
        clock,
        proposal,
        proposals.BuildMove.FINISH,
        generation=generation,
        configuration=configuration,
        effects=effects,
    )
    renew_digest(tx, built)
    return built


def fail(
    tx: ports.Tx,
    clock: ports.Clock,
    proposal: proposals.Proposal,
    note: str,
    move: proposals.BuildMove = proposals.BuildMove.FAIL,
) -> proposals.Proposal:
    """It could not be imported or built, or somebody cancelled that: the approval has failed.

    What has a commit is still to be tagged failed/<id> (RECORDING); a failed import has none.
    """
    failed = move_build(tx, clock, proposal, move, note=note)
    approval = review.require_approval(tx, proposal.approval)
    if approval.state is approvals.ApprovalState.APPROVED:
        # A rebuild, which is approved before it is built.
        approval = review.move(tx, approval, approvals.Decision.BUILD, clock)
    if approval.state in (approvals.ApprovalState.PENDING, approvals.ApprovalState.BUILDING):
        approval = review.move(tx, approval, approvals.Decision.FAIL, clock, note=note[:NOTE_MAX])
    step = proposals.DeployStep.RECORDING if failed.sha else proposals.DeployStep.NONE
    return move_step(tx, clock, failed, step)


def renew_digest(tx: ports.Tx, proposal: proposals.Proposal) -> approvals.Approval:
    """Write what an approval must name from now on; an older page gets a CONFLICT."""
    approval = review.require_approval(tx, proposal.approval)
    renewed = dataclasses.replace(approval, digest=digest(approval, proposal))
    tx.update_approval(renewed)
    return renewed


def _write(tx: ports.Tx, proposal: proposals.Proposal, kind: events.EventKind, text: str) -> None:
    tx.update_proposal(proposal)
    tx.record(
        events.Event(
            kind,
            agent=proposal.agent_id,
            approval=proposal.approval,
            text=text,
            topics=(events.APPROVALS, events.DEPLOYS, events.MIRROR),
        )
    )


def _names(proposal: proposals.Proposal) -> list[str]:
    return list(proposal.configuration.get("inputs", ()))
