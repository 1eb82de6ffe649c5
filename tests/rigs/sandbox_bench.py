"""A home for real sandboxes, and stories told there: ``sandbox_bench.py MODULE STORY VIEW``.

A program of its own, so that root's tests can have it run by an ordinary user on the
system's own Python. Needs no pytest.
"""

from __future__ import annotations

import asyncio
import contextlib
import datetime
import importlib
import os
import pathlib
import shutil
import subprocess
import sys
import tempfile
import time
from collections.abc import Awaitable, Callable, Iterator

from hyperhive import ports
from hyperhive.adapters.process import host
from hyperhive.adapters.sandbox import bubblewrap, one_shot
from hyperhive.domain import ids

ROOT = os.geteuid() == 0
AGENT_UID = 640_001 if ROOT else os.geteuid()
"""Far from the uids of a real hive on this host."""
ORDINARY_UID = 64_321
SYSTEM_PYTHON = "/usr/bin/python3"
TESTS = pathlib.Path(__file__).parents[1]


class SystemClock:
    """The time of this host."""

    def now(self) -> datetime.datetime:
        return datetime.datetime.now(datetime.UTC)

    def monotonic(self) -> float:
        return time.monotonic()

    async def sleep(self, seconds: float) -> None:
        await asyncio.sleep(seconds)


class RealBench:
    """Directories of a hive, closed to others, and sandboxes of this host."""

    def __init__(self, top: pathlib.Path, view: str, cache: pathlib.Path | None = None) -> None:
        self.top = top
        self.agent = ids.new_agent_id()
        self.uid = AGENT_UID
        self.view = view
        self.cache = cache or top / "cache"
        self.state = self.make_state("state")
        self.sandbox = self.restart()
        self.one_shots: ports.OneShots = one_shot.BubblewrapOneShots(
            host.HostProcesses(), scratch=top / "one-shots", uid_base=AGENT_UID
        )

    def make_state(self, name: str, uid: int = AGENT_UID) -> pathlib.Path:
        """Make a directory that belongs to an agent."""
        path = self.top / name
        path.mkdir(mode=0o700)
        os.chown(path, uid, uid)
        return path

    def restart(self) -> bubblewrap.BubblewrapSandbox:
        """Another daemon on the same host."""
        return bubblewrap.BubblewrapSandbox(
            host.HostProcesses(), SystemClock(), cache=self.cache, view=self.view
        )

    def spec(self, argv: tuple[str, ...]) -> ports.SandboxSpec:
        """A spec for agent alice."""
        return ports.SandboxSpec(
            agent=self.agent,
            name="alice",
            uid=self.uid,
            argv=argv,
            env={"HOME": "/state"},
            cwd="/state",
            binds=(ports.Bind(self.state, "/state", writable=True),),
            limits=ports.Limits(memory_bytes=256 * 1024**2, processes=64),
            log=self.top / "log",
            run_dir=self.top / "run",
        )

    async def end(self) -> None:
        """End what a story that failed has left."""
        for run_dir in self.top.glob("run*"):
            if not (self.cache / "runs").is_dir():
                continue
            for agent in pathlib.Path(self.cache / "runs").iterdir():
                left = await self.sandbox.find_left(ids.AgentId(agent.name), run_dir)
                if left is not None:
                    await self.sandbox.kill(ids.AgentId(agent.name), left)

    def tell(self, story: Callable[[RealBench], Awaitable[None]]) -> None:
        """Tell a story, and leave nothing whatever its end."""
        try:
            asyncio.run(story(self))
        finally:
            asyncio.run(self.end())


@contextlib.contextmanager
def private_home() -> Iterator[pathlib.Path]:
    """Lend a directory with a short path, closed to other users as a hive's home is."""
    top = pathlib.Path(tempfile.mkdtemp(prefix="hive-test-", dir="/tmp"))
    try:
        yield top
    finally:
        shutil.rmtree(top)


@contextlib.contextmanager
def open_source() -> Iterator[pathlib.Path]:
    """Lend a copy of the source and the stories that every user of this host can read."""
    top = pathlib.Path(tempfile.mkdtemp(prefix="hive-source-", dir="/tmp"))
    try:
        skip = shutil.ignore_patterns("__pycache__", "node_modules")
        shutil.copytree(TESTS.parent / "src", top / "src", ignore=skip)
        (top / "rigs").mkdir()
        for path in (TESTS / "rigs").glob("*.py"):
            shutil.copy(path, top / "rigs")
        for path in (top, *top.rglob("*")):
            path.chmod(0o755 if path.is_dir() else 0o644)
        yield top
    finally:
        shutil.rmtree(top)


def tell_as_ordinary_user(
    source: pathlib.Path, module: str, story: str, view: str = "host"
) -> subprocess.CompletedProcess[str]:
    """Tell a story as a user without any privilege, on the system's own Python."""
    command = ["setpriv", f"--reuid={ORDINARY_UID}", f"--regid={ORDINARY_UID}", "--clear-groups"]
    command += [SYSTEM_PYTHON, "-S", "-B", str(source / "rigs/sandbox_bench.py")]
    return subprocess.run(
        [*command, module, story, view],
        env={"PATH": "/usr/bin:/bin", "PYTHONPATH": f"{source}/src:{source}", "TMPDIR": "/tmp"},
        capture_output=True,
        text=True,
        timeout=100,
        cwd="/",
        check=False,
    )


def main() -> None:
    module, story, view = sys.argv[1:]
    stories = importlib.import_module(f"rigs.{module}")
    with private_home() as top:
        told = {**stories.STORIES, **getattr(stories, "REAL_STORIES", {})}
        RealBench(top, view).tell(told[story])
    print("told")


if __name__ == "__main__":
    main()
