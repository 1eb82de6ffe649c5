"""The egress proxy over time: limits, silence, its end, and an ordinary client."""

from __future__ import annotations

import asyncio
import contextlib

import aiohttp
import pytest

from hyperhive.edges.egress import proxy as inner
from rigs.egress_world import (
    ALICE,
    BOB,
    ask,
    connect,
    setup,
    status,
)


def test_one_agent_has_so_many_connections_and_others_are_not_touched(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    async def run() -> None:
        monkeypatch.setattr(inner, "CONNECTIONS_MAX", 3)
        async with setup("example.org") as s:
            s.allow[BOB] = ["example.org"]
            port, other = await s.serve(ALICE), await s.serve(BOB)
            held = []
            for _ in range(3):
                reader, writer = await asyncio.open_connection("127.0.0.1", port)
                writer.write(connect("example.org:443").encode())
                assert await reader.readuntil(b"\r\n\r\n")
                held.append(writer)
            assert status(await ask(port, connect("example.org:443"))) == 503
            assert status(await ask(other, connect("example.org:443"))) == 200
            for writer in held:
                writer.close()

    asyncio.run(run())


def test_slow_and_silent_clients_are_ended(monkeypatch: pytest.MonkeyPatch) -> None:
    async def run() -> None:
        monkeypatch.setattr(inner, "HEAD_SECONDS", 0.05)
        monkeypatch.setattr(inner, "IDLE_SECONDS", 0.05)
        async with setup("example.org") as s:
            port = await s.serve()
            reader, writer = await asyncio.open_connection("127.0.0.1", port)
            writer.write(b"CONNECT exam")
            assert status(await reader.readuntil(b"\r\n\r\n")) == 408
            writer.close()
            reader, writer = await asyncio.open_connection("127.0.0.1", port)
            writer.write(connect("example.org:443").encode())
            assert status(await reader.readuntil(b"\r\n\r\n")) == 200
            with contextlib.suppress(ConnectionResetError):
                assert await reader.read() == b""
            writer.close()

    asyncio.run(run())


def test_ending_the_service_cuts_tunnels_and_it_may_begin_again() -> None:
    async def run() -> None:
        async with setup("example.org") as s:
            port = await s.serve()
            reader, writer = await asyncio.open_connection("127.0.0.1", port)
            writer.write(connect("example.org:443").encode())
            assert status(await reader.readuntil(b"\r\n\r\n")) == 200
            await s.proxy.stop_serving(ALICE)
            await s.proxy.stop_serving(ALICE)
            with contextlib.suppress(ConnectionResetError):
                assert await reader.read() == b""
            writer.close()
            with pytest.raises(ConnectionRefusedError):
                await asyncio.open_connection("127.0.0.1", port)
            assert status(await ask(await s.serve(), connect("example.org:443"))) == 200

    asyncio.run(run())


def test_an_idle_proxy_sets_no_timer() -> None:
    async def run() -> None:
        async with setup("example.org") as s:
            await s.serve()
            scheduled = asyncio.get_running_loop()._scheduled  # type: ignore[attr-defined]
            assert [one for one in scheduled if not one.cancelled()] == []

    asyncio.run(run())


def test_an_ordinary_client_gets_through(monkeypatch: pytest.MonkeyPatch) -> None:
    async def origin(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        head = await reader.readuntil(b"\r\n\r\n")
        body = await reader.readexactly(7) if b"content-length: 7" in head.lower() else b""
        text = head + body
        writer.write(b"HTTP/1.1 200 OK\r\nContent-Length: %d\r\n\r\n" % len(text) + text)
        await writer.drain()

    async def run() -> None:
        async with setup("example.org", origin=origin) as s, aiohttp.ClientSession() as session:
            proxy = f"http://127.0.0.1:{await s.serve()}"
            url = "http://example.org/a?b=c"
            async with session.post(url, proxy=proxy, data=b"payload") as r:
                seen = (await r.read()).decode()
            assert seen.startswith("POST /a?b=c HTTP/1.1\r\nhost: example.org\r\n")
            assert "connection: close" in seen
            assert seen.endswith("payload")
            async with session.get("http://evil.example/", proxy=proxy) as r:
                assert r.status == 403
                assert 'adding "evil.example"' in await r.text()

    asyncio.run(run())
