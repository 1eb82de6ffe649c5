"""Mail as it arrives: what a receive leases, how mail comes back, dies and is swept."""

from __future__ import annotations

import asyncio
import dataclasses
import json

import pytest

from hyperhive import ports
from hyperhive.domain import errors, events, ids, messages, turns
from hyperhive.domain.messages import MessageState, MessageType
from hyperhive.services import messaging
from rigs.office import CONFLICT, FORBIDDEN, INVALID, NOT_FOUND, OLGA, Office, Run, turn
from rigs.office import run as run
from rigs.store_world import run as in_store  # noqa: F401 - the fixture of `run`

pytestmark = pytest.mark.timeout(30)


def test_receive_answers_at_once_without_a_wait(run: Run) -> None:
    async def scenario(office: Office) -> None:
        alice, bob = await office.hire("alice"), await office.hire("bob")
        assert await office.receive(bob) == []
        assert await office.receive(bob, wait=0) == []
        for number in range(3):
            await office.mail.send(alice, "bob", str(number))
        assert [m.body for m in await office.receive(bob, count=2)] == ["0", "1"]
        assert [m.body for m in await office.receive(bob, wait=180)] == ["2"]
        for wait, count in ((-1, 1), (180.1, 1), (float("nan"), 1), (0, 0), (0, 33)):
            await office.refuses(INVALID, office.receive(bob, wait=wait, count=count))

    run(scenario)


def test_a_parked_receive_ends_with_the_first_message(run: Run) -> None:
    async def scenario(office: Office) -> None:
        alice, bob = await office.hire("alice"), await office.hire("bob")
        async with asyncio.TaskGroup() as group:
            parked = group.create_task(office.receive(bob, wait=180))
            await office.parked()
            await office.mail.send(bob, "alice", "not for bob")
            office.clock.advance(179)
            assert not parked.done()
            await office.mail.send(alice, "bob", "at last")
            assert [m.body for m in await parked] == ["at last"]
        assert office.clock.sleepers == 0

    run(scenario)


def test_a_parked_receive_ends_empty_when_its_time_is_over(run: Run) -> None:
    async def scenario(office: Office) -> None:
        bob = await office.hire("bob")
        async with asyncio.TaskGroup() as group:
            parked = group.create_task(office.receive(bob, wait=10))
            await office.parked()
            office.clock.set_wall(office.clock.now().replace(year=2090))
            office.clock.advance(10)
            assert await parked == []

    run(scenario)


def test_a_parked_receive_says_when_the_store_is_gone(run: Run) -> None:
    async def scenario(office: Office) -> None:
        bob = await office.hire("bob")

        async def parked() -> None:
            await office.refuses(errors.ErrorKind.UNAVAILABLE, office.receive(bob, wait=10))

        async with asyncio.TaskGroup() as group:
            group.create_task(parked())
            await office.parked()
            await office.store.close()

    run(scenario)


def test_only_the_running_turn_of_that_agent_receives(run: Run) -> None:
    async def scenario(office: Office) -> None:
        alice, bob = await office.hire("alice"), await office.hire("bob")
        await office.mail.send(alice, "bob", "x")
        for agent, of in ((bob.agent_id, turn(alice)), (bob.agent_id, ids.TurnId("none"))):
            await office.refuses(CONFLICT, office.mail.receive(agent, of, wait_seconds=0, count=1))

        def end(tx: ports.Tx) -> None:
            found = tx.get_turn(turn(bob))
            assert found is not None
            tx.update_turn(dataclasses.replace(found, outcome=turns.Outcome.OK))

        await office.store.write(end)
        await office.refuses(CONFLICT, office.receive(bob))

    run(scenario)


def test_a_receive_repeated_with_its_key_returns_the_same(run: Run) -> None:
    async def scenario(office: Office) -> None:
        alice, bob = await office.hire("alice"), await office.hire("bob")
        for number in range(3):
            await office.mail.send(alice, "bob", str(number))
        first = await office.receive(bob, count=1, key="call-1")
        assert await office.receive(bob, count=1, key="call-1") == first
        assert [m.body for m in await office.receive(bob, key="call-2")] == ["1", "2"]

        def remembered(tx: ports.ReadTx) -> int:
            return len(tx.list_values("received:"))

        def end(tx: ports.Tx) -> None:
            found = tx.get_turn(turn(bob))
            assert found is not None
            tx.update_turn(dataclasses.replace(found, outcome=turns.Outcome.OK))

        await office.mail.sweep()
        assert await office.store.read(remembered) == 2
        await office.store.write(end)
        await office.mail.sweep()
        assert await office.store.read(remembered) == 0

    run(scenario)


def test_settled_mail_is_handled_for_good(run: Run) -> None:
    async def scenario(office: Office) -> None:
        alice, bob = await office.hire("alice"), await office.hire("bob")
        await office.mail.send(alice, "bob", "x")
        await office.receive(bob)
        (handled,) = await office.settle(bob)
        assert (handled.state, handled.lease) == (MessageState.HANDLED, None)
        assert await office.settle(bob) == []
        assert await office.receive(bob) == []
        facts = await office.store.read(lambda tx: tx.facts_after(0, 9))
        assert [fact.event.turn for fact in facts] == [None, turn(bob), turn(bob)]

    run(scenario)


def test_returned_mail_comes_again_first_and_marked(run: Run) -> None:
    async def scenario(office: Office) -> None:
        alice, bob = await office.hire("alice"), await office.hire("bob")
        await office.mail.send(alice, "bob", "1")
        await office.receive(bob)
        await office.mail.send(alice, "bob", "2")
        seen = office.store.number()
        await office.give_back(bob)
        assert await office.store.changed(events.inbox_topic(bob.party), seen) > seen
        again = await office.receive(bob)
        assert [(m.body, m.redelivered) for m in again] == [("1", True), ("2", False)]

    run(scenario)


def test_after_five_deliveries_a_message_is_dead_and_stops_nobody(run: Run) -> None:
    async def scenario(office: Office) -> None:
        manager, alice, bob = [await office.hire(n) for n in ("manager", "alice", "bob")]
        sent = await office.mail.send(alice, "bob", "poison")
        for _ in range(messages.DELIVERIES_MAX):
            assert [m.id for m in await office.receive(bob, count=1)] == [sent.id]
            (returned,) = await office.give_back(bob)
        assert (returned.state, returned.deliveries) == (MessageState.DEAD, 5)
        assert await office.receive(bob) == []
        (told,) = await office.receive(manager)
        assert told.type is MessageType.EVENT
        assert json.loads(told.body) == {
            "event": "message_died", "message": sent.id, "sender": "alice", "recipient": "bob",
            "deliveries": 5,
        }  # fmt: skip
        facts = await office.store.read(lambda tx: tx.facts_after(0, 99))
        (died,) = [f for f in facts if f.event.kind is events.EventKind.MESSAGE_DIED]
        assert events.inbox_topic(ids.OPERATOR) in died.event.topics

        await office.refuses(FORBIDDEN, office.mail.requeue(manager, sent.id))
        requeued = await office.mail.requeue(OLGA, sent.id)
        assert (requeued.state, requeued.deliveries) == (MessageState.QUEUED, 0)
        await office.refuses(CONFLICT, office.mail.requeue(OLGA, sent.id))
        await office.refuses(NOT_FOUND, office.mail.requeue(OLGA, 2**70))
        assert [m.redelivered for m in await office.receive(bob)] == [False]

    run(scenario)


def test_the_managers_own_dead_mail_breeds_no_more_mail(run: Run) -> None:
    async def scenario(office: Office) -> None:
        manager = await office.hire("manager")
        await office.mail.send(OLGA, "manager", "poison")
        for _ in range(messages.DELIVERIES_MAX):
            await office.receive(manager)
            await office.give_back(manager)
        assert len(await office.store.read(lambda tx: tx.list_messages())) == 1

    run(scenario)


def test_the_operator_handles_mail_without_a_turn(run: Run) -> None:
    async def scenario(office: Office) -> None:
        alice = await office.hire("alice")
        await office.hire("bob")
        mine = await office.mail.send(alice, "operator", "look")
        other = await office.mail.send(alice, "bob", "psst")
        handled = await office.mail.handle_for_operator(OLGA, mine.id)
        assert handled.state is MessageState.HANDLED
        number = office.store.number()
        assert await office.mail.handle_for_operator(OLGA, mine.id) == handled
        assert office.store.number() == number
        await office.refuses(NOT_FOUND, office.mail.handle_for_operator(OLGA, other.id))
        await office.refuses(NOT_FOUND, office.mail.handle_for_operator(OLGA, 99))
        await office.refuses(FORBIDDEN, office.mail.handle_for_operator(alice, mine.id))

    run(scenario)


def test_sweep_takes_only_what_was_handled_thirty_days_ago(
    run: Run, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(messaging, "SWEEP_CHUNK", 2)

    async def scenario(office: Office) -> None:
        alice, bob = await office.hire("alice"), await office.hire("bob")
        for number in range(5):
            await office.mail.send(alice, "bob", str(number))
        await office.receive(bob, key="k")
        await office.settle(bob)
        await office.mail.send(alice, "bob", "unread")
        office.clock.advance(29 * 86400)
        assert await office.mail.sweep() == 0
        office.clock.advance(86400 + 1)
        before = office.store.number()
        assert await office.mail.sweep() == 5
        assert await office.mail.sweep() == 0
        facts = await office.store.read(lambda tx: tx.facts_after(before, 99))
        assert {fact.event.kind for fact in facts} == {events.EventKind.MESSAGES_SWEPT}
        left = await office.store.read(lambda tx: tx.list_messages())
        assert [message.body for message in left] == ["unread"]

    run(scenario)
