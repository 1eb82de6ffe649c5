"""Plain HTTP through the egress proxy: one checked request a connection, and no smuggling."""

from __future__ import annotations

import asyncio
import contextlib
import socket

import pytest
from hypothesis import given
from hypothesis import strategies as st

from hyperhive.domain import errors, ids
from hyperhive.edges import egress
from hyperhive.edges.egress import head, rules
from hyperhive.edges.egress import proxy as inner

AGENT = ids.AgentId("aaaaaaaaaaaa")


def through(request: bytes, *, allow: tuple[str, ...] = ("example.org",)) -> tuple[bytes, bytes]:
    """Send *request* to a proxy; return (what the origin got, what the agent got)."""

    async def run() -> tuple[bytes, bytes]:
        got = bytearray()
        answered = b"HTTP/1.1 204 No Content\r\n\r\n"

        async def origin(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
            with contextlib.suppress(OSError):
                while not _is_whole(got) and (data := await reader.read(65536)):
                    got.extend(data)
                if _is_whole(got):
                    writer.write(answered)
                    await writer.drain()
            writer.close()

        server = await asyncio.start_server(origin, "127.0.0.1", 0)
        port = server.sockets[0].getsockname()[1]

        async def resolve(_host: str, _port: int) -> list[str]:
            return ["93.184.216.34"]

        async def dial(_address: str, _port: int) -> inner.Streams:
            return await asyncio.open_connection("127.0.0.1", port)

        async def allowed(_agent: ids.AgentId) -> tuple[str, ...]:
            return allow

        proxy = egress.EgressProxy(allowed, resolve, dial)
        listener = socket.socket()
        listener.bind(("127.0.0.1", 0))
        listener.listen()
        await proxy.serve(AGENT, listener)
        reader, writer = await asyncio.open_connection(*listener.getsockname())
        writer.write(request)
        answer = b""
        with contextlib.suppress(ConnectionResetError):
            answer = await asyncio.wait_for(reader.read(), 20)
        writer.close()
        await proxy.close()
        server.close()
        return bytes(got), answer

    return asyncio.run(run())


def _is_whole(got: bytearray) -> bool:
    text, end, body = bytes(got).partition(b"\r\n\r\n")
    if not end:
        return False
    low = text.lower()
    if b"transfer-encoding" in low:
        return body.endswith(b"0\r\n\r\n")
    for line in low.split(b"\r\n"):
        if line.startswith(b"content-length:"):
            return len(body) >= int(line.split(b":")[1])
    return True


def get(target: str = "http://example.org/", *lines: str) -> bytes:
    return "\r\n".join([f"GET {target} HTTP/1.1", *lines, "", ""]).encode()


def test_the_origin_gets_its_own_form_and_none_of_the_proxys_headers() -> None:
    request = get(
        "http://Example.org/x?y",
        "Host: example.org",
        "Proxy-Authorization: Basic c2VjcmV0",
        "Proxy-Connection: keep-alive",
        "Connection: keep-alive, X-Hop, Content-Length",
        "X-Hop: 1",
        "X-Keep: 2",
    )
    got, answer = through(request)
    assert got == (
        b"GET /x?y HTTP/1.1\r\nhost: example.org\r\nconnection: close\r\nx-keep: 2\r\n\r\n"
    )
    assert answer.startswith(b"HTTP/1.1 204")


def test_a_second_request_on_the_connection_is_not_carried() -> None:
    got, answer = through(get() + get("http://evil.example/", "Host: evil.example"))
    assert got.count(b"HTTP/1.1") == 1
    assert answer.count(b"HTTP/1.1") == 1


def test_a_body_ends_where_it_says() -> None:
    request = (
        b"POST http://example.org/ HTTP/1.1\r\nContent-Length: 5\r\n\r\nhello"
        b"GET http://example.org/hidden HTTP/1.1\r\n\r\n"
    )
    got, _ = through(request)
    assert got.endswith(b"\r\n\r\nhello")


def test_a_chunked_body_is_written_anew() -> None:
    request = (
        b"POST http://example.org/ HTTP/1.1\r\nTransfer-Encoding: Chunked\r\n\r\n"
        b"5 ;ext=1\r\nhello\r\n1\r\n!\r\n0\r\nTrailer: x\r\n\r\n"
        b"GET http://example.org/hidden HTTP/1.1\r\n\r\n"
    )
    got, _ = through(request)
    assert got.endswith(b"\r\n\r\n5\r\nhello\r\n1\r\n!\r\n0\r\n\r\n")
    assert b"hidden" not in got


@pytest.mark.parametrize(
    "body",
    [b"zz\r\nhello\r\n0\r\n\r\n", b"5\r\nhelloo\r\n0\r\n\r\n", b"-5\r\n", b"1" * 5000 + b"\r\n"],
)
def test_a_broken_chunked_body_cuts_the_connection(body: bytes) -> None:
    request = b"POST http://example.org/ HTTP/1.1\r\nTransfer-Encoding: chunked\r\n\r\n" + body
    got, answer = through(request)
    assert b"0\r\n\r\n" not in got
    assert answer == b""


@pytest.mark.parametrize(
    "request_text",
    [
        get("http://example.org/", "Host: evil.example"),
        get("http://example.org/", "Host: example.org:81"),
        get("http://example.org/", "Host: example.org", "Host: example.org"),
        get("http://example.org/", "Content-Length: 1", "Content-Length: 1"),
        get("http://example.org/", "Content-Length: +1"),
        get("http://example.org/", "Content-Length: 1, 1"),
        get("http://example.org/", "Content-Length: 1", "Transfer-Encoding: chunked"),
        get("http://example.org/", "Transfer-Encoding: gzip, chunked"),
        get("http://example.org/", "Transfer-Encoding : chunked"),
        get("http://example.org/", "X: a", " folded"),
        get("http://example.org/", "X: a\x00b"),
        get("http://example.org/", "X: a\rb"),
        get("http://example.org/", "no colon"),
        get("/etc/passwd", "Host: example.org"),
        get("https://example.org/"),
        get("ftp://example.org/"),
        get("http://user@example.org/"),
        get("http://evil.example#@example.org/"),
        get("http://example.org\\@evil.example/"),
        get("http://exa%6dple.org/"),
        get("http:///"),
        get("http://example.org:/"),
        get("http://example.org:0/"),
        get("http://example.org:99999/"),
        get("http://example.org:8o/"),
        b"GET  http://example.org/ HTTP/1.1\r\n\r\n",
        b"GET http://example.org/ HTTP/2\r\n\r\n",
        b"GET http://example.org/\r\n\r\n",
        b"get http://example.org/ HTTP/1.1\r\n\r\n",
        b"\x16\x03\x01\x02\x00\x01\r\n\r\n",
        b"CONNECT example.org HTTP/1.1\r\n\r\n",
        b"CONNECT http://example.org:443 HTTP/1.1\r\n\r\n",
        b"CONNECT example.org:443 HTTP/1.1\r\nHost: evil.example:443\r\n\r\n",
        b"CONNECT [fe80::1%25lo]:443 HTTP/1.1\r\n\r\n",
        b"CONNECT 2130706433:443 HTTP/1.1\r\n\r\n",
        b"CONNECT 0x7f000001:443 HTTP/1.1\r\n\r\n",
        b"CONNECT 127.1:443 HTTP/1.1\r\n\r\n",
        b"CONNECT 0177.0.0.1:443 HTTP/1.1\r\n\r\n",
        b"CONNECT 127.0.0.0x1:443 HTTP/1.1\r\n\r\n",
    ],
)
def test_what_may_be_read_in_two_ways_is_refused(request_text: bytes) -> None:
    got, answer = through(request_text, allow=("*", "*:81", "*:8"))
    assert answer.split()[1] == b"400", answer
    assert got == b""


def test_a_huge_head_is_refused() -> None:
    got, answer = through(get("http://example.org/", *(f"X-{n}: {'y' * 1000}" for n in range(64))))
    assert answer.split()[1] == b"431"
    assert got == b""


def test_a_refused_upload_still_gets_its_reason() -> None:
    request = b"POST http://evil.example/ HTTP/1.1\r\nContent-Length: 900000\r\n\r\n"
    got, answer = through(request + b"x" * 900_000)
    assert answer.split()[1] == b"403"
    assert got == b""


@pytest.mark.parametrize(
    "entry",
    ["", "a b", "http://example.org", "example.org/x", "*.*", "*example.org", "*.1.2.3.4", "a=b",
     "*.a=1.2.3.4", "x:0", "x:70000", "*:x", "2130706433", "exa$mple.org", "a" * 64 + ".org"],
)  # fmt: skip
def test_a_wrong_entry_is_named(entry: str) -> None:
    with pytest.raises(errors.HiveError) as caught:
        egress.parse_rules(["example.org", entry])
    assert caught.value.kind is errors.ErrorKind.INVALID
    assert repr(entry[:80]) in caught.value.message


@given(st.binary(max_size=300))
def test_no_bytes_break_the_reading_of_a_head(text: bytes) -> None:
    with contextlib.suppress(head.BadHead):
        head.parse(b"GET http://" + text + b" HTTP/1.1\r\n\r\n")


@given(st.text(max_size=40))
def test_a_host_that_is_read_is_read_the_same_again(text: str) -> None:
    try:
        once = rules.normalise_host(text)
    except rules.BadTarget:
        return
    assert rules.normalise_host(once) == once
    assert once.isascii()
