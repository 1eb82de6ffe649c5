"""The only starter of tasks.

Every task has a name and an owner. A task that fails with anything but a
cancellation is a bug: it is logged with its traceback and takes the daemon down,
because half-dead is worse than dead.
"""

from __future__ import annotations

import asyncio
from collections.abc import Coroutine
from typing import Any

import structlog


class Supervisor:
    """Starts named tasks in the daemon's task group and ends them."""

    def __init__(
        self, group: asyncio.TaskGroup, log: structlog.typing.FilteringBoundLogger
    ) -> None:
        self._group = group
        self._log = log
        self._tasks: dict[str, asyncio.Task[None]] = {}

    def start(self, name: str, work: Coroutine[Any, Any, None]) -> None:
        """Run *work* until it returns; a second task of a running name is refused as a bug."""
        if name in self._tasks:
            work.close()
            raise RuntimeError(f"a task {name!r} is already running")
        task = self._group.create_task(self._run(name, work), name=name)
        self._tasks[name] = task

        def forget(_: object) -> None:
            del self._tasks[name]
            # A task that was cancelled before its first step never awaited its work.
            work.close()

        task.add_done_callback(forget)

    def is_running(self, name: str) -> bool:
        """Whether a task of that name runs."""
        return name in self._tasks

    async def stop_all(self) -> None:
        """Cancel every task, newest first, and wait until all have ended."""
        tasks = list(reversed(self._tasks.values()))
        for task in tasks:
            task.cancel()
        if tasks:
            await asyncio.wait(tasks)

    async def _run(self, name: str, work: Coroutine[Any, Any, None]) -> None:
        try:
            await work
        except asyncio.CancelledError:
            raise
        except BaseException:
            self._log.exception("a task failed; the daemon stops", task=name)
            raise
