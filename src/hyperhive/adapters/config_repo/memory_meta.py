"""The twin in memory of meta. Objects and their ids are git's own."""

from __future__ import annotations

import asyncio
from collections.abc import Sequence

from hyperhive import ports
from hyperhive.adapters.config_repo import git_objects, hive_lock, rules
from hyperhive.domain import ids


class MemoryMeta:
    """`ports.Meta` without git and disk. For tests and stories."""

    def __init__(self, clock: ports.Clock) -> None:
        self._clock = clock
        self._objects: dict[str, tuple[str, bytes]] = {}
        self._commits: list[str] = []
        """Newest last."""
        self.entries: dict[ids.AgentId, ports.MetaEntry] = {}
        """What is committed."""
        self.staged: ports.MetaEntry | None = None
        """What is prepared and not committed."""

    async def sync(self, entries: Sequence[ports.MetaEntry], message: str) -> str | None:
        """See `ports.Meta`."""
        await asyncio.sleep(0)
        return self._commit_if_changed(entries, message)

    async def prepare(self, entry: ports.MetaEntry) -> None:
        """See `ports.Meta`."""
        await asyncio.sleep(0)
        self.staged = entry

    async def finalize(self, entry: ports.MetaEntry, approval: ids.ApprovalId, message: str) -> str:
        """See `ports.Meta`."""
        await asyncio.sleep(0)
        self.staged = None
        for sha in reversed(self._commits):
            if (
                hive_lock.deploy_of(git_objects.read_commit(self._objects[sha][1]).message)
                == approval
            ):
                return sha
        return self._commit(
            hive_lock.replace(self.entries, entry), hive_lock.deploy_message(message, approval)
        )

    async def abort(self) -> None:
        """See `ports.Meta`."""
        await asyncio.sleep(0)
        self.staged = None

    async def log(self, *, limit: int = 200) -> list[ports.Commit]:
        """See `ports.Meta`; the newest first."""
        await asyncio.sleep(0)
        return [
            rules.commit(sha, git_objects.read_commit(self._objects[sha][1]))
            for sha in self._commits[::-1][:limit]
        ]

    async def refs(self) -> dict[str, str]:
        """See `ports.Meta`."""
        await asyncio.sleep(0)
        return {rules.MAIN: self._commits[-1]} if self._commits else {}

    def repository(self) -> str:
        """See `ports.Meta`; nothing is there."""
        return "/nonexistent/meta/.git"

    def _commit_if_changed(self, entries: Sequence[ports.MetaEntry], message: str) -> str | None:
        same = hive_lock.render(entries) == hive_lock.render(self.entries.values())
        if self._commits and same:
            self.staged = None
            return None
        return self._commit(entries, message)

    def _commit(self, entries: Sequence[ports.MetaEntry], message: str) -> str:
        files = {hive_lock.FILE_NAME: hive_lock.render(entries)}
        sha = git_objects.add_commit(
            self._objects, files, self._commits[-1:], self._clock.now(), message
        )
        self._commits.append(sha)
        self.entries = {entry.agent: entry for entry in entries}
        self.staged = None
        return sha
