"""A place to import into, and a close look at what an import left there."""

from __future__ import annotations

import contextlib
import dataclasses
import os
import pathlib
import subprocess
import time
from collections.abc import AsyncIterator

from hyperhive import ports
from hyperhive.adapters.config_repo import git, importer, policy
from hyperhive.adapters.process import host
from hyperhive.domain import errors, ids
from rigs import sandbox_bench

WALL = 21.0
"""Seconds that no import may take."""
ENVIRONMENT = {"PATH": "/usr/bin:/bin", **git.environment()}


@dataclasses.dataclass(frozen=True)
class Outcome:
    """What became of an import."""

    commit: ports.Commit | None
    error: errors.HiveError | None
    seconds: float

    @property
    def text(self) -> str:
        return "" if self.error is None else self.error.message


class ImportBench:
    """An applied repository and an importer."""

    def __init__(self, top: pathlib.Path, one_shots: ports.OneShots) -> None:
        self.top = top
        self.one_shots = one_shots
        self.target = top / "applied.git"
        self.run_dir = top / "import"
        self.git = git.Git(host.HostProcesses(), never=[top / "proposed"])
        self.locked = False

    @contextlib.asynccontextmanager
    async def lock(self) -> AsyncIterator[int]:
        assert not self.locked
        self.locked = True
        fd = os.open(self.top / "lock", os.O_CREAT | os.O_RDWR, 0o600)
        try:
            yield fd
        finally:
            os.close(fd)
            self.locked = False

    async def bring(
        self,
        produce: ports.Produce,
        ref: str,
        limits: policy.Limits = importer.LIMITS,
        approval: int = 1,
    ) -> Outcome:
        """Import and look at the clock; anything but a commit or a `HiveError` is a bug."""
        if not self.target.exists():
            await self.git.init(self.target)
        work = importer.Importer(
            self.one_shots, self.git, sandbox_bench.SystemClock(), self.run_dir, limits
        )
        begin = time.monotonic()
        commit, refused = None, None
        try:
            commit = await work.bring(
                self.target, ids.ApprovalId(approval), ref, produce, self.lock
            )
        except errors.HiveError as error:
            refused = error
        return Outcome(commit, refused, time.monotonic() - begin)

    def ask(self, *args: str) -> str:
        """What git says about the applied repository, to somebody who trusts nothing of ours."""
        command = ["git", f"--git-dir={self.target}", *args]
        run = subprocess.run(command, env=ENVIRONMENT, capture_output=True, text=True, check=False)
        assert run.returncode == 0, run.stderr
        return run.stdout

    def refs(self) -> dict[str, str]:
        lines = self.ask("for-each-ref", "--format=%(refname) %(objectname)").splitlines()
        return dict(line.split() for line in lines)

    def objects(self) -> set[str]:
        listed = self.ask("cat-file", "--batch-all-objects", "--batch-check=%(objectname)")
        return set(listed.split())

    def left(self) -> list[str]:
        """Everything that an import should have taken away."""
        places = [self.run_dir, *self.top.glob("scratch")]
        found = [str(path) for place in places if place.exists() for path in place.iterdir()]
        repository = [str(path) for path in self.target.rglob("*.lock")]
        return found + repository + [str(path) for path in self.target.rglob("tmp_*")]

    def reset(self) -> None:
        """Forget what was imported, so that the next one begins with nothing."""
        for ref in self.refs():
            self.ask("update-ref", "-d", ref)
        for path in (self.target / "objects" / "pack").iterdir():
            path.unlink()
