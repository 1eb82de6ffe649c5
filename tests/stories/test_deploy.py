"""From a commit to what an agent runs, and back: told like stories, on memory twins."""

from __future__ import annotations

import asyncio
import contextlib
import datetime
import pathlib
from collections.abc import Awaitable, Callable
from typing import Any

import pytest

from hyperhive.adapters.builder.memory import NO_SUCH_PACKAGE
from hyperhive.domain import agents, errors, ids
from hyperhive.domain.approvals import ApprovalKind, ApprovalState
from hyperhive.domain.proposals import BuildState
from rigs import deploy_story as tell
from rigs import fake_harness
from rigs.hive_tester import OLGA, HiveTester, hive

pytestmark = pytest.mark.timeout(30)
Story = Callable[[HiveTester, agents.Agent], Awaitable[None]]


def play(path: pathlib.Path, story: Story) -> None:
    async def main() -> None:
        async with asyncio.timeout(15), hive(path, brains={"manager": tell.manager}) as host:
            await host.up()
            await story(host, await tell.with_bob(host))

    asyncio.run(main())


def test_an_approved_commit_runs_is_tagged_and_pinned(tmp_path: pathlib.Path) -> None:
    async def story(host: HiveTester, bob: agents.Agent) -> None:
        seed = (await tell.runs(host)).sha
        sha = await tell.commit(host, tell.config("jq", model='"m-2"'))
        await tell.proposes(host, sha)
        waiting = await tell.proposal_of(host, sha, BuildState.BUILT)
        assert waiting.effects
        assert (await tell.git_of(host))["main"] == seed
        await tell.decides(host, sha)
        approval = await tell.ends(host, sha, ApprovalState.DEPLOYED)
        number = approval.id
        assert await tell.git_of(host) == {
            "deployed/0": seed, f"proposal/{number}": sha, f"approved/{number}": sha,
            f"building/{number}": sha, f"deployed/{number}": sha, "main": sha,
        }  # fmt: skip
        deployed = await tell.runs(host)
        assert (deployed.sha, deployed.approval, deployed.trial) == (sha, number, None)
        assert deployed.configuration["model"] == "m-2"
        assert host.place.shelf.current[bob.id] == deployed.generation
        assert (await host.row("bob")).running_epoch > bob.running_epoch
        assert host.place.repos.published[bob.name]["refs/heads/main"] == sha
        (commit, *_) = await host.place.meta.log()
        assert commit.message.startswith(f"deploy bob deployed/{number} {sha[:12]}")
        (heard,) = [e for e in await tell.told(host, "approval_resolved") if e.get("sha")]
        assert heard == {
            "event": "approval_resolved", "id": number, "kind": "apply_commit", "agent": "bob",
            "status": "deployed", "note": "", "commit_ref": sha, "sha": sha,
            "tag": f"deployed/{number}",
        }  # fmt: skip

    play(tmp_path, story)


def test_a_broken_proposal_fails_with_its_log_and_harms_nothing(tmp_path: pathlib.Path) -> None:
    async def story(host: HiveTester, bob: agents.Agent) -> None:
        seed = (await tell.runs(host)).sha
        sha = await tell.commit(host, tell.config(NO_SUCH_PACKAGE))
        await tell.proposes(host, sha)
        failed = await tell.ends(host, sha, ApprovalState.FAILED)
        assert NO_SUCH_PACKAGE in failed.note
        found = await tell.git_of(host)
        assert found[f"failed/{failed.id}"] == sha
        assert found["main"] == seed
        tags = {tag.name: tag for tag in await host.place.repos.tags(bob.id)}
        assert NO_SUCH_PACKAGE in tags[f"failed/{failed.id}"].message
        assert any("Unable to locate" in line for line in host.place.space.lines[failed.id])
        assert (await host.row("bob")).sandbox == bob.sandbox, "bob was touched"
        (heard,) = [e for e in await tell.told(host, "approval_resolved") if e.get("sha")]
        assert (heard["status"], heard["tag"]) == ("failed", f"failed/{failed.id}")

    play(tmp_path, story)


def test_a_denial_is_tagged_with_its_note_and_reaches_the_manager(tmp_path: pathlib.Path) -> None:
    async def story(host: HiveTester, bob: agents.Agent) -> None:
        sha = await tell.commit(host, tell.config("jq"))
        await tell.proposes(host, sha)
        await tell.decides(host, sha, note="not today")
        denied = await tell.ends(host, sha, ApprovalState.DENIED)
        tags = {tag.name: tag for tag in await host.place.repos.tags(bob.id)}
        assert tags[f"denied/{denied.id}"].message == "not today"
        assert f"approved/{denied.id}" not in tags
        (heard,) = [e for e in await tell.told(host, "approval_resolved") if e.get("sha")]
        assert (heard["status"], heard["note"]) == ("denied", "not today")
        assert (await host.row("bob")).sandbox == bob.sandbox

    play(tmp_path, story)


def test_what_does_not_come_up_is_taken_back_by_itself(tmp_path: pathlib.Path) -> None:
    async def story(host: HiveTester, bob: agents.Agent) -> None:
        before = await tell.runs(host)
        sha = await tell.commit(host, tell.config("jq"))
        await tell.proposes(host, sha)
        waiting = await tell.proposal_of(host, sha, BuildState.BUILT)
        host.refuse_spec = "cannot mount the layers"
        await tell.decides(host, sha)
        await host.until(lambda tx: (tx.get_deployment(bob.id) or before).trial == waiting.approval)
        await host.is_in("bob", agents.Phase.CRASHED)
        host.refuse_spec = ""
        failed = await tell.ends(host, sha, ApprovalState.FAILED)
        assert "cannot mount the layers" in failed.note
        assert await tell.runs(host) == before
        back = await host.is_in("bob", agents.Phase.RUNNING)
        assert back.running_epoch == back.epoch
        assert bob.id not in host.place.shelf.current
        assert (await tell.git_of(host))["main"] == before.sha

    play(tmp_path, story)


def test_a_harness_that_does_not_answer_in_time_fails_the_deploy(tmp_path: pathlib.Path) -> None:
    async def story(host: HiveTester, bob: agents.Agent) -> None:
        before = await tell.runs(host)
        sha = await tell.commit(host, tell.config("jq"))
        await tell.proposes(host, sha)
        await tell.proposal_of(host, sha, BuildState.BUILT)
        deaf: list[int] = []

        async def silent(inside: Any) -> int:
            deaf.append(1)
            await asyncio.get_running_loop().create_future()
            return 0

        host.world.program("harness", payload=silent)
        await tell.decides(host, sha)
        await host.until(lambda tx: (tx.get_deployment(bob.id) or before).trial is not None)
        await host.until(lambda tx: deaf and tx.get_agent(bob.id))
        host.world.program("harness", payload=fake_harness.payload(host))
        host.clock.advance(61)
        failed = await tell.ends(host, sha, ApprovalState.FAILED)
        assert "did not answer in time" in failed.note
        assert await tell.runs(host) == before
        await host.until(tell.seeded_and_awake)

    play(tmp_path, story)


def test_a_rollback_is_a_proposal_on_the_same_road(tmp_path: pathlib.Path) -> None:
    async def story(host: HiveTester, bob: agents.Agent) -> None:
        seed = await tell.runs(host)
        sha = await tell.commit(host, tell.config("jq"))
        await tell.proposes(host, sha)
        await tell.decides(host, sha)
        await tell.ends(host, sha, ApprovalState.DEPLOYED)
        asked = await host.ask(lambda d: d.proposing.rollback(OLGA, "bob", "deployed/0"))
        assert asked.state is ApprovalState.PENDING
        await tell.decides(host, "deployed/0")
        done = await tell.ends(host, "deployed/0", ApprovalState.DEPLOYED)
        back = await tell.runs(host)
        assert (back.tree, back.approval) == (seed.tree, done.id)
        assert back.sha != seed.sha, "main only goes forward"
        assert await host.place.repos.descends(bob.id, back.sha, sha)
        with pytest.raises(errors.HiveError, match="it has no such tag") as caught:
            await host.ask(lambda d: d.proposing.rollback(OLGA, "bob", "deployed/99"))
        assert caught.value.kind is errors.ErrorKind.NOT_FOUND

    play(tmp_path, story)


def test_of_two_siblings_the_second_must_be_rebased(tmp_path: pathlib.Path) -> None:
    async def story(host: HiveTester, bob: agents.Agent) -> None:
        one = await tell.commit(host, tell.config("jq"))
        two = await tell.commit(host, tell.config("tree"))
        for sha in (one, two):
            await tell.proposes(host, sha)
        stale = await tell.proposal_of(host, two, BuildState.BUILT)
        seen = await host.look(lambda tx: tx.get_approval(stale.approval))
        await tell.decides(host, one)
        await tell.ends(host, one, ApprovalState.DEPLOYED)
        failed = await tell.ends(host, two, ApprovalState.FAILED)
        assert "rebase onto applied/main" in failed.note
        with pytest.raises(errors.HiveError) as caught:
            await host.ask(lambda d: d.review.approve(OLGA, stale.approval, seen.digest))
        assert caught.value.kind is errors.ErrorKind.CONFLICT
        late = await tell.commit(host, tell.config("tree", "jq"), parent=two)
        await tell.proposes(host, late)
        refused = await tell.ends(host, late, ApprovalState.FAILED)
        assert "does not descend" in refused.note

    play(tmp_path, story)


def test_only_what_is_built_and_was_seen_can_be_approved(tmp_path: pathlib.Path) -> None:
    async def story(host: HiveTester, bob: agents.Agent) -> None:
        host.place.shelf.gate = asyncio.Event()
        sha = await tell.commit(host, tell.config("jq"))
        await tell.proposes(host, sha)
        waiting = await tell.proposal_of(host, sha, BuildState.BUILDING)
        early = await host.look(lambda tx: tx.get_approval(waiting.approval))
        with pytest.raises(errors.HiveError, match="its build is building") as caught:
            await host.ask(lambda d: d.review.approve(OLGA, early.id, early.digest))
        assert caught.value.kind is errors.ErrorKind.CONFLICT
        host.place.shelf.gate.set()
        await tell.proposal_of(host, sha, BuildState.BUILT)
        with pytest.raises(errors.HiveError, match="not what waits") as caught:
            await host.ask(lambda d: d.review.approve(OLGA, early.id, early.digest))
        assert caught.value.kind is errors.ErrorKind.CONFLICT
        await tell.decides(host, sha)
        await tell.ends(host, sha, ApprovalState.DEPLOYED)

    play(tmp_path, story)


@pytest.mark.parametrize("how", ["cancel", "deny", "withdraw", "expire"])
def test_a_build_that_nobody_wants_any_more_ends(tmp_path: pathlib.Path, how: str) -> None:
    async def story(host: HiveTester, bob: agents.Agent) -> None:
        host.place.shelf.gate = asyncio.Event()
        sha = await tell.commit(host, tell.config("jq"))
        await tell.proposes(host, sha)
        number = (await tell.proposal_of(host, sha, BuildState.BUILDING)).approval
        if how == "cancel":
            await host.ask(lambda d: d.proposing.cancel_build(OLGA, number))
        elif how == "deny":
            await host.ask(lambda d: d.review.deny(OLGA, number, "no"))
        elif how == "withdraw":
            await host.ask(lambda d: d.review.withdraw(OLGA, number))
        else:
            host.clock.advance(datetime.timedelta(days=8).total_seconds())
        ended = await tell.ends(host, sha, {
            "cancel": ApprovalState.FAILED, "deny": ApprovalState.DENIED,
            "withdraw": ApprovalState.WITHDRAWN, "expire": ApprovalState.EXPIRED,
        }[how])  # fmt: skip
        assert (await tell.proposal(host, ended.id)).build is BuildState.CANCELLED
        host.place.shelf.gate = None
        again = await tell.commit(host, tell.config("tree"))
        await tell.proposes(host, again)
        await tell.decides(host, again)
        await tell.ends(host, again, ApprovalState.DEPLOYED)
        assert len(host.place.shelf.made) == 1, "the build went on in secret"

    play(tmp_path, story)


def test_an_update_builds_anew_without_a_decision(tmp_path: pathlib.Path) -> None:
    async def story(host: HiveTester, bob: agents.Agent) -> None:
        sha = await tell.commit(host, tell.config("jq"))
        await tell.proposes(host, sha)
        await tell.decides(host, sha)
        number = (await tell.ends(host, sha, ApprovalState.DEPLOYED)).id
        old = await tell.runs(host)
        asked = await host.ask(lambda d: d.proposing.update_inputs(OLGA, ["apt"]))
        assert asked.kind is ApprovalKind.UPDATE_INPUTS
        await host.until(lambda tx: (tx.get_deployment(bob.id) or old).generation != old.generation)
        new = await tell.runs(host)
        assert (new.sha, new.approval) == (sha, number)
        assert new.built_from != old.built_from
        await host.until(tell.seeded_and_awake)

        def all_told(tx: Any) -> bool:
            return not tx.list_proposals(steps=_LIVE)

        await host.until(all_told)
        (heard,) = await tell.told(host, "rebuilt")
        assert (heard["agent"], heard["ok"], heard["tag"]) == ("bob", True, f"deployed/{number}")
        assert [t for t in await tell.git_of(host) if t.startswith("deployed/")] == [
            "deployed/0", f"deployed/{number}",
        ]  # fmt: skip

    play(tmp_path, story)


def test_an_agent_that_is_stopped_gets_it_at_its_next_start(tmp_path: pathlib.Path) -> None:
    async def story(host: HiveTester, bob: agents.Agent) -> None:
        await host.ask(lambda d: d.fleet.stop(OLGA, "bob"))
        await host.is_in("bob", agents.Phase.STOPPED)
        sha = await tell.commit(host, tell.config("jq"))
        await tell.proposes(host, sha)
        await tell.decides(host, sha)
        await tell.ends(host, sha, ApprovalState.DEPLOYED)
        assert (await host.row("bob")).phase is agents.Phase.STOPPED

    play(tmp_path, story)


def test_a_refused_import_leaves_no_phantom(tmp_path: pathlib.Path) -> None:
    async def story(host: HiveTester, bob: agents.Agent) -> None:
        manager = await host.ask(lambda d: d.fleet.identify(ids.AgentId(bob.id)))
        with pytest.raises(errors.HiveError) as caught:
            await host.ask(lambda d: d.proposing.submit(manager, "bob", "abcdef0", "x"))
        assert caught.value.kind is errors.ErrorKind.FORBIDDEN
        with pytest.raises(errors.HiveError, match="the commit is not in the pack") as caught:
            await host.ask(lambda d: d.proposing.submit(OLGA, "bob", "0000000", "x"))
        assert caught.value.kind is errors.ErrorKind.INVALID
        with pytest.raises(errors.HiveError, match="names of branches and tags are refused"):
            await host.ask(lambda d: d.proposing.submit(OLGA, "bob", "main", "x"))
        (failed,) = [
            a
            for a in await host.look(lambda tx: tx.list_approvals())
            if a.kind is ApprovalKind.APPLY_COMMIT
        ]
        assert failed.state is ApprovalState.FAILED
        assert [t for t in await tell.git_of(host) if t.startswith("proposal/")] == []

    play(tmp_path, story)


def test_requests_are_capped(tmp_path: pathlib.Path) -> None:
    async def story(host: HiveTester, bob: agents.Agent) -> None:
        rows = await host.look(lambda tx: tx.list_agents())
        manager = await host.ask(lambda d: d.fleet.identify(rows[0].id))
        for number in range(10):
            sha = await tell.commit(host, tell.config(model=f'"m-{number}"'))
            await host.ask(lambda d, s=sha: d.proposing.submit(manager, "bob", s, "x"))
        with contextlib.ExitStack() as stack:
            stack.enter_context(pytest.raises(errors.HiveError, match="10 of your requests"))
            sha = await tell.commit(host, tell.config(model='"m-11"'))
            await host.ask(lambda d: d.proposing.submit(manager, "bob", sha, "x"))

    play(tmp_path, story)


_LIVE = tell.LIVE_STEPS


def test_one_damaged_repository_holds_up_nobody_else(tmp_path: pathlib.Path) -> None:
    async def story(host: HiveTester, bob: agents.Agent) -> None:
        await host.ask(lambda d: d.review.spawn(OLGA, "zoe", "x"))
        zoe = await host.is_in("zoe", agents.Phase.RUNNING)
        await host.until(lambda tx: tx.get_deployment(zoe.id))
        del host.place.repos._repositories[zoe.id]
        await host.again()
        sha = await tell.commit(host, tell.config("jq"))
        await tell.proposes(host, sha)
        await tell.decides(host, sha)
        await tell.ends(host, sha, ApprovalState.DEPLOYED)
        (said,) = await host.look(lambda tx: tx.list_messages(recipient=ids.OPERATOR))
        assert "zoe: cannot use the configuration" in said.body

    play(tmp_path, story)


def test_what_waits_on_top_of_a_deploy_is_looked_at_again(tmp_path: pathlib.Path) -> None:
    async def story(host: HiveTester, bob: agents.Agent) -> None:
        one = await tell.commit(host, tell.config("jq"))
        two = await tell.commit(host, tell.config("jq", "tree"), parent=one)
        for sha in (one, two):
            await tell.proposes(host, sha)
        before = await tell.proposal_of(host, two, BuildState.BUILT)
        stale = await host.look(lambda tx: tx.get_approval(before.approval))
        assert [each["name"] for each in before.effects["changes"]] == ["apt jq", "apt tree"]
        await tell.decides(host, one)
        await tell.ends(host, one, ApprovalState.DEPLOYED)
        after = await tell.proposal(host, before.approval)
        assert [each["name"] for each in after.effects["changes"]] == ["apt tree"]
        with pytest.raises(errors.HiveError, match="not what waits"):
            await host.ask(lambda d: d.review.approve(OLGA, stale.id, stale.digest))
        await tell.decides(host, two)
        await tell.ends(host, two, ApprovalState.DEPLOYED)

    play(tmp_path, story)
