"""The store's contract for mail: order, leases, keys, paging, deletion. On disk and in memory."""

from __future__ import annotations

import asyncio
import dataclasses
import datetime
from collections.abc import Callable

import pytest

from hyperhive import ports
from hyperhive.adapters.clock.manual import ManualClock
from hyperhive.domain import errors, ids, messages
from hyperhive.domain.messages import MessageState
from rigs.store_world import NOW, Run
from rigs.store_world import run as run

pytestmark = pytest.mark.timeout(30)

LATER = NOW + datetime.timedelta(seconds=7)
ALICE, BOB, CAROL = (ids.PartyId(letter * 12) for letter in "abc")
ONE, TWO = ids.TurnId("turn-1"), ids.TurnId("turn-2")


def make(
    body: str = "hello", to: ids.PartyId = BOB, key: str | None = None, sender: ids.PartyId = ALICE
) -> messages.Message:
    return messages.Message(
        id=ids.MessageId(0), sender=sender, sender_name="alice", recipient=to,
        recipient_name="bob", type=messages.MessageType.TEXT, body=body,
        in_reply_to=ids.MessageId(77), key=key, sent_at=NOW, state=MessageState.QUEUED,
        deliveries=0, lease=None, changed_at=NOW,
    )  # fmt: skip


async def send(store: ports.Store, *posted: messages.Message) -> list[messages.Message]:
    return await store.write(lambda tx: [tx.insert_message(message) for message in posted])


def test_a_message_comes_back_as_it_was_stored(run: Run) -> None:
    async def scenario(store: ports.Store, _: ManualClock) -> None:
        body = "ünïcode \U0001f41d \x1b[0m line\r\nline" + "x" * messages.BODY_MAX
        (stored,) = await send(store, make(body, key="k"))
        assert stored == dataclasses.replace(make(body, key="k"), id=ids.MessageId(1))
        assert await store.read(lambda tx: tx.get_message(stored.id)) == stored
        assert await store.read(lambda tx: tx.find_message_by_key(ALICE, "k")) == stored
        assert await store.read(lambda tx: tx.find_message_by_key(BOB, "k")) is None
        assert await store.read(lambda tx: tx.get_message(ids.MessageId(2))) is None

    run(scenario)


def test_a_key_is_unique_per_sender(run: Run) -> None:
    async def scenario(store: ports.Store, _: ManualClock) -> None:
        await send(store, make(key="k"), make(key="k", sender=CAROL), make(), make())
        with pytest.raises(errors.HiveError) as caught:
            await send(store, make(to=CAROL, key="k"))
        assert caught.value.kind is errors.ErrorKind.CONFLICT
        assert len(await store.read(lambda tx: tx.list_messages())) == 4

    run(scenario)


def test_a_work_sees_what_it_has_just_sent(run: Run) -> None:
    def work(tx: ports.Tx) -> None:
        first, second = tx.insert_message(make("1", key="k")), tx.insert_message(make("2"))
        assert tx.get_message(first.id) == first
        assert tx.find_message_by_key(ALICE, "k") == first
        assert tx.find_message_by_key(ALICE, "other") is None
        third = tx.insert_message(make("3", key="other", to=CAROL))
        assert tx.find_message_by_key(ALICE, "other") == third
        with pytest.raises(errors.HiveError):
            tx.insert_message(make("4", key="k", to=CAROL))
        assert tx.count_queued(BOB) == 2
        assert [message.id for message in tx.list_messages()] == [third.id, second.id, first.id]
        fourth = tx.insert_message(make("5"))
        leased = tx.lease_messages(BOB, ONE, LATER, 9)
        assert [message.id for message in leased] == [first.id, second.id, fourth.id]
        fifth = tx.insert_message(make("6"))
        dead = dataclasses.replace(fifth, state=MessageState.DEAD)
        tx.update_messages([dead])
        assert tx.get_message(fifth.id) == dead
        assert tx.list_leased(recipient=BOB) == leased

    async def scenario(store: ports.Store, _: ManualClock) -> None:
        await store.write(work)
        assert await store.read(lambda tx: tx.count_queued(CAROL)) == 1

    run(scenario)


def test_sends_that_fail_take_no_others_with_them(run: Run) -> None:
    """Grouped as they come: some fail before they touch a table, some after, some by their key."""

    def work(number: int) -> Callable[[ports.Tx], messages.Message]:
        def send_or_fail(tx: ports.Tx) -> messages.Message:
            stored = tx.insert_message(make(str(number), key=f"k{number % 40}"))
            if number % 5 == 1:
                raise ValueError(number)
            if number % 5 == 2:
                tx.count_queued(BOB)
                raise ValueError(number)
            return stored

        return send_or_fail

    async def scenario(store: ports.Store, _: ManualClock) -> None:
        results = await asyncio.gather(
            *(store.write(work(number)) for number in range(60)), return_exceptions=True
        )
        sent = [result for result in results if isinstance(result, messages.Message)]
        assert [int(message.body) for message in sent] == [
            number for number in range(40) if number % 5 not in (1, 2)
        ]
        assert {type(result) for result in results[40:]} == {errors.HiveError, ValueError}
        stored = await store.read(lambda tx: tx.list_messages(limit=1000))
        assert sorted(stored, key=lambda message: message.id) == sent
        assert len({message.id for message in stored}) == len(sent)

    run(scenario)


def test_leases_go_oldest_first_and_to_one_turn_only(run: Run) -> None:
    async def scenario(store: ports.Store, _: ManualClock) -> None:
        await send(store, *(make(str(n)) for n in range(5)), make("carol's", to=CAROL))
        assert await store.read(lambda tx: tx.count_queued(BOB)) == 5

        first = await store.write(lambda tx: tx.lease_messages(BOB, ONE, LATER, 2))
        assert [message.body for message in first] == ["0", "1"]
        assert {m.state for m in first} == {MessageState.LEASED}
        assert {(m.lease, m.deliveries, m.changed_at) for m in first} == {(ONE, 1, LATER)}

        second = await store.write(lambda tx: tx.lease_messages(BOB, TWO, LATER, 32))
        assert [message.body for message in second] == ["2", "3", "4"]
        assert await store.write(lambda tx: tx.lease_messages(BOB, TWO, LATER, 32)) == []
        assert await store.read(lambda tx: tx.count_queued(BOB)) == 0
        assert await store.read(lambda tx: tx.count_queued(CAROL)) == 1

        assert await store.write(lambda tx: tx.list_leased(lease=ONE)) == first
        assert await store.write(lambda tx: tx.list_leased(recipient=BOB)) == first + second
        assert await store.write(lambda tx: tx.list_leased(lease=TWO, recipient=BOB)) == second
        assert await store.write(lambda tx: tx.list_leased(lease=ONE, recipient=CAROL)) == []
        assert await store.write(lambda tx: tx.list_leased()) == first + second

    run(scenario)


def test_returned_mail_keeps_its_place_in_the_order(run: Run) -> None:
    async def scenario(store: ports.Store, _: ManualClock) -> None:
        await send(store, *(make(str(n)) for n in range(3)))
        leased = await store.write(lambda tx: tx.lease_messages(BOB, ONE, NOW, 2))
        returned = [
            dataclasses.replace(m, state=MessageState.QUEUED, lease=None, changed_at=LATER)
            for m in leased
        ]
        await store.write(lambda tx: tx.update_messages(returned))
        again = await store.write(lambda tx: tx.lease_messages(BOB, TWO, LATER, 3))
        assert [(m.body, m.deliveries, m.redelivered) for m in again] == [
            ("0", 2, True),
            ("1", 2, True),
            ("2", 1, False),
        ]

    run(scenario)


def test_update_writes_only_what_may_change(run: Run) -> None:
    async def scenario(store: ports.Store, _: ManualClock) -> None:
        (stored,) = await send(store, make())
        changed = dataclasses.replace(
            stored, body="forged", sender=CAROL, state=MessageState.DEAD, deliveries=5,
            changed_at=LATER,
        )  # fmt: skip
        await store.write(lambda tx: tx.update_messages([changed]))
        assert await store.read(lambda tx: tx.get_message(stored.id)) == dataclasses.replace(
            stored, state=MessageState.DEAD, deliveries=5, changed_at=LATER
        )
        await store.write(lambda tx: tx.update_messages([]))
        missing = dataclasses.replace(stored, id=ids.MessageId(9))
        with pytest.raises(errors.HiveError) as caught:
            await store.write(lambda tx: tx.update_messages([stored, missing]))
        assert caught.value.kind is errors.ErrorKind.NOT_FOUND
        found = await store.read(lambda tx: tx.get_message(stored.id))
        assert found is not None
        assert found.state is MessageState.DEAD

    run(scenario)


def test_lists_are_newest_first_and_page_back(run: Run) -> None:
    async def scenario(store: ports.Store, _: ManualClock) -> None:
        await send(store, *(make(str(n), to=(BOB, CAROL)[n % 2]) for n in range(6)))
        await store.write(lambda tx: tx.lease_messages(BOB, ONE, NOW, 1))

        async def bodies(**given: object) -> list[str]:
            found = await store.read(lambda tx: tx.list_messages(**given))  # type: ignore[arg-type]
            return [message.body for message in found]

        queued, leased = MessageState.QUEUED, MessageState.LEASED
        assert await bodies() == ["5", "4", "3", "2", "1", "0"]
        assert await bodies(limit=2) == ["5", "4"]
        assert await bodies(before=5, limit=2) == ["3", "2"]
        assert await bodies(recipient=BOB) == ["4", "2", "0"]
        assert await bodies(recipient=BOB, before=5) == ["2", "0"]
        assert await bodies(recipient=BOB, states=[queued]) == ["4", "2"]
        assert await bodies(states=[leased]) == ["0"]
        assert await bodies(states=[leased, queued], limit=1) == ["5"]
        assert await bodies(states=[]) == []
        assert await bodies(recipient=ALICE) == []

    run(scenario)


def test_only_old_handled_mail_is_deleted_and_ids_are_never_used_again(run: Run) -> None:
    async def scenario(store: ports.Store, _: ManualClock) -> None:
        sent = await send(store, *(make(str(n), key=f"k{n}") for n in range(5)))
        dead = dataclasses.replace(sent[3], state=MessageState.DEAD)
        handled = [
            dataclasses.replace(message, state=MessageState.HANDLED, changed_at=at)
            for message, at in zip(sent, (NOW, NOW, LATER), strict=False)
        ]
        await store.write(lambda tx: tx.update_messages([*handled, dead]))
        assert await store.write(lambda tx: tx.delete_handled(LATER, 1)) == 1
        assert await store.write(lambda tx: tx.delete_handled(LATER, 10)) == 1
        assert await store.write(lambda tx: tx.delete_handled(LATER, 10)) == 0
        left = await store.read(lambda tx: tx.list_messages())
        assert [message.body for message in left] == ["4", "3", "2"]

        forever = LATER + datetime.timedelta(days=9999)
        await store.write(lambda tx: tx.update_messages([handled[2]]))
        assert await store.write(lambda tx: tx.delete_handled(forever, 10)) == 1
        (again,) = await send(store, make(key="k0"))
        assert again.id == 6

    run(scenario)
