"""The harness protocol over a real socket, on real services."""

from __future__ import annotations

import asyncio
import contextlib
import json
import os
from collections.abc import Callable
from typing import Any

import pytest

from hyperhive.domain import agents, errors, ids, messages, turns
from hyperhive.edges.agent_api import server
from hyperhive.wire import agent_protocol

Open = Callable[..., contextlib.AbstractAsyncContextManager[Any]]


async def turn_row(hive: Any, turn: str) -> turns.Turn:
    row = await hive.store.read(lambda tx: tx.get_turn(ids.TurnId(turn)))
    assert row is not None
    return row


def test_a_turn_from_hello_to_finish(open_hive: Open) -> None:
    async def story() -> None:
        async with open_hive("bob") as hive:
            bob = await hive.connect("bob")
            hello = (await bob.ask("hello", protocol=1, boot="b1"))["result"]
            assert (hello["protocol"], hello["agent"]["name"]) == (1, "bob")
            await hive.mail.send(hive.olga, "bob", "do it")
            plan = (await bob.ask("take", boot="b1"))["result"]
            assert [message["body"] for message in plan["messages"]] == ["do it"]
            # A lost answer is asked for again, and is the same turn.
            assert (await bob.ask("take", boot="b1"))["result"]["turn"] == plan["turn"]
            session = plan["session"]
            assert (await bob.ask("session", turn=plan["turn"], session=session))["result"] == {}
            assert (await bob.ask("state", state="compacting", note="n"))["result"] == {}
            row = await hive.store.read(lambda tx: tx.find_agent("bob"))
            assert (row.turn_state, row.session_started) == (agents.TurnState.COMPACTING, True)
            report = {
                "turn": plan["turn"], "outcome": "ok", "note": "n" * 9000, "tool_calls": 3,
                "usage": {"input_tokens": 5, "cost_usd": 0.25}, "retry_at": None,
            }  # fmt: skip
            for _ in range(2):
                assert (await bob.ask("finish", **report))["result"] == {}
            row = await turn_row(hive, plan["turn"])
            assert (row.outcome, row.tool_calls) == (turns.Outcome.OK, 3)
            assert (row.usage.input_tokens, row.usage.cost_usd) == (5, 0.25)
            assert len(row.note) == 2000
            message = await hive.store.read(lambda tx: tx.get_message(ids.MessageId(1)))
            assert message.state is messages.MessageState.HANDLED

    asyncio.run(story())


def test_a_parked_take_wakes_on_mail_and_ends_with_its_connection(open_hive: Open) -> None:
    async def story() -> None:
        async with open_hive("bob") as hive:
            gone, bob = await hive.connect("bob"), await hive.connect("bob")
            await gone.send(id=1, method="take", params={"boot": "b"})
            await gone.close()
            await bob.send(id=1, method="take", params={"boot": "b"})
            await bob.send(id=2, method="state", params={"state": "idle"})
            assert (await bob.read())["id"] == 2
            await hive.mail.send(hive.olga, "bob", "wake")
            assert (await bob.read())["result"]["messages"][0]["body"] == "wake"

    asyncio.run(story())


def test_orders_park_until_the_operator_interrupts(open_hive: Open) -> None:
    async def story() -> None:
        async with open_hive("bob") as hive:
            bob = await hive.connect("bob")
            turn = await hive.take_turn(bob, "bob")
            await bob.send(id=90, method="orders", params={"turn": turn})
            await hive.turns.control.interrupt(hive.olga, "bob")
            assert await bob.read() == {"id": 90, "result": {"order": "interrupt"}}

    asyncio.run(story())


def test_another_protocol_is_refused_with_what_to_do(open_hive: Open) -> None:
    async def story() -> None:
        async with open_hive("bob") as hive:
            bob = await hive.connect("bob")
            error = (await bob.ask("hello", protocol=2, boot="b"))["error"]
            assert error["kind"] == "conflict"
            assert "restart the agent" in error["message"]

    asyncio.run(story())


@pytest.mark.parametrize(
    ("method", "params"),
    [
        ("nope", {}),
        ("approve", {"id": 1, "digest": "x"}),
        ("hello", {}),
        ("hello", {"protocol": "1", "boot": "b"}),
        ("hello", {"protocol": 1, "boot": ""}),
        ("hello", {"protocol": 1, "boot": "b", "agent": "manager"}),
        ("take", {"boot": "b" * 65}),
        ("take", {"boot": "a\x00"}),
        ("take", {"boot": "\ud800"}),
        ("session", {"turn": "t", "session": "../../etc/passwd"}),
        ("session", {"turn": "t", "session": "x\n"}),
        ("finish", {"turn": "t"}),
        ("finish", {"turn": "t", "outcome": "lost"}),
        ("finish", {"turn": "t", "outcome": "great"}),
        ("finish", {"turn": "t", "outcome": "ok", "tool_calls": -1}),
        ("finish", {"turn": "t", "outcome": "ok", "tool_calls": True}),
        ("finish", {"turn": "t", "outcome": "ok", "usage": {"input_tokens": 2**60}}),
        ("finish", {"turn": "t", "outcome": "ok", "usage": {"tokens": 1}}),
        ("state", {"state": "happy"}),
        ("servers", {"turn": "t", "servers": [{"name": "a b", "status": "failed"}]}),
        ("servers", {"turn": "t", "servers": [{"name": "a", "status": "<b>"}]}),
        ("servers", {"turn": "t", "servers": [{"name": "a", "status": "failed"}] * 65}),
        ("events", {"boot": "b", "first": 0, "events": [{"turn": "t"}]}),
        ("events", {"boot": "b", "first": -1, "events": []}),
        ("events", {"boot": "b", "first": 0, "events": [{"turn": "t", "kind": "", "data": {}}]}),
        ("mcp", {"turn": "t", "key": "", "message": {}}),
        ("mcp", {"turn": "t", "key": "a b", "message": {}}),
        ("mcp", {"turn": "t", "key": "k" * 129, "message": {}}),
        ("mcp", {"turn": "t", "key": "k", "message": []}),
        ("orders", {"turn": 7}),
    ],
)
def test_what_does_not_fit_is_refused_and_the_connection_kept(
    open_hive: Open, method: str, params: dict[str, Any]
) -> None:
    async def story() -> None:
        async with open_hive("bob") as hive:
            bob = await hive.connect("bob")
            error = (await bob.ask(method, **params))["error"]
            assert error["kind"] == "invalid"
            assert error["message"].startswith("cannot ")
            assert "result" in await bob.ask("state", state="idle")
            assert hive.log.entries == []

    asyncio.run(story())


def test_a_request_with_more_than_it_should_have_is_refused(open_hive: Open) -> None:
    async def story() -> None:
        async with open_hive("bob") as hive:
            bob = await hive.connect("bob")
            await bob.send(id=1, method="take", params={"boot": "b"}, caller="manager")
            assert "caller" in (await bob.read())["error"]["message"]

    asyncio.run(story())


@pytest.mark.parametrize("line", [{"params": "\ud800"}, {"params": {}, "\ud800": 1}])
def test_half_a_character_anywhere_is_a_refusal_and_no_bug(
    open_hive: Open, line: dict[str, Any]
) -> None:
    async def story() -> None:
        async with open_hive("bob") as hive:
            bob = await hive.connect("bob")
            await bob.send(id=1, method="state", **line)
            assert (await bob.read())["error"]["kind"] == "invalid"
            assert hive.log.entries == []

    asyncio.run(story())


def test_turns_of_others_do_not_exist(open_hive: Open) -> None:
    async def story() -> None:
        async with open_hive("bob", "eve") as hive:
            bob, eve = await hive.connect("bob"), await hive.connect("eve")
            turn = await hive.take_turn(bob, "bob")
            error = (await eve.ask("finish", turn=turn, outcome="ok"))["error"]
            assert error["kind"] == "not_found"
            worked, words = await eve.tool(turn, "1", "recv")
            assert not worked
            assert "not running" in words
            assert (await turn_row(hive, turn)).outcome is turns.Outcome.RUNNING

    asyncio.run(story())


class TestEvents:
    @staticmethod
    def batch(*texts: str) -> list[dict[str, Any]]:
        return [{"turn": "t1", "kind": "text", "data": {"text": text}} for text in texts]

    def test_a_batch_sent_again_is_stored_once(self, open_hive: Open) -> None:
        async def story() -> None:
            async with open_hive("bob") as hive:
                bob = await hive.connect("bob")
                agent = await hive.agent("bob")
                sent = [
                    (0, ["a", "b"], 2),
                    (0, ["a", "b"], 2),
                    (1, ["b", "c"], 3),
                    (0, ["a"], 3),
                    (9, ["after a gap"], 10),
                    (10, [], 10),
                ]
                for first, texts, following in sent:
                    answer = await bob.ask(
                        "events", boot="b", first=first, events=self.batch(*texts)
                    )
                    assert answer["result"] == {"next": following}
                answer = await bob.ask("events", boot="b2", first=0, events=self.batch("d"))
                assert answer["result"] == {"next": 1}
                rows = await hive.live_log.read(agent.id)
                texts = [row.data["text"] for row in rows]
                assert texts == ["a", "b", "c", "after a gap", "d"]

        asyncio.run(story())

    def test_two_connections_with_the_same_batch_store_it_once(self, open_hive: Open) -> None:
        async def story() -> None:
            async with open_hive("bob") as hive:
                agent = await hive.agent("bob")
                clients = [await hive.connect("bob") for _ in range(2)]
                asked = [
                    client.ask("events", boot="b", first=0, events=self.batch("x", "y"))
                    for client in clients
                ]
                assert [each["result"]["next"] for each in await asyncio.gather(*asked)] == [2, 2]
                assert len(await hive.live_log.read(agent.id)) == 2

        asyncio.run(story())

    def test_terminal_noise_that_no_store_takes_is_repaired(self, open_hive: Open) -> None:
        async def story() -> None:
            async with open_hive("bob") as hive:
                bob = await hive.connect("bob")
                agent = await hive.agent("bob")
                answer = await bob.ask(
                    "events", boot="b", first=0, events=self.batch("cat \x00 \ud800 file")
                )
                assert answer["result"] == {"next": 1}
                (row,) = await hive.live_log.read(agent.id)
                assert row.data["text"] == "cat \ufffd \ufffd file"

        asyncio.run(story())


class TestDoors:
    def test_open_and_close_may_be_said_twice(self, open_hive: Open) -> None:
        async def story() -> None:
            async with open_hive() as hive:
                api = hive.new_api()
                await hive.open_door(api, "bob")
                await hive.open_door(api, "bob")
                bob = await hive.connect("bob")
                await bob.ask("hello", protocol=1, boot="b")
                await bob.send(id=99, method="take", params={"boot": "b"})
                agent = await hive.agent("bob")
                await api.close_agent(agent.id)
                await api.close_agent(agent.id)
                assert await bob.read_end() == b""
                await hive.open_door(api, "bob")
                again = await hive.connect("bob")
                assert "result" in await again.ask("hello", protocol=1, boot="b")

        asyncio.run(story())

    def test_a_door_that_cannot_be_opened_says_so_and_can_be_tried_again(
        self, open_hive: Open
    ) -> None:
        async def story() -> None:
            async with open_hive() as hive:
                api = hive.new_api()
                (hive.home / "door-bob").write_text("in the way")
                with pytest.raises(errors.HiveError, match="cannot prepare"):
                    await hive.open_door(api, "bob")
                (hive.home / "door-bob").unlink()
                await hive.open_door(api, "bob")
                await hive.connect("bob")

        asyncio.run(story())

    def test_only_the_agents_uid_may_connect(self, open_hive: Open) -> None:
        async def story() -> None:
            async with open_hive() as hive:
                api = hive.new_api()
                agent = await hive.agent("bob")
                await api.open(
                    agent.id, hive.home / "door-bob", uid=os.geteuid() + 1, gid=os.getegid()
                )
                bob = await hive.connect("bob")
                assert (await bob.read())["error"]["kind"] == "forbidden"

        asyncio.run(story())

    def test_a_new_daemon_takes_the_place_of_a_dead_one(self, open_hive: Open) -> None:
        async def story() -> None:
            async with open_hive("bob") as hive:
                # The first server is still there, as after SIGKILL its socket file would be.
                await hive.open_door(hive.new_api(), "bob")
                bob = await hive.connect("bob")
                assert "result" in await bob.ask("hello", protocol=1, boot="b")

        asyncio.run(story())


def test_every_method_of_the_protocol_is_answered(open_hive: Open) -> None:
    async def story() -> None:
        async with open_hive("bob") as hive:
            bob = await hive.connect("bob")
            for method in agent_protocol.METHODS:
                answer = await bob.ask(method, surprise=1)
                assert "no such method" not in json.dumps(answer)
            unknown = (await bob.ask("unknown"))["error"]["message"]
            assert all(method in unknown for method in agent_protocol.METHODS)

    asyncio.run(story())


def test_the_socket_has_the_name_that_the_sandbox_looks_for() -> None:
    assert agent_protocol.SOCKET_IN_SANDBOX.endswith("/" + server.SOCKET_NAME)
