"""Calls that are asked for again: one effect, the same answer, also in the next daemon."""

from __future__ import annotations

import asyncio
import contextlib
import json
from collections.abc import Callable
from typing import Any

from hyperhive.domain import ids, messages
from rigs.rpc import rpc

Open = Callable[..., contextlib.AbstractAsyncContextManager[Any]]


def test_a_finished_call_returns_what_it_returned(open_hive: Open) -> None:
    async def story() -> None:
        async with open_hive("bob") as hive:
            bob = await hive.connect("bob")
            turn = await hive.take_turn(bob, "bob")
            await hive.mail.send(hive.olga, "bob", "once")
            first = await bob.tool(turn, "k", "recv")
            assert [message["body"] for message in first[1]["messages"]] == ["once"]
            assert await bob.tool(turn, "k", "recv") == first
            assert await bob.tool(turn, "k2", "recv") == (True, {"messages": []})

    asyncio.run(story())


def test_a_running_call_is_joined_after_its_connection_broke(open_hive: Open) -> None:
    async def story() -> None:
        async with open_hive("bob") as hive:
            first, second = await hive.connect("bob"), await hive.connect("bob")
            turn = await hive.take_turn(second, "bob")
            message = rpc("1", "tools/call", name="recv", arguments={"wait_seconds": 180})
            await first.send(
                id=1, method="mcp", params={"turn": turn, "key": "k", "message": message}
            )
            async with asyncio.timeout(20):
                while not hive.clock.sleepers:
                    await asyncio.sleep(0.005)
            await first.close()
            await hive.mail.send(hive.olga, "bob", "while nobody listens")
            answer = await second.ask("mcp", turn=turn, key="k", message=message)
            text = answer["result"]["message"]["result"]["content"][0]["text"]
            (received,) = json.loads(text)["messages"]
            assert received["body"] == "while nobody listens"

    asyncio.run(story())


def test_the_longest_key_serves_every_tool(open_hive: Open) -> None:
    async def story() -> None:
        async with open_hive("bob") as hive:
            bob = await hive.connect("bob")
            turn = await hive.take_turn(bob, "bob")
            for number in range(40):
                await hive.mail.send(hive.olga, "bob", f"{number}")
            given = {"to": "operator", "body": "x"}
            assert (await bob.tool(turn, "k" * 128, "send", given))[0]
            worked, result = await bob.tool(turn, "r" * 128, "recv", {"max": 32})
            assert worked
            assert len(result["messages"]) == 32

    asyncio.run(story())


def test_a_key_is_for_one_message(open_hive: Open) -> None:
    async def story() -> None:
        async with open_hive("bob") as hive:
            bob = await hive.connect("bob")
            turn = await hive.take_turn(bob, "bob")
            assert (await bob.tool(turn, "k", "send", {"to": "operator", "body": "a"}))[0]
            message = rpc("k", "tools/call", name="send", arguments={"to": "x", "body": "b"})
            error = (await bob.ask("mcp", turn=turn, key="k", message=message))["error"]
            assert error["kind"] == "invalid"
            assert "another message" in error["message"]

    asyncio.run(story())


def test_a_restart_of_the_daemon_in_between_changes_nothing(open_hive: Open) -> None:
    async def story() -> None:
        async with open_hive("bob", "eve") as hive:
            bob = await hive.connect("bob")
            turn = await hive.take_turn(bob, "bob")
            for number in range(3):
                await hive.mail.send(hive.olga, "bob", f"mail {number}")
            calls = [
                ("s", "send", {"to": "eve", "body": "once"}),
                ("r", "recv", {"max": 2}),
            ]
            before = [await bob.tool(turn, *call) for call in calls]
            api = hive.new_api()
            await hive.open_door(api, "bob")
            again = await hive.connect("bob")
            assert [await again.tool(turn, *call) for call in calls] == before
            eve = await hive.agent("eve")
            sent = await hive.store.read(lambda tx: tx.list_messages(recipient=ids.PartyId(eve.id)))
            assert len(sent) == 1
            worked, rest = await again.tool(turn, "r2", "recv", {"max": 9})
            assert worked
            assert [message["body"] for message in rest["messages"]] == ["mail 2"]

    asyncio.run(story())


def test_the_end_of_the_turn_ends_its_calls_and_forgets_them(open_hive: Open) -> None:
    async def story() -> None:
        async with open_hive("bob") as hive:
            bob = await hive.connect("bob")
            turn = await hive.take_turn(bob, "bob")
            message = rpc("1", "tools/call", name="recv", arguments={"wait_seconds": 180})
            await bob.send(
                id=50, method="mcp", params={"turn": turn, "key": "k", "message": message}
            )
            await bob.send(id=51, method="finish", params={"turn": turn, "outcome": "interrupted"})
            got = {(line := await bob.read())["id"]: line for _ in range(2)}
            assert got[50]["error"]["kind"] == "conflict"
            assert got[51]["result"] == {}
            await hive.mail.send(hive.olga, "bob", "for the next turn")
            queued = await hive.store.read(lambda tx: tx.list_messages(limit=1))
            assert queued[0].state is messages.MessageState.QUEUED

    asyncio.run(story())


def test_a_cancelled_request_stops_waiting(open_hive: Open) -> None:
    async def story() -> None:
        async with open_hive("bob") as hive:
            bob = await hive.connect("bob")
            turn = await hive.take_turn(bob, "bob")
            message = rpc("r-7", "tools/call", name="recv", arguments={"wait_seconds": 180})
            await bob.send(
                id=50, method="mcp", params={"turn": turn, "key": "k", "message": message}
            )
            cancelled = {
                "jsonrpc": "2.0", "method": "notifications/cancelled",
                "params": {"requestId": "r-7", "reason": "the operator interrupted"},
            }  # fmt: skip
            await bob.send(
                id=51, method="mcp", params={"turn": turn, "key": "n", "message": cancelled}
            )
            got = {(line := await bob.read())["id"]: line for _ in range(2)}
            assert got[51]["result"] == {"message": None}
            assert got[50]["error"]["kind"] == "conflict"
            await hive.mail.send(hive.olga, "bob", "stays")
            queued = await hive.store.read(lambda tx: tx.list_messages(limit=1))
            assert queued[0].state is messages.MessageState.QUEUED

    asyncio.run(story())
