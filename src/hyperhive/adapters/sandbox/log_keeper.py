"""Keeps the logs of all sandboxes from growing: woken by their writers, never by a clock.

One inotify(7) instance for all of them (a user may have 128), one watch a log. An
idle agent writes nothing and so costs nothing.
"""

from __future__ import annotations

import asyncio
import contextlib
import ctypes
import os
import pathlib
import struct
from collections.abc import Iterator
from typing import Final

from hyperhive.adapters.sandbox import logs

_MODIFY: Final = 0x2
_HEAD: Final = struct.Struct("iIII")
"""``struct inotify_event`` without its name: wd, mask, cookie, len."""
_libc = ctypes.CDLL(None, use_errno=True)


class LogKeeper:
    """Trims a log as soon as it is larger than *keep* bytes. Used from one event loop."""

    def __init__(self, keep: int = logs.KEEP_BYTES) -> None:
        self._keep = keep
        self._fd = -1
        self._logs: dict[int, pathlib.Path] = {}
        self._trimming: set[pathlib.Path] = set()

    @contextlib.contextmanager
    def keep(self, log: pathlib.Path) -> Iterator[None]:
        """Look after *log* while the context lasts.

        A host without a watch to spare (fs.inotify.max_user_watches) gets its logs trimmed
        here, when a sandbox is taken up, and not in between.
        """
        logs.trim_log(log, self._keep)
        watch = self._add(log)
        try:
            yield
        finally:
            if watch >= 0:
                self._remove(watch)

    def _add(self, log: pathlib.Path) -> int:
        if self._fd < 0:
            self._fd = _libc.inotify_init1(os.O_NONBLOCK | os.O_CLOEXEC)
            if self._fd < 0:
                return -1
            asyncio.get_running_loop().add_reader(self._fd, self._written)
        watch = int(_libc.inotify_add_watch(self._fd, os.fsencode(log), _MODIFY))
        if watch >= 0:
            self._logs[watch] = log
        return watch

    def _remove(self, watch: int) -> None:
        self._logs.pop(watch, None)
        _libc.inotify_rm_watch(self._fd, watch)
        if not self._logs:
            asyncio.get_running_loop().remove_reader(self._fd)
            os.close(self._fd)
            self._fd = -1

    def _written(self) -> None:
        try:
            data = os.read(self._fd, 64 * 1024)
        except BlockingIOError:
            return
        written: set[pathlib.Path] = set()
        while data:
            watch, _, _, length = _HEAD.unpack_from(data)
            data = data[_HEAD.size + length :]
            if watch in self._logs:
                written.add(self._logs[watch])
        for log in written - self._trimming:
            with contextlib.suppress(FileNotFoundError):
                if log.stat().st_size > self._keep:
                    self._trimming.add(log)
                    done = asyncio.get_running_loop().run_in_executor(
                        None, logs.trim_log, log, self._keep
                    )
                    done.add_done_callback(lambda _, log=log: self._trimming.discard(log))
