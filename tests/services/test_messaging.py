"""Mail as it is sent: to whom, what, how often, and whom an agent may write to."""

from __future__ import annotations

import asyncio

import pytest

from hyperhive.domain import errors, events, messages
from hyperhive.domain.messages import MessageState, MessageType
from rigs.office import CONFLICT, INVALID, NOT_FOUND, OLGA, Office, Run
from rigs.office import run as run
from rigs.store_world import run as in_store  # noqa: F401 - the fixture of `run`

pytestmark = pytest.mark.timeout(30)


def test_mail_goes_from_a_name_to_a_name_and_is_recorded(run: Run) -> None:
    async def scenario(office: Office) -> None:
        alice, bob = await office.hire("alice"), await office.hire("bob")
        sent = await office.mail.send(alice, "bob", "hello")
        assert (sent.sender_name, sent.recipient_name) == ("alice", "bob")
        assert (sent.state, sent.type, sent.sent_at) == (
            MessageState.QUEUED, MessageType.TEXT, office.clock.now(),
        )  # fmt: skip
        (fact,) = await office.store.read(lambda tx: tx.facts_after(0, 9))
        assert fact.event.kind is events.EventKind.MESSAGE_SENT
        assert fact.event.agent == bob.agent_id
        assert fact.event.topics == (events.inbox_topic(bob.party),)
        assert "hello" not in fact.event.text

    run(scenario)


def test_unknown_recipients_are_refused_and_near_names_offered(run: Run) -> None:
    async def scenario(office: Office) -> None:
        alice = await office.hire("alice")
        await office.hire("coder")
        told = await office.refuses(NOT_FOUND, office.mail.send(alice, "codr", "x"))
        assert "coder" in told
        for name in ("", "manager", "bob\n", "Coder", "*", "\ud800", "a\0b", "x" * 10_000):
            await office.refuses(NOT_FOUND, office.mail.send(alice, name, "x"))
        await office.refuses(INVALID, office.mail.send(alice, "system", "x"))
        await office.refuses(INVALID, office.mail.send(alice, "alice", "x"))
        await office.refuses(INVALID, office.mail.send(OLGA, "operator", "x"))
        assert await office.store.read(lambda tx: tx.list_messages()) == []

    run(scenario)


def test_bodies_that_cannot_be_kept_are_refused(run: Run) -> None:
    async def scenario(office: Office) -> None:
        alice = await office.hire("alice")
        for body in ("", " \n", "a\0b", "\ud800", "x" * (messages.BODY_MAX + 1)):
            await office.refuses(INVALID, office.mail.send(alice, "operator", body))

    run(scenario)


def test_a_repeated_key_is_one_message(run: Run) -> None:
    async def scenario(office: Office) -> None:
        alice, bob = await office.hire("alice"), await office.hire("bob")
        first, again = await asyncio.gather(
            office.mail.send(alice, "bob", "hello", key="k"),
            office.mail.send(alice, "bob", "hello", key="k"),
        )
        assert first == again
        other = await office.mail.send(bob, "alice", "hello", key="k")
        assert other.id != first.id
        await office.refuses(CONFLICT, office.mail.send(alice, "bob", "other", key="k"))
        await office.refuses(CONFLICT, office.mail.send(alice, "operator", "hello", key="k"))
        for key in ("", "x" * (messages.KEY_MAX + 1), "a\0", "\udfff"):
            await office.refuses(INVALID, office.mail.send(alice, "bob", "hello", key=key))

    run(scenario)


def test_replies_are_to_ones_own_mail_only(run: Run) -> None:
    async def scenario(office: Office) -> None:
        alice, bob = await office.hire("alice"), await office.hire("bob")
        carol = await office.hire("carol")
        asked = await office.mail.send(alice, "bob", "how?")
        answer = await office.mail.send(bob, "alice", "so", in_reply_to=asked.id)
        assert answer.in_reply_to == asked.id
        await office.mail.send(alice, "bob", "more", in_reply_to=asked.id)
        await office.refuses(NOT_FOUND, office.mail.send(carol, "bob", "x", in_reply_to=asked.id))
        for number in (0, -1, 99, 2**63, 2**80):
            await office.refuses(NOT_FOUND, office.mail.send(bob, "alice", "x", in_reply_to=number))

    run(scenario)


def test_a_broadcast_reaches_everybody_else_once(run: Run) -> None:
    async def scenario(office: Office) -> None:
        alice, bob = await office.hire("alice"), await office.hire("bob")
        await office.hire("manager")
        sent = await office.mail.broadcast(alice, "tea is ready", key="k")
        assert [message.recipient_name for message in sent] == ["manager", "bob"]
        assert {message.type for message in sent} == {MessageType.BROADCAST}
        await office.hire("dora")
        again = await office.mail.broadcast(alice, "tea is ready", key="k")
        assert [message.recipient_name for message in again] == ["manager", "bob", "dora"]
        assert again[:2] == sent
        await office.refuses(CONFLICT, office.mail.broadcast(alice, "coffee", key="k"))
        assert len(await office.receive(bob)) == 1

    run(scenario)


def test_a_list_of_recipients_binds_an_agent_but_hides_nobody_who_helps(make_desk):
    async def story():
        desk = make_desk()
        for name in ("manager", "bob", "eve", "zoe"):
            await desk.agent(name)
        bob = await desk.caller("bob")
        await desk.mail.send(bob, "zoe", "free")
        await desk.mail.set_recipients(desk.olga, "bob", ["eve"])
        # Rights follow the store: an edge asks who calls at each call.
        bob = await desk.caller("bob")
        for name in ("eve", "manager", "operator"):
            await desk.mail.send(bob, name, "hello")
        with pytest.raises(errors.HiveError, match="you may write to eve, manager, op") as caught:
            await desk.mail.send(bob, "zoe", "hello")
        assert caught.value.kind is errors.ErrorKind.FORBIDDEN
        everybody = await desk.mail.broadcast(bob, "all of you")
        assert [message.recipient_name for message in everybody] == ["manager", "eve"]
        # Others are not bound by it, and it can be taken back.
        await desk.mail.send(await desk.caller("eve"), "zoe", "hello")
        await desk.mail.send(desk.olga, "zoe", "hello")
        await desk.mail.set_recipients(desk.olga, "bob", None)
        await desk.mail.send(await desk.caller("bob"), "zoe", "hello")

    asyncio.run(story())


def test_a_list_of_recipients_is_the_operators_and_names_who_exists(make_desk):
    async def story():
        desk = make_desk()
        for name in ("manager", "bob"):
            await desk.agent(name)
        with pytest.raises(errors.HiveError, match="only the operator"):
            await desk.mail.set_recipients(await desk.caller("manager"), "bob", [])
        with pytest.raises(errors.HiveError, match="cannot find agent 'nobody'"):
            await desk.mail.set_recipients(desk.olga, "bob", ["nobody"])
        with pytest.raises(errors.HiveError, match="it may write to all"):
            await desk.mail.set_recipients(desk.olga, "manager", [])

    asyncio.run(story())
