"""From an approved spawn to an agent's row, and from its first start back to the approval."""

from __future__ import annotations

import dataclasses
import uuid

from hyperhive import ports
from hyperhive.domain import agents, approvals, events, ids
from hyperhive.services import posting, review


def create(
    tx: ports.Tx, clock: ports.Clock, name: ids.AgentName, role: agents.Role, reason: str
) -> agents.Agent:
    """In a transaction: insert the row of a new agent that is wanted running."""
    now = clock.now()
    agent = agents.Agent(
        id=ids.new_agent_id(),
        name=name,
        role=role,
        slot=tx.next_slot(),
        created_at=now,
        wanted=agents.Wanted.RUNNING,
        epoch=1,
        phase=agents.Phase.SPAWNING,
        phase_since=now,
        phase_note="",
        running_epoch=0,
        sandbox=None,
        crashes=0,
        retry_at=None,
        turn_state=agents.TurnState.OFFLINE,
        turn_since=now,
        turn_note="",
        status="",
        model="",
        session_id=str(uuid.uuid4()),
        session_started=False,
        start_reason=reason,
    )
    tx.insert_agent(agent)
    tx.record(
        events.Event(
            events.EventKind.AGENT_CREATED, agent=agent.id, text=name, topics=(events.FLEET,)
        )
    )
    return agent


def begin_approved(tx: ports.Tx, clock: ports.Clock) -> None:
    """In a transaction: every approved spawn becomes an agent that is being spawned, or fails."""
    for approval in tx.list_approvals(states=[approvals.ApprovalState.APPROVED]):
        if approval.kind is not approvals.ApprovalKind.SPAWN:
            continue
        building = review.move(tx, approval, approvals.Decision.BUILD, clock)
        if tx.find_agent(approval.agent_name) is not None:
            note = f"an agent named {approval.agent_name} exists"
            failed = review.move(tx, building, approvals.Decision.FAIL, clock, note=note)
            _tell(tx, clock, failed, ok=False)
            continue
        agent = create(
            tx, clock, approval.agent_name, agents.Role.AGENT, f"spawned by approval {approval.id}"
        )
        tx.update_approval(dataclasses.replace(building, agent_id=agent.id))


def settle(tx: ports.Tx, clock: ports.Clock, agent: agents.Agent, *, ok: bool, note: str) -> bool:
    """In a transaction: the first start of *agent* went well or not; end its approval.

    Returns whether there was an approval to end: that is, whether this was the first start.
    """
    for approval in tx.list_approvals(states=[approvals.ApprovalState.BUILDING]):
        if approval.agent_id == agent.id and approval.kind is approvals.ApprovalKind.SPAWN:
            decision = approvals.Decision.DEPLOY if ok else approvals.Decision.FAIL
            moved = review.move(tx, approval, decision, clock, note="" if ok else note)
            _tell(tx, clock, moved, ok=ok)
            return True
    return False


def _tell(tx: ports.Tx, clock: ports.Clock, approval: approvals.Approval, *, ok: bool) -> None:
    pinned: dict[str, str] = {}
    seeded = None if approval.agent_id is None else tx.get_deployment(approval.agent_id)
    if seeded is not None:
        pinned = {"sha": seeded.sha, "tag": f"deployed/{seeded.approval}"}
    for agent in tx.list_agents():
        if agent.role is agents.Role.MANAGER:
            posting.post_event(
                tx,
                clock.now(),
                agent,
                "spawned",
                agent=approval.agent_name,
                ok=ok,
                note=approval.note,
                **pinned,
            )
