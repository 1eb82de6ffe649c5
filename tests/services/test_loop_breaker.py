"""Two agents that only answer each other are paused as a pair."""

from __future__ import annotations

import asyncio

import pytest

from hyperhive.domain import agents, errors, ids
from hyperhive.services import budgets, holds, loop_breaker, messaging, waits
from hyperhive.services.loop_breaker import LoopBreaker
from rigs.turn_stories import until

MOST, MINUTES = 6, 10.0


async def talkers(desk):
    """Alice and bob, and mail with a breaker between them."""
    mail = messaging.Messaging(desk.store, desk.clock, LoopBreaker(MOST, MINUTES))
    return mail, await desk.caller("alice"), await desk.caller("bob")


async def exchange(mail, one, other, count: int) -> None:
    """*count* messages in turn; *one* begins."""
    for number in range(count):
        sender, to = (one, other) if number % 2 == 0 else (other, one)
        await mail.send(sender, to.name, "thank you")


async def held(desk) -> list[str]:
    def look(tx):
        return [a.name for a in tx.list_agents() if holds.found(tx, a.id)]

    return await desk.store.read(look)


async def told(desk) -> list[str]:
    found = await desk.store.read(lambda tx: tx.list_messages(recipient=ids.OPERATOR))
    return [message.body for message in found]


def test_a_pair_that_only_answers_itself_is_paused_and_the_operator_told_once(make_desk):
    async def story():
        desk = make_desk()
        mail, alice, bob = await talkers(desk)
        await desk.turns.hello((await desk.agent("bob")).id, "boot")
        await exchange(mail, alice, bob, MOST)
        assert await held(desk) == []
        await mail.send(alice, "bob", "thank you again")
        assert await held(desk) == ["alice", "bob"]
        # What a running turn still sends is no second loop.
        await mail.send(bob, "alice", "you are welcome")
        [text] = await told(desk)
        assert text.startswith("alice and bob exchanged 7 messages in 10 minutes, and nobody else")
        row = await desk.row("bob")
        assert row.turn_state is agents.TurnState.PAUSED
        assert row.turn_note.startswith("alice and bob exchanged 7 messages in 10 minutes and")

    asyncio.run(story())


def test_they_go_on_by_themselves_after_the_pause(make_desk):
    async def story():
        desk = make_desk()
        mail, alice, bob = await talkers(desk)
        await exchange(mail, alice, bob, MOST + 1)
        agent = await desk.agent("bob")
        async with asyncio.TaskGroup() as group:
            taking = group.create_task(desk.turns.take(agent.id, "boot"))
            await until(lambda: desk.clock.sleepers == 1)
            assert not taking.done()
            desk.clock.advance(MINUTES * 60 + 1)
            await asyncio.wait_for(taking, 5)
        # Counted anew: what led to that hold leads to no other.
        await exchange(mail, bob, alice, MOST)
        assert await held(desk) == ["alice"]
        assert len(await told(desk)) == 1

    asyncio.run(story())


def test_the_operator_lets_both_go_on(make_desk):
    async def story():
        desk = make_desk()
        mail, alice, bob = await talkers(desk)
        await exchange(mail, alice, bob, MOST + 1)
        purse = budgets.Budgets(desk.store, desk.clock, budgets.Limits())
        await waits.Waits(desk.store, desk.clock, purse, lambda: True).go_on(desk.olga, "alice")
        assert await held(desk) == []
        agent = await desk.agent("bob")
        await asyncio.wait_for(desk.turns.take(agent.id, "boot"), 5)

    asyncio.run(story())


@pytest.mark.parametrize("who", ["carol", "operator"])
def test_somebody_else_who_writes_ends_the_count(make_desk, who):
    async def story():
        desk = make_desk()
        mail, alice, bob = await talkers(desk)
        other = desk.olga if who == "operator" else await desk.caller("carol")
        for _ in range(5):
            await exchange(mail, alice, bob, MOST)
            await mail.send(other, "bob", "and something else")
        assert await held(desk) == []

    asyncio.run(story())


def test_slow_talk_is_no_loop_and_a_burst_counts_once(make_desk):
    async def story():
        desk = make_desk()
        mail, alice, bob = await talkers(desk)
        for _ in range(4):
            await exchange(mail, alice, bob, MOST)
            desk.clock.advance(MINUTES * 60 + 1)
        for _ in range(10 * MOST):
            await mail.send(alice, "bob", "news")
        assert await held(desk) == []

    asyncio.run(story())


@pytest.mark.parametrize("others", [0, loop_breaker.LEARNT])
def test_a_restart_in_the_middle_counts_on(make_desk, others):
    async def story():
        desk = make_desk()
        await desk.agent("carol")
        mail, alice, bob = await talkers(desk)
        await exchange(mail, alice, bob, MOST)
        for _ in range(others):
            await mail.send(alice, "operator", "still thanking")
        again, alice, bob = await talkers(desk)
        if others:
            # The first look of the new run sees nothing of the pair.
            await again.send(alice, "carol", "hello")
        await again.send(alice, "bob", "thank you again")
        assert await held(desk) == ["alice", "bob"]

    asyncio.run(story())


def test_a_held_turn_takes_up_no_more_mail(make_desk):
    async def story():
        desk = make_desk()
        mail, alice, bob = await talkers(desk)
        agent = await desk.agent("bob")
        await mail.send(alice, "bob", "hello")
        plan = await asyncio.wait_for(desk.turns.take(agent.id, "boot"), 5)
        await exchange(mail, bob, alice, MOST + 1)
        assert await held(desk) == ["alice", "bob"]
        got = await mail.receive(agent.id, plan["turn"], wait_seconds=0, count=5)
        assert got == []

    asyncio.run(story())


def test_a_repeated_send_counts_once_and_zero_never_holds(make_desk):
    async def story():
        desk = make_desk()
        mail, alice, bob = await talkers(desk)
        await exchange(mail, alice, bob, MOST - 1)
        for _ in range(20):
            await mail.send(bob, "alice", "same", key="k")
        assert await held(desk) == []
        free = messaging.Messaging(desk.store, desk.clock, LoopBreaker(0, MINUTES))
        await exchange(free, alice, bob, 5 * MOST)
        assert await held(desk) == []
        with pytest.raises(errors.HiveError):
            await free.send(bob, "bob", "myself")

    asyncio.run(story())
