"""One picture at a number, and what changed since: together they are never wrong."""

from __future__ import annotations

import asyncio
import datetime

import pytest

from hyperhive.adapters.secrets.memory import MemorySecrets
from hyperhive.domain import errors, events, ids
from hyperhive.services import metering, model_source, overview


async def _no_demo() -> str:
    raise AssertionError("nobody asked for the demo")


def run(make_desk, story) -> None:
    async def main():
        async with asyncio.timeout(10):
            desk = make_desk()
            source = model_source.ModelSource(
                desk.store, MemorySecrets(), "https://model.test", _no_demo
            )
            shown = overview.Overview(
                desk.store, source, hive="hive", version="9", model="m-1",
                refused=desk.refused, meter=metering.Metering(),
            )  # fmt: skip
            await story(desk, shown)

    asyncio.run(main())


def test_what_was_refused_is_in_the_picture_and_in_the_news(make_desk):
    async def story(desk, shown):
        bob = await desk.agent("bob")
        assert (await shown.snapshot())["agents"][0]["refused"] == {"count": 0, "hosts": []}
        number = desk.store.number()
        await desk.refused.add(bob.id, "evil.example:443", "not allowed")
        news = await shown.updates_after(number)
        assert [fact["kind"] for fact in news["facts"]] == ["EgressRefused"]
        (row,) = news["agents"]
        assert row["refused"]["hosts"][0]["host"] == "evil.example:443"
        assert (await shown.snapshot())["agents"][0]["refused"] == row["refused"]

    run(make_desk, story)


def test_an_empty_hive_has_a_picture_and_no_news(make_desk):
    async def story(desk, shown):
        picture = await shown.snapshot()
        assert picture["number"] == 0
        assert picture["hive"]["name"] == "hive"
        assert picture["hive"]["model"]["kind"] == "none"
        assert (picture["agents"], picture["messages"], picture["approvals"]) == ([], [], [])
        assert await shown.updates_after(0) is None

    run(make_desk, story)


def test_news_carry_the_rows_as_they_are_now(make_desk):
    async def story(desk, shown):
        await desk.agent("manager")
        bob = await desk.agent("bob")
        number = (await shown.snapshot())["number"]
        sent = await desk.mail.send(desk.olga, "bob", "hello")
        plan = await desk.turns.take(bob.id, "boot")
        asked = await desk.review.request_spawn(desk.olga, "eve", "why not")
        await desk.review.deny(desk.olga, asked.id, "no")
        news = await shown.updates_after(number)
        assert news is not None
        assert news["number"] == desk.store.number()
        (message,) = news["messages"]
        assert (message["id"], message["state"]) == (sent.id, "leased")
        (approval,) = news["approvals"]
        assert (approval["state"], approval["note"]) == ("denied", "no")
        (agent,) = news["agents"]
        assert (agent["name"], agent["turn_state"], agent["unread"]) == ("bob", "thinking", 0)
        assert [fact["number"] for fact in news["facts"]] == list(
            range(number + 1, desk.store.number() + 1)
        )
        assert {fact["turn"] for fact in news["facts"]} >= {plan["turn"]}
        assert await shown.updates_after(desk.store.number()) is None

    run(make_desk, story)


def test_a_message_also_brings_its_recipient_so_that_unread_is_right(make_desk):
    async def story(desk, shown):
        await desk.agent("bob")
        number = desk.store.number()
        await desk.mail.send(desk.olga, "bob", "hello")
        news = await shown.updates_after(number)
        assert [(row["name"], row["unread"]) for row in news["agents"]] == [("bob", 1)]

    run(make_desk, story)


def test_picture_and_news_in_batches_give_the_same_as_a_new_picture(make_desk):
    async def story(desk, shown):
        await desk.agent("manager")
        await desk.agent("bob")
        picture = await shown.snapshot()
        for number in range(overview.FACTS_AT_ONCE // 2 + 7):
            await desk.mail.send(desk.olga, "bob" if number % 2 else "manager", str(number))
            await desk.fleet.set_status(await desk.caller("bob"), str(number))
        agents = {row["id"]: row for row in picture["agents"]}
        messages = {row["id"]: row for row in picture["messages"]}
        number, batches = picture["number"], 0
        while (news := await shown.updates_after(number)) is not None:
            agents |= {row["id"]: row for row in news["agents"]}
            messages |= {row["id"]: row for row in news["messages"]}
            number, batches = news["number"], batches + 1
        assert batches == 2
        later = await shown.snapshot()
        assert later["number"] == number
        assert {row["id"]: row for row in later["agents"]} == agents
        newest = {row["id"]: row for row in later["messages"]}
        assert newest.items() <= messages.items()

    run(make_desk, story)


def test_swept_mail_is_no_longer_shown_and_breaks_no_news(make_desk):
    async def story(desk, shown):
        sent = await desk.mail.send(await desk.caller("bob"), "operator", "hello")
        await desk.mail.handle_for_operator(desk.olga, sent.id)
        desk.clock.advance(40 * 86400)
        await desk.mail.sweep()
        news = await shown.updates_after(0)
        assert news["messages"] == []
        assert (await shown.snapshot())["messages"] == []

    run(make_desk, story)


def test_the_inbox_holds_what_the_operator_has_not_handled(make_desk):
    async def story(desk, shown):
        bob = await desk.caller("bob")
        first = await desk.mail.send(bob, "operator", "first")
        await desk.mail.send(bob, "operator", "second")
        await desk.mail.handle_for_operator(desk.olga, first.id)
        assert [row["body"] for row in (await shown.snapshot())["inbox"]] == ["second"]

    run(make_desk, story)


def test_waiting_ends_with_the_next_fact_of_any_kind(make_desk):
    async def story(desk, shown):
        await desk.agent("bob")
        number = desk.store.number()
        async with asyncio.TaskGroup() as group:
            waiting = group.create_task(shown.wait(number))
            await asyncio.sleep(0)
            assert not waiting.done()
            await desk.fleet.stop(desk.olga, "bob")
        await shown.wait(number)

    run(make_desk, story)


def test_messages_page_back_by_recipient(make_desk):
    async def story(desk, shown):
        bob = await desk.caller("bob")
        for body in ("one", "two", "three"):
            await desk.mail.send(desk.olga, "bob", body)
        await desk.mail.send(bob, "operator", "hello")
        newest = await shown.messages(agent="bob", limit=2, before=None)
        assert [row["body"] for row in newest] == ["three", "two"]
        older = await shown.messages(agent="bob", limit=2, before=newest[-1]["id"])
        assert [row["body"] for row in older] == ["one"]
        mine = await shown.messages(agent=ids.OPERATOR, limit=9, before=None)
        assert [row["body"] for row in mine] == ["hello"]
        assert len(await shown.messages(agent=None, limit=9, before=None)) == 4
        with pytest.raises(errors.HiveError, match="there is none of that name"):
            await shown.messages(agent="nobody", limit=9, before=None)

    run(make_desk, story)


def test_a_fact_is_shown_with_all_that_it_names():
    at = datetime.datetime(2030, 1, 1, tzinfo=datetime.UTC)
    event = events.Event(events.EventKind.TURN_ENDED, turn=ids.TurnId("t"), text="ok")
    assert overview.fact_view(events.Fact(7, at, event)) == {
        "number": 7, "at": "2030-01-01T00:00:00.000Z", "kind": "TurnEnded", "agent": None,
        "message": None, "approval": None, "question": None, "turn": "t", "text": "ok",
    }  # fmt: skip
