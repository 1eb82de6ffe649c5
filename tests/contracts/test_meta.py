"""The contract of meta: it pins exactly what is deployed, and its log has successes only."""

from __future__ import annotations

import asyncio
import pathlib
from collections.abc import Awaitable, Callable

import pytest

from hyperhive import ports
from hyperhive.adapters.clock.manual import ManualClock
from hyperhive.adapters.config_repo.memory_meta import MemoryMeta
from hyperhive.domain import ids
from rigs.config_repos import entry, real

Scenario = Callable[[ports.Meta, ManualClock], Awaitable[None]]
Run = Callable[[Scenario], None]
ONE, TWO, THREE = "1" * 40, "2" * 40, "3" * 40


@pytest.fixture(params=["memory", "git"])
def run(request: pytest.FixtureRequest, tmp_path: pathlib.Path) -> Run:
    def start(scenario: Scenario) -> None:
        async def main() -> None:
            clock = ManualClock()
            meta: ports.Meta
            if request.param == "memory":
                meta = MemoryMeta(clock)
            else:
                meta = real(tmp_path / "hive", clock)[1]
            await scenario(meta, clock)

        asyncio.run(main())

    return start


async def messages(meta: ports.Meta) -> list[str]:
    return [commit.message for commit in await meta.log()]


def test_sync_commits_only_what_changed(run: Run) -> None:
    async def scenario(meta: ports.Meta, clock: ManualClock) -> None:
        assert await meta.log() == []
        assert await meta.refs() == {}
        both = [entry("coder", ONE, apt={"jq": "1.6"}), entry("manager", TWO, role="manager")]
        seed = await meta.sync(both, "seed meta from 2 agents")
        assert await meta.refs() == {"refs/heads/main": seed}
        clock.advance(5)
        assert await meta.sync(both[::-1], "regenerate meta") is None
        second = await meta.sync(both[:1], "regenerate meta")
        (newest, oldest) = await meta.log()
        assert (newest.sha, newest.parents, newest.message) == (
            second, (seed,), "regenerate meta",
        )  # fmt: skip
        assert (oldest.sha, oldest.parents) == (seed, ())
        assert [commit.sha for commit in await meta.log(limit=1)] == [second]

    run(scenario)


def test_nobody_at_all_is_a_state_too(run: Run) -> None:
    async def scenario(meta: ports.Meta, clock: ManualClock) -> None:
        first = await meta.sync([], "seed meta from 0 agents")
        assert first is not None
        assert await meta.sync([], "regenerate meta") is None

    run(scenario)


def test_a_deploy_is_one_commit_however_often_it_is_finished(run: Run) -> None:
    async def scenario(meta: ports.Meta, clock: ManualClock) -> None:
        await meta.sync([entry("coder", ONE), entry("tester", ONE)], "seed meta from 2 agents")
        new = entry("coder", TWO, generation="ab" * 8)
        await meta.prepare(new)
        assert len(await meta.log()) == 1
        sha = await meta.finalize(new, ids.ApprovalId(7), "deploy coder deployed/7 222222222222")
        clock.advance(60)
        assert await meta.finalize(new, ids.ApprovalId(7), "deploy again") == sha
        assert await messages(meta) == [
            "deploy coder deployed/7 222222222222\n\nDeploy-Id: 7",
            "seed meta from 2 agents",
        ]
        # A deploy that changes nothing is a deploy all the same.
        clock.advance(60)
        other = await meta.finalize(new, ids.ApprovalId(77), "deploy coder deployed/77 2")
        assert other != sha
        assert len(await meta.log()) == 3
        # What the commit pins is what the next sync finds.
        assert await meta.sync([new, entry("tester", ONE)], "regenerate meta") is None

    run(scenario)


def test_an_aborted_deploy_leaves_nothing(run: Run) -> None:
    async def scenario(meta: ports.Meta, clock: ManualClock) -> None:
        await meta.sync([entry("coder", ONE)], "seed meta from 1 agents")
        await meta.prepare(entry("coder", TWO))
        await meta.abort()
        await meta.abort()
        assert len(await meta.log()) == 1
        assert await meta.sync([entry("coder", ONE)], "regenerate meta") is None

    run(scenario)


def test_a_staging_replaces_an_earlier_one_and_is_not_needed(run: Run) -> None:
    async def scenario(meta: ports.Meta, clock: ManualClock) -> None:
        await meta.prepare(entry("coder", ONE))
        await meta.prepare(entry("tester", THREE))
        await meta.finalize(entry("tester", THREE), ids.ApprovalId(2), "deploy tester")
        assert await meta.sync([entry("tester", THREE)], "regenerate meta") is None
        # The daemon died after the switch; the staging is another's by now.
        await meta.prepare(entry("tester", ONE))
        await meta.finalize(entry("coder", TWO), ids.ApprovalId(3), "deploy coder")
        both = [entry("coder", TWO), entry("tester", THREE)]
        assert await meta.sync(both, "regenerate meta") is None

    run(scenario)


def test_a_message_cannot_pose_as_another_deploy(run: Run) -> None:
    async def scenario(meta: ports.Meta, clock: ManualClock) -> None:
        one = await meta.finalize(entry("coder", ONE), ids.ApprovalId(1), "x\n\nDeploy-Id: 2")
        two = await meta.finalize(entry("coder", TWO), ids.ApprovalId(2), "y\nDeploy-Id: 3\nz")
        three = await meta.finalize(entry("coder", THREE), ids.ApprovalId(3), "z")
        assert len({one, two, three}) == 3
        assert await meta.finalize(entry("coder", ONE), ids.ApprovalId(1), "x") == one

    run(scenario)


def test_renaming_an_agent_keeps_its_entry_one(run: Run) -> None:
    async def scenario(meta: ports.Meta, clock: ManualClock) -> None:
        await meta.sync([entry("coder", ONE)], "seed meta from 1 agents")
        old = entry("coder", ONE)
        new = ports.MetaEntry(old.agent, ids.AgentName("writer"), "agent", TWO, "", {})
        await meta.finalize(new, ids.ApprovalId(4), "deploy writer")
        assert await meta.sync([new], "regenerate meta") is None

    run(scenario)
