"""The admin socket: the operator's verbs a line at a time."""

from __future__ import annotations

import asyncio
import contextlib
import json
import os
from collections.abc import Callable
from typing import Any

import pytest

from hyperhive.domain import approvals, errors, ids
from hyperhive.edges import action_table
from hyperhive.edges.admin import server

Open = Callable[..., contextlib.AbstractAsyncContextManager[Any]]


def test_a_verb_is_answered_with_version_and_result(open_hive: Open) -> None:
    async def story() -> None:
        async with open_hive("bob") as hive:
            admin = await hive.connect_admin()
            await admin.send(id=5, version=1, verb="version", args={})
            assert await admin.read() == {"id": 5, "version": 1, "result": {"version": "1.2"}}
            await admin.send(id=6, version=1, verb="version")
            assert (await admin.read())["result"] == {"version": "1.2"}

    asyncio.run(story())


def test_who_decided_is_on_record(open_hive: Open) -> None:
    async def story() -> None:
        async with open_hive("bob") as hive:
            admin = await hive.connect_admin()
            asked = (await admin.do("request-spawn", name="zoe", description="why"))["result"]
            wrong = (await admin.do("approve", id=asked["id"], digest="0" * 64))["error"]
            assert wrong["kind"] == "conflict"
            done = (await admin.do("approve", id=asked["id"], digest=asked["digest"]))["result"]
            assert done["state"] == "approved"
            row = await hive.store.read(lambda tx: tx.get_approval(ids.ApprovalId(asked["id"])))
            assert row.state is approvals.ApprovalState.APPROVED
            assert row.decided_via == f"admin socket, uid {os.geteuid()}"

    asyncio.run(story())


@pytest.mark.parametrize(
    ("request_", "kind", "words"),
    [
        ({"verb": "list"}, "invalid", "this daemon speaks 1"),
        ({"version": 2, "verb": "list"}, "invalid", "this daemon speaks 1"),
        ({"version": True, "verb": "list"}, "invalid", "this daemon speaks 1"),
        ({"version": 1}, "invalid", "missing required field `verb`"),
        ({"version": 1, "verb": "dance"}, "not_found", "cancel-build, cancel-question, card"),
        ({"version": 1, "verb": "Dance"}, "not_found", "there is no such verb"),
        ({"version": 1, "verb": 3}, "invalid", "verb: expected `str`"),
        ({"version": 1, "verb": "list", "as": "bob"}, "invalid", "unknown field `as`"),
        ({"version": 1, "verb": "list", "args": []}, "invalid", "args: expected `object`"),
        ({"version": 1, "verb": "list", "args": {"a": 1}}, "invalid", "unknown field `a`"),
        ({"version": 1, "verb": "logs", "args": {}}, "invalid", "missing required field `name`"),
        (
            {"version": 1, "verb": "send", "args": {"to": "bob", "body": "\x00"}},
            "invalid", "a NUL character",
        ),
        (
            {"version": 1, "verb": "\ud800", "args": {}},
            "invalid", "a lone surrogate character",
        ),
        (
            {"version": 1, "verb": "approve", "args": {"id": 1}},
            "invalid", "missing required field `digest`",
        ),
        (
            {"version": 1, "verb": "deny", "args": {"id": "1"}},
            "invalid", "id: expected `int`, got `str`",
        ),
        ({"version": 1, "verb": "deny", "args": {"id": 99}}, "not_found", "approval 99"),
        ({"version": 1, "verb": "watch", "args": {"name": "nobody"}}, "not_found", "nobody"),
    ],
)  # fmt: skip
def test_bad_requests_are_refused_in_words(
    open_hive: Open, request_: dict[str, Any], kind: str, words: str
) -> None:
    async def story() -> None:
        async with open_hive("bob") as hive:
            admin = await hive.connect_admin()
            await admin.send(id=1, **request_)
            answer = await admin.read()
            assert (answer["id"], answer["version"]) == (1, 1)
            assert answer["error"]["kind"] == kind
            assert answer["error"]["message"].startswith("cannot ")
            assert words in answer["error"]["message"]
            assert "result" in await admin.do("version")
            assert hive.log.entries == []

    asyncio.run(story())


def test_an_unknown_verb_names_all_that_there_are(open_hive: Open) -> None:
    async def story() -> None:
        async with open_hive() as hive:
            admin = await hive.connect_admin()
            message = (await admin.do("dance"))["error"]["message"]
            assert all(action.name in message for action in action_table.TABLE)

    asyncio.run(story())


def test_a_stream_ends_with_a_result_or_when_it_is_cancelled(open_hive: Open) -> None:
    async def story() -> None:
        async with open_hive("bob") as hive:
            admin = await hive.connect_admin()
            await admin.send(id=1, version=1, verb="logs", args={"name": "bob", "lines": 2})
            got = [await admin.read() for _ in range(3)]
            assert got == [
                {"id": 1, "version": 1, "event": {"line": "two"}},
                {"id": 1, "version": 1, "event": {"line": "three"}},
                {"id": 1, "version": 1, "result": {}},
            ]
            await admin.send(
                id=2, version=1, verb="logs", args={"name": "bob", "lines": 1, "follow": True}
            )
            assert (await admin.read())["event"] == {"line": "three"}
            await admin.send(id=3, version=1, verb="version")
            assert (await admin.read())["id"] == 3
            await admin.send(cancel=2)
            assert await admin.read() == {"id": 2, "version": 1, "result": {}}

    asyncio.run(story())


def test_the_feed_goes_on_from_a_number(open_hive: Open) -> None:
    async def story() -> None:
        async with open_hive("bob") as hive:
            admin = await hive.connect_admin()
            number = (await admin.do("status"))["result"]["number"]
            await admin.send(id=9, version=1, verb="subscribe", args={"after": number})
            await hive.mail.send(hive.olga, "bob", "news")
            update = (await admin.read())["event"]
            assert [row["body"] for row in update["messages"]] == ["news"]
            assert update["number"] > number
            await hive.fleet.stop(hive.olga, "bob")
            update = (await admin.read())["event"]
            assert [row["wanted"] for row in update["agents"]] == ["stopped"]

    asyncio.run(story())


def test_many_long_messages_are_one_answer(open_hive: Open) -> None:
    async def story() -> None:
        async with open_hive("bob") as hive:
            for number in range(30):
                await hive.mail.send(hive.olga, "bob", str(number % 10) * 200_000)
            admin = await hive.connect_admin()
            rows = (await admin.do("messages", agent="bob", limit=100))["result"]["messages"]
            assert len(rows) == 30
            assert len((await admin.do("status"))["result"]["agents"]) == 1

    asyncio.run(story())


def test_a_secret_is_taken_and_never_shown(open_hive: Open) -> None:
    async def story() -> None:
        async with open_hive() as hive:
            admin = await hive.connect_admin()
            secret = "sk-test-0123456789"
            said = [
                await admin.do("model-source", kind="api_key", secret=secret),
                await admin.do("model-status"),
                await admin.do("status"),
                await admin.do("model-source", kind="token", secret="bad " + secret),
                await admin.do("model-source", kind="magic", secret=secret),
            ]
            assert [("result" in each) for each in said] == [True, True, True, False, False]
            assert said[1]["result"]["kind"] == "api_key"
            assert secret not in json.dumps(said)
            assert hive.log.entries == []

    asyncio.run(story())


def test_an_unknown_group_is_a_clear_refusal(open_hive: Open) -> None:
    async def story() -> None:
        async with open_hive() as hive:
            other = server.AdminServer(
                hive.actions, hive.home / "other.sock", group="no-such-group", log=hive.log
            )
            with pytest.raises(errors.HiveError, match="no such group") as refusal:
                await other.start()
            assert refusal.value.kind is errors.ErrorKind.INVALID
            await other.close()

    asyncio.run(story())


def test_closing_ends_streams_at_once(open_hive: Open) -> None:
    async def story() -> None:
        async with open_hive("bob") as hive:
            other = server.AdminServer(
                hive.actions, hive.home / "other.sock", group="", log=hive.log
            )
            await other.start()
            client = await type(await hive.connect_admin()).connect(hive.home / "other.sock")
            await client.send(id=1, version=1, verb="watch", args={"name": "bob", "follow": True})
            await client.send(id=2, version=1, verb="version")
            assert (await client.read())["id"] == 2
            async with asyncio.timeout(5):
                await other.close()
            assert await client.read_end() == b""
            await client.close()
            assert not (hive.home / "other.sock").exists()

    asyncio.run(story())


def test_a_script_may_close_its_side_and_still_gets_its_answers(open_hive: Open) -> None:
    async def story() -> None:
        async with open_hive("bob") as hive:
            admin = await hive.connect_admin()
            await admin.send(id=1, version=1, verb="logs", args={"name": "bob", "lines": 1})
            await admin.send(id=2, version=1, verb="version")
            admin.writer.write_eof()
            lines = (await admin.read_end()).splitlines()
            assert sorted(json.loads(line)["id"] for line in lines) == [1, 1, 2]

    asyncio.run(story())
