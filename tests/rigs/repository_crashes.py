"""Work on repositories that is killed at every durable system call of every git it starts."""

from __future__ import annotations

import dataclasses
import pathlib
import shutil
import subprocess
from collections.abc import Awaitable, Callable, Sequence
from typing import Any

from hyperhive import ports
from hyperhive.adapters.clock.manual import ManualClock
from hyperhive.adapters.config_repo import applied, git, importer, locks, meta
from hyperhive.adapters.process.host import HostProcesses
from hyperhive.domain import errors
from rigs.config_repos import NoSandbox

DURABLE = (
    "write,pwrite64,ftruncate,fsync,fdatasync,rename,renameat,renameat2,link,linkat,symlink,"
    "unlink,unlinkat,mkdir,rmdir,chmod,fchmod"
)
"""What can be seen on the disk afterwards, or promises that it will be."""


class Saboteur:
    """`ports.Processes` that kills one git with SIGKILL at its n-th durable system call."""

    def __init__(self) -> None:
        self._inner = HostProcesses()
        self.calls = 0
        self.target = -1
        """Which git, counted from 0; negative: none."""
        self.syscall = 0
        """At which of its calls; 0: it is not even started."""
        self.killed = False

    def arm(self, target: int, syscall: int) -> None:
        self.calls, self.target, self.syscall, self.killed = 0, target, syscall, False

    def disarm(self) -> None:
        self.target = -1

    async def run(self, argv: Sequence[str], **options: Any) -> ports.ProcessResult:
        number, self.calls = self.calls, self.calls + 1
        if number != self.target:
            return await self._inner.run(argv, **options)
        if self.syscall == 0:
            self.killed = True
            raise errors.unavailable("cannot run git: this test does not want it")
        # Children count for themselves: each is killed at its own n-th call.
        inject = f"inject={DURABLE}:signal=SIGKILL:when={self.syscall}"
        wrapped = ["strace", "-f", "-qq", "-o", "/dev/null", "-e", inject, *argv]
        result = await self._inner.run(wrapped, **options)
        self.killed = result.code != 0
        return result


@dataclasses.dataclass(slots=True)
class World:
    """One home, and what works on it."""

    home: pathlib.Path
    processes: Saboteur
    clock: ManualClock
    repos: applied.AppliedRepos
    meta: meta.MetaRepo


def world(home: pathlib.Path, clock: ManualClock, processes: Saboteur) -> World:
    """Another daemon on the same home."""
    home.mkdir(mode=0o711, exist_ok=True)
    (home / "run").mkdir(mode=0o711, exist_ok=True)
    program = git.Git(processes, never=[home / "proposed"])
    held = locks.Locks(home / "run" / "locks", patience=10)
    importing = importer.Importer(NoSandbox(), program, clock, home / "run" / "import")
    return World(
        home,
        processes,
        clock,
        applied.AppliedRepos(home, git=program, locks=held, importer=importing, clock=clock),
        meta.MetaRepo(home, git=program, locks=held, clock=clock),
    )


Work = Callable[[World], Awaitable[None]]


async def kill_everywhere(
    top: pathlib.Path, prepare: Work, act: Work, recover: Work, *, every: int
) -> int:
    """Prepare one home; then *act* on copies of it, killed at every *every*-th place, and
    *recover*: by a new daemon and by the same one in turn. Return how often it was killed."""
    clock = ManualClock()
    template = top / "template"
    await prepare(world(template, clock, Saboteur()))
    kills, place, target, syscall = 0, 0, 0, 0
    while True:
        place += 1
        if place % every == 0 or syscall == 0:
            home = top / "home"
            shutil.copytree(template, home, symlinks=True)
            saboteur = Saboteur()
            here = world(home, clock, saboteur)
            saboteur.arm(target, syscall)
            try:
                await act(here)
            except errors.HiveError:
                assert saboteur.killed, "it failed of itself"
            reached, started = saboteur.killed, saboteur.calls > target
            saboteur.disarm()
            if not started:
                shutil.rmtree(home)
                print(f"{kills} kills in {target} gits")
                return kills
            if reached:
                kills += 1
                after = here if kills % 2 else world(home, clock, Saboteur())
                try:
                    await recover(after)
                    check_whole(home)
                except BaseException as error:
                    error.add_note(f"git {target} was killed at durable call {syscall}")
                    raise
            shutil.rmtree(home)
            if not reached:
                target, syscall = target + 1, 0
                continue
        syscall += 1


def check_whole(home: pathlib.Path) -> None:
    """Every repository is sound, and nothing of a dead writer is left in one of ours."""
    for head in sorted(home.rglob("HEAD")):
        directory = head.parent
        if not (directory / "objects").is_dir():
            continue
        assert not directory.name.startswith(".new-"), directory
        found = subprocess.run(
            ["git", f"--git-dir={directory}", "-c", "core.bare=true", "fsck", "--strict",
             "--no-dangling", "--no-progress"],
            capture_output=True, text=True, check=False,
        )  # fmt: skip
        assert (found.returncode, found.stdout, found.stderr) == (0, "", ""), directory
        assert locks.sweep(directory) == [], directory


def read_refs(directory: pathlib.Path) -> dict[str, str]:
    """What a plain git says: full ref names to the commits that they name."""
    said = subprocess.run(
        ["git", f"--git-dir={directory}", "for-each-ref",
         "--format=%(refname) %(if)%(*objectname)%(then)%(*objectname)%(else)%(objectname)%(end)"],
        capture_output=True, text=True, check=True,
    ).stdout  # fmt: skip
    return dict(line.split() for line in said.splitlines())
