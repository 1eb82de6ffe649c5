"""Tells one story to the real sandbox: ``sandbox_driver.py STORY VIEW CACHE``.

A program of its own, so that root's tests can have it run by an ordinary user on the
system's own Python. Also the ``Bench`` on which the tests tell stories directly.
"""

from __future__ import annotations

import asyncio
import datetime
import os
import pathlib
import sys
import tempfile
import time

from hyperhive import ports
from hyperhive.adapters.process import host
from hyperhive.adapters.sandbox import bubblewrap
from hyperhive.domain import ids

AGENT_UID = 870_001


class SystemClock:
    """The time of this host."""

    def now(self) -> datetime.datetime:
        return datetime.datetime.now(datetime.UTC)

    def monotonic(self) -> float:
        return time.monotonic()

    async def sleep(self, seconds: float) -> None:
        await asyncio.sleep(seconds)


class RealBench:
    """A home for the agents of a story, on this host."""

    def __init__(self, top: pathlib.Path, view: str, cache: pathlib.Path | None = None) -> None:
        self.top = top
        self.uid = AGENT_UID if os.geteuid() == 0 else os.geteuid()
        self._view = view
        self._cache = cache or top / "cache"
        self.state = top / "state"
        self.state.mkdir()
        os.chown(self.state, self.uid, self.uid)
        self.sandbox = self.restart()

    def restart(self) -> bubblewrap.BubblewrapSandbox:
        """Another daemon on the same host."""
        return bubblewrap.BubblewrapSandbox(
            host.HostProcesses(), SystemClock(), cache=self._cache, view=self._view
        )

    def spec(self, argv: tuple[str, ...]) -> ports.SandboxSpec:
        """A spec for agent alice."""
        return ports.SandboxSpec(
            agent=ids.AgentId("a11ce0000001"),
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


def main() -> None:
    import sandbox_stories

    story, view, cache = sys.argv[1:]
    with tempfile.TemporaryDirectory(prefix="hive-story-") as top:
        bench = RealBench(pathlib.Path(top), view, pathlib.Path(cache) if cache else None)
        asyncio.run(sandbox_stories.STORIES[story](bench))
    print("told")


if __name__ == "__main__":
    main()
