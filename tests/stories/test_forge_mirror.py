"""A configuration's life as the forge sees it: real repositories, real git, the real loop."""

from __future__ import annotations

import asyncio
import contextlib
import os
import pathlib
import time
from collections.abc import AsyncIterator, Callable

import structlog

from hyperhive import ports
from hyperhive.adapters.clock.system import SystemClock
from hyperhive.adapters.mirror import place
from hyperhive.adapters.mirror.forgejo import ForgejoMirror
from hyperhive.adapters.process.host import HostProcesses
from hyperhive.adapters.secrets.memory import MemorySecrets
from hyperhive.adapters.store.memory import MemoryStore
from hyperhive.domain import access, agents, events, ids
from hyperhive.runtime import mirror_loop, mirror_targets
from hyperhive.services import deploying, mirroring, spawning
from rigs.config_repos import SEED, real, tag
from rigs.forge import Forge, Kind
from rigs.forge.bench import ORG, SCOPES

OLGA = access.operator("page")


class _House:
    def __init__(self, root: pathlib.Path, forge: Forge) -> None:
        self.clock = SystemClock()
        self.store = MemoryStore(self.clock)
        self.secrets = MemorySecrets()
        self.forge = forge
        self.repos, self.meta = real(root / "home", self.clock)
        self.board: mirroring.Mirroring

    @contextlib.asynccontextmanager
    async def daemon(self) -> AsyncIterator[None]:
        """The part of a daemon that mirrors; everything that it only remembers is new."""
        mirror = ForgejoMirror(
            place.make(self.forge.url, ORG), self.secrets, HostProcesses(), self.clock,
            lambda _: None,
        )  # fmt: skip
        self.board = mirroring.Mirroring(
            self.store, self.secrets, self.clock, mirror, url=self.forge.url, organisation=ORG
        )
        loop = mirror_loop.MirrorLoop(
            mirror,
            mirror_targets.MirrorTargets(self.store, self.clock, self.repos, self.meta),
            self.board,
            self.store,
            self.clock,
            structlog.wrap_logger(structlog.ReturnLogger(), processors=[]),
        )
        async with asyncio.TaskGroup() as group:
            task = group.create_task(loop.run())
            yield
            task.cancel()

    async def spawn(self, name: str) -> agents.Agent:
        role = agents.Role.AGENT
        made = await self.store.write(
            lambda tx: spawning.create(tx, self.clock, ids.AgentName(name), role, "test")
        )
        commit = await self.repos.seed(made.id, made.name, SEED, os.getuid())
        await self.store.write(lambda tx: deploying.seed(tx, self.clock, made, commit, {}, "base"))
        await self.meta.sync([ports.MetaEntry(made.id, made.name, "agent", commit.sha, "", {})],
                             "seed")  # fmt: skip
        return made

    async def fail_deploy(self, agent: agents.Agent, number: int) -> float:
        """What the deploy loop does in git at the end of a deploy; how long it took."""
        begin = time.monotonic()
        sha = await self.repos.main(agent.id)
        assert sha is not None
        await self.repos.pin(
            agent.id, [tag(ports.TagKind.FAILED, number, sha, "It did not start.\n")]
        )
        event = events.Event(events.EventKind.DEPLOY_MOVED, agent=agent.id, topics=(events.MIRROR,))
        await self.store.write(lambda tx: tx.record(event))
        return time.monotonic() - begin

    async def until(self, holds: Callable[[], bool]) -> None:
        async with asyncio.timeout(30):
            while not holds():
                await asyncio.sleep(0.02)

    async def in_step(self, agent: agents.Agent) -> None:
        """Wait until the forge has exactly what we have."""
        wanted = {agent.name: await self.repos.refs(agent.id), "meta": await self.meta.refs()}

        def same() -> bool:
            owner = self.forge.world.organisation(ORG)
            found = {} if owner is None else owner.repositories
            return all(
                name in found and found[name].refs() == refs for name, refs in wanted.items()
            )

        await self.until(same)
        await self.until(lambda: set(self.states().values()) == {"in_step"})

    def states(self) -> dict[str, str]:
        return {row["name"]: row["state"] for row in self.board.status()["repositories"]}


def test_the_forge_follows_and_is_never_waited_for(tmp_path: pathlib.Path) -> None:
    async def story() -> None:
        async with Forge.running(tmp_path / "forge") as forge:
            house = _House(tmp_path, forge)
            forge.world.add_account("hive")
            coder = await house.spawn("coder")
            async with house.daemon():
                # Without a token: shown, tried again, and mended by setting one.
                await house.until(lambda: set(house.states().values()) == {"error"})
                await house.board.set_token(OLGA, forge.world.add_token("hive", *SCOPES))
                await house.in_step(coder)
                await house.fail_deploy(coder, 1)
                await house.in_step(coder)
                forge.spoil(Kind.HANG)
                took = [await house.fail_deploy(coder, number) for number in range(2, 6)]
                assert max(took) < 2
                forge.troubles.clear()
                await forge.down()
            # A daemon that died while the forge was away knows nothing, and looks.
            await house.fail_deploy(coder, 6)
            async with house.daemon():
                await house.until(lambda: set(house.states().values()) == {"error"})
                await forge.up()
                await house.in_step(coder)
            refs = forge.repository(ORG, "coder").refs()
            assert {f"refs/tags/failed/{number}" for number in range(1, 7)} < set(refs)
            assert forge.repository(ORG, "coder").private

    asyncio.run(story())
