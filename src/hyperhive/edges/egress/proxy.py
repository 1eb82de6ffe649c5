"""Carries bytes between sandboxes and the hosts that their agents may reach.

The agent is known by the listener that accepted the connection. A name is
resolved once, the address is checked, and exactly that address is dialled, so
an answer of DNS that changes in between changes nothing. No timer when idle.
"""

from __future__ import annotations

import asyncio
import concurrent.futures
import contextlib
import dataclasses
import socket
from collections.abc import Awaitable, Callable, Sequence
from typing import Final, TypeAlias

from hyperhive.domain import errors, ids
from hyperhive.edges.egress import head as heads
from hyperhive.edges.egress import pump, rules

CONNECTIONS_MAX: Final = 64
"""Connections of one agent at a time."""
HEAD_MAX: Final = 16 * 1024
HEAD_SECONDS: Final = 20.0
RESOLVE_SECONDS: Final = 10.0
DIAL_SECONDS: Final = 10.0
DIALS_MAX: Final = 4
CLOSE_SECONDS: Final = 30.0
LINGER_SECONDS: Final = 2.0
LINGER_READS: Final = 64
IDLE_SECONDS: Final = 600.0
"""A connection on which nothing moves for so long is ended."""

Streams: TypeAlias = tuple[asyncio.StreamReader, asyncio.StreamWriter]
Resolve: TypeAlias = Callable[[str, int], Awaitable[Sequence[str]]]
"""(host, port) -> addresses in the order to try; OSError when there is none."""
Dial: TypeAlias = Callable[[str, int], Awaitable[Streams]]
"""(address, port) -> an open connection; the address is never a name."""
OnRefused: TypeAlias = Callable[[ids.AgentId, str, str], Awaitable[None]]
"""(agent, host and port, reason) of what the rules kept from an agent; never raises."""


class _Refused(Exception):
    """What the agent is told in place of a connection."""

    def __init__(self, status: int, text: str, why: str = "") -> None:
        super().__init__(text)
        self.status = status
        self.text = text
        self.why = why
        """Of a refusal by the rules: the reason in a few words."""


@dataclasses.dataclass(slots=True)
class _Door:
    """One agent's listener and the connections that came in by it."""

    server: asyncio.Server | None = None
    tasks: set[asyncio.Task[None]] = dataclasses.field(default_factory=set[asyncio.Task[None]])


class EgressProxy:
    """The egress proxy of a daemon: CONNECT, and plain HTTP in absolute form.

    *allowed* gives an agent's allow-list (`rules` says what an entry is) and is
    asked at every connection. *on_refused* hears of each attempt that the rules refuse, not of
    hosts that are away. *resolve* and *dial* stand in for DNS and TCP in tests.
    """

    def __init__(
        self,
        allowed: Callable[[ids.AgentId], Awaitable[Sequence[str]]],
        resolve: Resolve | None = None,
        dial: Dial | None = None,
        on_refused: OnRefused | None = None,
    ) -> None:
        self._allowed = allowed
        self._on_refused = on_refused
        self._doors: dict[ids.AgentId, _Door] = {}
        # Its own threads: a slow DNS server must not hold up the daemon's other work.
        self._threads = concurrent.futures.ThreadPoolExecutor(8, thread_name_prefix="egress-dns")
        self._resolve: Resolve = resolve or self._ask_dns
        self._dial: Dial = dial or _connect

    async def serve(self, agent: ids.AgentId, listener: socket.socket) -> None:
        """Answer on *listener* as *agent* until `stop_serving`; the proxy owns the socket now.

        An agent has one listener: an earlier one is closed first.
        """
        await self.stop_serving(agent)
        door = _Door()

        async def accept(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
            task = asyncio.current_task()
            assert task is not None
            door.tasks.add(task)
            try:
                await self._answer(agent, door, reader, writer)
            except asyncio.CancelledError:
                writer.transport.abort()
            except OSError:
                # The agent hung up while it was being told something.
                writer.transport.abort()
            finally:
                door.tasks.discard(task)

        door.server = await asyncio.start_server(accept, sock=listener, limit=HEAD_MAX)
        self._doors[agent] = door

    async def stop_serving(self, agent: ids.AgentId) -> None:
        """Close the agent's listener and cut its connections; harmless when there is none."""
        door = self._doors.pop(agent, None)
        if door is None:
            return
        if door.server is not None:
            door.server.close()
        tasks = list(door.tasks)
        for task in tasks:
            task.cancel()
        if tasks:
            await asyncio.wait(tasks)

    async def close(self) -> None:
        """Stop serving all agents."""
        for agent in list(self._doors):
            await self.stop_serving(agent)
        self._threads.shutdown(wait=False, cancel_futures=True)

    async def _answer(
        self,
        agent: ids.AgentId,
        door: _Door,
        reader: asyncio.StreamReader,
        writer: asyncio.StreamWriter,
    ) -> None:
        """Serve one connection and close it."""
        try:
            try:
                if len(door.tasks) > CONNECTIONS_MAX:
                    raise _Refused(
                        503, f"this agent has {CONNECTIONS_MAX} connections open already"
                    )
                head = await _read_head(reader)
                origin = await self._enter(agent, head)
            except _Refused as refused:
                await _tell(reader, writer, refused)
                return
            except errors.HiveError as error:
                await _tell(reader, writer, _Refused(500, error.message))
                return
            await _carry(head, (reader, writer), origin)
        finally:
            writer.close()
        try:
            async with asyncio.timeout(CLOSE_SECONDS):
                await writer.wait_closed()
        except TimeoutError:
            # The rest lies in a buffer that the agent does not read.
            writer.transport.abort()

    async def _enter(self, agent: ids.AgentId, head: heads.Head) -> Streams:
        """Connect as *head* wants; a refusal by the rules is counted before it is told."""
        try:
            return await self._open(agent, head)
        except _Refused as refused:
            if refused.why and self._on_refused is not None:
                await self._on_refused(agent, str(head.target), refused.why)
            raise

    async def _open(self, agent: ids.AgentId, head: heads.Head) -> Streams:
        """Check where *head* wants to go and connect; `_Refused` says why not."""
        target = head.target
        usual = rules.TLS_PORT if head.is_tunnel else rules.HTTP_PORT
        allowed = rules.parse_rules(await self._allowed(agent))
        rule = rules.find_rule(allowed, target, usual)
        if rule is None:
            name = target.host if target.port == usual else str(target)
            raise _Refused(
                403,
                f"{target} is not allowed from this sandbox; "
                f'the operator can allow it by adding "{name}" to allowed_hosts, for this '
                "agent alone in its agent.toml",
                "not allowed",
            )
        addresses = [str(rule.pinned)] if rule.pinned else await self._look_up(target)
        good: list[str] = []
        reasons: set[str] = set()
        for address in addresses:
            reason = rules.why_not(address, rule.pinned)
            if reason is None:
                good.append(address)
            else:
                reasons.add(reason)
        if not good:
            why = " and ".join(sorted(reasons)) or "nothing"
            raise _Refused(
                403,
                f"{target} is not reachable from a sandbox: it resolves to {why}",
                f"resolves to {why}",
            )
        return await self._connect_first(target, good[:DIALS_MAX])

    async def _look_up(self, target: rules.Target) -> Sequence[str]:
        try:
            async with asyncio.timeout(RESOLVE_SECONDS):
                return await self._resolve(target.host, target.port)
        except TimeoutError as error:
            raise _Refused(504, f"{target.host} was not resolved in time") from error
        except OSError as error:
            raise _Refused(502, f"{target.host} cannot be resolved") from error

    async def _connect_first(self, target: rules.Target, addresses: Sequence[str]) -> Streams:
        why = ""
        for address in addresses:
            try:
                async with asyncio.timeout(DIAL_SECONDS):
                    return await self._dial(address, target.port)
            except TimeoutError:
                why = "no answer in time"
            except OSError as error:
                why = (error.strerror or "no connection").lower()
        raise _Refused(502, f"{target} cannot be reached: {why}")

    async def _ask_dns(self, host: str, port: int) -> Sequence[str]:
        def ask() -> list[str]:
            found = socket.getaddrinfo(host, port, type=socket.SOCK_STREAM)
            return list(dict.fromkeys(str(entry[4][0]) for entry in found))

        return await asyncio.get_running_loop().run_in_executor(self._threads, ask)


async def _connect(address: str, port: int) -> Streams:
    return await asyncio.open_connection(address, port)


async def _read_head(reader: asyncio.StreamReader) -> heads.Head:
    try:
        async with asyncio.timeout(HEAD_SECONDS):
            text = await reader.readuntil(b"\r\n\r\n")
    except asyncio.LimitOverrunError as error:
        raise _Refused(431, f"the request head is over {HEAD_MAX} bytes") from error
    except TimeoutError as error:
        raise _Refused(408, f"no request within {HEAD_SECONDS:g} seconds") from error
    except asyncio.IncompleteReadError as error:
        raise ConnectionResetError("the agent hung up before it asked") from error
    try:
        return heads.parse(text)
    except heads.BadHead as error:
        raise _Refused(400, f"this is no proxy request: {error}") from error


async def _carry(head: heads.Head, agent: Streams, origin: Streams) -> None:
    """Move bytes until both sides have ended, one broke, or nothing moved for IDLE_SECONDS."""
    try:
        if head.is_tunnel:
            agent[1].write(b"HTTP/1.1 200 Connection established\r\n\r\n")
            await pump.tunnel(agent, origin, IDLE_SECONDS)
        else:
            origin[1].write(head.onward())
            await pump.exchange(agent, origin, head.length, IDLE_SECONDS)
    except* (OSError, TimeoutError, asyncio.IncompleteReadError, pump.BadBody):
        # Past the head there is no one to tell: a cut is seen as a cut.
        agent[1].transport.abort()
    finally:
        origin[1].transport.abort()


async def _tell(
    reader: asyncio.StreamReader, writer: asyncio.StreamWriter, refused: _Refused
) -> None:
    """Answer with a refusal: the reason in the status line too, since tools show only that."""
    body = f"hyperhive: {refused.text}\n".encode("ascii", "replace")
    writer.write(
        f"HTTP/1.1 {refused.status} {refused.text}\r\n".encode("ascii", "replace")
        + b"content-type: text/plain; charset=utf-8\r\nconnection: close\r\n"
        + f"content-length: {len(body)}\r\n\r\n".encode()
        + body
    )
    await writer.drain()
    writer.write_eof()
    # Closing with unread input resets the connection, and the answer would be lost.
    with contextlib.suppress(TimeoutError):
        async with asyncio.timeout(LINGER_SECONDS):
            for _ in range(LINGER_READS):
                if not await reader.read(pump.CHUNK):
                    return
