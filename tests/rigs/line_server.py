"""A server of JSON lines that answers with what it got, and clients for it."""

from __future__ import annotations

import asyncio
import contextlib
import pathlib
from collections.abc import AsyncIterator, Callable, Mapping
from typing import Any

import pytest

from hyperhive.domain import errors
from hyperhive.edges import json_lines, unix_socket

LIMITS = json_lines.Limits(line=4096, answer=8192, connections=3, in_flight=4)


class Echo:
    """Answers with what it got, parks, breaks, or emits, as it is told."""

    envelope: Mapping[str, Any] = {"echo": True}

    def __init__(self) -> None:
        self.parked = 0
        self.ended = 0

    async def answer(self, line: json_lines.Line, emit: json_lines.Emit) -> Any:
        method = line.body.get("method")
        if method == "park":
            self.parked += 1
            try:
                await asyncio.Event().wait()
            finally:
                self.ended += 1
        if method == "bug":
            raise KeyError("secret detail")
        if method == "reset":
            raise ConnectionResetError("somebody far away hung up")
        if method == "refuse":
            raise errors.conflict(f"cannot: {line.body['text']}")
        if method == "surrogate":
            return "\ud800"
        if method == "big":
            return "x" * 10_000
        if method == "count":
            for number in range(3):
                await emit(number)
            return {}
        line.require_clean()
        return line.body.get("text")

    def may_cancel(self, body: Mapping[str, Any]) -> bool:
        return bool(body.get("cancellable"))


Serve = Callable[..., contextlib.AbstractAsyncContextManager[Any]]


@pytest.fixture
def serve(tmp_path: pathlib.Path, fake_log: Any, connect_line: Any) -> Serve:
    @contextlib.asynccontextmanager
    async def make(
        may_connect: Callable[[unix_socket.Peer], bool] = lambda peer: True,
    ) -> AsyncIterator[Any]:
        echo = Echo()
        server = json_lines.LineServer(echo, fake_log, limits=LIMITS, may_connect=may_connect)
        path = tmp_path / "test.sock"
        await server.open(path, gid=None)
        async with contextlib.AsyncExitStack() as stack:

            async def connect() -> Any:
                client = await connect_line(path)
                stack.push_async_callback(client.close)
                return client

            yield server, echo, connect
            await server.close()

    return make
