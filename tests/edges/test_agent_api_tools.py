"""The MCP tools as a harness and as the official client see them."""

from __future__ import annotations

import asyncio
import contextlib
import dataclasses
import json
from collections.abc import Callable
from typing import Any

import anyio
import mcp_types
import pytest
from mcp.client.session import ClientSession
from mcp.shared.message import SessionMessage

from hyperhive.domain import access, agents, ids, messages
from hyperhive.edges.agent_api import tools
from rigs.rpc import rpc

Open = Callable[..., contextlib.AbstractAsyncContextManager[Any]]
QUESTIONS = ["ask_operator", "ask", "answer", "remind", "loose_ends", "take_back"]
EVERYBODY = ["recv", "send", "whoami", "peers", "set_status", *QUESTIONS]
MANAGERS = ["request_spawn", "start", "kill", "restart"]
CONFIGURATION = ["request_apply_commit", "request_update_inputs", "update", "withdraw_request"]


async def list_tools(client: Any, turn: str) -> list[dict[str, Any]]:
    answer = await client.ask("mcp", turn=turn, key="list", message=rpc("list", "tools/list"))
    return answer["result"]["message"]["result"]["tools"]


def test_tools_follow_the_role_and_teach(open_hive: Open) -> None:
    async def story() -> None:
        async with open_hive("bob", "manager") as hive:
            bob, manager = await hive.connect("bob"), await hive.connect("manager")
            listed = await list_tools(bob, "t")
            assert [tool["name"] for tool in listed] == EVERYBODY
            listed = await list_tools(manager, "t")
            assert [tool["name"] for tool in listed] == EVERYBODY + MANAGERS + CONFIGURATION
            for tool in listed:
                schema = tool["inputSchema"]
                assert (schema["type"], schema["additionalProperties"]) == ("object", False)
                assert len(tool["description"]) > 50
                assert all("description" in field for field in schema["properties"].values())
            recv = listed[0]
            assert "Never sleep" in recv["description"]
            assert recv["inputSchema"]["properties"]["wait_seconds"]["maximum"] == 180

    asyncio.run(story())


@pytest.mark.parametrize("name", MANAGERS + CONFIGURATION)
def test_an_agent_that_uses_a_managers_tool_is_told_so(open_hive: Open, name: str) -> None:
    async def story() -> None:
        async with open_hive("bob") as hive:
            bob = await hive.connect("bob")
            arguments = {"name": "zoe", "description": "d"}
            worked, words = await bob.tool("t", "1", name, arguments)
            assert (worked, words) == (
                False, f"cannot call {name}: only the manager may, and you are bob",
            )  # fmt: skip

    asyncio.run(story())


@pytest.mark.parametrize(
    "name", ["approve", "deny", "withdraw", "spawn", "handled", "requeue", "model-source", "exec"]
)
def test_nothing_that_decides_is_a_tool_even_for_the_manager(open_hive: Open, name: str) -> None:
    async def story() -> None:
        async with open_hive("manager") as hive:
            manager = await hive.connect("manager")
            worked, words = await manager.tool("t", "1", name, {"id": 1})
            assert not worked
            assert "there is no such tool" in words

    asyncio.run(story())


def test_a_role_that_changes_counts_at_the_next_call(open_hive: Open) -> None:
    async def story() -> None:
        async with open_hive("bob") as hive:
            bob = await hive.connect("bob")
            assert len(await list_tools(bob, "t")) == len(EVERYBODY)
            agent = await hive.agent("bob")
            promoted = dataclasses.replace(agent, role=agents.Role.MANAGER)
            await hive.store.write(lambda tx: tx.update_agent(promoted))
            assert len(await list_tools(bob, "t")) == len(tools.TOOLS)

    asyncio.run(story())


def test_two_agents_talk(open_hive: Open) -> None:
    async def story() -> None:
        async with open_hive("bob", "eve") as hive:
            bob, eve = await hive.connect("bob"), await hive.connect("eve")
            bobs, eves = await hive.take_turn(bob, "bob"), await hive.take_turn(eve, "eve")
            assert await eve.tool(eves, "0", "recv") == (True, {"messages": []})
            await eve.send(
                id=70, method="mcp",
                params={"turn": eves, "key": "1", "message": rpc(
                    "1", "tools/call", name="recv", arguments={"wait_seconds": 180, "max": 5}
                )},
            )  # fmt: skip
            worked, sent = await bob.tool(bobs, "1", "send", {"to": "eve", "body": "hällo\n\x07"})
            assert (worked, sent["to"]) == (True, "eve")
            answer = await eve.read()
            text = answer["result"]["message"]["result"]["content"][0]["text"]
            (message,) = json.loads(text)["messages"]
            assert (message["from"], message["body"], message["type"]) == (
                "bob", "hällo\n\x07", "text",
            )  # fmt: skip
            worked, reply = await eve.tool(
                eves, "2", "send", {"to": "bob", "body": "hi", "in_reply_to": message["id"]}
            )
            assert worked
            stored = await hive.store.read(lambda tx: tx.get_message(ids.MessageId(reply["id"])))
            assert stored.in_reply_to == message["id"]

    asyncio.run(story())


def test_a_wait_without_mail_ends_in_an_empty_list(open_hive: Open) -> None:
    async def story() -> None:
        async with open_hive("bob") as hive:
            bob = await hive.connect("bob")
            turn = await hive.take_turn(bob, "bob")
            asked = asyncio.gather(bob.tool(turn, "1", "recv", {"wait_seconds": 170}))
            async with asyncio.timeout(20):
                while not hive.clock.sleepers:
                    await asyncio.sleep(0.005)
            hive.clock.advance(171)
            assert await asked == [(True, {"messages": []})]

    asyncio.run(story())


def test_a_batch_stops_before_it_outgrows_a_line(open_hive: Open) -> None:
    async def story() -> None:
        async with open_hive("bob") as hive:
            bob = await hive.connect("bob")
            turn = await hive.take_turn(bob, "bob")
            # The worst to write: seven bytes for each of these, quoted twice.
            worst = "\x01" * messages.BODY_MAX
            for _ in range(3):
                await hive.mail.send(hive.olga, "bob", worst)
            for number in range(4):
                await hive.mail.send(hive.olga, "bob", f"small {number}")
            sizes = []
            for key in range(5):
                worked, result = await bob.tool(turn, str(key), "recv", {"max": 32})
                assert worked
                sizes.append([len(message["body"]) for message in result["messages"]])
            big, small = len(worst), len("small 0")
            assert sizes == [[big], [big], [big], [small] * 4, []]

    asyncio.run(story())


@pytest.mark.parametrize(
    ("name", "arguments", "words"),
    [
        ("recv", {"wait_seconds": 181}, "must be between 0 and 180"),
        ("recv", {"wait_seconds": -1}, "must be between 0 and 180"),
        ("recv", {"wait_seconds": "60"}, "wait_seconds: expected `float`, got `str`"),
        ("recv", {"max": 33}, "must be between 1 and 32"),
        ("recv", {"max": 0}, "must be between 1 and 32"),
        ("recv", {"wait": 3}, "unknown field `wait`"),
        ("send", {"to": "operator"}, "missing required field `body`"),
        ("send", {"to": "operator", "body": " \n"}, "the body is empty"),
        ("send", {"to": "nobody", "body": "x"}, "nobody has that name"),
        ("send", {"to": "bob", "body": "x"}, "that is yourself"),
        ("send", {"to": "system", "body": "x"}, "nobody reads it"),
        ("send", {"to": "operator", "body": "a\x00b"}, "a NUL character"),
        ("send", {"to": "operator", "body": "a\ud800b"}, "a lone surrogate character"),
        ("send", {"to": "operator", "body": "x", "in_reply_to": 2**70}, "in_reply_to"),
        ("send", {"to": "operator", "body": "x", "in_reply_to": 404}, "cannot reply"),
        ("send", {"to": "x" * 65, "body": "x"}, "to: expected"),
        ("set_status", {"text": "x" * 201}, "the limit is 200"),
        ("set_status", {}, "missing required field `text`"),
        ("whoami", {"name": "manager"}, "unknown field"),
        ("no\x00tool", {}, "a NUL character"),
        ("", {}, "no such tool"),
    ],
)
def test_a_model_that_errs_is_told_how(
    open_hive: Open, name: str, arguments: dict[str, Any], words: str
) -> None:
    async def story() -> None:
        async with open_hive("bob") as hive:
            bob = await hive.connect("bob")
            turn = await hive.take_turn(bob, "bob")
            worked, said = await bob.tool(turn, "1", name, arguments)
            assert not worked
            assert said.startswith("cannot ")
            assert words in said
            assert hive.log.entries == []

    asyncio.run(story())


def test_a_bug_in_a_tool_is_a_reference_for_the_model(
    open_hive: Open, monkeypatch: pytest.MonkeyPatch
) -> None:
    async def story() -> None:
        async with open_hive("bob") as hive:
            bob = await hive.connect("bob")

            async def broken(_: Any) -> None:
                raise KeyError("detail")

            monkeypatch.setattr(hive.fleet, "peers", broken)
            worked, said = await bob.tool("t", "1", "peers")
            assert not worked
            ((event, fields),) = hive.log.entries
            assert (event, fields["tool"]) == ("tool_bug", "peers")
            assert fields["reference"] in said
            assert "detail" not in said

    asyncio.run(story())


@pytest.mark.parametrize(
    ("message", "code"),
    [
        ({"jsonrpc": "2.0", "id": 1, "method": "resources/list"}, -32601),
        ({"jsonrpc": "2.0", "id": 1, "method": "no/such"}, -32601),
        ({"jsonrpc": "2.0", "id": 1, "method": "tools/call", "params": {"nam": "recv"}}, -32602),
        ({"jsonrpc": "2.0", "id": 1, "method": "tools/call", "params": {"name": 3}}, -32602),
        ({"jsonrpc": "2.0", "id": 1, "method": "tools/call"}, -32602),
        ({"jsonrpc": "1.0", "id": 1, "method": "tools/list"}, -32600),
        ({"jsonrpc": "2.0", "id": {"a": 1}, "method": "tools/list"}, -32600),
        ({"jsonrpc": "2.0", "id": None, "method": "tools/list"}, -32600),
        ({"jsonrpc": "2.0", "id": 1, "method": 5}, -32600),
        ({"id": 1}, -32600),
    ],
)
def test_a_message_that_is_no_request_of_ours_gets_a_json_rpc_error(
    open_hive: Open, message: dict[str, Any], code: int
) -> None:
    async def story() -> None:
        async with open_hive("bob") as hive:
            bob = await hive.connect("bob")
            answer = await bob.ask("mcp", turn="t", key="1", message=message)
            assert answer["result"]["message"]["error"]["code"] == code

    asyncio.run(story())


def test_notifications_have_no_answer(open_hive: Open) -> None:
    async def story() -> None:
        async with open_hive("bob") as hive:
            bob = await hive.connect("bob")
            for method in ("notifications/initialized", "notifications/cancelled", "x"):
                message = {"jsonrpc": "2.0", "method": method}
                answer = await bob.ask("mcp", turn="t", key="n", message=message)
                assert answer["result"] == {"message": None}

    asyncio.run(story())


def test_the_manager_orders_others_but_not_itself(open_hive: Open) -> None:
    async def story() -> None:
        async with open_hive("manager", "bob") as hive:
            manager = await hive.connect("manager")
            turn = await hive.take_turn(manager, "manager")
            for key, (tool, wanted) in enumerate(
                [("kill", "stopped"), ("start", "running"), ("restart", "running")]
            ):
                worked, result = await manager.tool(turn, str(key), tool, {"name": "bob"})
                assert (worked, result["wanted"]) == (True, wanted)
                worked, said = await manager.tool(turn, f"s{key}", tool, {"name": "manager"})
                assert not worked
                assert "only the operator may" in said

    asyncio.run(story())


def test_a_spawn_request_repeated_is_the_same_request(open_hive: Open) -> None:
    async def story() -> None:
        async with open_hive("manager") as hive:
            manager = await hive.connect("manager")
            turn = await hive.take_turn(manager, "manager")
            asked = {"name": "zoe", "description": "to help"}
            first = await manager.tool(turn, "1", "request_spawn", asked)
            assert first == (True, {"approval": 1, "agent": "zoe", "state": "pending"})
            assert await manager.tool(turn, "2", "request_spawn", asked) == first
            assert len(await hive.store.read(lambda tx: tx.list_approvals())) == 1

    asyncio.run(story())


def test_the_official_client_is_content(open_hive: Open) -> None:
    """Its messages take the way that the claude program's take: one at a time, over the socket."""

    async def story() -> None:
        async with open_hive("bob", "eve") as hive:
            bob = await hive.connect("bob")
            turn = await hive.take_turn(bob, "bob")
            to_client, from_server = anyio.create_memory_object_stream[SessionMessage](10)
            to_server, from_client = anyio.create_memory_object_stream[SessionMessage](10)

            async def relay() -> None:
                number = 0
                async for outgoing in from_client:
                    number += 1
                    body = outgoing.message.model_dump(by_alias=True, exclude_none=True)
                    answer = await bob.ask("mcp", turn=turn, key=f"c{number}", message=body)
                    back = answer["result"]["message"]
                    if back is not None:
                        parsed = mcp_types.jsonrpc_message_adapter.validate_python(back)
                        await to_client.send(SessionMessage(parsed))

            async with asyncio.TaskGroup() as group:
                relaying = group.create_task(relay())
                async with ClientSession(from_server, to_server) as session:
                    hello = await session.initialize()
                    assert hello.server_info.name == "hive"
                    assert hello.instructions
                    listed = await session.list_tools()
                    assert [tool.name for tool in listed.tools] == EVERYBODY
                    sent = await session.call_tool("send", {"to": "eve", "body": "hello"})
                    assert not sent.is_error
                    refused = await session.call_tool("kill", {"name": "eve"})
                    assert refused.is_error
                    await session.send_ping()
                relaying.cancel()
            for stream in (to_client, from_server, to_server, from_client):
                stream.close()

    asyncio.run(story())


def test_every_tool_is_in_the_table_once_with_a_right() -> None:
    assert len(tools.BY_NAME) == len(tools.TOOLS)
    assert {tool.right for tool in tools.TOOLS} == {access.Right.AGENT, access.Right.MANAGER}
    assert [tool.name for tool in tools.TOOLS] == EVERYBODY + MANAGERS + CONFIGURATION


@pytest.mark.parametrize("moment", range(12))
def test_mail_that_comes_as_a_turn_is_interrupted_is_heard_or_waits(
    open_hive: Open, moment: int
) -> None:
    """A parked `recv` is ended by the finish, perhaps just as it leases what has come."""

    async def story() -> None:
        async with open_hive("bob") as hive:
            bob = await hive.connect("bob")
            turn = await hive.take_turn(bob, "bob")
            await bob.ask("mcp", turn=turn, key="warm", message=rpc("w", "tools/list"))
            message = rpc("1", "tools/call", name="recv", arguments={"wait_seconds": 100})
            params = {"turn": turn, "key": "k", "message": message}
            await bob.send(id=500, method="mcp", params=params)
            while not hive.store._feed._waiters:
                await asyncio.sleep(0)
            sent = await hive.mail.send(hive.olga, "bob", "just now")
            for _ in range(moment):
                await asyncio.sleep(0)
            report = {"turn": turn, "outcome": "interrupted"}
            await bob.send(id=501, method="finish", params=report)
            answers = [await bob.read(), await bob.read()]
            heard = any("just now" in json.dumps(answer) for answer in answers)
            row = await hive.store.read(lambda tx: tx.get_message(sent.id))
            state = messages.MessageState.HANDLED if heard else messages.MessageState.QUEUED
            assert (row.state, row.deliveries) == (state, 1 if heard else 0)

    asyncio.run(story())


def test_a_star_is_everybody_else(open_hive: Open) -> None:
    async def story() -> None:
        async with open_hive("bob", "eve", "zoe") as hive:
            bob = await hive.connect("bob")
            turn = await hive.take_turn(bob, "bob")
            given = {"to": "*", "body": "lunch"}
            worked, sent = await bob.tool(turn, "k1", "send", given)
            assert (worked, sent["to"]) == (True, ["eve", "zoe"])
            assert await bob.tool(turn, "k1", "send", given) == (True, sent)
            worked, said = await bob.tool(turn, "k2", "send", given | {"in_reply_to": 1})
            assert not worked
            assert "name the one" in said
            row = await hive.store.read(lambda tx: tx.get_message(sent["ids"][0]))
            assert row.type is messages.MessageType.BROADCAST

    asyncio.run(story())
