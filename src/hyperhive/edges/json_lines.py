"""The line protocol of both sockets: one JSON object per line, multiplexed by ``id``.

What every line costs is bounded: its length, its depth, the time to complete it,
the requests in flight, the connections. A bad line is answered and the
connection goes on; a bug is answered with a reference and its traceback goes to
the log alone. A closed connection cancels what was parked for it. Data is read
with plain recv(2), so descriptors that a peer sends along are dropped by the
kernel.
"""

from __future__ import annotations

import asyncio
import contextlib
import dataclasses
import pathlib
import re
import secrets
from collections.abc import AsyncIterator, Awaitable, Callable, Mapping
from typing import Any, Final, Protocol

import msgspec

from hyperhive.domain import errors
from hyperhive.edges import strict_json, unix_socket
from hyperhive.wire import agent_protocol, problems

PARTIAL_SECONDS: Final = 30.0
"""How long a line may take from its first byte to its last."""
ID_MAX: Final = 2**53
_READ_SIZE: Final = 64 * 1024
_OFF_LOOP: Final = 128 * 1024
"""Lines longer than this are parsed on a thread, so that others are served meanwhile."""


class Log(Protocol):
    """The structured log: one event name, then fields."""

    def warning(self, event: str, **fields: Any) -> Any:
        """Note something that an operator may want to look at."""
        ...

    def error(self, event: str, **fields: Any) -> Any:
        """Note a bug; ``exc_info`` carries its traceback."""
        ...


@dataclasses.dataclass(frozen=True, slots=True)
class Limits:
    """Ceilings of one listening socket."""

    line: int = agent_protocol.LINE_MAX
    """Bytes of one line that comes in."""
    answer: int = agent_protocol.LINE_MAX
    """Bytes of one line that goes out."""
    connections: int = 8
    in_flight: int = 32
    linger: float = 0.0
    """Seconds that running requests have after the peer has sent its last (a script's pipe)."""


@dataclasses.dataclass(frozen=True, slots=True)
class Line:
    """One request as it came in."""

    body: dict[str, Any]
    suspicious: bool
    """Whether its text may hold what no store takes (see `strict_json.find_unstorable`)."""
    peer: unix_socket.Peer

    def require_clean(self) -> None:
        """Raise `HiveError` INVALID when any text holds NUL or a lone surrogate."""
        found = strict_json.find_unstorable(self.body) if self.suspicious else None
        if found is not None:
            raise errors.invalid(f"cannot read the request: its text contains {found}")


Emit = Callable[[Any], Awaitable[None]]


class Service(Protocol):
    """What answers the requests of one socket."""

    envelope: Mapping[str, Any]
    """Members that every line out carries besides ``id``."""

    async def answer(self, line: Line, emit: Emit) -> Any:
        """Return the ``result``; *emit* sends an ``event`` line before it."""
        ...

    def may_cancel(self, body: Mapping[str, Any]) -> bool:
        """Whether ``{"cancel": id}`` may end this request early (streams: nothing is half done)."""
        ...


class LineServer:
    """One listening socket. `open` it, `close` it; closing ends every connection at once."""

    def __init__(
        self,
        service: Service,
        log: Log,
        *,
        limits: Limits,
        may_connect: Callable[[unix_socket.Peer], bool],
    ) -> None:
        self._service = service
        self._log = log
        self._limits = limits
        self._may_connect = may_connect
        self._connections: set[asyncio.Task[None]] = set()
        self._server: asyncio.Server | None = None
        self._remove: Callable[[], None] | None = None
        self._closing = False

    async def open(self, path: pathlib.Path, *, gid: int | None, mode: int = 0o660) -> None:
        """Listen at *path*; `HiveError` UNAVAILABLE when that is not possible."""
        listener, self._remove = unix_socket.listen(path, gid=gid, mode=mode)
        self._server = await asyncio.start_unix_server(self._connected, sock=listener)

    async def close(self) -> None:
        """Stop listening, remove the file, cancel all that is parked, and wait for the ends."""
        self._closing = True
        if self._server is not None:
            self._server.close()
        if self._remove is not None:
            self._remove()
        for task in self._connections:
            task.cancel()
        await asyncio.gather(*self._connections, return_exceptions=True)

    @property
    def connections(self) -> int:
        """How many are open."""
        return len(self._connections)

    async def _connected(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        task = asyncio.current_task()
        assert task is not None
        if self._closing:
            writer.close()
            return
        self._connections.add(task)
        peer = unix_socket.peer_of(writer.get_extra_info("socket"))
        connection = _Connection(self._service, self._log, self._limits, peer, reader, writer)
        try:
            if not self._may_connect(peer):
                self._log.warning("socket_peer_refused", uid=peer.uid, pid=peer.pid)
                refusal = errors.forbidden(f"cannot connect: uid {peer.uid} is not the owner")
                await connection.refuse(refusal)
            elif len(self._connections) > self._limits.connections:
                await connection.refuse(
                    errors.unavailable(
                        f"cannot connect: {self._limits.connections} connections are open already"
                    )
                )
            else:
                await connection.serve()
        except OSError:
            pass  # The peer is gone; there is nobody to tell.
        except asyncio.CancelledError:
            # Nobody awaits this task, and asyncio in Python 3.11 reports a cancelled one as an
            # error in a callback.
            pass
        finally:
            self._connections.discard(task)
            # Never wait for a peer that does not read.
            if writer.transport.get_write_buffer_size():
                writer.transport.abort()
            else:
                writer.close()


class _Connection:
    def __init__(
        self,
        service: Service,
        log: Log,
        limits: Limits,
        peer: unix_socket.Peer,
        reader: asyncio.StreamReader,
        writer: asyncio.StreamWriter,
    ) -> None:
        self._service = service
        self._log = log
        self._limits = limits
        self._peer = peer
        self._reader = reader
        self._writer = writer
        self._writing = asyncio.Lock()
        self._running: dict[int, tuple[asyncio.Task[None], dict[str, Any]]] = {}
        self._cancelled: set[int] = set()

    async def refuse(self, error: errors.HiveError) -> None:
        await self._send_error(None, error)

    async def serve(self) -> None:
        async with asyncio.TaskGroup() as group:
            try:
                async for raw in self._lines():
                    await self._accept(raw, group)
                if self._running and self._limits.linger:
                    await asyncio.wait(
                        [task for task, _ in self._running.values()], timeout=self._limits.linger
                    )
            except OSError:
                pass  # The peer is gone. Caught here: out of a group it would come wrapped.
            finally:
                for task, _ in self._running.values():
                    task.cancel()

    async def _accept(self, raw: bytes | _Unreadable, group: asyncio.TaskGroup) -> None:
        if isinstance(raw, _Unreadable):
            await self._send_error(self._claimed_id(raw.head), raw.error)
            return
        try:
            if len(raw) > _OFF_LOOP:
                body = await asyncio.to_thread(strict_json.decode_object, raw)
            else:
                body = strict_json.decode_object(raw)
            if "cancel" in body and "id" not in body:
                await self._cancel(body["cancel"])
                return
            key = self._take_id(body)
        except errors.HiveError as error:
            await self._send_error(self._claimed_id(raw), error)
            return
        if len(self._running) >= self._limits.in_flight:
            full = f"cannot accept more: {self._limits.in_flight} requests are in flight here"
            await self._send_error(key, errors.unavailable(full))
            return
        line = Line(body, strict_json.may_be_unstorable(raw), self._peer)
        self._running[key] = (group.create_task(self._run(key, line)), body)

    def _take_id(self, body: dict[str, Any]) -> int:
        key = body.get("id")
        if not isinstance(key, int) or isinstance(key, bool) or not 0 <= key < ID_MAX:
            raise errors.invalid('cannot answer a request without "id": a number from 0 to 2^53-1')
        if key in self._running:
            raise errors.invalid(f"cannot take request {key}: one with that id is in flight")
        return key

    def _claimed_id(self, head: bytes) -> int | None:
        """The id that an unreadable line begins with, so that its sender need not wait for ever."""
        found = _ID_FIRST.match(head)
        key = int(found[1]) if found else None
        return None if key in self._running else key

    async def _cancel(self, key: Any) -> None:
        # A task that is cancelled before its first step never runs, and could not answer.
        await asyncio.sleep(0)
        task, body = self._running.get(key, (None, {})) if isinstance(key, int) else (None, {})
        if task is not None and self._service.may_cancel(body):
            assert isinstance(key, int)
            self._cancelled.add(key)
            task.cancel()

    async def _run(self, key: int, line: Line) -> None:
        async def emit(event: Any) -> None:
            await self._send(key, "event", event)

        try:
            try:
                result = await self._service.answer(line, emit)
            except asyncio.CancelledError:
                if key not in self._cancelled:
                    raise
                result = {}
            except errors.HiveError as error:
                await self._send_error(key, error)
                return
            await self._send(key, "result", result)
        except ConnectionError:
            # The peer is gone, which the reader sees too, or else it was no connection to it.
            if not self._writer.is_closing():
                await self._send_bug(key)
        except Exception:  # noqa: BLE001 - the request boundary: a bug ends one request only
            await self._send_bug(key)
        finally:
            self._running.pop(key, None)
            self._cancelled.discard(key)

    async def _send_error(self, key: int | None, error: errors.HiveError) -> None:
        # A message may quote what came in, and that need not be encodable.
        await self._send(key, "error", strict_json.repair(problems.rpc_error(error)))

    async def _send_bug(self, key: int) -> None:
        reference = secrets.token_hex(4)
        self._log.error("request_bug", reference=reference, exc_info=True)
        message = f"cannot answer: a bug in the hive; its log has reference {reference}"
        with contextlib.suppress(ConnectionError):
            await self._send(key, "error", {"kind": "bug", "message": message})

    async def _send(self, key: int | None, member: str, value: Any) -> None:
        """Write one line. Waits while the peer does not read; `OSError` when it is gone."""
        async with self._writing:
            self._writer.write(self._encode(key, member, value))
            await self._writer.drain()

    def _encode(self, key: int | None, member: str, value: Any) -> bytes:
        raw = _ENCODER.encode({"id": key, **self._service.envelope, member: value})
        if len(raw) < self._limits.answer:
            return raw + b"\n"
        too_long = errors.unavailable(
            f"cannot answer: the answer has {len(raw)} bytes and a line may have "
            f"{self._limits.answer}; ask for less"
        )
        return self._encode(key, "error", problems.rpc_error(too_long))

    async def _lines(self) -> AsyncIterator[bytes | _Unreadable]:
        """Lines without their newline; a refusal in place of one that was too long or late."""
        loop = asyncio.get_running_loop()
        buffer = bytearray()
        searched = 0
        skipping = False
        deadline: float | None = None
        while True:
            end = buffer.find(b"\n", searched)
            if end >= 0:
                raw = bytes(buffer[:end])
                del buffer[: end + 1]
                searched, deadline = 0, None
                if skipping:
                    skipping = False
                elif len(raw) > self._limits.line:
                    yield self._too_long(raw)
                elif raw.strip():
                    yield raw
                continue
            if skipping or len(buffer) > self._limits.line:
                if not skipping:
                    yield self._too_long(buffer)
                skipping = True
                buffer.clear()
            searched = len(buffer)
            if not (buffer or skipping):
                deadline = None
            elif deadline is None:
                deadline = loop.time() + PARTIAL_SECONDS
            try:
                async with asyncio.timeout_at(deadline):
                    chunk = await self._reader.read(_READ_SIZE)
            except TimeoutError:
                late = f"cannot read a line: not complete after {PARTIAL_SECONDS:g} seconds"
                yield _Unreadable(errors.invalid(late), b"")
                return
            if not chunk:
                return
            buffer += chunk

    def _too_long(self, line: bytes | bytearray) -> _Unreadable:
        words = f"cannot read a line: it is longer than {self._limits.line} bytes"
        return _Unreadable(errors.invalid(words), bytes(line[:_HEAD]))


@dataclasses.dataclass(frozen=True, slots=True)
class _Unreadable:
    error: errors.HiveError
    head: bytes


_HEAD: Final = 64
_ID_FIRST: Final = re.compile(rb'\s*\{\s*"id"\s*:\s*([0-9]{1,15})\s*[,}]')
_ENCODER: Final = msgspec.json.Encoder()
