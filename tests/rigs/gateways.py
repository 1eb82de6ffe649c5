"""A gateway under test: agents before it, a fake or scripted upstream behind it."""

from __future__ import annotations

import contextlib
import dataclasses
import socket
from collections.abc import AsyncIterator, Awaitable, Callable
from typing import Any

import aiohttp
from aiohttp import web

from hyperhive import scripted_model
from hyperhive.domain import ids, turns
from hyperhive.edges import gateway
from hyperhive.scripted_model import brain

ALICE = ids.AgentId("aaaaaaaaaaaa")
BOB = ids.AgentId("bbbbbbbbbbbb")
KEY = "sk-ant-the-hive-key"
ASK = {"model": "m", "max_tokens": 10, "messages": [{"role": "user", "content": "hi"}]}

Answer = Callable[[web.Request], Awaitable[web.StreamResponse]]


def listen() -> socket.socket:
    listener = socket.socket()
    listener.bind(("127.0.0.1", 0))
    listener.listen(64)
    return listener


@dataclasses.dataclass
class Proxies:
    """What the host's proxy variables say."""

    https_proxy: str = ""
    http_proxy: str = ""
    no_proxy: str = ""


class Hive:
    """A gateway with agents before it and a fake or scripted upstream behind it."""

    def __init__(self, upstream: gateway.Upstream | None) -> None:
        self.upstream = upstream
        self.told: list[tuple[ids.AgentId, turns.Usage]] = []
        self.proxies = Proxies()
        self.gateway = gateway.Gateway(
            lambda: self.upstream,
            lambda agent, told: self.told.append((agent, told)),
            self.proxies,
        )
        self.session = aiohttp.ClientSession()

    async def serve(self, agent: ids.AgentId = ALICE) -> str:
        listener = listen()
        port = listener.getsockname()[1]
        await self.gateway.serve(agent, listener)
        return f"http://127.0.0.1:{port}"


@contextlib.asynccontextmanager
async def hive(upstream: gateway.Upstream | None) -> AsyncIterator[Hive]:
    made = Hive(upstream)
    await made.gateway.start()
    try:
        yield made
    finally:
        await made.session.close()
        await made.gateway.close()


@contextlib.asynccontextmanager
async def upstream_server(answer: Answer) -> AsyncIterator[str]:
    app = web.Application(client_max_size=2**30)
    app.router.add_route("*", "/{path:.*}", answer)
    runner = web.AppRunner(app, handler_cancellation=True, shutdown_timeout=0.2)
    await runner.setup()
    site = web.TCPSite(runner, "127.0.0.1", 0)
    await site.start()
    try:
        yield f"http://127.0.0.1:{runner.addresses[0][1]}"
    finally:
        await runner.cleanup()


@contextlib.asynccontextmanager
async def scripted(reply: brain.Reply, **options: Any) -> AsyncIterator[Any]:
    model = scripted_model.ScriptedModel(lambda _request: reply, show_secrets=True, **options)
    await model.start()
    try:
        yield model
    finally:
        await model.stop()
