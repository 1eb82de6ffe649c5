"""What earlier starts of an agent have left: found by its record, ended, cleared away.

Also after a daemon that was killed in the middle of a start. Its launcher may still be at work
then; a lock, which the launcher inherits, makes others wait until it has come to an end.
"""

from __future__ import annotations

import asyncio
import contextlib
import fcntl
import os
import pathlib
import signal
from collections.abc import AsyncIterator
from typing import Final

from hyperhive.adapters.sandbox import cgroups, pids, records
from hyperhive.domain import agents, errors, ids

_ROUND: Final = 0.01
"""Seconds between two looks, where nothing tells us: locks, emptied groups, a pid not yet known."""
_ROUNDS: Final = 50
_LOCK_ROUNDS: Final = 2500
_WATCHER_TIMEOUT: Final = 2.0


class Remains:
    """Finds and ends what runs of an agent, by its ``run_dir`` and by its control groups."""

    def __init__(self, limits: cgroups.Cgroups) -> None:
        self._limits = limits

    @contextlib.asynccontextmanager
    async def alone(self, run_dir: pathlib.Path) -> AsyncIterator[int]:
        """Keep other starts of this agent out, of this daemon and of one that was killed.

        Lends the locked descriptor: whoever inherits it holds the lock too (flock(2)).
        """
        fd = os.open(run_dir / "lock", os.O_CREAT | os.O_RDWR | os.O_CLOEXEC, 0o600)
        try:
            for _ in range(_LOCK_ROUNDS):
                try:
                    fcntl.flock(fd, fcntl.LOCK_EX | fcntl.LOCK_NB)
                except BlockingIOError:
                    await asyncio.sleep(_ROUND)
                else:
                    break
            else:
                raise errors.unavailable(
                    f"cannot start from {run_dir}: another start has not come to an end; try again"
                )
            yield fd
        finally:
            os.close(fd)

    async def find(
        self, agent: ids.AgentId, run_dir: pathlib.Path
    ) -> agents.SandboxIdentity | None:
        """Return what runs of this agent; None when nothing does."""
        try:
            record = records.read_record(run_dir, agent)
        except LookupError:
            return None
        if record.pid:
            return record.sandbox if pids.is_alive(record.sandbox) else None
        for _ in range(_ROUNDS):
            # The launcher died before bwrap said who is pid 1; bwrap has or will have that child.
            if not pids.is_alive(record.watcher):
                break
            for child in pids.children(record.monitor):
                if pids.pid_inside(child) == 1:
                    with contextlib.suppress(ProcessLookupError):
                        return pids.identify(child)
            await asyncio.sleep(_ROUND)
        return None

    async def end(self, agent: ids.AgentId, run_dir: pathlib.Path) -> None:
        """End whatever runs of this agent, and remove its groups."""
        left = await self.find(agent, run_dir)
        if left is not None:
            pids.send_signal(left, signal.SIGKILL)
            await pids.ended(left)
        with contextlib.suppress(LookupError):
            await self.clear(records.read_record(run_dir, agent))
        # A sandbox whose record is lost (its home was deleted) still shows in the agent's groups.
        groups = self._limits.existing(agent)
        for _ in range(_ROUNDS):
            members = cgroups.members(groups)
            if not members:
                break
            for pid in members:
                pids.kill_member(pid, lambda pid: pid in cgroups.members(groups))
            await asyncio.sleep(_ROUND)
        cgroups.remove(groups)

    async def clear(self, record: records.Record) -> None:
        """Wait until bwrap outside has written the exit code, and remove the groups.

        A group that cannot be removed yet (its last member is being reaped) is used
        again, or removed, by the next start.
        """
        try:
            async with asyncio.timeout(_WATCHER_TIMEOUT):
                await pids.ended(record.watcher)
        except TimeoutError:
            pids.send_signal(record.watcher, signal.SIGKILL)
        for _ in range(_ROUNDS):
            if not cgroups.remove(record.cgroups):
                return
            await asyncio.sleep(_ROUND)
