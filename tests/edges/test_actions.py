"""The operator's verbs: one table, for one caller, on typed parameters."""

from __future__ import annotations

import asyncio
import contextlib
from collections.abc import Callable
from typing import Any

import pytest

from hyperhive.domain import access, errors, ids, turns
from hyperhive.edges import action_table, actions
from hyperhive.services.turns import FinishReport

Open = Callable[..., contextlib.AbstractAsyncContextManager[Any]]

ASKED = {
    "status", "list", "send", "inbox", "handled", "requeue", "messages", "pending", "approvals",
    "approve", "deny", "withdraw", "request-spawn", "spawn", "start", "stop", "restart", "kill",
    "interrupt", "retry", "turns", "logs", "watch", "subscribe", "sign-in-link", "model-source",
    "model-status", "recipients", "doctor", "version", "shutdown", "card", "build-log",
    "cancel-build", "history", "repositories", "config-files", "config-file", "compare",
    "meta-log", "rollback", "rebuild", "inputs", "update-inputs", "set-secret", "secrets",
    "delete-secret", "forge-status", "set-forge-token",
    "questions", "answer", "cancel-question",
    "waiting", "go-on", "budgets", "set-budget", "stats", "metrics-token",
    "set-model", "compact", "new-session", "pause", "resume",
}  # fmt: skip


async def collect(events: Any, count: int) -> list[Any]:
    """The first *count* events of a stream, which is then ended."""
    got: list[Any] = []
    async with asyncio.timeout(20), contextlib.aclosing(events):
        async for event in events:
            got.append(event)
            if len(got) == count:
                break
    return got


def test_the_table_has_every_verb_once_with_a_sentence() -> None:
    assert set(action_table.BY_NAME) == ASKED
    assert len(action_table.TABLE) == len(ASKED)
    for action in action_table.TABLE:
        assert action.summary[0].isupper()
        assert action.summary.endswith(".")
        assert "\n" not in action.summary


@pytest.mark.parametrize("name", sorted(ASKED))
def test_no_verb_is_for_agents(open_hive: Open, name: str) -> None:
    async def story() -> None:
        async with open_hive() as hive:
            await hive.agent("manager")
            for who in ("manager", "bob"):
                caller = await hive.fleet.identify((await hive.agent(who)).id)
                with pytest.raises(errors.HiveError) as refusal:
                    await hive.actions.call(caller, name, {})
                assert refusal.value.kind is errors.ErrorKind.FORBIDDEN
                with pytest.raises(errors.HiveError) as refusal:
                    await collect(hive.actions.stream(caller, name, {}), 1)
                assert refusal.value.kind is errors.ErrorKind.FORBIDDEN

    asyncio.run(story())


def test_a_stream_is_not_called_and_a_call_is_not_streamed(open_hive: Open) -> None:
    async def story() -> None:
        async with open_hive() as hive:
            with pytest.raises(errors.HiveError, match="answers as a stream"):
                await hive.actions.call(hive.olga, "logs", {"name": "bob"})
            with pytest.raises(errors.HiveError, match="answers once"):
                await collect(hive.actions.stream(hive.olga, "list", {}), 1)
            assert (actions.streams("logs"), actions.streams("list")) == (True, False)
            assert actions.streams("dance") is False

    asyncio.run(story())


def test_mail_of_the_operator(open_hive: Open) -> None:
    async def story() -> None:
        async with open_hive() as hive:
            call = hive.actions.call
            bob = await hive.fleet.identify((await hive.agent("bob")).id)
            for body in ("one", "two"):
                await hive.mail.send(bob, "operator", body)
            inbox = await call(hive.olga, "inbox", {})
            assert [row["body"] for row in inbox["messages"]] == ["two", "one"]
            older = await call(hive.olga, "inbox", {"before": inbox["messages"][0]["id"]})
            assert [row["body"] for row in older["messages"]] == ["one"]
            done = await call(hive.olga, "handled", {"id": older["messages"][0]["id"]})
            assert done["state"] == "handled"
            assert len((await call(hive.olga, "inbox", {}))["messages"]) == 1
            assert len((await call(hive.olga, "inbox", {"all": True}))["messages"]) == 2
            status = await call(hive.olga, "status", {})
            assert (status["inbox"], status["pending"]) == (1, 0)
            given = {
                "to": "bob",
                "body": "x",
                "key": "k",
                "in_reply_to": inbox["messages"][0]["id"],
            }
            sent = await call(hive.olga, "send", given)
            assert await call(hive.olga, "send", given) == sent
            assert (sent["to"], sent["in_reply_to"]) == ("bob", given["in_reply_to"])
            to_bob = await call(hive.olga, "messages", {"agent": "bob"})
            assert [row["id"] for row in to_bob["messages"]] == [sent["id"]]
            rows = await call(hive.olga, "messages", {"limit": 2, "before": sent["id"]})
            assert [row["body"] for row in rows["messages"]] == ["two", "one"]
            with pytest.raises(errors.HiveError) as refusal:
                await call(hive.olga, "requeue", {"id": sent["id"]})
            assert refusal.value.kind is errors.ErrorKind.CONFLICT

    asyncio.run(story())


def test_approvals_name_what_was_shown(open_hive: Open) -> None:
    async def story() -> None:
        async with open_hive() as hive:
            call = hive.actions.call
            first = await call(hive.olga, "request-spawn", {"name": "ann", "description": "a"})
            second = await call(hive.olga, "request-spawn", {"name": "ben"})
            third = await call(hive.olga, "request-spawn", {"name": "cat"})
            pending = (await call(hive.olga, "pending", {}))["approvals"]
            assert [row["agent"] for row in pending] == ["cat", "ben", "ann"]
            denied = await call(hive.olga, "deny", {"id": second["id"], "note": "no"})
            assert (denied["state"], denied["note"]) == ("denied", "no")
            gone = await call(hive.olga, "withdraw", {"id": third["id"]})
            assert gone["state"] == "withdrawn"
            with pytest.raises(errors.HiveError, match="digest"):
                await call(hive.olga, "approve", {"id": first["id"]})
            with pytest.raises(errors.HiveError, match="not what waits"):
                await call(hive.olga, "approve", {"id": first["id"], "digest": second["digest"]})
            shown = {"id": first["id"], "digest": first["digest"]}
            assert (await call(hive.olga, "approve", shown))["state"] == "approved"
            spawned = await call(hive.olga, "spawn", {"name": "dan", "description": "d"})
            assert spawned["state"] == "approved"
            everything = (await call(hive.olga, "approvals", {"limit": 3}))["approvals"]
            assert [row["agent"] for row in everything] == ["dan", "cat", "ben"]

    asyncio.run(story())


def test_orders_to_agents(open_hive: Open) -> None:
    async def story() -> None:
        async with open_hive("bob") as hive:
            call = hive.actions.call
            for verb, wanted in [
                ("stop", "stopped"), ("start", "running"), ("kill", "stopped"),
                ("restart", "running"),
            ]:  # fmt: skip
                row = await call(hive.olga, verb, {"name": "bob", "reason": "because"})
                assert (row["name"], row["wanted"], row["unread"]) == ("bob", wanted, 0)
            agent = await hive.agent("bob")
            assert agent.start_reason.startswith("because")
            with pytest.raises(errors.HiveError, match="no turn is running"):
                await call(hive.olga, "interrupt", {"name": "bob"})
            client = await hive.connect("bob")
            turn = await hive.take_turn(client, "bob")
            assert (await call(hive.olga, "interrupt", {"name": "bob"}))["name"] == "bob"
            with pytest.raises(errors.HiveError, match="cannot retry bob: it does not pause"):
                await call(hive.olga, "retry", {"name": "bob"})
            rows = (await call(hive.olga, "turns", {"name": "bob"}))["turns"]
            assert [(row["id"], row["outcome"]) for row in rows] == [(turn, "running")]
            listed = (await call(hive.olga, "list", {}))["agents"]
            assert [(row["name"], row["pausing"]) for row in listed] == [("bob", False)]
            limited = turns.Outcome.RATE_LIMITED
            await hive.turns.finish(agent.id, ids.TurnId(turn), FinishReport(limited, "limit"))
            [row] = (await call(hive.olga, "list", {}))["agents"]
            assert (row["turn_state"], row["pausing"]) == ("rate_limited", True)
            tried = await call(hive.olga, "retry", {"name": "bob"})
            assert (tried["turn_state"], tried["turn_note"]) == ("idle", "")
            # The pause is over, and asking once more before the next turn is harmless.
            assert (await call(hive.olga, "retry", {"name": "bob"}))["turn_state"] == "idle"

    asyncio.run(story())


def test_the_live_terminal_can_be_watched(open_hive: Open) -> None:
    async def story() -> None:
        async with open_hive() as hive:
            agent = await hive.agent("bob")

            async def add(*texts: str) -> None:
                rows = [("t", "text", {"text": text}) for text in texts]
                await hive.live_log.append(agent.id, rows)

            async def watch(count: int, **given: Any) -> list[str]:
                stream = hive.actions.stream(hive.olga, "watch", {"name": "bob", **given})
                return [event["data"]["text"] for event in await collect(stream, count)]

            await add("a", "b", "c")
            assert await watch(9) == ["a", "b", "c"]
            assert await watch(9, lines=2) == ["b", "c"]
            assert await watch(9, after=1) == ["b", "c"]
            assert await watch(9, lines=0) == []
            waiting = asyncio.Semaphore(0)
            changed = hive.live_log.changed

            async def note_and_wait(*args: Any) -> int:
                waiting.release()
                return await changed(*args)

            hive.live_log.changed = note_and_wait
            following = asyncio.gather(
                watch(4, follow=True),
                watch(1, follow=True, lines=0),
                watch(2, follow=True, after=2),
            )
            for _ in range(3):
                await waiting.acquire()
            await add("d")
            assert await following == [["a", "b", "c", "d"], ["d"], ["c", "d"]]

    asyncio.run(story())


def test_the_log_of_an_agent(open_hive: Open) -> None:
    async def story() -> None:
        async with open_hive() as hive:
            agent = await hive.agent("bob")
            stream = hive.actions.stream(hive.olga, "logs", {"name": "bob", "lines": 1})
            assert await collect(stream, 9) == [{"line": "three"}]
            assert hive.sandbox.asked == [(hive.home / f"{agent.id}.log", 1, False)]
            with pytest.raises(errors.HiveError, match="nobody"):
                await collect(hive.actions.stream(hive.olga, "logs", {"name": "nobody"}), 1)

    asyncio.run(story())


def test_the_hive_itself(open_hive: Open) -> None:
    async def story() -> None:
        async with open_hive() as hive:
            call = hive.actions.call
            assert await call(hive.olga, "version", {}) == {"version": "1.2"}
            link = await call(hive.olga, "sign-in-link", {})
            assert link == {"sign_in": "http://127.0.0.1:1/sign-in#secret"}
            assert await call(hive.olga, "doctor", {}) == {
                "findings": [
                    {"topic": "cgroups", "severity": "notice", "text": "no limits",
                     "remedy": "mount cgroup2"},
                ],
            }  # fmt: skip
            demo = await call(hive.olga, "model-source", {"kind": "demo"})
            assert (demo["kind"], demo["ready"]) == ("demo", True)
            assert await call(hive.olga, "model-status", {}) == demo
            for agents in (False, True):
                await call(hive.olga, "shutdown", {"agents": agents})
            await call(hive.olga, "shutdown", {})
            assert hive.ended == [False, True, False]

    asyncio.run(story())


@pytest.mark.parametrize(
    ("name", "given"),
    [
        ("send", {"to": "bob"}),
        ("send", {"to": "bob", "body": "x", "from": "manager"}),
        ("inbox", {"limit": 0}),
        ("inbox", {"limit": True}),
        ("inbox", {"all": 1}),
        ("messages", {"limit": 1001}),
        ("messages", {"before": -1}),
        ("handled", {"id": 2**60}),
        ("handled", {"id": 1.5}),
        ("start", {"name": "x" * 65}),
        ("start", {"name": "bob", "reason": "x" * 501}),
        ("turns", {"name": "bob", "limit": 0}),
        ("approve", {"id": 1, "digest": ""}),
        ("spawn", {"name": "Bad Name"}),
        ("spawn", {"name": "manager"}),
        ("spawn", {"name": "../x"}),
        ("model-source", {"kind": "api_key", "secret": "x" * 9000}),
        ("shutdown", {"agents": "yes"}),
    ],
)
def test_parameters_that_do_not_fit_are_refused(
    open_hive: Open, name: str, given: dict[str, Any]
) -> None:
    async def story() -> None:
        async with open_hive() as hive:
            before = hive.store.number()
            with pytest.raises(errors.HiveError) as refusal:
                await hive.actions.call(hive.olga, name, given)
            assert refusal.value.kind is errors.ErrorKind.INVALID
            assert refusal.value.message.startswith("cannot ")
            assert hive.store.number() == before
            assert hive.ended == []

    asyncio.run(story())


def test_the_system_is_not_kept_out(open_hive: Open) -> None:
    async def story() -> None:
        async with open_hive() as hive:
            result = await hive.actions.call(access.SYSTEM_CALLER, "version", {})
            assert result == {"version": "1.2"}

    asyncio.run(story())


def test_the_operator_writes_to_all_and_says_who_may(open_hive: Open) -> None:
    async def story() -> None:
        async with open_hive("bob", "eve") as hive:
            sent = await hive.actions.call(hive.olga, "send", {"to": "*", "body": "lunch"})
            assert [message["to"] for message in sent["messages"]] == ["bob", "eve"]
            row = await hive.actions.call(hive.olga, "recipients", {"name": "bob", "only": ["eve"]})
            assert row["recipients"] == ["eve"]
            row = await hive.actions.call(hive.olga, "recipients", {"name": "bob", "only": None})
            assert row["recipients"] is None

    asyncio.run(story())


def test_a_secret_is_kept_and_never_said_again(open_hive: Open) -> None:
    async def story() -> None:
        async with open_hive() as hive:
            said = [
                await hive.actions.call(hive.olga, "set-secret", {"name": "x", "value": "s3cret"}),
                await hive.actions.call(hive.olga, "secrets", {}),
                await hive.actions.call(hive.olga, "delete-secret", {"name": "x"}),
            ]
            assert said[1]["secrets"] == [said[0]]
            assert said[0]["name"] == "x"
            assert "s3cret" not in repr(said)
            with pytest.raises(errors.HiveError) as refused:
                await hive.actions.call(hive.olga, "delete-secret", {"name": "x"})
            assert refused.value.kind is errors.ErrorKind.NOT_FOUND

    asyncio.run(story())
