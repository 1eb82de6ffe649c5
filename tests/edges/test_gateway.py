"""The model gateway: what goes out, what comes back, and what never does."""

from __future__ import annotations

import asyncio
import json
from collections.abc import AsyncIterator

import pytest
from aiohttp import web

from hyperhive.domain import turns
from hyperhive.edges import gateway
from hyperhive.edges.gateway import gateway as inner
from hyperhive.scripted_model import brain
from rigs.gateways import ALICE, ASK, BOB, KEY, hive, listen, scripted, upstream_server


def test_the_agents_credentials_stay_and_the_hives_go_out() -> None:
    async def run() -> None:
        async with (
            scripted([brain.Say("hello")], require_key=KEY) as model,
            hive(gateway.api_key_upstream(model.url, KEY)) as h,
        ):
            url = await h.serve()
            sent = {
                "x-api-key": "stolen",
                "authorization": "Bearer mine",
                "cookie": "a=b",
                "proxy-authorization": "Basic x",
                "x-forwarded-for": "10.0.0.1",
                "connection": "keep-alive, x-stainless-odd",
                "x-stainless-lang": "js",
                "anthropic-version": "2023-06-01",
                "anthropic-beta": "one,two",
            }
            async with h.session.post(f"{url}/v1/messages?beta=true", json=ASK, headers=sent) as r:
                assert r.status == 200
                body = await r.json()
                assert body["content"][0]["text"] == "hello"
                assert KEY not in json.dumps([dict(r.headers), body])
            [seen] = model.requests
            assert seen.headers["x-api-key"] == KEY
            for name in ("authorization", "cookie", "proxy-authorization", "x-forwarded-for"):
                assert name not in seen.headers
            assert seen.headers["anthropic-version"] == "2023-06-01"
            assert seen.headers["anthropic-beta"] == "one,two"
            assert seen.headers["x-stainless-lang"] == "js"
            assert seen.headers["accept-encoding"] == "identity"
            assert seen.headers["host"] in model.url
            assert seen.body == ASK

    asyncio.run(run())


def test_a_token_goes_out_as_bearer_with_its_beta() -> None:
    async def run() -> None:
        async with (
            scripted([brain.Say("hello")], require_key="tok") as model,
            hive(gateway.token_upstream(model.url, "tok")) as h,
        ):
            url = await h.serve()
            for betas in ({}, {"anthropic-beta": "a"}, {"anthropic-beta": "oauth-2025-04-20"}):
                async with h.session.post(f"{url}/v1/messages", json=ASK, headers=betas) as r:
                    assert r.status == 200
            seen = [one.headers["anthropic-beta"] for one in model.requests]
            assert seen == ["oauth-2025-04-20", "a,oauth-2025-04-20", "oauth-2025-04-20"]
            assert {one.headers["authorization"] for one in model.requests} == {"Bearer tok"}

    asyncio.run(run())


def test_each_chunk_passes_before_the_next_exists() -> None:
    async def run() -> None:
        go_on = asyncio.Event()

        async def answer(request: web.Request) -> web.StreamResponse:
            response = web.StreamResponse(headers={"content-type": "text/event-stream"})
            await response.prepare(request)
            await response.write(b"data: one\n\n")
            await go_on.wait()
            await response.write(b"data: two\n\n")
            return response

        async with (
            upstream_server(answer) as url,
            hive(gateway.open_upstream(url)) as h,
            h.session.post(f"{await h.serve()}/v1/messages", json=ASK) as r,
        ):
            assert await r.content.readany() == b"data: one\n\n"
            go_on.set()
            assert await r.content.read() == b"data: two\n\n"

    asyncio.run(run())


def test_the_request_is_not_held_back_either() -> None:
    async def run() -> None:
        first = asyncio.Event()

        async def answer(request: web.Request) -> web.StreamResponse:
            assert await request.content.readany() == b"first"
            first.set()
            return web.json_response({"rest": (await request.read()).decode()})

        async def body() -> AsyncIterator[bytes]:
            yield b"first"
            await first.wait()
            yield b"second"

        async with (
            upstream_server(answer) as url,
            hive(gateway.open_upstream(url)) as h,
            h.session.post(f"{await h.serve()}/v1/messages", data=body()) as r,
        ):
            assert (await r.json())["rest"] == "second"

    asyncio.run(run())


@pytest.mark.parametrize("stream", [True, False])
def test_tokens_are_counted_for_the_agent_of_the_listener(stream: bool) -> None:
    async def run() -> None:
        tokens = brain.Tokens(input=11, output=22, cache_read=33, cache_write=44)
        async with (
            scripted([brain.Say("x" * 500), tokens]) as model,
            hive(gateway.open_upstream(model.url)) as h,
        ):
            alice, bob = await h.serve(ALICE), await h.serve(BOB)
            for url in (alice, bob, bob):
                async with h.session.post(
                    f"{url}/v1/messages", json={**ASK, "stream": stream}
                ) as r:
                    await r.read()
            async with h.session.post(f"{alice}/v1/messages/count_tokens", json=ASK) as r:
                assert (await r.json())["input_tokens"] > 0
            assert [agent for agent, _ in h.told] == [ALICE, BOB, BOB]
            assert h.told[0][1] == turns.Usage(11, 22, 33, 44, 0.0, 88)

    asyncio.run(run())


def test_only_the_allowed_paths_are_carried() -> None:
    async def run() -> None:
        async with scripted([brain.Say("x")]) as model, hive(gateway.open_upstream(model.url)) as h:
            url = await h.serve()
            port = int(url.rsplit(":", 1)[1])
            for line in (
                "GET /v1/messages",
                "POST /v1/messages/batches",
                "GET /v1/messages/batches",
                "POST /v1/files",
                "POST /v1/messages/../files",
                "POST /v1/messages/%2e%2e/files",
                "GET /v1/models/..",
                "GET /v1/models/%2e%2e",
                "POST //v1/messages",
                "POST /v1/messages/",
                "GET /",
                "DELETE /v1/models/x",
            ):
                status, body = await raw(port, f"{line} HTTP/1.1\r\nHost: x\r\n")
                assert status == 404, line
                assert json.loads(body)["error"]["type"] == "not_found_error"
            assert model.requests == []
            async with h.session.get(f"{url}/v1/models") as r:
                assert r.status == 200

    asyncio.run(run())


def test_a_target_in_absolute_form_goes_to_the_upstream_all_the_same() -> None:
    async def run() -> None:
        async with scripted([brain.Say("x")]) as model, hive(gateway.open_upstream(model.url)) as h:
            port = int((await h.serve()).rsplit(":", 1)[1])
            text = json.dumps(ASK)
            head = (
                "POST http://evil.example/v1/messages HTTP/1.1\r\nHost: evil.example\r\n"
                f"Content-Length: {len(text)}\r\n"
            )
            status, _ = await raw(port, head, text)
            assert status == 200
            assert model.requests[0].headers["host"] in model.url

    asyncio.run(run())


async def raw(port: int, head: str, body: str = "") -> tuple[int, str]:
    reader, writer = await asyncio.open_connection("127.0.0.1", port)
    writer.write(f"{head}Connection: close\r\n\r\n{body}".encode())
    got = (await reader.read()).decode()
    writer.close()
    await writer.wait_closed()
    first, _, rest = got.partition("\r\n\r\n")
    return int(first.split()[1]), rest


def test_without_a_credential_the_answer_comes_at_once() -> None:
    async def run() -> None:
        async with hive(None) as h:
            url = await h.serve()
            async with h.session.post(f"{url}/v1/messages", json=ASK) as r:
                assert r.status == 401
                assert r.headers["x-should-retry"] == "false"
                assert (await r.json())["error"]["type"] == "authentication_error"
            async with scripted([brain.Say("now")]) as model:
                h.upstream = gateway.open_upstream(model.url)
                async with h.session.post(f"{url}/v1/messages", json=ASK) as r:
                    assert r.status == 200

    asyncio.run(run())


def test_a_refused_credential_is_not_tried_again_and_other_errors_pass() -> None:
    async def run() -> None:
        limited = brain.Fail(429, headers={"retry-after": "7", "set-cookie": "a=b"})
        async with (
            scripted([limited], require_key="other") as model,
            hive(gateway.api_key_upstream(model.url, KEY)) as h,
        ):
            url = await h.serve()
            async with h.session.post(f"{url}/v1/messages", json=ASK) as r:
                assert r.status == 401
                assert r.headers["x-should-retry"] == "false"
                assert KEY not in await r.text()
            h.upstream = gateway.api_key_upstream(model.url, "other")
            async with h.session.post(f"{url}/v1/messages", json=ASK) as r:
                assert r.status == 429
                assert r.headers["retry-after"] == "7"
                assert "set-cookie" not in r.headers
                assert "x-should-retry" not in r.headers
                assert (await r.json())["error"]["type"] == "rate_limit_error"
            assert h.told == []

    asyncio.run(run())


def test_an_upstream_that_is_away_is_told_in_the_apis_shape() -> None:
    async def run() -> None:
        gone = listen()
        port = gone.getsockname()[1]
        gone.close()
        async with hive(gateway.api_key_upstream(f"http://127.0.0.1:{port}", KEY)) as h:
            url = await h.serve()
            async with h.session.post(f"{url}/v1/messages", json=ASK) as r:
                assert r.status == 502
                error = (await r.json())["error"]
                assert error["type"] == "api_error"
                assert "refused" in error["message"]
                assert str(port) in error["message"]
                assert KEY not in error["message"]
                assert "x-should-retry" not in r.headers

    asyncio.run(run())


def test_a_redirect_is_never_followed() -> None:
    async def run() -> None:
        asked: list[str] = []

        async def trap(request: web.Request) -> web.StreamResponse:
            asked.append(request.path)
            return web.Response()

        async with upstream_server(trap) as trap_url:

            async def answer(_request: web.Request) -> web.StreamResponse:
                return web.Response(status=307, headers={"location": f"{trap_url}/v1/messages"})

            async with (
                upstream_server(answer) as url,
                hive(gateway.open_upstream(url)) as h,
                h.session.post(f"{await h.serve()}/v1/messages", json=ASK) as r,
            ):
                assert r.status == 502
                assert "location" not in r.headers
        assert asked == []

    asyncio.run(run())


def test_a_huge_request_is_refused(monkeypatch: pytest.MonkeyPatch) -> None:
    async def run() -> None:
        monkeypatch.setattr(inner, "BODY_MAX", 100_000)

        async def body() -> AsyncIterator[bytes]:
            for _ in range(11):
                yield b"x" * 10_000

        async def answer(request: web.Request) -> web.StreamResponse:
            return web.json_response({"size": len(await request.read())})

        async with upstream_server(answer) as url, hive(gateway.open_upstream(url)) as h:
            target = f"{await h.serve()}/v1/messages"
            async with h.session.post(target, data=b"x" * 100_001) as r:
                assert r.status == 413
                assert (await r.json())["error"]["type"] == "request_too_large"
            async with h.session.post(target, data=body()) as r:
                assert r.status == 413
            async with h.session.post(target, data=b"x" * 100_000) as r:
                assert (await r.json())["size"] == 100_000

    asyncio.run(run())
