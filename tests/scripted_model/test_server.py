"""The scripted model over HTTP: shapes, streams, faults and the request log."""

from __future__ import annotations

import asyncio
import contextlib
import json
from collections.abc import AsyncIterator
from typing import Any

import aiohttp
import pytest

from hyperhive.scripted_model import (
    Brain,
    Cut,
    Fail,
    Request,
    Say,
    ScriptedModel,
    Snap,
    Stop,
    Think,
    Tokens,
    UseTool,
)

ASK = {"model": "m", "max_tokens": 10, "messages": [{"role": "user", "content": "hi"}]}
LONG = "a sentence that is long enough to be streamed in several pieces, with ümläuts"


@contextlib.asynccontextmanager
async def serving(
    brain_function: Brain, **options: Any
) -> AsyncIterator[tuple[ScriptedModel, aiohttp.ClientSession]]:
    model = ScriptedModel(brain_function, **options)
    url = await model.start()
    async with aiohttp.ClientSession(url) as session:
        yield model, session
    await model.stop()


async def stream(session: aiohttp.ClientSession) -> list[dict[str, Any]]:
    """The events of one streamed answer, checked to be framed right."""
    async with session.post("/v1/messages", json={**ASK, "stream": True}) as r:
        assert r.status == 200
        assert r.content_type == "text/event-stream"
        events = []
        for record in (await r.text()).removesuffix("\n\n").split("\n\n"):
            name, data = record.split("\n")
            event = json.loads(data.removeprefix("data: "))
            assert name == f"event: {event['type']}"
            events.append(event)
        return events


def test_a_stream_adds_up_to_the_unstreamed_message() -> None:
    reply = [
        Think("hm"),
        Say(LONG),
        UseTool("Bash", {"command": "echo ü", "n": [1, {"deep": None}]}),
        UseTool("Empty", {}),
        Tokens(input=3, output=4, cache_read=5, cache_write=6),
    ]

    async def run() -> None:
        async with serving(lambda _request: reply) as (_, session):
            events = await stream(session)
            async with session.post("/v1/messages", json=ASK) as r:
                whole = await r.json()
        assert events[0]["type"] == "message_start"
        assert events[-1]["type"] == "message_stop"
        assert events[-2]["delta"]["stop_reason"] == whole["stop_reason"] == "tool_use"
        assert events[-2]["usage"] == whole["usage"]
        assert whole["usage"]["cache_read_input_tokens"] == 5
        blocks: list[dict[str, Any]] = []
        pieces: list[str] = []
        for event in events:
            if event["type"] == "content_block_start":
                assert event["index"] == len(blocks)
                blocks.append(event["content_block"])
                pieces = []
            elif event["type"] == "content_block_delta":
                delta = event["delta"]
                for field in ("text", "thinking", "partial_json"):
                    pieces.append(delta.get(field, ""))
            elif event["type"] == "content_block_stop":
                block = blocks[-1]
                if block["type"] == "tool_use":
                    block["input"] = json.loads("".join(pieces))
                else:
                    block[block["type"]] = "".join(pieces)
        shown = [(b["type"], b.get("text"), b.get("thinking"), b.get("input")) for b in blocks]
        assert shown == [
            (b["type"], b.get("text"), b.get("thinking"), b.get("input")) for b in whole["content"]
        ]
        assert sum(event["type"] == "content_block_delta" for event in events) > 5

    asyncio.run(run())


@pytest.mark.parametrize(
    ("status", "kind"),
    [
        (400, "invalid_request_error"),
        (401, "authentication_error"),
        (403, "permission_error"),
        (404, "not_found_error"),
        (413, "request_too_large"),
        (429, "rate_limit_error"),
        (500, "api_error"),
        (529, "overloaded_error"),
    ],
)
def test_errors_have_the_apis_shape(status: int, kind: str) -> None:
    async def run() -> None:
        failure = Fail(status, headers={"retry-after": "3"})
        async with serving(lambda _request: [failure]) as (model, session):
            async with session.post("/v1/messages", json={**ASK, "stream": True}) as r:
                assert r.status == status
                assert r.headers["retry-after"] == "3"
                body = await r.json()
                assert body["type"] == "error"
                assert body["error"]["type"] == kind
                assert body["error"]["message"]
            assert model.requests[0].answer == str(status)

    asyncio.run(run())


def test_a_key_is_checked_and_never_recorded() -> None:
    async def run() -> None:
        async with serving(lambda _request: [Say("ok")], require_key="key") as (model, session):
            for headers, status in (
                ({}, 401),
                ({"x-api-key": "wrong"}, 401),
                ({"x-api-key": "key"}, 200),
                ({"authorization": "Bearer key"}, 200),
            ):
                async with session.post("/v1/messages", json=ASK, headers=headers) as r:
                    assert r.status == status
            assert [one.answer for one in model.requests] == ["401", "401", "message", "message"]
            assert model.requests[2].headers["x-api-key"] == "<hidden>"

    asyncio.run(run())


@pytest.mark.parametrize("after", [0, 30, 10_000])
def test_a_cut_stream_ends_without_its_end(after: int) -> None:
    async def run() -> None:
        async with serving(lambda _request: [Say(LONG), Cut(after)]) as (_, session):
            async with session.post("/v1/messages", json={**ASK, "stream": True}) as r:
                got = b""
                with pytest.raises(aiohttp.ClientPayloadError):
                    async for chunk in r.content.iter_any():
                        got += chunk
            assert b"message_start" in got
            assert (b"text_delta" in got) == (after > 0)

    asyncio.run(run())


def test_a_stream_may_end_with_an_error_event() -> None:
    async def run() -> None:
        async with serving(lambda _request: [Say(LONG), Snap(30)]) as (_, session):
            events = await stream(session)
            assert events[-1]["type"] == "error"
            assert events[-1]["error"]["type"] == "overloaded_error"
            assert "message_stop" not in [event["type"] for event in events]

    asyncio.run(run())


def test_an_unstreamed_answer_may_be_cut_too() -> None:
    async def run() -> None:
        async with serving(lambda _request: [Say(LONG), Cut(3)]) as (_, session):
            with pytest.raises(aiohttp.ClientPayloadError):
                async with session.post("/v1/messages", json=ASK) as r:
                    await r.read()

    asyncio.run(run())


def test_attempts_at_one_place_are_counted() -> None:
    async def run() -> None:
        def count(request: Request) -> list[Say]:
            return [Say(str(request.attempt))]

        async with serving(count) as (_, session):
            said = []
            for text in ("a", "a", "b", "a"):
                ask = {**ASK, "messages": [{"role": "user", "content": text}]}
                async with session.post("/v1/messages", json=ask) as r:
                    said.append((await r.json())["content"][0]["text"])
            assert said == ["0", "1", "0", "2"]

    asyncio.run(run())


def test_other_routes_and_bad_bodies() -> None:
    async def run() -> None:
        async with serving(lambda _request: [Say("x"), Stop("max_tokens")]) as (_, session):
            async with session.post("/v1/messages", json=ASK) as r:
                assert (await r.json())["stop_reason"] == "max_tokens"
            async with session.post("/v1/messages/count_tokens", json=ASK) as r:
                assert (await r.json())["input_tokens"] > 1
            async with session.head("/api/hello") as r:
                assert r.status == 200
            async with session.get("/v1/models") as r:
                assert (await r.json())["data"]
            async with session.get("/v1/nothing") as r:
                assert r.status == 404
                assert (await r.json())["error"]["type"] == "not_found_error"
            for body in (b"", b"{", b"[]", b'{"messages": 3}', b"[" * 100_000):
                async with session.post("/v1/messages", data=body) as r:
                    assert r.status == 400
                    assert (await r.json())["error"]["type"] == "invalid_request_error"

    asyncio.run(run())


def test_a_taken_port_is_an_error_and_stop_may_be_called_twice() -> None:
    async def run() -> None:
        async with serving(lambda _request: [Say("x")]) as (model, _):
            other = ScriptedModel(lambda _request: [Say("x")])
            with pytest.raises(OSError, match="in use"):
                await other.start(port=int(model.url.rsplit(":", 1)[1]))
            await other.stop()
            await other.stop()

    asyncio.run(run())
