"""The live stream: no fact is lost, none is forged, and it ends when it must."""

from __future__ import annotations

import asyncio
import contextlib
import json
from pathlib import Path

import pytest

from hyperhive.domain import agents, proposals
from hyperhive.edges.dashboard import streams
from rigs import config_world
from rigs.page_client import read_event, visited


def test_a_stream_goes_on_from_the_picture_and_from_the_last_event_seen(tmp_path: Path) -> None:
    async def story() -> None:
        async with visited(tmp_path) as (hive, browser, _):
            await hive.agent("coder")
            await hive.say("coder", "operator", "before the picture")
            number = json.loads((await browser.get("/api/snapshot"))[1])["number"]
            address = f"{browser.url}/api/live?after={number}"
            async with browser.http.get(address) as stream:
                await hive.say("coder", "operator", "one\n\nevent: forged\ndata: {}\r\rid: 99")
                first = await read_event(stream)
            assert first["event"] == "facts"
            [message] = json.loads(first["data"])["messages"]
            assert message["body"].startswith("one\n\nevent: forged")
            await hive.say("coder", "operator", "while away")
            async with browser.http.get(address, headers={"Last-Event-ID": first["id"]}) as stream:
                second = await read_event(stream)
                assert [m["body"] for m in json.loads(second["data"])["messages"]] == ["while away"]

    asyncio.run(story())


def test_one_stream_carries_the_terminal_too_and_resumes_both(tmp_path: Path) -> None:
    async def story() -> None:
        async with visited(tmp_path) as (hive, browser, _):
            row = await hive.agent("coder")
            await hive.show("coder", "text", {"text": "old"})
            number = hive.store.number()
            address = f"{browser.url}/api/live?after={number}&agent=coder&terminal=1"
            async with browser.http.get(address) as stream:
                await hive.terminal.append(row.id, [("t1", "text", {"text": "new"})])
                event = await read_event(stream)
                assert event["event"] == "terminal"
                assert event["id"] == f"{number}-2"
                [shown] = json.loads(event["data"])["events"]
                assert (shown["kind"], shown["data"]) == ("text", {"text": "new"})
            await hive.terminal.append(row.id, [("t1", "text", {"text": "later"})])
            async with browser.http.get(address, headers={"Last-Event-ID": event["id"]}) as stream:
                [shown] = json.loads((await read_event(stream))["data"])["events"]
                assert shown["data"] == {"text": "later"}

    asyncio.run(story())


@pytest.mark.parametrize("behind", [-5, streams.FACTS_BEHIND_MAX + 1])
def test_a_reader_from_another_time_is_told_to_load_the_picture(
    tmp_path: Path, behind: int
) -> None:
    async def story() -> None:
        async with visited(tmp_path) as (hive, browser, _):
            for _ in range(max(behind, 0)):
                await hive.agent("coder", turn_state=agents.TurnState.IDLE)
            after = hive.store.number() - behind
            async with browser.http.get(f"{browser.url}/api/live?after={after}") as stream:
                assert await read_event(stream) == {"event": "resync", "data": "{}"}
                assert await stream.content.read() == b""

    asyncio.run(story())


def test_a_session_has_eight_streams_at_most(tmp_path: Path) -> None:
    async def story() -> None:
        async with visited(tmp_path) as (_, browser, _clock), contextlib.AsyncExitStack() as stack:
            for _ in range(streams.STREAMS_MAX):
                stream = await stack.enter_async_context(
                    browser.http.get(f"{browser.url}/api/live?after=0")
                )
                assert stream.status == 200
            status, body, _ = await browser.get("/api/live?after=0")
            assert status == 503
            assert "close one" in json.loads(body)["detail"]

    asyncio.run(story())


def test_a_stream_ends_with_its_session(tmp_path: Path) -> None:
    async def story() -> None:
        async with visited(tmp_path) as (hive, browser, clock):
            number = hive.store.number()
            async with browser.http.get(f"{browser.url}/api/live?after={number}") as stream:
                await hive.agent("coder")
                assert (await read_event(stream))["event"] == "facts"
                clock.advance(12 * 3600 + 1)
                assert (await read_event(stream))["event"] == "signed-out"

    asyncio.run(story())


def test_closing_ends_open_streams_within_two_seconds(tmp_path: Path) -> None:
    async def story() -> None:
        async with visited(tmp_path) as (hive, browser, _):
            number = hive.store.number()
            async with browser.http.get(f"{browser.url}/api/live?after={number}") as stream:
                async with asyncio.timeout(2):
                    await hive.page.close()
                assert await stream.content.read() == b""

    asyncio.run(story())


def test_the_log_of_a_build_comes_with_the_facts_and_outlives_its_end(tmp_path: Path) -> None:
    async def story() -> None:
        async with visited(tmp_path) as (hive, browser, _):
            row = await hive.agent("coder")
            asked = await config_world.propose(
                hive.store, row.id, "coder", "", build=proposals.BuildState.BUILDING
            )
            hive.world.log(asked.id, "one\r\nevent: forged\n")
            address = f"{browser.url}/api/live?after={hive.store.number()}&build={asked.id}"
            async with browser.http.get(address) as stream:
                event = await read_event(stream)
                assert event["event"] == "build"
                assert json.loads(event["data"]) == {
                    "id": 1, "first": True, "lines": ["one", "event: forged"], "ended": False,
                }  # fmt: skip
                hive.world.log(asked.id, "two\n")
                await config_world.move(
                    hive.store, asked.id, build=proposals.BuildState.FAILED, build_note="no curl"
                )
                seen = [await read_event(stream), await read_event(stream)]
                ends = [json.loads(e["data"]) for e in seen if e["event"] == "build"]
                facts = [json.loads(e["data"]) for e in seen if e["event"] == "facts"]
                assert ends[0]["lines"] == ["two"]
                [changed] = [fact["approvals"][0]["proposal"] for fact in facts]
                assert (changed["build"], changed["build_note"]) == ("failed", "no curl")
                await hive.say("coder", "operator", "still here")
                later = await read_event(stream)
                while later["event"] != "facts":
                    later = await read_event(stream)
                assert json.loads(later["data"])["messages"][0]["body"] == "still here"
            unknown = f"{browser.url}/api/live?after={hive.store.number()}&build=77"
            async with browser.http.get(unknown) as stream:
                body = json.loads((await read_event(stream))["data"])
                assert body["ended"] and "approval 77 has no build" in body["lines"][0]

    asyncio.run(story())
