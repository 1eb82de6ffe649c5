"""Moves bytes between two connections, without more of them in memory than a buffer."""

from __future__ import annotations

import asyncio
import re
from typing import Final, TypeAlias

Streams: TypeAlias = tuple[asyncio.StreamReader, asyncio.StreamWriter]

CHUNK: Final = 64 * 1024
CHUNK_LINE_MAX: Final = 1024
TRAILER_MAX: Final = 64
_SIZE: Final = re.compile(rb"([0-9A-Fa-f]{1,12})[ \t]*(;[\t\x20-\x7e\x80-\xff]*)?\r\n")


class BadBody(Exception):
    """A chunked body that is not one."""


class _Idle:
    """Ends a block when nothing has moved for a while; `moved` puts the end off."""

    def __init__(self, seconds: float) -> None:
        self._seconds = seconds
        self._loop = asyncio.get_running_loop()
        self.limit = asyncio.timeout(seconds)

    def moved(self) -> None:
        if not self.limit.expired():
            self.limit.reschedule(self._loop.time() + self._seconds)


async def tunnel(agent: Streams, origin: Streams, idle_seconds: float) -> None:
    """Copy both ways; the end of one direction is passed on and the other goes on.

    Raises TimeoutError when nothing moves, and a group of OSError when a side breaks.
    """
    idle = _Idle(idle_seconds)
    async with idle.limit, asyncio.TaskGroup() as group:
        group.create_task(_copy(agent[0], origin[1], idle))
        group.create_task(_copy(origin[0], agent[1], idle))


async def exchange(
    agent: Streams, origin: Streams, length: int | None, idle_seconds: float
) -> None:
    """Copy exactly one request body out (*length* None: chunked), and all that comes back.

    Bytes after the body are not carried: they would be a second request that
    nobody has checked.
    """
    idle = _Idle(idle_seconds)

    async def out() -> None:
        if length is None:
            await _copy_chunked(agent[0], origin[1], idle)
        else:
            await _copy_exactly(agent[0], origin[1], length, idle)

    async def back() -> None:
        await _copy(origin[0], agent[1], idle)
        # The origin has said all, perhaps without wanting the rest of the body.
        sending.cancel()

    async with idle.limit, asyncio.TaskGroup() as group:
        sending = group.create_task(out())
        group.create_task(back())


async def _copy(reader: asyncio.StreamReader, writer: asyncio.StreamWriter, idle: _Idle) -> None:
    while data := await reader.read(CHUNK):
        writer.write(data)
        await writer.drain()
        idle.moved()
    if writer.can_write_eof():
        writer.write_eof()


async def _copy_exactly(
    reader: asyncio.StreamReader, writer: asyncio.StreamWriter, length: int, idle: _Idle
) -> None:
    left = length
    while left:
        data = await reader.read(min(left, CHUNK))
        if not data:
            raise ConnectionResetError("the request's body ended early")
        left -= len(data)
        writer.write(data)
        await writer.drain()
        idle.moved()


async def _copy_chunked(
    reader: asyncio.StreamReader, writer: asyncio.StreamWriter, idle: _Idle
) -> None:
    """RFC 9112, 7.1: each chunk is written anew, without extensions and trailers."""
    while True:
        size = _SIZE.fullmatch(await _line(reader))
        if size is None:
            raise BadBody("a chunk does not begin with its size")
        length = int(size[1], 16)
        if length == 0:
            break
        writer.write(b"%x\r\n" % length)
        await _copy_exactly(reader, writer, length, idle)
        if await reader.readexactly(2) != b"\r\n":
            raise BadBody("a chunk is longer than its size")
        writer.write(b"\r\n")
    for _ in range(TRAILER_MAX):
        if await _line(reader) == b"\r\n":
            writer.write(b"0\r\n\r\n")
            await writer.drain()
            return
    raise BadBody("there is no end of trailers")


async def _line(reader: asyncio.StreamReader) -> bytes:
    try:
        line = await reader.readuntil(b"\r\n")
    except asyncio.LimitOverrunError as error:
        raise BadBody("a line of the body is too long") from error
    if len(line) > CHUNK_LINE_MAX:
        raise BadBody("a line of the body is too long")
    return line
