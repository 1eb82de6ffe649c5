"""A Nix builder with the real Nix of Debian on a store of its own, offline, on a stub nixpkgs."""

from __future__ import annotations

import dataclasses
import datetime
import os
import pathlib
import shutil
from collections.abc import Mapping, Sequence
from typing import Any

from hyperhive import ports
from hyperhive.adapters.builder import nix_program, nix_setup
from hyperhive.adapters.clock import system
from hyperhive.adapters.config_repo import applied, git, importer, locks, meta
from hyperhive.adapters.process import host
from hyperhive.adapters.sandbox import one_shot
from hyperhive.domain import agents, configuration, ids
from hyperhive.services import seeds
from rigs import builder_stories, config_repos

UID_BASE = 640_000
STUB = pathlib.Path(__file__).parent / "nix_stub"
NO_NIX = "there is no nix: run ./check prepare as root, or: apt-get install nix-bin"
GREET = b"""{ pkgs, ... }: {
  environment.systemPackages = [ (pkgs.writeShellScriptBin "greet" "echo hello") ];
}
"""


def require_nix() -> None:
    """LookupError says how to get one."""
    if shutil.which("nix", path=nix_program.PATH) is None:
        raise LookupError(NO_NIX)


class NixBench:
    """A hive's home with repositories, meta and a Nix builder."""

    small = configuration.Packages()

    def __init__(
        self,
        top: pathlib.Path,
        *,
        inputs: Mapping[str, str] | None = None,
        path: str = nix_program.PATH,
        binds: Sequence[ports.Bind] = (),
    ) -> None:
        self.top = top
        self.clock = system.SystemClock()
        self.made = config_repos.Made(self.clock)  # pyright: ignore[reportArgumentType]
        self.said: list[str] = []
        self._path = path
        self._binds = binds
        shutil.copytree(STUB, top / "stub", dirs_exist_ok=True)
        self.inputs = dict(inputs or {})
        self.repos, self.meta, self.builder = self.start()
        # What the stories of every builder find as the commit.
        source = top / "commit"
        source.mkdir()
        for name, content in files({"agent.nix": GREET}).items():
            (source / name).write_bytes(content)

    def start(self) -> tuple[applied.AppliedRepos, meta.MetaRepo, ports.Builder]:
        """Another daemon on the same disk."""
        processes = host.HostProcesses()
        one_shots = one_shot.BubblewrapOneShots(
            processes, scratch=self.top / "one-shots", uid_base=UID_BASE
        )
        made = nix_setup.make(
            one_shots,
            processes,
            self.top,
            nix_setup.Choice(
                nixpkgs=f"path:{self.top}/stub",
                hyperhive="",
                allowed=("github:", *self.inputs.values()),
                substituters=(),
                keys=(),
                hive_name='the "best" ${hive}\n',
                pronouns="they/them",
            ),
            env={},
            root=os.geteuid() == 0,
            log=self.said.append,
            path=self._path,
            binds=self._binds,
        )
        (self.top / "run").mkdir(exist_ok=True)
        program = git.Git(processes, never=[self.top / "proposed"])
        held = locks.Locks(self.top / "run" / "locks")
        importing = importer.Importer(
            config_repos.NoSandbox(), program, self.clock, self.top / "run" / "import"
        )
        return (
            applied.AppliedRepos(
                self.top, git=program, locks=held, importer=importing, clock=self.clock
            ),
            meta.MetaRepo(
                self.top, git=program, locks=held, clock=self.clock, relock=made.meta.relock
            ),
            made.builder,
        )

    def restart(self) -> ports.Builder:
        """See `builder_stories.Bench`."""
        return self.start()[2]

    async def seed(self, agent: ids.AgentId, name: str, **more: bytes) -> ports.Commit:
        """Make the repositories of an agent."""
        return await self.repos.seed(agent, ids.AgentName(name), files(_dotted(more)), os.geteuid())

    async def order(
        self, agent: ids.AgentId, name: str, commit: ports.Commit, **more: Any
    ) -> ports.BuildOrder:
        """An order for a commit of an applied repository."""
        source = self.top / "source" / commit.sha
        if not source.exists():
            source.mkdir(parents=True, mode=0o700)
            await self.repos.export(agent, commit.sha, str(source))
        return ports.BuildOrder(
            agent=agent,
            name=ids.AgentName(name),
            role=more.pop("role", "agent"),
            sha=commit.sha,
            source=source,
            configuration=more.pop("configuration", configuration.Configuration()),
            lock=more.pop("lock", {}),
            **more,
        )

    async def propose(self, agent: ids.AgentId, approval: int, **more: bytes) -> ports.Commit:
        """Import a commit as proposal/<approval>."""
        return await self.bring(agent, approval, files(_dotted(more)))

    async def bring(
        self, agent: ids.AgentId, approval: int, content: Mapping[str, bytes]
    ) -> ports.Commit:
        """Import a commit of exactly *content*."""
        sha = self.made.commit(content)
        return await self.repos.import_commit(
            agent, ids.ApprovalId(approval), sha[:12], self.made.produce(sha)
        )

    def store(self, inside: str) -> pathlib.Path:
        """Where a path below /nix/store is on the host."""
        return self.top / "nix" / "root" / "store" / pathlib.PurePosixPath(inside).name


class StoriesBench(NixBench):
    """The bench of the stories that every builder passes: their commit is that of a repository."""

    def __init__(self, top: pathlib.Path) -> None:
        super().__init__(top)
        self.committed: dict[str, str] = {}
        self.builder = _Committed(self, self.builder)

    def restart(self) -> ports.Builder:
        return _Committed(self, super().restart())


class _Committed:
    """A builder that is handed what a story made up, as a commit that is really there."""

    def __init__(self, bench: StoriesBench, inner: ports.Builder) -> None:
        self._bench = bench
        self._inner = inner

    def __getattr__(self, name: str) -> Any:
        return getattr(self._inner, name)

    async def build(self, order: ports.BuildOrder, log: Any) -> ports.Generation:
        content = {path.name: path.read_bytes() for path in sorted(order.source.iterdir())}
        known = self._bench.committed
        key = repr((order.agent, content))
        if key not in known:
            await self._bench.repos.seed(order.agent, order.name, files({}), os.geteuid())
            known[key] = (await self._bench.bring(order.agent, len(known) + 1, content)).sha
        return await self._inner.build(dataclasses.replace(order, sha=known[key]), log)


def files(more: Mapping[str, bytes]) -> dict[str, bytes]:
    """The seed's files with others instead."""
    now = datetime.datetime(2030, 1, 1, tzinfo=datetime.UTC)
    agent = agents.Agent(
        id=builder_stories.ALICE, name=ids.AgentName("alice"), role=agents.Role.AGENT, slot=1,
        created_at=now, wanted=agents.Wanted.RUNNING, epoch=1, phase=agents.Phase.STARTING,
        phase_since=now, phase_note="", running_epoch=0, sandbox=None, crashes=0, retry_at=None,
        turn_state=agents.TurnState.OFFLINE, turn_since=now, turn_note="", status="", model="",
        session_id="", session_started=False, start_reason="",
    )  # fmt: skip
    return {**seeds.files_for_nix(agent), **more}


def _dotted(more: Mapping[str, bytes]) -> dict[str, bytes]:
    return {name.replace("_", "."): content for name, content in more.items()}
