"""The part of a hive that turns commits into what agents run, on memory twins.

`Place` is what outlives a daemon (repositories, meta, what was built); `Configs` is one
daemon's loops over it, which may die after any of their deeds.
"""

from __future__ import annotations

import contextlib
import dataclasses
import pathlib
import shutil
from collections.abc import AsyncIterator, Iterator
from typing import Any

from hyperhive import ports
from hyperhive.adapters.builder.memory import MemoryBuilder, Shelf
from hyperhive.adapters.config_repo import git_objects
from hyperhive.adapters.config_repo.memory import MemoryConfigRepos
from hyperhive.adapters.config_repo.memory_meta import MemoryMeta
from hyperhive.domain import agents, ids
from hyperhive.runtime import build_loop, deploy_loop, lapse_loop, seeding, supervisor
from hyperhive.services import proposing
from rigs.fuse import Fuse

SEED = {"agent.toml": b"schema = 1\n"}


class Fused:
    """Any port whose daemon may not live to hear the answer of a call."""

    def __init__(self, port: Any, fuse: Fuse) -> None:
        self._port = port
        self._fuse = fuse

    def __getattr__(self, name: str) -> Any:
        found = getattr(self._port, name)
        if name in ("shelf", "repository", "built_from", "find", "descends", "tags", "refs"):
            return found

        async def call(*args: Any, **options: Any) -> Any:
            self._fuse.check()
            answer = await found(*args, **options)
            await self._fuse.passed()
            return answer

        return call


class MemorySpace:
    """`ports.BuildSpace` below a test's directory; the log is a list."""

    def __init__(self, top: pathlib.Path) -> None:
        self._top = top
        self.lines: dict[int, list[str]] = {}

    async def fresh(self, approval: ids.ApprovalId) -> pathlib.Path:
        room = self._top / f"build-{approval}"
        shutil.rmtree(room, ignore_errors=True)
        room.mkdir()
        return room

    async def read(self, directory: pathlib.Path) -> dict[str, bytes]:
        return {
            str(path.relative_to(directory)): path.read_bytes()
            for path in directory.rglob("*")
            if path.is_file()
        }

    async def discard(self, approval: ids.ApprovalId) -> None:
        shutil.rmtree(self._top / f"build-{approval}", ignore_errors=True)

    @contextlib.contextmanager
    def open_log(self, approval: ids.ApprovalId) -> Iterator[ports.BuildLog]:
        lines = self.lines.setdefault(approval, [])

        class Log:
            def line(self, text: str) -> None:
                lines.append(text)

        yield Log()

    def log_file(self, approval: ids.ApprovalId) -> pathlib.Path:
        return self._top / f"{approval}.log"


@dataclasses.dataclass
class Place:
    """What is on the disk of a host, and what agents have committed in their own repositories."""

    top: pathlib.Path
    clock: ports.Clock
    repos: MemoryConfigRepos = dataclasses.field(init=False)
    meta: MemoryMeta = dataclasses.field(init=False)
    shelf: Shelf = dataclasses.field(default_factory=Shelf)
    objects: dict[str, tuple[str, bytes]] = dataclasses.field(default_factory=dict)

    def __post_init__(self) -> None:
        self.repos = MemoryConfigRepos(self.clock)
        self.meta = MemoryMeta(self.clock)
        self.space = MemorySpace(self.top)

    def commits(self, files: dict[str, bytes], parent: str, message: str = "a change") -> str:
        """Somebody commits in a proposed repository; the id."""
        parents = [parent] if parent else []
        return git_objects.add_commit(self.objects, files, parents, self.clock.now(), message)

    async def produce(self, requester: ids.PartyId, name: ids.AgentName) -> ports.Produce:
        """All that was committed, whoever asks."""

        async def pack(commit_ref: str) -> AsyncIterator[bytes]:
            sha = next((key for key in self.objects if key.startswith(commit_ref)), "0" * 40)
            yield f"{sha}\n".encode()
            yield git_objects.write_pack(self.objects.values())

        return pack


class Configs:
    """One daemon's loops and verbs over configurations."""

    def __init__(
        self,
        place: Place,
        store: ports.Store,
        clock: ports.Clock,
        log: Any,
        fuse: Fuse | None = None,
        *,
        health_seconds: float = 60.0,
    ) -> None:
        fuse = fuse or Fuse()
        repos: Any = Fused(place.repos, fuse)
        meta: Any = Fused(place.meta, fuse)
        builder: Any = Fused(MemoryBuilder(place.shelf), fuse)
        self.store, self.clock, self.log = store, clock, log
        self.proposing = proposing.Proposing(
            store, clock, repos, builder, expire_seconds=7 * 86_400.0, per_day=50
        )
        self.seeder = seeding.Seeder(
            store, clock, repos, builder, files=self._seed_files, owner=lambda _: 870_001
        )
        self.builds = build_loop.BuildParts(
            store, clock, repos, builder, place.space, place.produce, log
        )
        self.deploys = deploy_loop.DeployLoop(
            store, clock, repos, meta, builder, self.seeder, log, health_seconds=health_seconds
        )

    def start(self, tasks: supervisor.Supervisor) -> None:
        """Run the loops."""
        tasks.start("builds", build_loop.BuildLoop(self.builds, tasks).run())
        tasks.start("deploys", self.deploys.run())
        tasks.start("lapse", lapse_loop.LapseLoop(self.store, self.clock, self.log).run())

    def _seed_files(self, agent: agents.Agent) -> dict[str, bytes]:
        return SEED
