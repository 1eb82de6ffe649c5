"""What a test does with configurations in a whole hive: commits, proposals, decisions."""

from __future__ import annotations

import json
from typing import Any

from hyperhive import ports
from hyperhive.domain import agents, approvals, ids, proposals
from hyperhive.domain.approvals import ApprovalState
from hyperhive.services import building, review
from rigs.fake_harness import Turn
from rigs.hive_tester import OLGA, HiveTester

LIVE_STEPS = tuple(s for s in proposals.DeployStep if s is not proposals.DeployStep.NONE)
AGENT_TOML = "schema = 1\n"


def config(*packages: str, **lines: str) -> dict[str, bytes]:
    """The files of a configuration with these Debian packages and further lines."""
    text = AGENT_TOML + "".join(f"{key} = {value}\n" for key, value in lines.items())
    if packages:
        text += f"[packages]\napt = {json.dumps(list(packages))}\n"
    return {"agent.toml": text.encode()}


async def manager(turn: Turn) -> None:
    """Proposes what the operator says (``propose NAME SHA``); asks for an agent (``get NAME``)."""
    if turn.sender != "operator":
        return
    verb, name, *rest = turn.body.split()
    if verb == "get":
        await turn.requests(name, "needed")
    elif verb == "propose":
        await turn.proposes(name, rest[0], f"because of {rest[0][:7]}")


async def with_bob(host: HiveTester) -> agents.Agent:
    """A hive with a running bob."""
    await host.mails("manager", "get bob", key="get bob")
    await host.approves("bob")
    await host.is_in("bob", agents.Phase.RUNNING)
    return await host.until(seeded_and_awake)


def seeded_and_awake(tx: ports.ReadTx) -> agents.Agent | None:
    """Bob, once he has a repository and his harness has answered."""
    bob = tx.find_agent("bob")
    if bob is None or bob.turn_state is not agents.TurnState.IDLE:
        return None
    return bob if tx.get_deployment(bob.id) is not None else None


async def commit(host: HiveTester, files: dict[str, bytes], parent: str = "") -> str:
    """Commit to bob's proposed repository, on what is deployed unless said otherwise."""
    bob = await host.row("bob")
    deployed = await host.look(lambda tx: tx.get_deployment(bob.id))
    assert deployed is not None
    return host.place.commits(files, parent or deployed.sha)


async def proposes(host: HiveTester, sha: str) -> None:
    """The manager asks for that commit."""
    await host.mails("manager", f"propose bob {sha}", key=f"propose {sha}")


async def proposal_of(host: HiveTester, sha: str, *builds: proposals.BuildState) -> Any:
    """Wait for the proposal of a commit, in one of those states of its build."""

    def find(tx: ports.ReadTx) -> Any:
        return next(
            (
                row
                for row in tx.list_proposals()
                if sha.startswith(row.commit_ref) and (not builds or row.build in builds)
            ),
            None,
        )

    return await host.until(find)


async def decides(host: HiveTester, sha: str, note: str | None = None) -> None:
    """Wait until it is built, then approve it, or deny it with a note; done already is fine."""
    waiting = await proposal_of(host, sha, proposals.BuildState.BUILT)

    async def decide(daemon: Any) -> None:
        approval = await daemon.store.read(lambda tx: review.require_approval(tx, waiting.approval))
        if approval.state is not ApprovalState.PENDING:
            return
        if note is None:
            await daemon.review.approve(OLGA, approval.id, approval.digest)
        else:
            await daemon.review.deny(OLGA, approval.id, note)

    await host.ask(decide)


async def ends(host: HiveTester, sha: str, state: ApprovalState) -> approvals.Approval:
    """Wait until the approval of that commit has ended so, and git knows."""

    def find(tx: ports.ReadTx) -> approvals.Approval | None:
        for row in tx.list_proposals():
            if sha.startswith(row.commit_ref):
                approval = review.require_approval(tx, row.approval)
                over = approval.state not in approvals.LIVE
                recorded = row.step is proposals.DeployStep.NONE
                if over and recorded:
                    return approval
        return None

    found = await host.until(find)
    assert found.state is state, found.note
    return found


async def git_of(host: HiveTester) -> dict[str, str]:
    """Short names of bob's tags, and main, with their commits."""
    bob = await host.row("bob")
    found = {tag.name: tag.sha for tag in await host.place.repos.tags(bob.id)}
    main = await host.place.repos.main(bob.id)
    return found | {"main": main or ""}


async def told(host: HiveTester, event: str, to: str = "manager") -> list[dict[str, Any]]:
    """The events of that name that an agent was sent, oldest first."""
    heard = [json.loads(body) for body in await host.events_to(to)]
    return [each for each in heard if each["event"] == event]


async def runs(host: HiveTester) -> Any:
    """What is deployed for bob."""
    bob = await host.row("bob")
    return await host.look(lambda tx: tx.get_deployment(bob.id))


async def proposal(host: HiveTester, approval: ids.ApprovalId) -> proposals.Proposal:
    """The row of a proposal."""
    return await host.look(lambda tx: building.require_proposal(tx, approval))
