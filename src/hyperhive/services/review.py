"""Approvals: queue a request, decide on exactly what was shown, tell who asked."""

from __future__ import annotations

import dataclasses
import hashlib
import json

from hyperhive import ports
from hyperhive.domain import access, agents, approvals, errors, events, ids, machine, proposals
from hyperhive.services import posting

PENDING_MAX = 10
"""Requests of one requester that may wait at the same time."""


class Review:
    """Verbs over approvals."""

    def __init__(self, store: ports.Store, clock: ports.Clock) -> None:
        self._store = store
        self._clock = clock

    async def request_spawn(
        self, caller: access.Caller, name: str, description: str, *, once: str | None = None
    ) -> approvals.Approval:
        """Queue a spawn for the operator; the same request again returns the one that waits.

        With *once* (`posting.once_key`) a repetition returns what the first call made, also
        when that has been decided and carried out meanwhile.
        """
        access.require(caller, access.Right.MANAGER, "request a spawn")
        agent_name, description = _check_spawn(name, description)

        def work(tx: ports.Tx) -> approvals.Approval:
            made = None if once is None else tx.get_value(once)
            if made is not None:
                return require_approval(tx, made)
            approval = self._request(tx, caller, agent_name, description)
            if once is not None:
                tx.put_value(once, approval.id)
            return approval

        return await self._store.write(work)

    async def spawn(self, caller: access.Caller, name: str, description: str) -> approvals.Approval:
        """Request and approve in one step: the operator's own right."""
        access.require(caller, access.Right.OPERATOR, "spawn without an approval")
        agent_name, description = _check_spawn(name, description)

        def work(tx: ports.Tx) -> approvals.Approval:
            waiting = self._request(tx, caller, agent_name, description)
            return self._decide(tx, caller, waiting, approvals.Decision.APPROVE, "")

        return await self._store.write(work)

    async def approve(
        self, caller: access.Caller, approval_id: int, digest: str
    ) -> approvals.Approval:
        """Approve exactly what *digest* names; CONFLICT when that is not what waits."""
        access.require(caller, access.Right.OPERATOR, "approve")

        def work(tx: ports.Tx) -> approvals.Approval:
            approval = require_approval(tx, approval_id)
            if digest != approval.digest:
                raise errors.conflict(
                    f"cannot approve approval {approval.id}: what you saw is not what waits; "
                    "look at it again"
                )
            _refuse_unbuilt(tx, approval)
            return self._decide(tx, caller, approval, approvals.Decision.APPROVE, "")

        return await self._store.write(work)

    async def deny(self, caller: access.Caller, approval_id: int, note: str) -> approvals.Approval:
        """Deny, with a note that reaches whoever asked."""
        access.require(caller, access.Right.OPERATOR, "deny")
        if len(note) > approvals.NOTE_MAX:
            raise errors.invalid(
                f"cannot deny: the note has {len(note)} characters, the limit is "
                f"{approvals.NOTE_MAX}"
            )
        return await self._store.write(
            lambda tx: self._decide(
                tx, caller, require_approval(tx, approval_id), approvals.Decision.DENY, note
            )
        )

    async def withdraw(self, caller: access.Caller, approval_id: int) -> approvals.Approval:
        """Take a request back; only who asked, or the operator, may."""

        def work(tx: ports.Tx) -> approvals.Approval:
            approval = require_approval(tx, approval_id)
            if not caller.is_operator and caller.party != approval.requested_by:
                raise errors.forbidden(
                    f"cannot withdraw approval {approval.id}: you did not request it"
                )
            return self._decide(tx, caller, approval, approvals.Decision.WITHDRAW, "")

        return await self._store.write(work)

    # --- parts -------------------------------------------------------------------------

    def _request(
        self, tx: ports.Tx, caller: access.Caller, name: ids.AgentName, description: str
    ) -> approvals.Approval:
        if tx.find_agent(name) is not None:
            raise errors.conflict(f"cannot request {name!r}: an agent of that name exists")
        live = tx.list_approvals(states=approvals.LIVE)
        for other in live:
            if other.agent_name == name:
                if other.requested_by == caller.party and other.description == description:
                    return other
                raise errors.conflict(
                    f"cannot request {name!r}: approval {other.id} for that name is "
                    f"{other.state.value}"
                )
        if sum(1 for other in live if other.requested_by == caller.party) >= PENDING_MAX:
            raise errors.unavailable(
                f"cannot request {name!r}: {PENDING_MAX} of your requests already wait for the "
                "operator; wait for a decision or withdraw one"
            )
        now = self._clock.now()
        approval = tx.insert_approval(
            approvals.Approval(
                id=ids.ApprovalId(0),
                kind=approvals.ApprovalKind.SPAWN,
                agent_name=name,
                agent_id=None,
                description=description,
                requested_by=caller.party,
                requested_by_name=caller.name,
                requested_at=now,
                state=approvals.ApprovalState.PENDING,
                digest=_digest(name, description, caller),
                decided_by="",
                decided_via="",
                decided_at=None,
                note="",
                changed_at=now,
            )
        )
        tx.record(
            events.Event(
                events.EventKind.APPROVAL_REQUESTED,
                approval=approval.id,
                text=f"spawn {name}, by {caller.name}",
                topics=(events.APPROVALS,),
            )
        )
        return approval

    def _decide(
        self,
        tx: ports.Tx,
        caller: access.Caller,
        approval: approvals.Approval,
        decision: approvals.Decision,
        note: str,
    ) -> approvals.Approval:
        now = self._clock.now()
        decided = dataclasses.replace(
            move(tx, approval, decision, self._clock, note=note),
            decided_by=caller.name,
            decided_via=caller.via,
            decided_at=now,
        )
        tx.update_approval(decided)
        pinned = _settle_proposal(tx, decided)
        if not pinned and (decision is not approvals.Decision.WITHDRAW or caller.is_operator):
            tell_requester(tx, self._clock, decided)
        return decided


def move(
    tx: ports.Tx,
    approval: approvals.Approval,
    decision: approvals.Decision,
    clock: ports.Clock,
    *,
    note: str = "",
) -> approvals.Approval:
    """Inside a transaction: take one edge of the table, write the row and record the fact."""
    state = machine.advance(approvals.TABLE, approval.state, decision, f"approval {approval.id}")
    changed = dataclasses.replace(approval, state=state, note=note, changed_at=clock.now())
    tx.update_approval(changed)
    tx.record(
        events.Event(
            events.EventKind.APPROVAL_MOVED,
            approval=approval.id,
            text=state.value,
            topics=(events.APPROVALS, events.FLEET, events.DEPLOYS),
        )
    )
    return changed


def tell_requester(tx: ports.Tx, clock: ports.Clock, approval: approvals.Approval) -> None:
    """Inside a transaction: mail the event ``approval_resolved`` to the agent that asked (S71).

    For a proposal it carries the pinned commit and the final tag, so it is called once git has
    that tag.
    """
    requester = _agent(tx, approval.requested_by)
    if requester is not None:
        proposal = tx.get_proposal(approval.id)
        pinned: dict[str, str] = {}
        if proposal is not None:
            pinned = {"commit_ref": proposal.commit_ref, "sha": proposal.sha, "tag": proposal.tag}
        posting.post_event(
            tx,
            clock.now(),
            requester,
            "approval_resolved",
            id=approval.id,
            kind=approval.kind.value,
            agent=approval.agent_name,
            status=approval.state.value,
            note=approval.note,
            **pinned,
        )


def require_approval(tx: ports.ReadTx, approval_id: int) -> approvals.Approval:
    """The approval's row, or NOT_FOUND."""
    approval = tx.get_approval(ids.ApprovalId(approval_id))
    if approval is None:
        raise errors.not_found(f"cannot find approval {approval_id}")
    return approval


def _agent(tx: ports.ReadTx, party: ids.PartyId) -> agents.Agent | None:
    if party in (ids.OPERATOR, ids.SYSTEM):
        return None
    return tx.get_agent(ids.AgentId(party))


def _refuse_unbuilt(tx: ports.ReadTx, approval: approvals.Approval) -> None:
    proposal = tx.get_proposal(approval.id)
    if proposal is not None and not proposal.is_built:
        raise errors.conflict(
            f"cannot approve approval {approval.id}: its build is {proposal.build.value}; "
            "wait until it is built"
        )


def _settle_proposal(tx: ports.Tx, approval: approvals.Approval) -> bool:
    """Leave nothing of a decided proposal to build; whether git still has to say what came of it.

    Then the requester hears of it once the tag is there (`runtime.deploy_loop`).
    """
    proposal = tx.get_proposal(approval.id)
    if proposal is None:
        return False
    if approval.state is approvals.ApprovalState.APPROVED:
        return True
    build = proposal.build
    if build in proposals.UNDER_WAY:
        move = proposals.BuildMove.CANCEL
        build = machine.advance(proposals.BUILD_TABLE, build, move, "the build")
    tagged = approval.state is approvals.ApprovalState.DENIED and bool(proposal.sha)
    step = proposals.DeployStep.RECORDING if tagged else proposal.step
    tx.update_proposal(
        dataclasses.replace(proposal, build=build, step=step, changed_at=approval.changed_at)
    )
    return tagged


def check_description(text: str, doing: str) -> str:
    """The requester's words, trimmed; `HiveError` INVALID when they are too many."""
    trimmed = text.strip()
    if len(trimmed) > approvals.DESCRIPTION_MAX:
        raise errors.invalid(
            f"cannot {doing}: the description has {len(trimmed)} characters, the limit is "
            f"{approvals.DESCRIPTION_MAX}"
        )
    return trimmed


def _check_spawn(name: str, description: str) -> tuple[ids.AgentName, str]:
    agent_name = ids.parse_agent_name(name)
    return agent_name, check_description(description, f"request {agent_name!r}")


def _digest(name: str, description: str, caller: access.Caller) -> str:
    shown = json.dumps(["spawn", name, description, caller.party], ensure_ascii=True)
    return hashlib.sha256(shown.encode()).hexdigest()
