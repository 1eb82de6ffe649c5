"""One suite for the store on disk and its twin. What only a disk does: test_store_disk.py."""

from __future__ import annotations

import asyncio
import dataclasses
import datetime
from typing import NoReturn

import pytest

from hyperhive import ports
from hyperhive.adapters.clock.manual import ManualClock
from hyperhive.domain import approvals, errors, events, ids
from hyperhive.domain.messages import MessageState
from rigs.store_world import (
    ALICE,
    BOB,
    NOW,
    TURN,
    Run,
    make_agent,
    make_approval,
    make_message,
    make_turn,
    note,
    refused,
)
from rigs.store_world import run as run

pytestmark = pytest.mark.timeout(30)

# --- facts and the feed -------------------------------------------------------------------


def test_facts_are_numbered_from_one_and_come_back_whole(run: Run) -> None:
    async def scenario(store: ports.Store, clock: ManualClock) -> None:
        assert store.number() == 0
        assert await store.read(lambda tx: tx.last_number()) == 0
        event = events.Event(
            events.EventKind.MESSAGE_SENT, ids.AgentId(ALICE), ids.MessageId(3),
            ids.ApprovalId(4), TURN, "a to b", (events.FLEET, events.inbox_topic(BOB)),
        )  # fmt: skip
        assert await store.write(lambda tx: tx.record(event)) == 1
        clock.advance(5)
        assert await store.write(note()) == 2
        facts = await store.read(lambda tx: tx.facts_after(0, 10))
        assert [fact.number for fact in facts] == [1, 2]
        assert facts[0] == events.Fact(1, NOW, event)
        assert facts[1].at == NOW + datetime.timedelta(seconds=5)
        assert await store.read(lambda tx: tx.facts_after(1, 10)) == facts[1:]
        assert await store.read(lambda tx: tx.facts_after(0, 1)) == facts[:1]
        assert await store.read(lambda tx: tx.last_number()) == store.number() == 2

    run(scenario)


def test_a_failing_work_undoes_only_itself_and_is_not_announced(run: Run) -> None:
    async def scenario(store: ports.Store, clock: ManualClock) -> None:
        def broken(tx: ports.Tx) -> NoReturn:
            tx.insert_agent(make_agent())
            tx.insert_message(make_message(key="k"))
            tx.insert_approval(make_approval(approvals.ApprovalState.PENDING))
            tx.insert_turn(make_turn())
            tx.put_value("v", 1)
            tx.next_slot()
            note(events.FLEET)(tx)
            assert tx.last_number() == before + 2
            raise ZeroDivisionError

        await store.write(note())
        before = store.number()
        results = await asyncio.gather(
            store.write(note(events.APPROVALS)),
            store.write(broken),
            store.write(note(events.APPROVALS)),
            return_exceptions=True,
        )
        assert results[0] == before + 1
        assert isinstance(results[1], ZeroDivisionError)
        assert results[2] == before + 2
        assert store.number() == before + 2

        def look(tx: ports.ReadTx) -> list[object]:
            return [
                *tx.list_agents(), *tx.list_messages(), *tx.list_approvals(),
                *tx.list_turns(ids.AgentId(ALICE)), tx.get_value("v"), tx.get_turn(TURN),
                tx.find_message_by_key(ALICE, "k"),
            ]  # fmt: skip

        assert await store.read(look) == [None, None, None]
        assert await store.write(lambda tx: tx.next_slot()) == 1
        assert await store.write(lambda tx: tx.insert_message(make_message(key="k")).id) == 1

    run(scenario)


def test_updates_and_deletes_of_a_failing_work_are_taken_back(run: Run) -> None:
    async def scenario(store: ports.Store, clock: ManualClock) -> None:
        def prepare(tx: ports.Tx) -> None:
            tx.insert_agent(make_agent())
            for number in range(3):
                sent = tx.insert_message(make_message(key=f"k{number}"))
                tx.update_messages([dataclasses.replace(sent, state=MessageState.HANDLED)])
            tx.insert_message(make_message(body="queued"))
            tx.insert_approval(make_approval(approvals.ApprovalState.PENDING))
            tx.insert_turn(make_turn())
            tx.put_value("v", {"a": 1})

        def picture(tx: ports.ReadTx) -> list[object]:
            return [
                tx.list_agents(), tx.list_messages(), tx.list_approvals(),
                tx.get_turn(TURN), tx.list_values(""), tx.find_message_by_key(ALICE, "k1"),
            ]  # fmt: skip

        def broken(tx: ports.Tx) -> NoReturn:
            tx.update_agent(make_agent(status="changed"))
            assert tx.delete_handled(NOW + datetime.timedelta(seconds=1), 2) == 2
            assert len(tx.lease_messages(BOB, TURN, NOW, 5)) == 1
            tx.update_approval(
                dataclasses.replace(tx.list_approvals()[0], state=approvals.ApprovalState.DENIED)
            )
            tx.update_turn(dataclasses.replace(make_turn(), note="changed"))
            tx.put_value("v", 2)
            tx.delete_value("v")
            raise errors.conflict("cannot: on purpose")

        await store.write(prepare)
        before = await store.read(picture)
        with refused(errors.ErrorKind.CONFLICT):
            await store.write(broken)
        assert await store.read(picture) == before

    run(scenario)


def test_a_cancelled_caller_does_not_cancel_the_work(run: Run) -> None:
    async def scenario(store: ports.Store, clock: ManualClock) -> None:
        async with asyncio.TaskGroup() as group:
            waiter = group.create_task(store.changed(events.FLEET, 0))
            writer = group.create_task(store.write(note(events.FLEET)))
            await asyncio.sleep(0)
            writer.cancel()
            assert await waiter == 1
        assert writer.cancelled()
        assert len(await store.read(lambda tx: tx.facts_after(0, 5))) == 1

    run(scenario)


def test_a_writer_sees_its_own_fact_announced(run: Run) -> None:
    async def scenario(store: ports.Store, clock: ManualClock) -> None:
        for _ in range(20):
            number = await store.write(note(events.FLEET))
            assert store.number() >= number
            assert await store.changed(events.FLEET, number - 1) >= number

    run(scenario)


def test_no_wake_up_is_lost_between_looking_and_waiting(run: Run) -> None:
    async def scenario(store: ports.Store, clock: ManualClock) -> None:
        seen = store.number()
        await store.read(lambda tx: tx.list_agents())
        await store.write(note(events.FLEET))
        assert await asyncio.wait_for(store.changed(events.FLEET, seen), 5) == 1

    run(scenario)


def test_topics_wake_their_own_waiters_and_any_wakes_for_all(run: Run) -> None:
    async def scenario(store: ports.Store, clock: ManualClock) -> None:
        await store.write(note())
        async with asyncio.TaskGroup() as group:
            seen = store.number()
            fleet = group.create_task(store.changed(events.FLEET, seen))
            other = group.create_task(store.changed(events.APPROVALS, seen))
            anything = group.create_task(store.changed(events.ANY, seen))
            await asyncio.sleep(0)
            await store.write(note(events.FLEET))
            assert await fleet == 2
            assert await anything == 2
            assert not other.done()
            await store.write(note())
            assert not other.done()
            await store.write(note(events.APPROVALS, events.FLEET))
            assert await other == 4

    run(scenario)


def test_changed_waits_for_more_than_after_even_from_the_future(run: Run) -> None:
    async def scenario(store: ports.Store, clock: ManualClock) -> None:
        async with asyncio.TaskGroup() as group:
            waiter = group.create_task(store.changed(events.ANY, 2))
            await store.write(note())
            await store.write(note())
            assert not waiter.done()
            await store.write(note())
            assert await waiter == 3

    run(scenario)


def test_a_thousand_parked_receivers_wake_one_by_one(run: Run) -> None:
    async def scenario(store: ports.Store, clock: ManualClock) -> None:
        await store.write(note())
        topics = [events.inbox_topic(ids.PartyId(f"{number:012x}")) for number in range(1000)]
        async with asyncio.TaskGroup() as group:
            parked = [group.create_task(store.changed(topic, 1)) for topic in topics]
            await asyncio.sleep(0)
            await store.write(note(topics[500]))
            await parked[500]
            assert sum(task.done() for task in parked) == 1
            parked[1].cancel()
            await store.write(lambda tx: [note(topic)(tx) for topic in topics])
        assert sum(task.cancelled() for task in parked) == 1

    run(scenario)


def test_after_close_everything_is_unavailable(run: Run) -> None:
    async def scenario(store: ports.Store, clock: ManualClock) -> None:
        async def wait() -> None:
            with refused(errors.ErrorKind.UNAVAILABLE):
                await store.changed(events.FLEET, store.number())

        async with asyncio.TaskGroup() as group:
            group.create_task(wait())
            await asyncio.sleep(0)
            await store.close()
        with refused(errors.ErrorKind.UNAVAILABLE):
            await store.write(note())
        with refused(errors.ErrorKind.UNAVAILABLE):
            await store.read(lambda tx: tx.last_number())
        await store.close()

    run(scenario)
