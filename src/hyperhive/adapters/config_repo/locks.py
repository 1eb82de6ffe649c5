"""One writer per repository: in this process, beside other processes, and after our own death.

The lock is flock(2) on a file outside of the repository. Its descriptor is lent to every git
that writes, so a git that outlives a killed daemon keeps it. Whoever holds the lock may
therefore take every ``*.lock`` and half-written file in the repository for dead, and only then:
neither age nor open descriptors tell (git closes its lock files before it renames them).
"""

from __future__ import annotations

import asyncio
import contextlib
import fcntl
import os
import pathlib
import shutil
from collections.abc import AsyncIterator, Iterator
from typing import Final

from hyperhive.domain import errors

PATIENCE: Final = 90.0
"""Seconds to wait for a git of a daemon that died."""
_POLL: Final = 0.05
_HALF_WRITTEN: Final = ("tmp_", "incoming-", "bulk-fsync")
"""Below ``objects``: temporary files and directories of git's writers."""


class Locks:
    """The locks of all repositories of one hive."""

    def __init__(self, directory: pathlib.Path, *, patience: float = PATIENCE) -> None:
        """*directory* is ours alone and holds nothing else."""
        self._directory = directory
        self._patience = patience
        self._queues: dict[str, asyncio.Lock] = {}
        self._clean: set[str] = set()
        """Whose last holder ended well: there is nothing to sweep."""

    @contextlib.asynccontextmanager
    async def hold(self, name: str, repository: pathlib.Path) -> AsyncIterator[int]:
        """Lend the descriptor of the lock *name* of *repository* (a git directory, or none yet).

        What dead writers left in the repository is swept first. UNAVAILABLE when a git that a
        daemon left behind does not end.
        """
        async with self._queues.setdefault(name, asyncio.Lock()):
            descriptor = await self._take(name)
            try:
                if name not in self._clean:
                    await asyncio.to_thread(sweep, repository)
                self._clean.discard(name)
                yield descriptor
                self._clean.add(name)
            finally:
                os.close(descriptor)

    async def _take(self, name: str) -> int:
        descriptor = await asyncio.to_thread(self._open, name)
        try:
            async with asyncio.timeout(self._patience):
                while True:
                    try:
                        fcntl.flock(descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
                    except BlockingIOError:
                        await asyncio.sleep(_POLL)
                    else:
                        return descriptor
        except TimeoutError as error:
            os.close(descriptor)
            raise errors.unavailable(
                f"cannot use the repository {name}: a git of an earlier daemon still holds "
                f"{self._directory / name}.lock; end it (fuser shows it) and try again"
            ) from error
        except BaseException:
            os.close(descriptor)
            raise

    def _open(self, name: str) -> int:
        self._directory.mkdir(mode=0o700, parents=True, exist_ok=True)
        path = self._directory / f"{name}.lock"
        return os.open(path, os.O_RDWR | os.O_CREAT | os.O_CLOEXEC, 0o600)


def sweep(repository: pathlib.Path) -> list[pathlib.Path]:
    """Remove what dead gits left in a git directory, and return it. Only under its lock. Blocks.

    No ref can end in ``.lock`` (git-check-ref-format(1)), so no ref is ever taken for one.
    """
    found = list(_left(repository))
    for path in found:
        if path.is_dir() and not path.is_symlink():
            shutil.rmtree(path)
        else:
            path.unlink()
    return found


def _left(repository: pathlib.Path) -> Iterator[pathlib.Path]:
    if not repository.is_dir():
        return
    yield from (path for path in repository.iterdir() if path.name.endswith(".lock"))
    for top, directories, files in os.walk(repository / "refs"):
        del directories
        yield from (pathlib.Path(top, name) for name in files if name.endswith(".lock"))
    objects = repository / "objects"
    for top, directories, files in os.walk(objects):
        here = pathlib.Path(top)
        dead = [name for name in directories if name.startswith(_HALF_WRITTEN)]
        directories[:] = [name for name in directories if name not in dead]
        yield from (here / name for name in dead)
        for name in files:
            # A .keep protects a pack from a gc that we never run; only a dead fetch leaves one.
            if name.startswith("tmp_") or name.endswith((".lock", ".keep")):
                yield here / name
