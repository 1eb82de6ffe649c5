"""The manager at work on configuration repositories, in its own sandbox, with plain git.

Told by `system/test_manager_repositories.py`; needs no pytest, so that root can have it told by
an ordinary user (`sandbox_bench`).
"""

from __future__ import annotations

import dataclasses
from collections.abc import Awaitable, Callable

from hyperhive import ports
from hyperhive.adapters.agent_home import directories
from hyperhive.adapters.config_repo import applied, git, importer, locks, meta
from hyperhive.adapters.process import host
from hyperhive.domain import agents, ids
from hyperhive.services import seeds
from rigs.sandbox_bench import AGENT_UID, ROOT, RealBench, SystemClock

CODER = ids.AgentId("c0de" * 3)
MANAGER = ids.AgentId("face" * 3)

LOOK = """
set -e
cd /agents/coder/config
git log --format='%an %s' --decorate
git remote -v
git fetch applied
git diff --exit-code applied/main
git status
git show deployed/0:agent.toml
cd /applied/coder.git && git log --oneline main
cd /meta && git log --format=%s && git status --porcelain && cat hive.lock
"""
EDIT = """
set -e
cd /agents/coder/config
echo 'Be brief.' >> prompt.md
git commit -qam 'Ask for brevity'
git log -1 --format='%an <%ae>'
git diff --stat applied/main
git rev-parse HEAD
"""
FOLLOW = "cd /agents/coder/config && git fetch -q applied && git rev-parse applied/main denied/7^{}"


def agent(agent_id: ids.AgentId, name: str, role: agents.Role, slot: int) -> agents.Agent:
    now = SystemClock().now()
    return agents.Agent(
        id=agent_id, name=ids.AgentName(name), role=role, slot=slot, created_at=now,
        wanted=agents.Wanted.RUNNING, epoch=1, phase=agents.Phase.STARTING, phase_since=now,
        phase_note="", running_epoch=0, sandbox=None, crashes=0, retry_at=None,
        turn_state=agents.TurnState.OFFLINE, turn_since=now, turn_note="", status="", model="",
        session_id="", session_started=False, start_reason="",
    )  # fmt: skip


@dataclasses.dataclass
class Hive:
    """Repositories of a manager and a coder, and the manager's sandbox."""

    bench: RealBench
    repos: applied.AppliedRepos
    meta: meta.MetaRepo
    homes: directories.AgentHomes
    manager: agents.Agent
    coder: agents.Agent
    identity: agents.SandboxIdentity

    async def run(self, script: str, *, code: int = 0) -> str:
        """Run a script as the manager; what it said on both outputs."""
        result = await self.bench.sandbox.exec(
            MANAGER, self.identity, ("/bin/sh", "-c", f"exec 2>&1\n{script}"), timeout=60
        )
        said = result.stdout.decode() + result.stderr.decode()
        assert result.code == code, said
        return said

    async def publish(self) -> None:
        await self.repos.publish([(each.id, each.name) for each in (self.manager, self.coder)])


async def begin(bench: RealBench) -> Hive:
    home = bench.top
    home.chmod(0o711)
    (home / "run").mkdir(mode=0o711)
    (home / "claude").mkdir(mode=0o755)
    clock, processes = SystemClock(), host.HostProcesses()
    program, held = git.Git(processes, never=[home / "proposed"]), locks.Locks(home / "run/locks")
    importing = importer.Importer(bench.one_shots, program, clock, home / "run/import")
    manager = agent(MANAGER, "manager", agents.Role.MANAGER, 0)
    coder = agent(CODER, "coder", agents.Role.AGENT, 1)
    homes = directories.AgentHomes(
        home, claude=home / "claude", uid_base=AGENT_UID,
        limits=ports.Limits(memory_bytes=512 * 1024**2, processes=64),
    )  # fmt: skip
    # As in a hive: the sandbox may start before anything was published.
    spec = dataclasses.replace(await homes.spec(manager), argv=("/bin/sleep", "600"), ports=())
    await bench.sandbox.prepare(print)
    started = await bench.sandbox.start(spec)
    repos = applied.AppliedRepos(home, git=program, locks=held, importer=importing, clock=clock)
    log = meta.MetaRepo(home, git=program, locks=held, clock=clock)
    entries: list[ports.MetaEntry] = []
    for each in (manager, coder):
        seed = await repos.seed(each.id, each.name, seeds.files(each), homes.uid(manager))
        entries.append(ports.MetaEntry(each.id, each.name, each.role.value, seed.sha, "", {}))
    await log.sync(entries, "seed meta from 2 agents")
    hive = Hive(bench, repos, log, homes, manager, coder, started.identity)
    await hive.publish()
    return hive


async def manager_sees_what_runs(bench: RealBench) -> None:
    hive = await begin(bench)
    said = await hive.run(LOOK)
    assert "hyperhive Begin the configuration\n" in said
    assert "applied\t/applied/coder.git (fetch)\n" in said
    assert "Your branch is up to date with 'applied/main'." in said
    assert "# The configuration of coder" in said
    assert "seed meta from 2 agents\n{\n" in said
    assert str(bench.top) not in said
    # The same for its own.
    await hive.run("cd /agents/manager/config && git fetch applied && git log applied/main")


async def manager_proposes_and_hears(bench: RealBench) -> None:
    hive = await begin(bench)
    said = (await hive.run(EDIT)).splitlines()
    assert said[0] == "manager <manager@hive.invalid>"
    assert "prompt.md | 1 +" in said[1]
    proposed = said[-1]
    main = await hive.repos.main(CODER)
    assert main is not None
    await hive.repos.pin(CODER, [ports.Tag(ports.TagKind.DENIED, 7, main, "not now")])
    await hive.publish()
    assert (await hive.run(FOLLOW)).split() == [main, main]
    assert "not now" in await hive.run("cd /agents/coder/config && git show denied/7")
    # Fetching touched nothing of its own.
    assert (await hive.run("cd /agents/coder/config && git rev-parse HEAD")).strip() == proposed
    # Nor does what is seeded again.
    await hive.repos.seed(CODER, hive.coder.name, {"agent.toml": b""}, 12345)
    assert (await hive.run("cd /agents/coder/config && git rev-parse HEAD")).strip() == proposed


async def nothing_can_be_pushed_or_written(bench: RealBench) -> None:
    hive = await begin(bench)
    await hive.run("cd /agents/coder/config && git commit -q --allow-empty -m mine")
    push = "cd /agents/coder/config && git push"
    assert "is-read-only--use-request_apply_commit" in await hive.run(f"{push} applied", code=128)
    assert "remote rejected" in await hive.run(f"{push} /applied/coder.git HEAD:main", code=1)
    for path in ("/applied/x", "/applied/coder.git/HEAD", "/meta/hive.lock", "/etc/gitconfig"):
        said = await hive.run(f"echo x >> {path}", code=2)
        assert "Read-only file system" in said or "Permission denied" in said, said
    if ROOT:
        for path in ("/agents/x", "/agents/coder/x"):
            assert "Permission denied" in await hive.run(f"echo x > {path}", code=2)
        assert "Permission denied" in await hive.run("mv /agents/coder /agents/other", code=1)


async def others_see_nothing_of_it(bench: RealBench) -> None:
    hive = await begin(bench)
    spec = dataclasses.replace(
        await hive.homes.spec(hive.coder), argv=("/bin/sleep", "600"), ports=()
    )
    started = await bench.sandbox.start(spec)
    script = "ls /agents /applied /meta; cd /state && git init -q x && cd x && git branch -a; " \
             "git commit -q --allow-empty -m x && git log --format='%an %D'"  # fmt: skip
    result = await bench.sandbox.exec(CODER, started.identity, ("/bin/sh", "-c", script))
    # The base root has the places, and nothing in them.
    assert "coder" not in result.stdout.decode().replace("coder HEAD -> main", "")
    assert "coder HEAD -> main\n" in result.stdout.decode()


STORIES: dict[str, Callable[[RealBench], Awaitable[None]]] = {
    story.__name__: story
    for story in (
        manager_sees_what_runs,
        manager_proposes_and_hears,
        nothing_can_be_pushed_or_written,
        others_see_nothing_of_it,
    )
}
