"""The deploy of one approved proposal: each step written down before it is begun.

The store decides: an outcome is a row first, and git follows in the step RECORDING. Plain
functions on a `ports.Tx`; `runtime.deploy_loop` does what lies between them.
"""

from __future__ import annotations

import dataclasses
import datetime
import enum
from typing import Final

from hyperhive import ports
from hyperhive.domain import (
    agents,
    approvals,
    configuration,
    deployments,
    errors,
    events,
    ids,
    proposals,
)
from hyperhive.domain.proposals import DeployStep, Origin
from hyperhive.services import building, effects, lookup, pinning, posting, review

ROLLBACKS_KEPT: Final = 5
CHANGING: Final = (Origin.COMMIT, Origin.ROLLBACK)
"""Origins of proposals that change what an agent runs."""


class Verdict(enum.Enum):
    """What a look at an agent on trial says."""

    WAIT = "wait"
    GOOD = "good"
    BAD = "bad"


def claim(tx: ports.Tx, clock: ports.Clock) -> None:
    """Begin the oldest approved proposal of every agent that has none under way."""
    busy = {row.agent_id for row in tx.list_proposals(steps=_UNDER_WAY, limit=10_000)}
    for approval in reversed(
        tx.list_approvals(states=[approvals.ApprovalState.APPROVED], limit=10_000)
    ):
        proposal = tx.get_proposal(approval.id)
        if proposal is None or proposal.agent_id in busy or not proposal.is_built:
            continue
        busy.add(proposal.agent_id)
        review.move(tx, approval, approvals.Decision.BUILD, clock)
        building.move_step(tx, clock, proposal, DeployStep.TAGGING)


def switch(
    tx: ports.Tx, clock: ports.Clock, proposal: proposals.Proposal, health_seconds: float
) -> proposals.Proposal:
    """Put the proposal's generation on trial and ask for a restart of an agent that should run."""
    agent = lookup.require_agent(tx, proposal.agent_id)
    deployment = require_deployment(tx, agent.id)
    tx.put_deployment(dataclasses.replace(deployment, trial=proposal.approval))
    epoch = _restart(tx, agent, f"its configuration changed (approval {proposal.approval})")
    return building.move_step(
        tx,
        clock,
        proposal,
        DeployStep.CHECKING,
        epoch=epoch,
        deadline=clock.now() + datetime.timedelta(seconds=health_seconds),
    )


def judge(
    agent: agents.Agent, proposal: proposals.Proposal, now: datetime.datetime
) -> tuple[Verdict, str]:
    """Whether the agent on trial is well, and why not.

    Well is: its harness has answered from a sandbox that was started for the switch. Who is
    not wanted running cannot be asked; its next start will tell.
    """
    if proposal.epoch == 0 or agent.wanted is agents.Wanted.STOPPED:
        return Verdict.GOOD, ""
    if agent.running_epoch >= proposal.epoch:
        if agent.phase in (agents.Phase.CRASHED, agents.Phase.HALTED):
            return Verdict.BAD, f"it did not stay up: {agent.phase_note}"
        answered = agent.turn_state is not agents.TurnState.OFFLINE
        if agent.phase is agents.Phase.RUNNING and answered:
            return Verdict.GOOD, ""
    if proposal.deadline is not None and now >= proposal.deadline:
        return Verdict.BAD, (
            f"its harness did not answer in time (it is {agent.phase.value}); "
            "the previous generation is back"
        )
    return Verdict.WAIT, ""


def succeed(
    tx: ports.Tx, clock: ports.Clock, proposal: proposals.Proposal, built_from: str
) -> None:
    """What was on trial is deployed; what else waits for this agent must be looked at again."""
    approval = review.require_approval(tx, proposal.approval)
    review.move(tx, approval, approvals.Decision.DEPLOY, clock)
    tx.put_deployment(
        deployments.Deployment(
            agent_id=proposal.agent_id,
            approval=_tagged_approval(tx, proposal),
            sha=proposal.sha,
            tree=proposal.tree,
            generation=proposal.generation,
            built_from=built_from,
            configuration=proposal.configuration,
            deployed_at=clock.now(),
        )
    )
    tx.record(
        events.Event(
            events.EventKind.CONFIGURATION_DEPLOYED,
            agent=proposal.agent_id,
            approval=proposal.approval,
            text=proposal.sha[:12],
            topics=(events.DEPLOYS, events.FLEET, events.MIRROR),
        )
    )
    building.move_step(tx, clock, proposal, DeployStep.RECORDING, deadline=None)
    for other in tx.list_proposals(agent=proposal.agent_id, limit=10_000):
        waits = review.require_approval(tx, other.approval).state
        if (
            waits is approvals.ApprovalState.PENDING
            and other.base_sha != proposal.sha
            and other.origin in CHANGING
        ):
            _look_again(tx, other, proposal)


def _look_again(tx: ports.Tx, waiting: proposals.Proposal, deployed: proposals.Proposal) -> None:
    """What waits changes something else now: its base, what it does, and so its digest."""
    does = waiting.effects
    if waiting.is_built:
        does = effects.effects(
            configuration.from_json(deployed.configuration),
            configuration.from_json(waiting.configuration),
            does.get("warnings", ()),
        )
    moved = dataclasses.replace(waiting, base_sha=deployed.sha, effects=does)
    tx.update_proposal(moved)
    building.renew_digest(tx, moved)


def give_up(tx: ports.Tx, clock: ports.Clock, proposal: proposals.Proposal, reason: str) -> None:
    """The deploy has failed: what ran before is what is deployed, and it is started again."""
    approval = review.require_approval(tx, proposal.approval)
    review.move(tx, approval, approvals.Decision.FAIL, clock, note=reason[: building.NOTE_MAX])
    agent = tx.get_agent(proposal.agent_id)
    deployment = tx.get_deployment(proposal.agent_id)
    if agent is not None and deployment is not None and deployment.trial == proposal.approval:
        tx.put_deployment(dataclasses.replace(deployment, trial=None))
        _restart(tx, agent, f"the deploy of approval {proposal.approval} failed")
    building.move_step(tx, clock, proposal, DeployStep.RECORDING, deadline=None)


def refuse_stale(tx: ports.Tx, clock: ports.Clock, proposal: proposals.Proposal, main: str) -> None:
    """A proposal that does not stand on what is deployed now can never become main."""
    if review.require_approval(tx, proposal.approval).state is not approvals.ApprovalState.PENDING:
        return
    note = (
        f"another deploy came first, and {proposal.sha[:12]} does not descend from main "
        f"({main[:12]}): git fetch applied, rebase onto applied/main and propose again"
    )
    if proposal.build in proposals.UNDER_WAY:
        building.fail(tx, clock, proposal, note, proposals.BuildMove.CANCEL)
        return
    approval = review.require_approval(tx, proposal.approval)
    review.move(tx, approval, approvals.Decision.FAIL, clock, note=note)
    building.move_step(tx, clock, proposal, DeployStep.RECORDING)


def note_recorded(tx: ports.Tx, clock: ports.Clock, proposal: proposals.Proposal, tag: str) -> None:
    """Git has the outcome: tell who asked (S71), and the manager of a rebuild."""
    recorded = building.move_step(tx, clock, proposal, DeployStep.NONE, tag=tag)
    approval = review.require_approval(tx, proposal.approval)
    if proposal.origin is not Origin.REBUILD:
        review.tell_requester(tx, clock, approval)
        return
    manager = next((a for a in tx.list_agents() if a.role is agents.Role.MANAGER), None)
    if manager is not None:
        ok = approval.state is approvals.ApprovalState.DEPLOYED
        deployed = tx.get_deployment(proposal.agent_id)
        posting.post_event(
            tx,
            clock.now(),
            manager,
            "rebuilt",
            agent=approval.agent_name,
            ok=ok,
            note=approval.note,
            sha=recorded.sha,
            tag="" if deployed is None else f"deployed/{deployed.approval}",
        )


def seed(
    tx: ports.Tx,
    clock: ports.Clock,
    agent: agents.Agent,
    commit: ports.Commit,
    configuration: dict[str, object],
    built_from: str,
) -> None:
    """Write down that an agent's first configuration is deployed (deployed/0), once."""
    if tx.get_deployment(agent.id) is not None:
        return
    tx.put_value(pinning.seed_key(agent.id), commit.sha)
    tx.put_deployment(
        deployments.Deployment(
            agent_id=agent.id,
            approval=ids.ApprovalId(0),
            sha=commit.sha,
            tree=commit.tree,
            generation="",
            built_from=built_from,
            configuration=configuration,
            deployed_at=clock.now(),
        )
    )
    tx.record(
        events.Event(
            events.EventKind.CONFIGURATION_SEEDED,
            agent=agent.id,
            text=commit.sha[:12],
            topics=(events.DEPLOYS, events.MIRROR),
        )
    )


def wanted_generations(tx: ports.ReadTx) -> list[str]:
    """Built environments that must be kept: what runs, what waits, and what ran before.

    The last `ROLLBACKS_KEPT` deploys of each agent are kept, so that going back builds nothing.
    """
    keep = {row.generation for row in tx.list_deployments()}
    for agent in tx.list_agents():
        recent: list[str] = []
        for proposal in tx.list_proposals(agent=agent.id, limit=1000):
            state = review.require_approval(tx, proposal.approval).state
            if state in approvals.LIVE or proposal.step is not DeployStep.NONE:
                keep.add(proposal.generation)
            elif state is approvals.ApprovalState.DEPLOYED:
                recent.append(proposal.generation)
        keep.update(recent[:ROLLBACKS_KEPT])
    return sorted(keep - {""})


def require_deployment(tx: ports.ReadTx, agent: ids.AgentId) -> deployments.Deployment:
    """What is deployed for an agent, or UNAVAILABLE: its repository is still being made."""
    found = tx.get_deployment(agent)
    if found is None:
        raise errors.unavailable(
            "cannot use its configuration yet: the repository is still being made; try again"
        )
    return found


def _tagged_approval(tx: ports.ReadTx, proposal: proposals.Proposal) -> ids.ApprovalId:
    """Whose deployed/<id> names the commit: a rebuild keeps the tag that there is."""
    if proposal.origin is not Origin.REBUILD:
        return proposal.approval
    return require_deployment(tx, proposal.agent_id).approval


def _restart(tx: ports.Tx, agent: agents.Agent, reason: str) -> int:
    """Ask for a fresh sandbox; the epoch to wait for, or 0 when it is not wanted running."""
    if agent.wanted is agents.Wanted.STOPPED:
        return 0
    changed = dataclasses.replace(
        agent, epoch=agent.epoch + 1, crashes=0, retry_at=None, start_reason=reason
    )
    tx.update_agent(changed)
    tx.record(
        events.Event(
            events.EventKind.AGENT_WANTED,
            agent=agent.id,
            text=reason,
            topics=(events.agent_topic(agent.id), events.FLEET),
        )
    )
    return changed.epoch


_UNDER_WAY: Final = (DeployStep.TAGGING, DeployStep.SWITCHING, DeployStep.CHECKING)
