"""Directories and logs of builds below the hive's home. See `ports.BuildSpace`.

build/<approval>.log    kept with the approval
run/build/<approval>/   the exported commit, while it is built
"""

from __future__ import annotations

import asyncio
import contextlib
import os
import pathlib
import shutil
from collections.abc import Iterator
from typing import Final

from hyperhive import ports
from hyperhive.domain import errors, ids

LOG_BYTES: Final = 4 * 1024 * 1024
"""A longer log is cut, and says so."""
LINE_CHARACTERS: Final = 4000
_CUT: Final = "(the log is longer than is kept)\n"


class HomeBuildSpace:
    """`ports.BuildSpace` on the file system."""

    def __init__(self, home: pathlib.Path) -> None:
        self._logs = home / "build"
        self._rooms = home / "run" / "build"

    async def fresh(self, approval: ids.ApprovalId) -> pathlib.Path:
        """See `ports.BuildSpace`."""
        return await asyncio.to_thread(self._fresh, approval)

    def _fresh(self, approval: ids.ApprovalId) -> pathlib.Path:
        room = self._rooms / str(approval)
        with _refusing(f"make {room}"):
            shutil.rmtree(room, ignore_errors=True)
            self._rooms.mkdir(mode=0o700, parents=True, exist_ok=True)
            room.mkdir(mode=0o700)
        return room

    async def read(self, directory: pathlib.Path) -> dict[str, bytes]:
        """See `ports.BuildSpace`. The export wrote them: there is no link among them."""

        def read() -> dict[str, bytes]:
            with _refusing(f"read {directory}"):
                return {
                    str(path.relative_to(directory)): path.read_bytes()
                    for path in sorted(directory.rglob("*"))
                    if path.is_file() and not path.is_symlink()
                }

        return await asyncio.to_thread(read)

    async def discard(self, approval: ids.ApprovalId) -> None:
        """See `ports.BuildSpace`."""
        await asyncio.to_thread(shutil.rmtree, self._rooms / str(approval), ignore_errors=True)

    @contextlib.contextmanager
    def open_log(self, approval: ids.ApprovalId) -> Iterator[ports.BuildLog]:
        """See `ports.BuildSpace`."""
        path = self.log_file(approval)
        with _refusing(f"write {path}"):
            self._logs.mkdir(mode=0o700, parents=True, exist_ok=True)
            fd = os.open(path, os.O_WRONLY | os.O_CREAT | os.O_APPEND | os.O_CLOEXEC, 0o600)
        try:
            yield _Log(fd)
        finally:
            os.close(fd)

    def log_file(self, approval: ids.ApprovalId) -> pathlib.Path:
        """See `ports.BuildSpace`."""
        return self._logs / f"{approval}.log"


class _Log:
    def __init__(self, fd: int) -> None:
        self._fd = fd
        self._left = LOG_BYTES - os.fstat(fd).st_size

    def line(self, text: str) -> None:
        """See `ports.BuildLog`. A full disk loses lines, never the build."""
        for part in text.splitlines() or [""]:
            shown = "".join(
                sign if sign == "\t" or sign.isprintable() else "\N{REPLACEMENT CHARACTER}"
                for sign in part[:LINE_CHARACTERS]
            )
            data = f"{shown}\n".encode("utf-8", "replace")
            if self._left <= 0:
                return
            if len(data) > self._left:
                data, self._left = _CUT.encode(), len(_CUT)
            self._left -= len(data)
            with contextlib.suppress(OSError):
                os.write(self._fd, data)


@contextlib.contextmanager
def _refusing(doing: str) -> Iterator[None]:
    try:
        yield
    except OSError as error:
        raise errors.unavailable(f"cannot {doing}: {error.strerror or error}") from error
