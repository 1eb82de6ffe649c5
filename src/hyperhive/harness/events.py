"""The outbox of live events.

Rule: a turn never waits for its terminal, and the terminal never fills the
disk. While the daemon is away events go to a bounded file; when that is full
the oldest noise goes first, and a note says how much went.
"""

from __future__ import annotations

import collections
import contextlib
import json
import os
from typing import Any, Deque, Dict, List, Optional, Tuple

MEMORY_MAX = 256 * 1024
DISK_MAX = 8 * 1024 * 1024
BATCH_BYTES = 256 * 1024
BATCH_EVENTS = 200
EVENT_MAX = 2 * 1024 * 1024
NOISE = frozenset({"text", "thinking", "tool_use", "tool_result"})


class Outbox:
    """Events of one boot, oldest first, some in memory, the rest in *path*.

    An event gets its number when it goes into a batch, so that dropped ones
    leave no gap.
    """

    def __init__(self, path: str, memory_max: int = MEMORY_MAX, disk_max: int = DISK_MAX) -> None:
        self._path = path
        self._memory_max = memory_max
        self._disk_max = disk_max
        self._memory: Deque[bytes] = collections.deque()
        self._memory_bytes = 0
        self._spilled = 0
        self._read_from = 0
        self._next = 1
        self.dropped = 0
        if os.path.lexists(path):
            os.unlink(path)

    def add(self, turn: str, kind: str, data: Dict[str, Any]) -> None:
        """Put an event at the end."""
        event = {"turn": turn, "kind": kind, "data": data}
        line = json.dumps(event, separators=(",", ":")).encode() + b"\n"
        if len(line) > EVENT_MAX:
            note = {"text": f"an event of {len(line)} bytes ({kind}) was left out"}
            event = {"turn": turn, "kind": "note", "data": note}
            line = json.dumps(event, separators=(",", ":")).encode() + b"\n"
        if self._spilled == self._read_from and (
            self._memory_bytes + len(line) <= self._memory_max or not self._memory
        ):
            self._memory.append(line)
            self._memory_bytes += len(line)
            return
        try:
            if self._spilled - self._read_from + len(line) > self._disk_max:
                self._make_room()
            with open(self._path, "ab") as file:
                file.write(line)
        except OSError:
            # A full disk must not end the turn; this is noise.
            self.dropped += 1
            return
        self._spilled += len(line)

    def batch(self) -> Optional[Tuple[int, List[Dict[str, Any]]]]:
        """Take the next events out: the number of the first, and the events. None when empty."""
        if not self._memory:
            self._refill()
        if self.dropped and self._memory:
            note = {"text": f"{self.dropped} older events were dropped: the hive was away"}
            self.dropped = 0
            event = json.dumps({"turn": "", "kind": "note", "data": note}).encode() + b"\n"
            self._memory.appendleft(event)
            self._memory_bytes += len(event)
        events: List[Dict[str, Any]] = []
        size = 0
        while self._memory and len(events) < BATCH_EVENTS:
            if events and size + len(self._memory[0]) > BATCH_BYTES:
                break
            line = self._memory.popleft()
            size += len(line)
            self._memory_bytes -= len(line)
            event = _parse(line)
            if event is not None:
                events.append(event)
        if not events:
            return None
        first, self._next = self._next, self._next + len(events)
        return first, events

    def _refill(self) -> None:
        if self._spilled == self._read_from:
            return
        try:
            with open(self._path, "rb") as file:
                file.seek(self._read_from)
                for line in file:
                    self._read_from += len(line)
                    self._memory.append(line)
                    self._memory_bytes += len(line)
                    if self._memory_bytes >= self._memory_max:
                        break
        except OSError:
            # The agent may delete its own terminal; that must not end its turn.
            self.dropped += 1
            self._read_from = self._spilled
        if self._read_from >= self._spilled or not self._memory:
            self._read_from = self._spilled = 0
            with contextlib.suppress(OSError):
                os.unlink(self._path)

    def _make_room(self) -> None:
        """Halve the file: leave out the oldest noise, and if that is too little the oldest."""
        target = self._disk_max // 2
        for only_noise in (True, False):
            excess = self._spilled - self._read_from - target
            if excess > 0:
                self._rewrite(excess, only_noise)

    def _rewrite(self, excess: int, only_noise: bool) -> None:
        kept = 0
        new = self._path + ".new"
        with open(self._path, "rb") as old, open(new, "wb") as file:
            old.seek(self._read_from)
            for line in old:
                if excess > 0 and (not only_noise or _is_noise(line)):
                    excess -= len(line)
                    self.dropped += 1
                    continue
                file.write(line)
                kept += len(line)
        os.replace(new, self._path)
        self._read_from, self._spilled = 0, kept


def _parse(line: bytes) -> Optional[Dict[str, Any]]:
    """The event on a line; None for what somebody else wrote into the file."""
    try:
        event = json.loads(line)
    except (ValueError, RecursionError):
        return None
    return event if isinstance(event, dict) else None


def _is_noise(line: bytes) -> bool:
    event = _parse(line)
    return event is None or event.get("kind") in NOISE
