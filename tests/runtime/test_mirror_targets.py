"""What is mirrored, and how few programs are started to know it."""

from __future__ import annotations

import asyncio
import pathlib

from hyperhive import ports
from hyperhive.adapters.clock.manual import ManualClock
from hyperhive.adapters.config_repo.memory import MemoryConfigRepos
from hyperhive.adapters.config_repo.memory_meta import MemoryMeta
from hyperhive.adapters.store.memory import MemoryStore
from hyperhive.domain import agents, errors, events, ids
from hyperhive.runtime import mirror_loop, mirror_targets
from hyperhive.services import deploying, spawning
from rigs.config_repos import SEED, tag


class _Repos(MemoryConfigRepos):
    """Counts what the real one would start git for."""

    def __init__(self, clock: ports.Clock) -> None:
        super().__init__(clock)
        self.asked: list[ids.AgentId] = []
        self.gone: set[ids.AgentId] = set()

    async def refs(self, agent: ids.AgentId) -> dict[str, str]:
        self.asked.append(agent)
        if agent in self.gone:
            raise errors.not_found("cannot use the configuration: it has no repository")
        return await super().refs(agent)


class _House:
    def __init__(self) -> None:
        self.clock = ManualClock()
        self.store = MemoryStore(self.clock)
        self.repos = _Repos(self.clock)
        self.meta = MemoryMeta(self.clock)
        self.targets = mirror_targets.MirrorTargets(self.store, self.clock, self.repos, self.meta)

    async def agent(self, name: str, *, seeded: bool = True) -> agents.Agent:
        role = agents.Role.AGENT
        made = await self.store.write(
            lambda tx: spawning.create(tx, self.clock, ids.AgentName(name), role, "test")
        )
        if seeded:
            commit = await self.repos.seed(made.id, made.name, SEED, 1000)
            await self.store.write(
                lambda tx: deploying.seed(tx, self.clock, made, commit, {}, "base")
            )
        return made

    async def pin(self, agent: agents.Agent, number: int, *, mark: bool) -> None:
        sha = await self.repos.main(agent.id)
        assert sha is not None
        await self.repos.pin(agent.id, [tag(ports.TagKind.FAILED, number, sha)])
        if mark:
            event = events.Event(
                events.EventKind.DEPLOY_MOVED, agent=agent.id, topics=(events.MIRROR,)
            )
            await self.store.write(lambda tx: tx.record(event))

    async def names(self) -> list[str]:
        return [target.name for target in await self.targets()]


def test_seeded_agents_and_meta_with_what_they_have(tmp_path: pathlib.Path) -> None:
    async def story() -> None:
        house = _House()
        assert await house.names() == []
        coder = await house.agent("coder")
        await house.agent("young", seeded=False)
        [target] = await house.targets()
        assert (target.name, target.repository) == ("coder", house.repos.repository(coder.id))
        assert set(target.refs) == {"refs/heads/main", "refs/tags/deployed/0"}
        sha = target.refs["refs/heads/main"]
        await house.meta.sync(
            [ports.MetaEntry(coder.id, coder.name, "agent", sha, "", {})], "first"
        )
        assert await house.names() == ["coder", "meta"]

    asyncio.run(story())


def test_only_what_a_fact_names_is_looked_at_again_and_sometimes_all() -> None:
    async def story() -> None:
        house = _House()
        coder, tester = await house.agent("coder"), await house.agent("tester")
        await house.targets()
        house.repos.asked.clear()
        await house.targets()
        assert house.repos.asked == []
        await house.pin(coder, 7, mark=True)
        [found, _] = await house.targets()
        assert "refs/tags/failed/7" in found.refs
        assert house.repos.asked == [coder.id]
        await house.pin(tester, 8, mark=False)
        [_, found] = await house.targets()
        assert "refs/tags/failed/8" not in found.refs
        house.clock.advance(mirror_loop.PERIOD)
        [_, found] = await house.targets()
        assert "refs/tags/failed/8" in found.refs

    asyncio.run(story())


def test_after_an_error_the_same_facts_count_again() -> None:
    async def story() -> None:
        house = _House()
        coder = await house.agent("coder")
        await house.targets()
        await house.pin(coder, 7, mark=True)
        honest = house.meta.refs

        async def broken() -> dict[str, str]:
            raise errors.unavailable("cannot run git: the host is full")

        house.meta.refs = broken  # type: ignore[method-assign]
        try:
            await house.targets()
        except errors.HiveError:
            house.meta.refs = honest  # type: ignore[method-assign]
        [found] = await house.targets()
        assert "refs/tags/failed/7" in found.refs

    asyncio.run(story())


def test_many_facts_are_no_fewer_repositories() -> None:
    async def story() -> None:
        house = _House()
        coder = await house.agent("coder")
        await house.targets()
        note = events.Event(events.EventKind.AGENT_STATUS_SET, agent=coder.id)
        for _ in range(1000):
            await house.store.write(lambda tx: tx.record(note))
        await house.pin(coder, 7, mark=True)
        [found] = await house.targets()
        assert "refs/tags/failed/7" in found.refs

    asyncio.run(story())


def test_one_that_has_no_repository_holds_up_no_other() -> None:
    async def story() -> None:
        house = _House()
        coder = await house.agent("coder")
        await house.agent("tester")
        house.repos.gone.add(coder.id)
        assert await house.names() == ["tester"]

    asyncio.run(story())
