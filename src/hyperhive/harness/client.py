"""The harness's end of the agent protocol: one connection, kept for ever.

Rule: a call is answered exactly once, however often the daemon goes away. On
every new connection ``hello`` comes first, with the same boot, then all that
is unanswered is sent again; the daemon recognises repeats by turn and key.
"""

from __future__ import annotations

import itertools
import socket
import time
from typing import Any, Callable, Dict, Optional, Set

from hyperhive.harness import reactor
from hyperhive.wire import agent_protocol as protocol

PAUSES = (0.1, 0.2, 0.5, 1.0, 2.0, 4.0, 8.0, 16.0, 30.0)
"""Seconds between attempts: quick first, because a restarting daemon is back in a second."""
ABANDONED_MAX = 8
"""Forgotten calls that may park in the daemon before a new connection ends them all.

The daemon lets a harness stop waiting by closing its connection, and bounds the
calls of one; unheeded, the parked ``orders`` of ended turns would fill it.
"""
_READ = 256 * 1024

Answered = Callable[[Dict[str, Any]], None]
Refused = Callable[[str, str], None]


class Call:
    """A request that waits for its answer."""

    def __init__(
        self, number: int, line: bytes, answered: Answered, refused: Refused, retry: bool
    ) -> None:
        self.number = number
        self.line = line
        self.answered = answered
        self.refused = refused
        self.retry = retry
        self.refusals = 0
        self.sent = 0
        self.away = 0.0
        """Seconds that the daemon was away while this call waited."""


class Fatal(Exception):
    """The daemon and this harness cannot work together; a new harness may."""


class Client:
    """Calls the daemon from within a `reactor.Reactor`.

    *on_note* gets a sentence when the connection comes or goes.
    """

    def __init__(
        self, loop: reactor.Reactor, path: str, boot: str, on_note: Callable[[str], None]
    ) -> None:
        self._loop = loop
        self._path = path
        self._boot = boot
        self._on_note = on_note
        self._numbers = itertools.count(1)
        self._calls: Dict[int, Call] = {}
        self._abandoned: Set[int] = set()
        self._socket: Optional[socket.socket] = None
        self._ready = False
        self._attempts = 0
        self._lost_at: Optional[float] = None
        self._in = bytearray()
        self._out = bytearray()
        self.agent: Dict[str, Any] = {}

    def start(self) -> None:
        """Connect, and go on trying."""
        connection = socket.socket(socket.AF_UNIX, socket.SOCK_STREAM)
        try:
            connection.connect(self._path)
        except OSError as error:
            connection.close()
            self._lose(f"cannot reach the hive at {self._path}: {error.strerror or error}")
            return
        connection.setblocking(False)
        self._socket = connection
        self._loop.watch(connection.fileno(), self._read, None)
        params = {"protocol": protocol.PROTOCOL, "boot": self._boot}
        self._send(protocol.encode({"id": 0, "method": "hello", "params": params}))

    def call(
        self,
        method: str,
        params: Dict[str, Any],
        answered: Answered,
        refused: Refused,
        retry: bool = True,
    ) -> Call:
        """Ask the daemon; the answer never comes before this returns.

        *retry* repeats the call when the daemon says ``unavailable`` or has a
        bug. `ProtocolError` when it is longer than a line may be.
        """
        number = next(self._numbers)
        line = protocol.encode({"id": number, "method": method, "params": params})
        call = self._calls[number] = Call(number, line, answered, refused, retry)
        if self._ready:
            self._deliver(call)
        return call

    def forget(self, call: Optional[Call]) -> None:
        """Take no interest in an answer any more; harmless when it has come."""
        if call is None or self._calls.pop(call.number, None) is None or not self._ready:
            return
        self._abandoned.add(call.number)
        if len(self._abandoned) >= ABANDONED_MAX:
            self._drop()
            self.start()

    def close(self) -> None:
        """Hang up for good."""
        self._drop()
        self._calls.clear()

    # --- inside -------------------------------------------------------------------------

    def _deliver(self, call: Call) -> None:
        call.sent += 1
        self._send(call.line)

    def _send(self, line: bytes) -> None:
        self._out += line
        self._write()

    def _write(self) -> None:
        connection = self._socket
        while self._out and connection is not None:
            try:
                written = connection.send(self._out)
            except BlockingIOError:
                self._loop.watch(connection.fileno(), self._read, self._write)
                return
            except OSError as error:
                self._lose(f"the hive is away: {error.strerror}")
                return
            del self._out[:written]
        if connection is not None:
            self._loop.watch(connection.fileno(), self._read, None)

    def _read(self) -> None:
        connection = self._socket
        if connection is None:
            return
        try:
            chunk = connection.recv(_READ)
        except BlockingIOError:
            return
        except OSError as error:
            self._lose(f"the hive is away: {error.strerror}")
            return
        if not chunk:
            self._lose("the hive is away: it closed the connection")
            return
        searched = len(self._in)
        self._in += chunk
        start = 0
        end = self._in.find(b"\n", searched)
        while end >= 0:
            line = bytes(self._in[start:end])
            start, end = end + 1, self._in.find(b"\n", end + 1)
            if not self._take(line) or self._socket is not connection:
                return
        del self._in[:start]
        if len(self._in) > protocol.LINE_MAX:
            self._lose("the hive sent a line that is too long")

    def _take(self, line: bytes) -> bool:
        try:
            message = protocol.decode(line)
        except protocol.ProtocolError as error:
            self._lose(f"the hive does not speak the protocol: {error}")
            return False
        error = message.get("error")
        number = message.get("id")
        if not isinstance(number, int):
            return True
        if number == 0:
            return self._greeted(message, error)
        self._abandoned.discard(number)
        call = self._calls.get(number)
        if call is None:
            return True
        if isinstance(error, dict):
            self._refuse(call, error)
        else:
            del self._calls[call.number]
            call.answered(message.get("result") or {})
        return True

    def _greeted(self, message: Dict[str, Any], error: Any) -> bool:
        if isinstance(error, dict):
            if error.get("kind") in ("invalid", "conflict"):
                raise Fatal(f"the hive refused this harness: {error.get('message')}")
            self._lose(f"the hive refused this harness: {error.get('message')}")
            return False
        result = message.get("result") or {}
        self.agent = result.get("agent") or {}
        self._ready = True
        self._attempts = 0
        if self._lost_at is not None:
            gone = time.monotonic() - self._lost_at
            self._lost_at = None
            for call in self._calls.values():
                call.away += gone if call.sent else 0.0
            self._on_note(f"the hive is back after {gone:.1f} s")
        for call in list(self._calls.values()):
            if not self._ready:
                # Lost again meanwhile; what is left is for the next connection.
                return False
            self._deliver(call)
        return True

    def _refuse(self, call: Call, error: Dict[str, Any]) -> None:
        kind, reason = str(error.get("kind")), str(error.get("message"))
        if not call.retry or kind not in ("unavailable", "bug"):
            del self._calls[call.number]
            call.refused(kind, reason)
            return
        pause = PAUSES[min(3 + call.refusals, len(PAUSES) - 1)]
        call.refusals += 1
        sent = call.sent

        def again() -> None:
            # Unless a new connection has taken it along: an id is in flight once.
            if self._ready and call.number in self._calls and call.sent == sent:
                self._deliver(call)

        self._loop.call_later(pause, again)

    def _lose(self, reason: str) -> None:
        was_ready = self._ready
        self._drop()
        if self._lost_at is None:
            self._lost_at = time.monotonic()
        if was_ready or self._attempts == 0:
            self._on_note(reason)
        pause = PAUSES[min(self._attempts, len(PAUSES) - 1)]
        self._attempts += 1
        self._loop.call_later(pause, self.start)

    def _drop(self) -> None:
        self._ready = False
        self._abandoned.clear()
        self._in.clear()
        self._out.clear()
        if self._socket is not None:
            self._loop.unwatch(self._socket.fileno())
            self._socket.close()
            self._socket = None
