"""Imports and builds what is proposed, before anybody decides.

Level-triggered: rows say what is to do, at most `TOGETHER` builds run at a time, each in
a task that ends when its row says so (denied, withdrawn, cancelled). A daemon that died in the
middle queues the build again; an import that was pinned is found pinned.
"""

from __future__ import annotations

import dataclasses
import itertools
from collections.abc import Awaitable, Callable
from typing import Final

import structlog

from hyperhive import ports
from hyperhive.domain import agents, configuration, errors, events, ids, proposals
from hyperhive.domain.proposals import BuildMove, BuildState, Origin
from hyperhive.runtime import patience, supervisor
from hyperhive.services import agent_toml, building, effects, lookup, review, waiting

TOGETHER: Final = 2
BUILD_SECONDS: Final = 3600.0
"""The last word on a build; builders have shorter limits of their own."""


@dataclasses.dataclass(frozen=True)
class BuildParts:
    """What builds work with."""

    store: ports.Store
    clock: ports.Clock
    repos: ports.ConfigRepos
    builder: ports.Builder
    space: ports.BuildSpace
    produce: Callable[[ids.PartyId, ids.AgentName], Awaitable[ports.Produce]]
    """A pack of an agent's proposed repository, made in the sandbox of who asks for the import."""
    log: structlog.typing.FilteringBoundLogger


class BuildLoop:
    """Starts a task for each proposal that is to be imported or built."""

    def __init__(self, parts: BuildParts, tasks: supervisor.Supervisor) -> None:
        self._parts = parts
        self._tasks = tasks
        self._running: set[ids.ApprovalId] = set()
        self._tries = itertools.count(1)

    async def run(self) -> None:
        """Until cancelled: take up what a dead daemon left, then look, start, wait."""
        parts = self._parts
        await patience.keep_trying(self._resume, parts.clock, parts.log, "builds")
        while True:
            await patience.keep_trying(self._round, parts.clock, parts.log, "builds")

    async def _resume(self) -> None:
        def work(tx: ports.Tx) -> None:
            for left in tx.list_proposals(builds=[BuildState.BUILDING], limit=10_000):
                building.move_build(tx, self._parts.clock, left, BuildMove.RESUME)

        await self._parts.store.write(work)

    async def _round(self) -> None:
        number = self._parts.store.number()
        waits = [BuildState.IMPORTING, BuildState.QUEUED]
        rows = await self._parts.store.read(lambda tx: tx.list_proposals(builds=waits, limit=1000))
        for proposal in reversed(rows):
            # An import is short and somebody waits for it.
            full = len(self._running) >= TOGETHER and proposal.build is BuildState.QUEUED
            if not full and proposal.approval not in self._running:
                self._running.add(proposal.approval)
                name = f"build {proposal.approval}, {next(self._tries)}"
                self._tasks.start(name, self._keep_working(proposal.approval))
        await self._parts.store.changed(events.DEPLOYS, number)

    async def _keep_working(self, approval: ids.ApprovalId) -> None:
        parts = self._parts
        name = f"build {approval}"
        try:
            await patience.keep_trying(lambda: self._work(approval), parts.clock, parts.log, name)
        finally:
            self._running.discard(approval)
        # Somebody else may have waited for this place, or this one is queued again.
        await patience.keep_trying(self._nudge, parts.clock, parts.log, name)

    async def _work(self, approval: ids.ApprovalId) -> None:
        """Import and build one proposal, until its row says that nothing is left to do."""
        store = self._parts.store
        while True:
            proposal = await store.read(lambda tx: building.require_proposal(tx, approval))
            if proposal.build is BuildState.IMPORTING:
                await waiting.first(self._bring(proposal), self._until_dropped(approval))
            elif proposal.build is BuildState.QUEUED:
                await waiting.first(self._build(proposal), self._until_dropped(approval))
            else:
                await self._parts.space.discard(approval)
                return

    async def _until_dropped(self, approval: ids.ApprovalId) -> None:
        """Return when somebody has ended the work of this row: a denial, a cancellation."""
        store = self._parts.store
        while True:
            number = store.number()
            row = await store.read(lambda tx: building.require_proposal(tx, approval))
            if row.build is BuildState.CANCELLED or row.build is BuildState.FAILED:
                return
            await store.changed(events.DEPLOYS, number)

    async def _nudge(self) -> None:
        """A place is free: the loop looks again."""

        def work(tx: ports.Tx) -> None:
            if tx.list_proposals(builds=[BuildState.QUEUED], limit=1):
                tx.record(events.Event(events.EventKind.BUILD_MOVED, topics=(events.DEPLOYS,)))

        await self._parts.store.write(work)

    # --- import ------------------------------------------------------------------------

    async def _bring(self, proposal: proposals.Proposal) -> None:
        try:
            commit = await self._import(proposal)
        except errors.HiveError as error:
            await self._fail(proposal.approval, error.message)
            return
        deployed = await self._parts.store.read(lambda tx: tx.get_deployment(proposal.agent_id))
        stale = deployed is not None and not await self._parts.repos.descends(
            proposal.agent_id, commit.sha, deployed.sha
        )

        def work(tx: ports.Tx) -> None:
            row = building.require_proposal(tx, proposal.approval)
            if row.build is not BuildState.IMPORTING:
                return
            row = building.move_build(
                tx, self._parts.clock, row, BuildMove.IMPORTED, sha=commit.sha, tree=commit.tree
            )
            building.renew_digest(tx, row)
            if stale and deployed is not None:
                building.fail(tx, self._parts.clock, row, _stale(commit.sha, deployed.sha))

        await self._parts.store.write(work)

    async def _import(self, proposal: proposals.Proposal) -> ports.Commit:
        repos, store = self._parts.repos, self._parts.store
        approval, agent, deployed = await store.read(
            lambda tx: (
                review.require_approval(tx, proposal.approval),
                lookup.require_agent(tx, proposal.agent_id),
                tx.get_deployment(proposal.agent_id),
            )
        )
        if proposal.origin is Origin.COMMIT:
            produce = await self._parts.produce(approval.requested_by, agent.name)
            return await repos.import_commit(
                agent.id, proposal.approval, proposal.commit_ref, produce
            )
        known = await repos.tags(agent.id)
        old = next((tag for tag in known if tag.name == proposal.commit_ref), None)
        if old is None or deployed is None:
            raise errors.not_found(f"cannot go back to {proposal.commit_ref}: the tag is gone")
        return await repos.restore(agent.id, proposal.approval, old.sha, f"Roll back to {old.name}")

    # --- build -------------------------------------------------------------------------

    async def _build(self, proposal: proposals.Proposal) -> None:
        parts = self._parts
        begun = await parts.store.write(self._begin(proposal.approval))
        if begun is None:
            return
        agent, before = begun
        with parts.space.open_log(proposal.approval) as log:
            try:
                generation, reading = await self._make(proposal, agent, log)
            except errors.HiveError as error:
                log.line(error.message)
                await self._fail(proposal.approval, error.message)
                return
            log.line(f"built {generation.id}")
        made = agent_toml.accept(reading)
        warnings = [*reading.warnings, *effects.origins(generation.lock)]
        done = effects.effects(before, made, warnings)

        def work(tx: ports.Tx) -> None:
            row = building.require_proposal(tx, proposal.approval)
            if row.build is BuildState.BUILDING:
                building.finish(
                    tx, parts.clock, row, generation.id, configuration.to_json(made), done
                )

        await parts.store.write(work)

    async def _make(
        self,
        proposal: proposals.Proposal,
        agent: agents.Agent,
        log: ports.BuildLog,
    ) -> tuple[ports.Generation, agent_toml.Reading]:
        parts = self._parts
        source = await parts.space.fresh(proposal.approval)
        await parts.repos.export(agent.id, proposal.sha, str(source))
        reading = agent_toml.examine(await parts.space.read(source))
        made = agent_toml.accept(reading)
        for warning in reading.warnings:
            log.line(f"warning: {warning}")
        deployed = await parts.store.read(lambda tx: tx.get_deployment(agent.id))
        known = None
        if deployed is not None and deployed.generation:
            known = await parts.builder.find(ids.GenerationId(deployed.generation))
        order = ports.BuildOrder(
            agent=agent.id,
            name=agent.name,
            role=agent.role.value,
            sha=proposal.sha,
            source=source,
            configuration=made,
            lock={} if known is None else known.lock,
            fresh=proposal.origin is Origin.REBUILD,
        )
        return await parts.builder.build(order, log.line), reading

    def _begin(
        self, approval: ids.ApprovalId
    ) -> Callable[[ports.Tx], tuple[agents.Agent, configuration.Configuration | None] | None]:
        def work(
            tx: ports.Tx,
        ) -> tuple[agents.Agent, configuration.Configuration | None] | None:
            row = building.require_proposal(tx, approval)
            if row.build is not BuildState.QUEUED:
                return None
            building.move_build(tx, self._parts.clock, row, BuildMove.BEGIN)
            deployed = tx.get_deployment(row.agent_id)
            before = None if deployed is None else configuration.from_json(deployed.configuration)
            return lookup.require_agent(tx, row.agent_id), before

        return work

    async def _fail(self, approval: ids.ApprovalId, note: str) -> None:
        def work(tx: ports.Tx) -> None:
            row = building.require_proposal(tx, approval)
            if row.build in proposals.UNDER_WAY:
                building.fail(tx, self._parts.clock, row, note)

        await self._parts.store.write(work)
        self._parts.log.info("a proposal failed", approval=approval, reason=note)


def _stale(sha: str, deployed: str) -> str:
    return (
        f"{sha[:12]} does not descend from what is deployed ({deployed[:12]}): git fetch applied, "
        "rebase onto applied/main and propose again"
    )
