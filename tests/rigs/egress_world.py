"""An egress proxy under test, with DNS and TCP from tables."""

from __future__ import annotations

import asyncio
import contextlib
import socket
from collections.abc import AsyncIterator, Awaitable, Callable, Mapping, Sequence

from hyperhive.domain import ids
from hyperhive.edges import egress
from hyperhive.edges.egress import proxy as inner

ALICE = ids.AgentId("aaaaaaaaaaaa")
BOB = ids.AgentId("bbbbbbbbbbbb")
PUBLIC = "93.184.216.34"

Origin = Callable[[asyncio.StreamReader, asyncio.StreamWriter], Awaitable[None]]


class World:
    """DNS and TCP as the proxy sees them: names from a table, every dial to one origin."""

    def __init__(self, origin_port: int) -> None:
        self.names: dict[str, list[list[str]]] = {}
        self.asked: list[str] = []
        self.dialled: list[tuple[str, int]] = []
        self.origin_port = origin_port

    async def resolve(self, host: str, _port: int) -> Sequence[str]:
        self.asked.append(host)
        answers = self.names.get(host, [[PUBLIC]])
        answer = answers.pop(0) if len(answers) > 1 else answers[0]
        if not answer:
            raise socket.gaierror(-2, "Name or service not known")
        return answer

    async def dial(self, address: str, port: int) -> inner.Streams:
        self.dialled.append((address, port))
        return await asyncio.open_connection("127.0.0.1", self.origin_port)


class Setup:
    def __init__(self, world: World, allow: Mapping[ids.AgentId, Sequence[str]]) -> None:
        self.world = world
        self.allow = allow
        self.refused: list[tuple[ids.AgentId, str, str]] = []
        self.proxy = egress.EgressProxy(self._allowed, world.resolve, world.dial, self._note)

    async def _allowed(self, agent: ids.AgentId) -> Sequence[str]:
        return self.allow.get(agent, ())

    async def _note(self, agent: ids.AgentId, host: str, reason: str) -> None:
        self.refused.append((agent, host, reason))

    async def serve(self, agent: ids.AgentId = ALICE) -> int:
        listener = socket.socket()
        listener.bind(("127.0.0.1", 0))
        listener.listen(128)
        port: int = listener.getsockname()[1]
        await self.proxy.serve(agent, listener)
        return port


async def echo(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
    while data := await reader.read(65536):
        writer.write(data)
        await writer.drain()


@contextlib.asynccontextmanager
async def setup(*allow: str, origin: Origin = echo) -> AsyncIterator[Setup]:
    async def accept(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        try:
            await origin(reader, writer)
        except (OSError, asyncio.IncompleteReadError):
            pass
        finally:
            writer.close()

    server = await asyncio.start_server(accept, "127.0.0.1", 0)
    made = Setup(World(server.sockets[0].getsockname()[1]), {ALICE: allow})
    try:
        yield made
    finally:
        await made.proxy.close()
        server.close()


async def ask(port: int, text: str | bytes) -> bytes:
    """Send *text*, end the sending side, and return all that comes back."""
    reader, writer = await asyncio.open_connection("127.0.0.1", port)
    writer.write(text.encode() if isinstance(text, str) else text)
    with contextlib.suppress(OSError):
        writer.write_eof()
    got = await reader.read()
    writer.close()
    await writer.wait_closed()
    return got


def status(answer: bytes) -> int:
    return int(answer.split()[1])


def connect(target: str, extra: str = "") -> str:
    return f"CONNECT {target} HTTP/1.1\r\nHost: {target}\r\n{extra}\r\n"
