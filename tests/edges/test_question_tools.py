"""Questions and reminders from the tools of agents to the verbs of the operator and back."""

from __future__ import annotations

import asyncio
import contextlib
import json
import os
from collections.abc import Callable
from typing import Any

import pytest

from hyperhive.domain import errors, ids
from hyperhive.edges.agent_api import server as agent_server
from hyperhive.services import asking, reminding

Open = Callable[..., contextlib.AbstractAsyncContextManager[Any]]


async def heard(hive: Any, client: Any, turn: str, key: str) -> list[dict[str, Any]]:
    """The system's events that a receive brings."""
    worked, result = await client.tool(turn, key, "recv", {"max": 32})
    assert worked
    return [json.loads(m["body"]) for m in result["messages"] if m["type"] == "event"]


def test_a_question_goes_to_the_operator_and_its_answer_back(open_hive: Open) -> None:
    async def story() -> None:
        async with open_hive("bob") as hive:
            bob = await hive.connect("bob")
            turn = await hive.take_turn(bob, "bob")
            number = hive.store.number()
            given = {
                "question": "Which colour?", "options": ["red", "blue"], "multi": True,
                "ttl_seconds": 60,
            }  # fmt: skip
            asked = (
                True,
                {
                    "id": 1, "to": "operator", "state": "open",
                    "expires_at": "2030-01-01T00:01:00.000Z",
                },
            )  # fmt: skip
            assert await bob.tool(turn, "1", "ask_operator", given) == asked
            call = hive.actions.call
            stream = hive.actions.stream(hive.olga, "subscribe", {"after": number})
            async with contextlib.aclosing(stream):
                update = await anext(stream)
            (row,) = update["questions"]
            assert (row["from"], row["options"], row["multi"]) == ("bob", ["red", "blue"], True)
            assert [fact["question"] for fact in update["facts"]] == [1]
            assert (await call(hive.olga, "status", {}))["questions"] == 1
            assert (await call(hive.olga, "questions", {}))["questions"] == [row]
            done = await call(
                hive.olga, "answer", {"id": 1, "picks": ["red", "blue"], "text": "or none"}
            )
            assert (done["state"], done["answer"]) == ("answered", "red, blue, or none")
            assert (await call(hive.olga, "status", {}))["questions"] == 0
            assert (await call(hive.olga, "questions", {}))["questions"] == [done]
            assert await heard(hive, bob, turn, "2") == [
                {
                    "event": "operator_answered", "id": 1, "question": "Which colour?",
                    "answer": "red, blue, or none",
                }
            ]  # fmt: skip
            with pytest.raises(errors.HiveError, match="it is answered") as refusal:
                await call(hive.olga, "cancel-question", {"id": 1})
            assert refusal.value.kind is errors.ErrorKind.CONFLICT

    asyncio.run(story())


def test_a_call_that_is_repeated_in_the_next_daemon_asks_once(open_hive: Open) -> None:
    async def story() -> None:
        async with open_hive("bob") as hive:
            bob = await hive.connect("bob")
            turn = await hive.take_turn(bob, "bob")
            asked = await bob.tool(turn, "1", "ask_operator", {"question": "Once?"})
            reminded = await bob.tool(turn, "2", "remind", {"text": "look", "in": "5m"})
            # The operator is faster than the harness asks again.
            await hive.actions.call(hive.olga, "answer", {"id": 1, "text": "yes"})
            row = await hive.agent("bob")
            await hive.store.write(lambda tx: reminding.fire_due(tx, hive.clock.now()))
            api = hive.new_api()
            folder = hive.home / "second"
            await api.open(row.id, folder, uid=os.geteuid(), gid=os.getegid())
            again = await type(bob).connect(folder / agent_server.SOCKET_NAME)
            hive.stack.push_async_callback(again.close)
            worked, result = await again.tool(turn, "1", "ask_operator", {"question": "Once?"})
            assert (worked, result["id"], result["state"]) == (True, asked[1]["id"], "answered")
            given = {"text": "look", "in": "5m"}
            assert await again.tool(turn, "2", "remind", given) == reminded
            found = await hive.store.read(lambda tx: tx.list_questions())
            assert [q.text for q in found] == ["Once?"]
            assert len(await hive.store.read(lambda tx: tx.list_reminders(row.id))) == 1

    asyncio.run(story())


def test_agents_ask_each_other_and_see_their_loose_ends(open_hive: Open) -> None:
    async def story() -> None:
        async with open_hive("bob", "eve") as hive:
            bob, eve = await hive.connect("bob"), await hive.connect("eve")
            bobs = await hive.take_turn(bob, "bob")
            eves = await hive.take_turn(eve, "eve")
            worked, _ = await bob.tool(bobs, "1", "ask", {"to": "eve", "question": "Ready?"})
            assert worked
            worked, ends = await eve.tool(eves, "1", "loose_ends")
            assert worked
            assert [(q["id"], q["from"]) for q in ends["asked_of_me"]] == [(1, "bob")]
            (event,) = await heard(hive, eve, eves, "2")
            assert (event["event"], event["from"]) == ("question_asked", "bob")
            assert await bob.tool(bobs, "2", "answer", {"id": 1, "text": "yes"}) == (
                False, "cannot answer question 1: only eve or the operator may",
            )  # fmt: skip
            ended = (True, {"id": 1, "state": "answered"})
            assert await eve.tool(eves, "3", "answer", {"id": 1, "text": "yes"}) == ended
            assert await eve.tool(eves, "4", "answer", {"id": 1, "text": "yes"}) == ended
            worked, words = await eve.tool(eves, "5", "answer", {"id": 1, "text": "no"})
            assert (worked, words) == (False, "cannot answer question 1: it is answered")
            assert [e["answer"] for e in await heard(hive, bob, bobs, "3")] == ["yes"]
            worked, ends = await eve.tool(eves, "6", "loose_ends")
            assert ends["asked_of_me"] == []

    asyncio.run(story())


def test_what_is_not_needed_any_more_is_taken_back(open_hive: Open) -> None:
    async def story() -> None:
        async with open_hive("bob") as hive:
            bob = await hive.connect("bob")
            turn = await hive.take_turn(bob, "bob")
            await bob.tool(turn, "1", "ask_operator", {"question": "Really?"})
            worked, made = await bob.tool(
                turn, "2", "remind", {"text": "look", "at": "2030-01-01T02:00:00+01:00"}
            )
            assert (worked, made["due_at"]) == (True, "2030-01-01T01:00:00.000Z")
            for what in ("question", "reminder"):
                gone = (True, {"id": 1, "state": "cancelled"})
                for key in ("a", "b"):
                    given = {"what": what, "id": 1}
                    assert await bob.tool(turn, what + key, "take_back", given) == gone
            worked, ends = await bob.tool(turn, "3", "loose_ends")
            assert (ends["asked_by_me"], ends["reminders"]) == ([], [])
            with pytest.raises(errors.HiveError, match="it is cancelled"):
                await hive.actions.call(hive.olga, "answer", {"id": 1, "text": "late"})
            assert await heard(hive, bob, turn, "4") == []

    asyncio.run(story())


@pytest.mark.parametrize(
    ("name", "arguments", "words"),
    [
        ("ask_operator", {"question": " "}, "the question is empty"),
        ("ask_operator", {"question": "x?", "options": ["a", "a"]}, "there twice"),
        ("ask_operator", {"question": "x?", "ttl_seconds": 0}, "between 1 and"),
        ("ask_operator", {"question": "x?", "to": "eve"}, "unknown field"),
        ("ask_operator", {"question": "a\ud800"}, "lone surrogate"),
        ("ask", {"question": "x?", "to": "bob"}, "that is yourself"),
        ("ask", {"question": "x?", "to": "nobody"}, "there is none of that name"),
        ("answer", {"id": 9, "text": "x"}, "there is no question 9"),
        ("remind", {"text": "x"}, 'either "at" or "in"'),
        ("remind", {"text": "x", "in": 5, "at": "2030-02-01T00:00:00Z"}, 'either "at" or "in"'),
        ("remind", {"text": "x", "in": "soon"}, "not a length of time"),
        ("remind", {"text": "x", "after": 5}, "unknown field `after`"),
        ("remind", {"text": "x", "at": "2029-01-01T00:00:00Z"}, "that time is over"),
        ("take_back", {"what": "reminder", "id": 3}, "you have none of that id"),
        ("take_back", {"what": "mail", "id": 3}, "invalid enum value"),
        ("loose_ends", {"all": True}, "unknown field"),
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


def test_an_expired_question_is_gone_from_what_waits(open_hive: Open) -> None:
    async def story() -> None:
        async with open_hive("bob") as hive:
            bob = await hive.connect("bob")
            turn = await hive.take_turn(bob, "bob")
            await bob.tool(turn, "1", "ask_operator", {"question": "Now?", "ttl_seconds": 5})
            hive.clock.advance(5)
            await hive.store.write(lambda tx: asking.expire_due(tx, hive.clock.now()))
            (row,) = (await hive.actions.call(hive.olga, "questions", {}))["questions"]
            assert (row["state"], row["answer"], row["to"]) == (
                "expired",
                "[expired]",
                ids.OPERATOR,
            )
            assert (await hive.actions.call(hive.olga, "questions", {"limit": 1}))["questions"]

    asyncio.run(story())
