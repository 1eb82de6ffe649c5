"""Carries out what was approved: the one owner of *applied*, *meta* and what is on trial.

Each round does the next step of every proposal that has one; a step that the host cannot
do now is tried again later and holds up nobody else. The store decides, git follows.
"""

from __future__ import annotations

import dataclasses
import datetime
from collections.abc import Awaitable
from typing import Final

import structlog

from hyperhive import ports
from hyperhive.domain import approvals, errors, events, ids, proposals
from hyperhive.domain.proposals import BuildMove, DeployStep, Origin
from hyperhive.runtime import patience, seeding
from hyperhive.services import (
    building,
    deploying,
    lookup,
    pinning,
    posting,
    queueing,
    review,
    waiting,
)

RETRY: Final = datetime.timedelta(seconds=5)
"""After a step that the host could not do."""
COLLECT_EVERY: Final = 3600.0
"""Seconds between two looks for layers that nobody needs; only deploys and starts look."""
LIVE_STEPS: Final = tuple(step for step in DeployStep if step is not DeployStep.NONE)


class DeployLoop:
    """Steps of deploys, one after another, for all agents."""

    def __init__(
        self,
        store: ports.Store,
        clock: ports.Clock,
        repos: ports.ConfigRepos,
        meta: ports.Meta,
        builder: ports.Builder,
        seeder: seeding.Seeder,
        log: structlog.typing.FilteringBoundLogger,
        *,
        health_seconds: float,
    ) -> None:
        self._store = store
        self._clock = clock
        self._repos = repos
        self._meta = meta
        self._builder = builder
        self._seeder = seeder
        self._log = log
        self._health_seconds = health_seconds
        self._in_meta: frozenset[ids.AgentId] = frozenset()
        self._collected: float | None = None
        self._later: dict[ids.ApprovalId, datetime.datetime] = {}
        self._told: set[ids.ApprovalId] = set()

    async def run(self) -> None:
        """Until cancelled: put git right, then step after step."""
        await patience.keep_trying(self.reconcile, self._clock, self._log, "configurations")
        while True:
            await patience.keep_trying(self._round, self._clock, self._log, "deploys")

    async def _round(self) -> None:
        number = self._store.number()
        await self._seeder.ensure_all()
        await self._note_new_agents()
        live = await self.run_once()
        waits: list[Awaitable[object]] = []
        if any(row.step is DeployStep.CHECKING for row in live):
            # How the agent on trial is doing is told to nobody in particular.
            waits.append(self._store.changed(events.ANY, number))
        else:
            waits.append(self._store.changed(events.DEPLOYS, number))
            waits.append(self._store.changed(events.FLEET, number))
        due = [row.deadline for row in live if row.deadline is not None]
        due += [at for key, at in self._later.items() if any(r.approval == key for r in live)]
        if due:
            seconds = (min(due) - self._clock.now()).total_seconds()
            waits.append(self._clock.sleep(max(0.05, seconds)))
        await waiting.first(*waits)

    async def _note_new_agents(self) -> None:
        """Meta and the export have exactly the agents that there are (S43)."""
        rows = await self._store.read(lambda tx: tx.list_deployments())
        agents = frozenset(row.agent_id for row in rows)
        if agents != self._in_meta:
            await self._sync_meta()
            await self.publish()
            self._in_meta = agents

    async def run_once(self) -> list[proposals.Proposal]:
        """Do every step that can be done now; the proposals that still have one."""
        clock = self._clock
        while True:
            await self._store.write(lambda tx: deploying.claim(tx, clock))
            rows = await self._store.read(
                lambda tx: tx.list_proposals(steps=LIVE_STEPS, limit=10_000)
            )
            moved = False
            for proposal in reversed(rows):
                if self._later.get(proposal.approval, clock.now()) <= clock.now():
                    moved |= await self._try(proposal)
            if not moved:
                return rows

    async def _try(self, proposal: proposals.Proposal) -> bool:
        """Do one step; whether the row has moved on."""
        self._later.pop(proposal.approval, None)
        try:
            return await self._step(proposal)
        except (errors.HiveError, OSError) as error:
            refused = isinstance(error, errors.HiveError) and (
                error.kind is not errors.ErrorKind.UNAVAILABLE
            )
            if refused and proposal.step is not DeployStep.RECORDING:
                await self._fail(proposal, str(error))
                return True
            self._later[proposal.approval] = self._clock.now() + RETRY
            self._log.warning(
                "a deploy cannot go on yet",
                approval=proposal.approval,
                step=proposal.step.value,
                reason=str(error),
            )
            if refused:
                await self._report(proposal.approval, str(error))
            return False

    async def _step(self, proposal: proposals.Proposal) -> bool:
        if proposal.step is DeployStep.TAGGING:
            return await self._pin(proposal)
        if proposal.step is DeployStep.SWITCHING:
            return await self._switch(proposal)
        if proposal.step is DeployStep.CHECKING:
            return await self._check(proposal)
        return await self._record(proposal)

    async def _pin(self, proposal: proposals.Proposal) -> bool:
        if proposal.origin is not Origin.INPUTS:
            found = await self._builder.find(ids.GenerationId(proposal.generation))
            if found is None:
                await self._store.write(lambda tx: self._build_again(tx, proposal))
                return True
            if proposal.origin is not Origin.REBUILD:
                await self._repos.pin(proposal.agent_id, pinning.begun(proposal))
            await self._meta.prepare(await self._entry(proposal, found))
        await self._store.write(
            lambda tx: building.move_step(tx, self._clock, proposal, DeployStep.SWITCHING)
        )
        return True

    def _build_again(self, tx: ports.Tx, proposal: proposals.Proposal) -> None:
        """What was built has been collected meanwhile; the decision stands."""
        approval = review.require_approval(tx, proposal.approval)
        review.move(tx, approval, approvals.Decision.RESUME, self._clock)
        row = building.move_step(tx, self._clock, proposal, DeployStep.NONE)
        building.move_build(tx, self._clock, row, BuildMove.RESUME)

    async def _switch(self, proposal: proposals.Proposal) -> bool:
        clock = self._clock
        if proposal.origin is Origin.INPUTS:
            names = list(proposal.configuration["inputs"])
            await self._builder.update_inputs(names, self._note_line)
            built_from = self._builder.built_from()
            await self._store.write(
                lambda tx: queueing.note_inputs(tx, clock, proposal, lambda old: old != built_from)
            )
            return True
        await self._builder.activate(proposal.agent_id, ids.GenerationId(proposal.generation))
        await self._store.write(
            lambda tx: deploying.switch(tx, clock, proposal, self._health_seconds)
        )
        return True

    def _note_line(self, line: str) -> None:
        self._log.info("updating inputs", line=line)

    async def _check(self, proposal: proposals.Proposal) -> bool:
        agent = await self._store.read(lambda tx: lookup.require_agent(tx, proposal.agent_id))
        verdict, reason = deploying.judge(agent, proposal, self._clock.now())
        if verdict is deploying.Verdict.WAIT:
            return False
        if verdict is deploying.Verdict.BAD:
            await self._fail(proposal, reason)
            return True
        generation = await self._builder.find(ids.GenerationId(proposal.generation))
        built_from = self._builder.built_from() if generation is None else generation.built_from
        await self._store.write(lambda tx: deploying.succeed(tx, self._clock, proposal, built_from))
        return True

    async def _fail(self, proposal: proposals.Proposal, reason: str) -> None:
        await self._store.write(lambda tx: deploying.give_up(tx, self._clock, proposal, reason))

    # --- git follows -------------------------------------------------------------------

    async def _record(self, proposal: proposals.Proposal) -> bool:
        approval, deployed = await self._store.read(
            lambda tx: (
                review.require_approval(tx, proposal.approval),
                tx.get_deployment(proposal.agent_id),
            )
        )
        tag = ""
        if proposal.origin not in (Origin.REBUILD, Origin.INPUTS):
            final = pinning.outcome(approval, proposal)
            await self._repos.pin(proposal.agent_id, [final])
            tag = final.name
        if approval.state is approvals.ApprovalState.DEPLOYED:
            if proposal.origin is not Origin.INPUTS:
                await self._finalize(approval, proposal)
        else:
            await self._meta.abort()
            if deployed is not None and proposal.origin is not Origin.INPUTS:
                before = ids.GenerationId(deployed.generation) if deployed.generation else None
                await self._builder.activate(proposal.agent_id, before)
        await self.publish()
        await self._store.write(lambda tx: deploying.note_recorded(tx, self._clock, proposal, tag))
        return True

    async def _finalize(self, approval: approvals.Approval, proposal: proposals.Proposal) -> None:
        found = await self._builder.find(ids.GenerationId(proposal.generation))
        entry = await self._entry(proposal, found)
        verb = "rebuild" if proposal.origin is Origin.REBUILD else "deploy"
        tag = "" if proposal.origin is Origin.REBUILD else f" deployed/{approval.id}"
        await self._repos.advance_main(proposal.agent_id, proposal.sha)
        await self._meta.finalize(
            entry, approval.id, f"{verb} {approval.agent_name}{tag} {proposal.sha[:12]}"
        )
        await self._drop_stale(proposal)

    async def _drop_stale(self, deployed: proposals.Proposal) -> None:
        """Proposals beside the one that is deployed now cannot become main any more."""

        def look(tx: ports.ReadTx) -> list[proposals.Proposal]:
            return [
                other
                for other in tx.list_proposals(agent=deployed.agent_id, limit=10_000)
                if other.approval != deployed.approval
                and other.sha
                and review.require_approval(tx, other.approval).state
                is approvals.ApprovalState.PENDING
            ]

        for other in await self._store.read(look):
            if not await self._repos.descends(other.agent_id, other.sha, deployed.sha):
                await self._store.write(
                    lambda tx, o=other: deploying.refuse_stale(
                        tx, self._clock, building.require_proposal(tx, o.approval), deployed.sha
                    )
                )

    async def _entry(
        self, proposal: proposals.Proposal, generation: ports.Generation | None
    ) -> ports.MetaEntry:
        agent = await self._store.read(lambda tx: lookup.require_agent(tx, proposal.agent_id))
        return ports.MetaEntry(
            agent=agent.id,
            name=agent.name,
            role=agent.role.value,
            sha=proposal.sha,
            generation=proposal.generation,
            lock={} if generation is None else generation.lock,
        )

    async def publish(self) -> None:
        """Bring the export up to date; the mirror looks by itself."""
        rows = await self._store.read(lambda tx: tx.list_agents())
        await self._repos.publish([(agent.id, agent.name) for agent in rows])

    async def _collect(self) -> None:
        """Forget what no agent runs, may be switched to or was switched from; once an hour."""
        now = self._clock.monotonic()
        if self._collected is not None and now - self._collected < COLLECT_EVERY:
            return
        self._collected = now
        keep = await self._store.read(deploying.wanted_generations)
        freed = await self._builder.collect(keep)
        if freed:
            self._log.info("unused layers were removed", bytes=freed)

    # --- start -------------------------------------------------------------------------

    async def reconcile(self) -> None:
        """After a start: make tags, main and meta agree with the store (P7)."""
        await self._seeder.ensure_all()
        wanted = await self._store.read(pinning.everything)
        differing: list[str] = []
        for agent, tags, main in wanted:
            try:
                found = await self._repos.reconcile(agent.id, tags, main)
            except errors.HiveError as error:
                # One damaged repository must not hold up all the others.
                found = [error.message]
            differing += [f"{agent.name}: {sentence}" for sentence in found]
        await self._note_new_agents()
        await self._collect()
        if differing:
            self._log.warning("repositories differ from the store", differences=differing[:50])
            text = "\n".join(differing[:50])
            await self._mail_operator(
                f"Applied repositories are not as the hive left them. They were not touched; what "
                f"runs is what the store says:\n{text}"
            )

    async def _sync_meta(self) -> None:
        def look(tx: ports.ReadTx) -> list[ports.MetaEntry]:
            return [
                ports.MetaEntry(agent.id, agent.name, agent.role.value, row.sha, row.generation, {})
                for agent in tx.list_agents()
                if (row := tx.get_deployment(agent.id)) is not None
            ]

        entries: list[ports.MetaEntry] = []
        for entry in await self._store.read(look):
            built = ids.GenerationId(entry.generation) if entry.generation else None
            found = None if built is None else await self._builder.find(built)
            entries.append(entry if found is None else dataclasses.replace(entry, lock=found.lock))
        verb = "regenerate meta for" if self._in_meta else "seed meta from"
        await self._meta.sync(entries, f"{verb} {len(entries)} agents")

    async def _report(self, approval: ids.ApprovalId, reason: str) -> None:
        if approval in self._told:
            return
        self._told.add(approval)
        await self._mail_operator(
            f"The outcome of approval {approval} stands, but git cannot record it: {reason}"
        )

    async def _mail_operator(self, text: str) -> None:
        await self._store.write(lambda tx: posting.tell_operator(tx, self._clock.now(), text))
