"""The way to the upstream through the host's proxies: when, and what they see."""

from __future__ import annotations

import asyncio
import base64
import contextlib
from collections.abc import AsyncIterator

import pytest
import yarl

from hyperhive.edges import gateway
from hyperhive.edges.gateway import way_out
from rigs.gateways import ASK, KEY, Proxies, hive


class Proxy:
    """Keeps the heads that it gets and answers each with *answer*."""

    def __init__(self, answer: bytes) -> None:
        self.answer = answer
        self.heads: list[str] = []
        self.url = ""

    async def serve(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        head = await reader.readuntil(b"\r\n\r\n")
        self.heads.append(head.decode())
        writer.write(self.answer)
        await writer.drain()
        writer.close()


@contextlib.asynccontextmanager
async def proxy(answer: bytes) -> AsyncIterator[Proxy]:
    made = Proxy(answer)
    server = await asyncio.start_server(made.serve, "127.0.0.1", 0)
    made.url = f"http://ann:s3cret@127.0.0.1:{server.sockets[0].getsockname()[1]}"
    try:
        yield made
    finally:
        server.close()


BODY = b'{"type": "message"}'
ANSWER = b"HTTP/1.1 200 OK\r\ncontent-type: application/json\r\ncontent-length: %d\r\n\r\n%s" % (
    len(BODY), BODY,
)  # fmt: skip
AUTHORIZATION = "Basic " + base64.b64encode(b"ann:s3cret").decode()


def lower(head: str) -> dict[str, str]:
    lines = head.strip().splitlines()[1:]
    return {name.lower(): value for name, _, value in (line.partition(": ") for line in lines)}


def test_plain_http_goes_through_the_proxy_in_absolute_form() -> None:
    async def run() -> None:
        async with (
            proxy(ANSWER) as seen,
            hive(gateway.api_key_upstream("http://api.example/base", KEY)) as h,
        ):
            h.proxies.http_proxy = seen.url
            base = await h.serve()
            async with h.session.post(f"{base}/v1/messages", json=ASK) as reply:
                assert (reply.status, await reply.read()) == (200, BODY)
            [head] = seen.heads
            assert head.startswith("POST http://api.example/base/v1/messages HTTP/1.1\r\n")
            got = lower(head)
            assert (got["proxy-authorization"], got["x-api-key"]) == (AUTHORIZATION, KEY)

    asyncio.run(run())


def test_https_asks_for_a_tunnel_and_shows_the_proxy_no_credential_of_the_model() -> None:
    async def run() -> None:
        refusal = b"HTTP/1.1 407 Who are you\r\ncontent-length: 0\r\n\r\n"
        async with (
            proxy(refusal) as seen,
            hive(gateway.api_key_upstream("https://api.example", KEY)) as h,
        ):
            h.proxies.https_proxy = seen.url
            base = await h.serve()
            async with h.session.post(f"{base}/v1/messages", json=ASK) as reply:
                assert reply.status == 502
                said = (await reply.json())["error"]["message"]
            origin = yarl.URL(seen.url).origin()
            assert said == (
                f"cannot reach the model API at https://api.example through {origin}: "
                "the proxy answered 407"
            )
            [head] = seen.heads
            assert head.startswith("CONNECT api.example:443 HTTP/1.1\r\n")
            assert lower(head)["proxy-authorization"] == AUTHORIZATION
            assert KEY not in head

    asyncio.run(run())


def test_a_proxy_that_is_away_is_named_without_its_password() -> None:
    async def run() -> None:
        async with hive(gateway.open_upstream("https://api.example")) as h:
            h.proxies.https_proxy = "http://ann:s3cret@127.0.0.1:1"
            base = await h.serve()
            async with h.session.post(f"{base}/v1/messages", json=ASK) as reply:
                said = (await reply.json())["error"]["message"]
            assert said.endswith("through http://127.0.0.1:1: connection refused")

    asyncio.run(run())


def test_an_upstream_on_loopback_is_asked_directly() -> None:
    async def run() -> None:
        async with proxy(ANSWER) as upstream, proxy(ANSWER) as unused:
            async with hive(gateway.open_upstream(upstream.url.replace("ann:s3cret@", ""))) as h:
                h.proxies.http_proxy = unused.url
                base = await h.serve()
                async with h.session.post(f"{base}/v1/messages", json=ASK) as reply:
                    assert reply.status == 200
            [head] = upstream.heads
            assert head.startswith("POST /v1/messages HTTP/1.1\r\n")
            assert unused.heads == []

    asyncio.run(run())


@pytest.mark.parametrize(
    ("target", "no_proxy", "direct"),
    [
        ("https://api.example", "", False),
        ("https://api.example", "*", True),
        ("https://api.example", "other.example api.example", True),
        ("https://api.example", ".example", True),
        ("https://api.example", "*.example,", True),
        ("https://API.Example.", "example", True),
        ("https://api.example", "pi.example", False),
        ("https://api.example", ",", False),
        ("https://api.example", "api.example:443", True),
        ("https://api.example:8443", "api.example:443", False),
        ("https://10.1.2.3", "10.0.0.0/8", True),
        ("https://10.1.2.3", "10.1.2.3", True),
        ("https://10.1.2.3", "1.2.3", False),
        ("https://11.1.2.3", "10.0.0.0/8, nonsense/8", False),
        ("https://[fd00::7]:8443", "[fd00::7]:8443", True),
        ("https://[fd00::7]", "fd00::/16", True),
        ("https://[fd00::7]", "fd00::7", True),
        ("https://127.8.8.8", "", True),
        ("https://[::1]:8443", "", True),
        ("https://[::ffff:127.0.0.1]", "", True),
        ("https://localhost:1", "", True),
        ("https://model.localhost", "", True),
        ("https://localhost.example", "", False),
        ("http://api.example", "", True),
    ],
)
def test_who_is_asked_directly(target: str, no_proxy: str, direct: bool) -> None:
    found = way_out.choose(yarl.URL(target), Proxies(https_proxy="http://p:1", no_proxy=no_proxy))
    assert found == (None if direct else yarl.URL("http://p:1"))
