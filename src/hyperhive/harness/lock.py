"""One harness for a state directory, and no process of an earlier one.

Rule: never two processes on one session: the program itself takes no lock, and
two that resume the same session both succeed and lose one of two histories.
"""

from __future__ import annotations

import contextlib
import fcntl
import json
import os
import signal
import time
from typing import Dict

from hyperhive.harness import process

WAIT_SECONDS = 10.0


class Held(Exception):
    """Another harness has the state directory."""


class StateLock:
    """The lock file ``harness.lock``; also remembers which claude process runs."""

    def __init__(self, directory: str, wait: float = WAIT_SECONDS) -> None:
        self._path = os.path.join(directory, "harness.lock")
        self._fd = os.open(self._path, os.O_RDWR | os.O_CREAT | os.O_NOFOLLOW, 0o600)
        deadline = time.monotonic() + wait
        while True:
            try:
                fcntl.flock(self._fd, fcntl.LOCK_EX | fcntl.LOCK_NB)
                break
            except BlockingIOError:
                if time.monotonic() >= deadline:
                    os.close(self._fd)
                    raise Held(
                        f"cannot start: another harness holds {self._path}; stop it first"
                    ) from None
                time.sleep(0.1)

    def note(self, pid: int) -> None:
        """Write down the claude process that now runs; 0 for none."""
        told = {"pid": pid, "start": process.start_time(pid) if pid else None}
        data = json.dumps(told).encode()
        os.ftruncate(self._fd, 0)
        os.pwrite(self._fd, data, 0)

    def end_leftover(self) -> bool:
        """Kill the claude process of an earlier harness if it still runs; return whether."""
        try:
            told: Dict[str, int] = json.loads(os.pread(self._fd, 4096, 0) or b"{}")
            pid, start = int(told.get("pid") or 0), told.get("start")
        except (ValueError, AttributeError, TypeError):
            return False
        # A bare pid may be anybody's; the start time makes it that process.
        if pid <= 1 or start is None or process.start_time(pid) != start:
            return False
        for victim in process.session_of(pid):
            with contextlib.suppress(ProcessLookupError):
                os.kill(victim, signal.SIGKILL)
        deadline = time.monotonic() + 5.0
        while process.start_time(pid) == start and time.monotonic() < deadline:
            if process.is_zombie(pid):
                break
            time.sleep(0.02)
        return True

    def close(self) -> None:
        """Let go."""
        os.close(self._fd)
