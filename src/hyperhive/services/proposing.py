"""Proposals: ask for a configuration, take one back, go back to an old one, build anew.

These verbs write what is asked for; `runtime.build_loop` imports and builds it, the
operator decides (`services.review`), `runtime.deploy_loop` carries it out.
"""

from __future__ import annotations

import datetime
from collections.abc import Sequence
from typing import Final

from hyperhive import ports
from hyperhive.domain import access, agents, approvals, errors, events, ids, proposals
from hyperhive.domain.proposals import BuildState, Origin
from hyperhive.services import building, deploying, lookup, queueing, review

WAITING_MAX: Final = 10
"""Proposals of one requester that may wait for a decision at the same time."""


class Proposing:
    """Verbs over proposals."""

    def __init__(
        self,
        store: ports.Store,
        clock: ports.Clock,
        repos: ports.ConfigRepos,
        builder: ports.Builder,
        *,
        expire_seconds: float,
        per_day: int,
    ) -> None:
        self._store = store
        self._clock = clock
        self._repos = repos
        self._builder = builder
        self._expire = datetime.timedelta(seconds=expire_seconds)
        self._per_day = per_day

    async def submit(
        self,
        caller: access.Caller,
        agent_name: str,
        commit_ref: str,
        description: str,
        *,
        once: str | None = None,
    ) -> approvals.Approval:
        """Import and pin a commit of the agent's proposed repository, and queue it for a decision.

        Returns once it is pinned; its build goes on. INVALID with the rule and the path when it
        may not be imported: then the approval has failed and nothing waits. With *once*
        (`posting.once_key`) a repetition waits for, and returns, what the first call made.
        """
        access.require(caller, access.Right.MANAGER, "propose a configuration")
        ids.parse_commit_ref(commit_ref)
        text = review.check_description(description, f"propose {commit_ref}")

        def work(tx: ports.Tx) -> ids.ApprovalId:
            made = None if once is None else tx.get_value(once)
            if made is not None:
                return ids.ApprovalId(made)
            agent = lookup.require_named(tx, agent_name)
            again = queueing.same_request(tx, caller, agent.id, commit_ref)
            if again is not None:
                return again
            row = self._insert(
                tx,
                caller,
                agent,
                approvals.ApprovalKind.APPLY_COMMIT,
                Origin.COMMIT,
                text,
                commit_ref=commit_ref,
            )
            if once is not None:
                tx.put_value(once, row.id)
            return row.id

        return await self._imported(await self._store.write(work))

    async def rollback(
        self, caller: access.Caller, agent_name: str, tag: str, description: str = ""
    ) -> approvals.Approval:
        """Propose what was deployed before, by its tag ``deployed/<id>``; the same road (S33)."""
        access.require(caller, access.Right.MANAGER, "propose a rollback")
        agent = await self._store.read(lambda tx: lookup.require_named(tx, agent_name))
        known = await self._repos.tags(agent.id)
        old = next((t for t in known if t.kind is ports.TagKind.DEPLOYED and t.name == tag), None)
        if old is None:
            deployed = [t.name for t in known if t.kind is ports.TagKind.DEPLOYED]
            raise errors.not_found(
                f"cannot roll {agent.name} back to {tag[:64]!r}: it has no such tag; it has "
                f"{', '.join(deployed[-10:]) or 'none yet'}"
            )
        text = review.check_description(
            description or f"Roll back to {tag}", f"roll back {agent.name}"
        )

        def work(tx: ports.Tx) -> ids.ApprovalId:
            again = queueing.same_request(tx, caller, agent.id, tag)
            if again is not None:
                return again
            row = self._insert(
                tx,
                caller,
                lookup.require_agent(tx, agent.id),
                approvals.ApprovalKind.APPLY_COMMIT,
                Origin.ROLLBACK,
                text,
                commit_ref=tag,
            )
            return row.id

        return await self._imported(await self._store.write(work))

    async def rebuild(
        self, caller: access.Caller, agent_name: str, *, once: str | None = None
    ) -> approvals.Approval:
        """Build the deployed configuration on the present inputs and restart (S26).

        Needs no approval; asked for again while one is under way, that one is returned.
        """
        access.require(caller, access.Right.MANAGER, "rebuild an agent")

        def work(tx: ports.Tx) -> approvals.Approval:
            made = None if once is None else tx.get_value(once)
            if made is not None:
                return review.require_approval(tx, made)
            agent = lookup.require_named(tx, agent_name)
            if agent.role is agents.Role.MANAGER and not caller.is_operator:
                raise errors.forbidden("cannot rebuild the manager: only the operator may")
            row = queueing.queue_rebuild(tx, self._clock, caller, agent, "asked for")
            if once is not None:
                tx.put_value(once, row.id)
            return row

        return await self._store.write(work)

    async def cancel_build(self, caller: access.Caller, approval_id: int) -> approvals.Approval:
        """End the build of a proposal; its approval has failed then, and a new one is the retry."""

        def work(tx: ports.Tx) -> approvals.Approval:
            approval = review.require_approval(tx, approval_id)
            proposal = building.require_proposal(tx, approval_id)
            if not caller.is_operator and caller.party != approval.requested_by:
                raise errors.forbidden(
                    f"cannot cancel the build of approval {approval.id}: you did not request it"
                )
            note = f"its build was cancelled by {caller.name}"
            building.fail(tx, self._clock, proposal, note, proposals.BuildMove.CANCEL)
            return review.require_approval(tx, approval_id)

        return await self._store.write(work)

    async def list_inputs(self, caller: access.Caller) -> list[ports.Input]:
        """What configurations are built from."""
        access.require(caller, access.Right.MANAGER, "list the inputs")
        return await self._builder.inputs()

    async def update_inputs(
        self,
        caller: access.Caller,
        names: Sequence[str],
        description: str = "",
        *,
        once: str | None = None,
    ) -> approvals.Approval:
        """Take newer versions of some inputs and rebuild what depends on them (S90).

        The operator's word is enough; asked for by an agent, it waits for an approval.
        """
        access.require(caller, access.Right.MANAGER, "update inputs")
        wanted = sorted(set(names))
        known = {each.name for each in await self._builder.inputs()}
        unknown = [name for name in wanted if name not in known]
        if not wanted or unknown:
            raise errors.invalid(
                f"cannot update inputs: {', '.join(map(repr, unknown)) or 'none is named'}; "
                f"there are {', '.join(sorted(known))}"
            )
        text = review.check_description(
            description or f"Update {', '.join(wanted)}", "update inputs"
        )

        def work(tx: ports.Tx) -> approvals.Approval:
            made = None if once is None else tx.get_value(once)
            if made is not None:
                return review.require_approval(tx, made)
            manager = lookup.require_named(tx, ids.MANAGER_NAME)
            approval = self._insert(
                tx,
                caller,
                manager,
                approvals.ApprovalKind.UPDATE_INPUTS,
                Origin.INPUTS,
                text,
                build=BuildState.BUILT,
                configuration={"inputs": wanted},
            )
            if caller.is_operator:
                approval = queueing.approve_at_once(tx, self._clock, caller, approval)
            if once is not None:
                tx.put_value(once, approval.id)
            return approval

        return await self._store.write(work)

    async def pinned(self, approval_id: int) -> proposals.Proposal:
        """The proposal of an approval as it is now; NOT_FOUND when there is none."""
        return await self._store.read(lambda tx: building.require_proposal(tx, approval_id))

    # --- parts -------------------------------------------------------------------------

    async def _imported(self, approval_id: ids.ApprovalId) -> approvals.Approval:
        """Wait until the build loop has imported it, and say what came of that."""
        while True:
            number = self._store.number()
            approval, proposal = await self._store.read(
                lambda tx: (
                    review.require_approval(tx, approval_id),
                    building.require_proposal(tx, approval_id),
                )
            )
            if proposal.sha or proposal.build is not BuildState.IMPORTING:
                break
            await self._store.changed(events.DEPLOYS, number)
        if not proposal.sha:
            raise errors.invalid(
                f"cannot propose {proposal.commit_ref} (approval {approval.id} has "
                f"{approval.state.value}): {proposal.build_note or approval.note}"
            )
        return approval

    def _insert(
        self,
        tx: ports.Tx,
        caller: access.Caller,
        agent: agents.Agent,
        kind: approvals.ApprovalKind,
        origin: Origin,
        description: str,
        *,
        commit_ref: str = "",
        build: BuildState = BuildState.IMPORTING,
        configuration: dict[str, object] | None = None,
    ) -> approvals.Approval:
        self._refuse_flood(tx, caller)
        base = "" if origin is Origin.INPUTS else deploying.require_deployment(tx, agent.id).sha
        now = self._clock.now()
        return queueing.insert(
            tx,
            now,
            caller,
            agent,
            kind,
            origin,
            description,
            commit_ref=commit_ref,
            build=build,
            base_sha=base,
            configuration=configuration,
            expires_at=now + self._expire,
        )

    def _refuse_flood(self, tx: ports.Tx, caller: access.Caller) -> None:
        if caller.is_operator:
            return
        day = self._clock.now() - datetime.timedelta(days=1)
        own = [a for a in tx.list_approvals(limit=1000) if a.requested_by == caller.party]
        waiting = sum(1 for a in own if a.state is approvals.ApprovalState.PENDING)
        if waiting >= WAITING_MAX:
            raise errors.unavailable(
                f"cannot propose: {waiting} of your requests already wait for the operator; "
                "wait for a decision or withdraw one"
            )
        today = sum(1 for a in own if a.requested_at > day)
        if today >= self._per_day:
            raise errors.unavailable(
                f"cannot propose: {today} requests of yours in the last 24 hours, the limit is "
                f"{self._per_day}; collect changes into one commit"
            )
