"""A purse behind the gateway: asked before each message request, told after each answer."""

from __future__ import annotations

import asyncio
from collections.abc import Sequence

from aiohttp import web

from hyperhive.domain import errors, ids, turns
from hyperhive.edges import gateway
from hyperhive.edges.gateway.gateway import Used
from hyperhive.scripted_model import brain
from rigs.gateways import ALICE, ASK, Hive, scripted, upstream_server

START = (
    b'event: message_start\ndata: {"type":"message_start","message":{"model":"claude-x",'
    b'"usage":{"input_tokens":7,"output_tokens":1}}}\n\n'
)
END = b'data: {"type":"message_delta","usage":{"output_tokens":50}}\n\n'


class Purse:
    """Writes down what it hears and refuses when it is told to."""

    def __init__(self) -> None:
        self.refusal = ""
        self.asked: list[list[int]] = []
        self.charged: list[tuple[ids.AgentId, str, int]] = []

    async def admit(self, agent: ids.AgentId, under_way: Sequence[Used]) -> None:
        self.asked.append([used.output_tokens for _, used in under_way])
        if self.refusal:
            raise errors.unavailable(self.refusal)

    async def charge(self, agent: ids.AgentId, used: tuple[str, turns.Usage]) -> None:
        self.charged.append((agent, used[0], used[1].output_tokens))


async def opened(upstream: str, purse: Purse) -> tuple[Hive, str]:
    h = Hive(gateway.open_upstream(upstream))
    h.gateway = gateway.Gateway(lambda: h.upstream, lambda *_: None, h.proxies, purse)
    await h.gateway.start()
    return h, await h.serve()


async def closed(h: Hive) -> None:
    await h.session.close()
    await h.gateway.close()


def test_a_refused_request_never_reaches_the_model_and_is_not_tried_again() -> None:
    async def run() -> None:
        purse = Purse()
        async with scripted([brain.Say("hello")]) as model:
            h, url = await opened(model.url, purse)
            async with h.session.post(f"{url}/v1/messages", json=ASK) as r:
                assert r.status == 200
            [(agent, named, tokens)] = purse.charged
            assert (agent, named) == (ALICE, "m")
            assert tokens > 0
            purse.refusal = "cannot ask the model: bob's budget: 9 of 7 tokens used today"
            async with h.session.post(f"{url}/v1/messages", json=ASK) as r:
                assert r.status == 400
                assert r.headers["x-should-retry"] == "false"
                body = await r.json()
            assert body == {
                "type": "error",
                "error": {"type": "invalid_request_error", "message": purse.refusal},
            }
            # Counting tokens costs nothing.
            async with h.session.post(f"{url}/v1/messages/count_tokens", json=ASK) as r:
                assert r.status == 200
            assert len([one for one in model.requests if one.path == "/v1/messages"]) == 1
            assert len(purse.charged) == 1
            await closed(h)

    asyncio.run(run())


def test_answers_under_way_count_with_what_they_have_told() -> None:
    async def run() -> None:
        purse, told, go_on = Purse(), asyncio.Event(), asyncio.Event()

        async def answer(request: web.Request) -> web.StreamResponse:
            response = web.StreamResponse(headers={"content-type": "text/event-stream"})
            await response.prepare(request)
            await response.write(START + END)
            await go_on.wait()
            return response

        async with upstream_server(answer) as url_up:
            h, url = await opened(url_up, purse)

            async def ask() -> None:
                async with h.session.post(f"{url}/v1/messages", json=ASK) as r:
                    async for _ in r.content.iter_any():
                        told.set()
                    assert r.status == 200

            async with asyncio.TaskGroup() as group:
                group.create_task(ask())
                # The gateway has seen what its client has.
                await asyncio.wait_for(told.wait(), 5)
                group.create_task(ask())
                while len(purse.asked) < 2:
                    await asyncio.sleep(0.01)
                go_on.set()
            assert purse.asked == [[], [50]]
            assert purse.charged[0] == (ALICE, "claude-x", 50)
            async with h.session.post(f"{url}/v1/messages", json=ASK) as r:
                await r.read()
            # Charged once: nothing of it is under way any more.
            assert purse.asked[-1] == []
            await closed(h)

    asyncio.run(run())


def test_an_agent_that_hangs_up_is_charged_for_what_came() -> None:
    async def run() -> None:
        purse, gone = Purse(), asyncio.Event()

        async def answer(request: web.Request) -> web.StreamResponse:
            response = web.StreamResponse(headers={"content-type": "text/event-stream"})
            await response.prepare(request)
            await response.write(START)
            await gone.wait()
            return response

        async with upstream_server(answer) as url_up:
            h, url = await opened(url_up, purse)
            async with h.session.post(f"{url}/v1/messages", json=ASK) as r:
                await r.content.readany()
                r.close()
            while not purse.charged:
                await asyncio.sleep(0.01)
            gone.set()
            assert purse.charged == [(ALICE, "claude-x", 1)]
            await closed(h)

    asyncio.run(run())
