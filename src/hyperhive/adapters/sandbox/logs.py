"""Logs of payloads: read to the end and on, woken by inotify(7), and kept from growing.

A payload writes what it likes: bytes that are no text are replaced, a line without
end comes in pieces, and reading is bounded from the end of the file.
"""

from __future__ import annotations

import contextlib
import ctypes
import io
import os
import pathlib
import shutil
from collections.abc import AsyncIterator
from typing import Final

from hyperhive.adapters.sandbox import pids
from hyperhive.domain import errors

LINE_LIMIT: Final = 64 * 1024
"""A longer line is given in pieces of this many bytes."""
TAIL_LIMIT: Final = 8 * 1024 * 1024
"""How far back the last lines are looked for."""
KEEP_BYTES: Final = 16 * 1024 * 1024
"""The size at which `trim_log` moves a log away."""

_CHUNK: Final = 64 * 1024
# inotify(7); the directory is watched for a log that is made or moved, the log for its writes.
_MODIFY, _MOVED_TO, _CREATE, _DELETE_SELF, _MOVE_SELF = 0x2, 0x80, 0x100, 0x400, 0x800
_libc = ctypes.CDLL(None, use_errno=True)


async def follow_log(log: pathlib.Path, *, lines: int, follow: bool) -> AsyncIterator[str]:
    """Yield the last *lines* lines of *log*, and when following each new one.

    Goes on when the log is truncated or replaced. A log that does not exist yet
    is empty. `HiveError` UNAVAILABLE when the host has no inotify watch left.
    """
    reader = _Reader(log)
    try:
        # Watching begins before reading, so that nothing written in between is missed.
        with _watch(log) if follow else contextlib.nullcontext(-1) as watch:
            for line in reader.tail(lines, whole=follow):
                yield line
            while follow:
                new = reader.new_lines()
                for line in new:
                    yield line
                if not new:
                    await pids.readable(watch)
                    _drain(watch, log)
    finally:
        reader.close()


def trim_log(log: pathlib.Path, keep: int = KEEP_BYTES) -> None:
    """Move a log above *keep* bytes to ``<name>.1`` and empty it, while its payload goes on.

    Copy and truncate: the payload holds the file open for appending, so it must stay
    the same file. At most the last *keep* bytes are copied (a payload can make the
    file look huge), lines written meanwhile may be lost.
    """
    try:
        size = log.stat().st_size
    except FileNotFoundError:
        return
    if size <= keep:
        return
    new = log.with_name(log.name + ".new")
    with log.open("rb+") as source, new.open("wb") as target:
        source.seek(max(0, size - keep))
        shutil.copyfileobj(io.BytesIO(source.read(keep)), target)
        source.truncate(0)
    new.replace(log.with_name(log.name + ".1"))


class _Reader:
    """The read position in a log that may be truncated or replaced under us."""

    def __init__(self, log: pathlib.Path) -> None:
        self._log = log
        self._file: io.BufferedReader | None = None
        self._rest = b""
        self._open()

    def close(self) -> None:
        """Let go of the file."""
        if self._file is not None:
            self._file.close()
            self._file = None

    def tail(self, lines: int, *, whole: bool) -> list[str]:
        """Return the last *lines* lines and stand at the end; *whole*: keep an unfinished one."""
        if self._file is None:
            return []
        end = self._file.seek(0, os.SEEK_END)
        start, data = end, b""
        while start > max(0, end - TAIL_LIMIT) and data.count(b"\n") <= lines:
            start = max(0, start - _CHUNK)
            self._file.seek(start)
            data = self._file.read(end - start)
        self._file.seek(end)
        complete, newline, rest = data.rpartition(b"\n")
        found = complete.split(b"\n") if newline else []
        if whole:
            self._rest = rest
        elif rest:
            found.append(rest)
        return [_text(piece) for line in found[len(found) - min(lines, len(found)) :]
                for piece in _pieces(line)]  # fmt: skip

    def new_lines(self) -> list[str]:
        """Return the complete lines that were written since; at most one chunk of them."""
        if self._file is None or self._moved():
            self._open()
        if self._file is None:
            return []
        if os.fstat(self._file.fileno()).st_size < self._file.tell():
            self._file.seek(0)
            self._rest = b""
        data = self._file.read(_CHUNK)
        if not data:
            return []
        *complete, self._rest = (self._rest + data).split(b"\n")
        if len(self._rest) > LINE_LIMIT:
            complete.append(self._rest)
            self._rest = b""
        found = [_text(piece) for line in complete for piece in _pieces(line)]
        # More may follow at once; an empty answer would send the caller to sleep.
        return found or self.new_lines()

    def _open(self) -> None:
        self.close()
        self._rest = b""
        with contextlib.suppress(FileNotFoundError):
            self._file = self._log.open("rb")

    def _moved(self) -> bool:
        assert self._file is not None
        try:
            now = self._log.stat()
        except FileNotFoundError:
            return False
        here = os.fstat(self._file.fileno())
        if (now.st_dev, now.st_ino) == (here.st_dev, here.st_ino):
            return False
        # Finish the old file first.
        return self._file.tell() >= here.st_size


def _pieces(line: bytes) -> list[bytes]:
    return [line[i : i + LINE_LIMIT] for i in range(0, len(line), LINE_LIMIT)] or [b""]


def _text(line: bytes) -> str:
    return line.decode("utf-8", "replace")


@contextlib.contextmanager
def _watch(log: pathlib.Path):
    fd = _libc.inotify_init1(os.O_NONBLOCK | os.O_CLOEXEC)
    if fd == -1:
        raise errors.unavailable(
            f"cannot follow {log}: {os.strerror(ctypes.get_errno())}; "
            "raise the limit: sysctl fs.inotify.max_user_instances=1024"
        )
    try:
        directory = os.fsencode(log.parent)
        if _libc.inotify_add_watch(fd, directory, _CREATE | _MOVED_TO) == -1:
            raise errors.unavailable(
                f"cannot follow {log}: {os.strerror(ctypes.get_errno())} ({log.parent})"
            )
        _add(fd, log)
        yield fd
    finally:
        os.close(fd)


def _add(fd: int, log: pathlib.Path) -> None:
    # A log that is not there yet is seen by the watch on its directory.
    _libc.inotify_add_watch(fd, os.fsencode(log), _MODIFY | _DELETE_SELF | _MOVE_SELF)


def _drain(fd: int, log: pathlib.Path) -> None:
    """Take what inotify has to say, and watch the log again: it may be another file now."""
    with contextlib.suppress(BlockingIOError):
        while os.read(fd, 64 * 1024):
            pass
    _add(fd, log)
