"""The framing of both sockets: bad input is answered, a bug is one answer, nothing hangs."""

from __future__ import annotations

import array
import asyncio
import json
import os
import socket
from collections.abc import Callable
from typing import Any

import pytest
from hypothesis import HealthCheck, given, settings, strategies

from hyperhive.edges import json_lines
from rigs.line_server import Serve
from rigs.line_server import serve as serve


async def until(condition: Callable[[], bool]) -> None:
    async with asyncio.timeout(20):
        while not condition():
            await asyncio.sleep(0.005)


@pytest.mark.parametrize(
    "line",
    [
        b"nope",
        b"[1,2]",
        b"{}",
        b'{"id":"1"}',
        b'{"id":true}',
        b'{"id":-1}',
        b'{"id":1.5}',
        b'{"id":99999999999999999999}',
        b'{"id":"\\ud800"}',
        b"\xff\xfe",
        b"[" * 4000,
        b"x" * 5000,
        b"x" * 200_000,
        b'{"text":1,"id":1,"id":2}',
    ],
)
def test_a_bad_line_is_answered_and_the_connection_goes_on(serve: Serve, line: bytes) -> None:
    async def story() -> None:
        async with serve() as (_, _, connect):
            client = await connect()
            await client.send_raw(line + b"\n")
            answer = await client.read()
            assert answer["id"] is None
            assert answer["error"]["kind"] == "invalid"
            assert answer["error"]["message"].startswith("cannot ")
            await client.send_raw(b'\n  \n{"id":7,"text":"still here"}\n')
            assert await client.read() == {"id": 7, "echo": True, "result": "still here"}

    asyncio.run(story())


@pytest.mark.parametrize(
    "line",
    [
        b'{"id":7,"text":' + b"[" * 3000,
        b'{"id":7,"text":NaN}',
        b'{"id":7,"text":1,"text":2}',
        b'{"id":7,"text":"\xff"}',
        b' {"id" : 7 , "text":"' + b"x" * 5000 + b'"}',
        b'{"id":7,"text":"' + b"x" * 200_000 + b'"}',
    ],
)
def test_who_sent_a_bad_line_with_its_id_first_need_not_wait_for_ever(
    serve: Serve, line: bytes
) -> None:
    async def story() -> None:
        async with serve() as (_, _, connect):
            client = await connect()
            await client.send_raw(line + b"\n")
            answer = await client.read()
            assert (answer["id"], answer["error"]["kind"]) == (7, "invalid")
            # Unless that could be taken for the answer to another request.
            await client.send(id=7, method="park")
            await client.send_raw(line + b"\n")
            assert (await client.read())["id"] is None

    asyncio.run(story())


def test_a_bug_is_a_reference_for_the_client_and_a_traceback_for_the_log(
    serve: Serve, fake_log: Any
) -> None:
    async def story() -> None:
        async with serve() as (_, _, connect):
            client = await connect()
            for number, method in enumerate(["bug", "surrogate", "reset"]):
                await client.send(id=number, method=method)
                answer = await client.read()
                assert answer["error"]["kind"] == "bug"
                event, fields = fake_log.entries[-1]
                assert (event, fields["exc_info"]) == ("request_bug", True)
                assert fields["reference"] in answer["error"]["message"]
                assert "secret detail" not in json.dumps(answer)

    asyncio.run(story())


def test_a_refusal_may_quote_what_cannot_be_written(serve: Serve) -> None:
    async def story() -> None:
        async with serve() as (_, _, connect):
            client = await connect()
            await client.send(id=1, method="refuse", text="a\ud800b")
            assert (await client.read())["error"] == {
                "kind": "conflict", "message": "cannot: a\N{REPLACEMENT CHARACTER}b",
            }  # fmt: skip
            await client.send(id=2, text="a\x00b")
            assert "NUL" in (await client.read())["error"]["message"]

    asyncio.run(story())


def test_an_answer_that_is_too_long_says_so(serve: Serve) -> None:
    async def story() -> None:
        async with serve() as (_, _, connect):
            client = await connect()
            await client.send(id=1, method="big")
            answer = await client.read()
            assert answer["error"]["kind"] == "unavailable"
            assert "ask for less" in answer["error"]["message"]

    asyncio.run(story())


def test_answers_come_in_any_order_and_events_before_the_result(serve: Serve) -> None:
    async def story() -> None:
        async with serve() as (_, echo, connect):
            client = await connect()
            await client.send(id=1, method="park")
            await client.send(id=2, text="quick")
            assert (await client.read())["id"] == 2
            assert (echo.parked, echo.ended) == (1, 0)
            await client.send(id=3, method="count")
            got = [await client.read() for _ in range(4)]
            assert [line.get("event") for line in got] == [0, 1, 2, None]
            assert got[-1]["result"] == {}

    asyncio.run(story())


def test_too_many_in_flight_and_an_id_twice_are_refused(serve: Serve) -> None:
    async def story() -> None:
        async with serve() as (_, echo, connect):
            client = await connect()
            await client.send(id=1, method="park")
            await client.send(id=1, method="park")
            again = await client.read()
            assert again["id"] is None
            assert "request 1" in again["error"]["message"]
            for number in range(2, 5):
                await client.send(id=number, method="park")
            await client.send(id=5)
            full = await client.read()
            assert (full["id"], full["error"]["kind"]) == (5, "unavailable")
            assert echo.parked == 4

    asyncio.run(story())


def test_too_many_connections_are_refused_and_leave_room_when_they_go(serve: Serve) -> None:
    async def story() -> None:
        async with serve() as (server, _, connect):
            clients = [await connect() for _ in range(3)]
            await until(lambda: server.connections == 3)
            extra = await connect()
            assert (await extra.read())["error"]["kind"] == "unavailable"
            assert await extra.read_end() == b""
            await clients[0].close()
            await until(lambda: server.connections == 2)
            fresh = await connect()
            await fresh.send(id=1, text="in")
            assert (await fresh.read())["result"] == "in"

    asyncio.run(story())


def test_a_peer_that_is_not_the_owner_is_refused(serve: Serve, fake_log: Any) -> None:
    async def story() -> None:
        async with serve(lambda peer: peer.uid != os.geteuid()) as (_, _, connect):
            client = await connect()
            answer = await client.read()
            assert answer["error"]["kind"] == "forbidden"
            assert str(os.geteuid()) in answer["error"]["message"]
            assert await client.read_end() == b""
            assert fake_log.events() == ["socket_peer_refused"]

    asyncio.run(story())


def test_a_closed_connection_ends_what_it_parked(serve: Serve) -> None:
    async def story() -> None:
        async with serve() as (server, echo, connect):
            client = await connect()
            await client.send(id=1, method="park")
            await client.send(id=2, method="park")
            await until(lambda: echo.parked == 2)
            await client.close()
            await until(lambda: echo.ended == 2 and server.connections == 0)

    asyncio.run(story())


def test_only_what_may_be_cancelled_is(serve: Serve) -> None:
    async def story() -> None:
        async with serve() as (_, echo, connect):
            client = await connect()
            await client.send_raw(
                b'{"id":1,"method":"park","cancellable":true}\n{"cancel":1}\n'
                b'{"id":2,"method":"park"}\n{"cancel":2}\n{"cancel":99}\n{"cancel":"x"}\n'
                b'{"cancel":{}}\n{"id":3,"text":"end"}\n'
            )
            got = [await client.read(), await client.read()]
            assert got == [
                {"id": 1, "echo": True, "result": {}},
                {"id": 3, "echo": True, "result": "end"},
            ]
            assert (echo.parked, echo.ended) == (2, 1)

    asyncio.run(story())


def test_a_line_must_be_completed_in_time(serve: Serve, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(json_lines, "PARTIAL_SECONDS", 0.05)

    async def story() -> None:
        async with serve() as (_, _, connect):
            idle, slow, endless = [await connect() for _ in range(3)]
            await slow.send_raw(b'{"id":')
            assert "not complete" in (await slow.read())["error"]["message"]
            assert await slow.read_end() == b""
            await endless.send_raw(b"x" * 9000)
            assert "longer than" in (await endless.read())["error"]["message"]
            assert "not complete" in (await endless.read())["error"]["message"]
            # One that has said nothing may stay as long as it likes.
            await idle.send(id=1, text="idle")
            assert (await idle.read())["result"] == "idle"

    asyncio.run(story())


def test_closing_is_prompt_whatever_clients_do(serve: Serve) -> None:
    async def story() -> None:
        async with serve() as (server, echo, connect):
            parked, deaf, silent = [await connect() for _ in range(3)]
            await parked.send(id=1, method="park")
            for number in range(2000):
                # Never read: the server's answers pile up until it cannot write.
                deaf.writer.write(b'{"id":%d,"text":"%s"}\n' % (number, b"x" * 3000))
            await until(lambda: echo.parked == 1)
            async with asyncio.timeout(5):
                await server.close()
            assert server.connections == 0
            assert await silent.read_end() == b""

    asyncio.run(story())


def test_descriptors_that_are_sent_along_are_dropped(serve: Serve) -> None:
    async def story() -> None:
        async with serve() as (_, _, connect):
            client = await connect()
            await client.send(id=1)
            await client.read()
            before = len(os.listdir("/proc/self/fd"))
            raw: socket.socket = client.writer.get_extra_info("socket")
            duplicate = socket.socket(fileno=os.dup(raw.fileno()))
            with duplicate:
                for number in range(50):
                    rights = array.array("i", [0, 1, 2])
                    duplicate.sendmsg(
                        [b'{"id":%d}\n' % number],
                        [(socket.SOL_SOCKET, socket.SCM_RIGHTS, rights)],
                    )
                    await client.read()
            assert len(os.listdir("/proc/self/fd")) == before

    asyncio.run(story())


@settings(
    max_examples=60, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture]
)
@given(
    strategies.lists(
        strategies.one_of(
            strategies.binary(max_size=300),
            strategies.just(b"\n"),
            strategies.integers(0, 9000).map(lambda size: b"[" * size),
            strategies.integers(0, 9000).map(lambda size: b'"' * size + b"\n"),
            strategies.fixed_dictionaries(
                {"id": strategies.integers() | strategies.text()},
                optional={
                    "method": strategies.sampled_from(["bug", "refuse", "big", "count"]),
                    "text": strategies.text(strategies.characters(exclude_categories=())),
                    "cancel": strategies.integers(0, 5),
                },
            ).map(lambda body: json.dumps(body).encode() + b"\n"),
        ),
        max_size=20,
    )
)
def test_no_bytes_stop_the_server(serve: Serve, chunks: list[bytes]) -> None:
    async def story() -> None:
        async with serve() as (_, _, connect):
            client = await connect()
            for chunk in chunks:
                await client.send_raw(chunk)
            await client.send_raw(b'\n{"id":424242,"text":"alive"}\n')
            while True:
                answer = await client.read()
                assert "Traceback" not in json.dumps(answer)
                if answer["id"] == 424242 and answer.get("result") == "alive":
                    break

    asyncio.run(story())
