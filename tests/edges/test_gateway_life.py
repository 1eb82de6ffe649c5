"""The model gateway: connections and listeners that come, break and go."""

from __future__ import annotations

import asyncio
import contextlib

import aiohttp
import pytest
from aiohttp import web

from hyperhive.domain import turns
from hyperhive.edges import gateway
from hyperhive.edges.gateway import gateway as inner
from hyperhive.scripted_model import brain
from rigs.gateways import ALICE, ASK, BOB, hive, scripted, upstream_server


def test_an_agent_that_hangs_up_ends_the_request_upstream() -> None:
    async def run() -> None:
        ended = asyncio.Event()

        async def answer(request: web.Request) -> web.StreamResponse:
            response = web.StreamResponse(headers={"content-type": "text/event-stream"})
            await response.prepare(request)
            try:
                await response.write(b"data: one\n\n")
                await asyncio.Event().wait()
            finally:
                ended.set()
            return response

        async with upstream_server(answer) as url, hive(gateway.open_upstream(url)) as h:
            async with h.session.post(f"{await h.serve()}/v1/messages", json=ASK) as r:
                await r.content.readany()
                r.close()
            await asyncio.wait_for(ended.wait(), 10)

    asyncio.run(run())


def test_a_cut_upstream_is_a_cut_answer_and_its_tokens_count() -> None:
    async def run() -> None:
        reply = [brain.Say("y" * 200), brain.Cut(50), brain.Tokens(input=5, output=9)]
        async with scripted(reply) as model, hive(gateway.open_upstream(model.url)) as h:
            url = await h.serve()
            with pytest.raises(aiohttp.ClientPayloadError):
                async with h.session.post(f"{url}/v1/messages", json={**ASK, "stream": True}) as r:
                    assert r.status == 200
                    await r.read()
            assert h.told == [
                (ALICE, turns.Usage(input_tokens=5, output_tokens=1, context_tokens=5))
            ]

    asyncio.run(run())


def test_serving_ends_with_its_streams_and_may_begin_again() -> None:
    async def run() -> None:
        reply = [brain.Say("z" * 200), brain.Stall(10, 60.0)]
        async with scripted(reply) as model, hive(gateway.open_upstream(model.url)) as h:
            url, other = await h.serve(ALICE), await h.serve(BOB)
            async with h.session.post(f"{url}/v1/messages", json={**ASK, "stream": True}) as r:
                await r.content.readany()
                await h.gateway.stop_serving(ALICE)
                await h.gateway.stop_serving(ALICE)
                with pytest.raises(aiohttp.ClientError):
                    await r.read()
            with pytest.raises(aiohttp.ClientConnectorError):
                await h.session.get(f"{url}/v1/models")
            for again in (other, await h.serve(ALICE)):
                async with h.session.get(f"{again}/v1/models") as r:
                    assert r.status == 200

    asyncio.run(run())


def test_one_agent_cannot_take_all_connections(monkeypatch: pytest.MonkeyPatch) -> None:
    async def run() -> None:
        monkeypatch.setattr(inner, "CONNECTIONS_MAX", 3)
        async with scripted([brain.Say("x")]) as model, hive(gateway.open_upstream(model.url)) as h:
            port = int((await h.serve(ALICE)).rsplit(":", 1)[1])
            other = await h.serve(BOB)
            held = [await asyncio.open_connection("127.0.0.1", port) for _ in range(4)]
            with contextlib.suppress(ConnectionResetError):
                assert await held[3][0].read() == b""
            async with h.session.get(f"{other}/v1/models") as r:
                assert r.status == 200
            for _, writer in held:
                writer.close()

    asyncio.run(run())


def test_an_idle_gateway_sets_no_timer() -> None:
    async def run() -> None:
        async with hive(None) as h:
            await h.serve(ALICE)
            await h.serve(BOB)
            scheduled = asyncio.get_running_loop()._scheduled  # type: ignore[attr-defined]
            assert [one for one in scheduled if not one.cancelled()] == []

    asyncio.run(run())
