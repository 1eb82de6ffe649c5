"""What the end of a turn does to mail, and when the next turn may begin."""

from __future__ import annotations

import asyncio

import pytest

from hyperhive.domain import agents, errors, messages, turns
from hyperhive.services.turns import FinishReport
from rigs.turn_stories import states


def test_a_turn_takes_one_message_and_says_what_is_left(make_desk):
    async def story():
        desk = make_desk()
        bob = await desk.agent("bob")
        await desk.mail.send(desk.olga, "bob", "first")
        await desk.mail.send(desk.olga, "bob", "second")
        plan = await desk.turns.take(bob.id, "boot")
        assert [m["body"] for m in plan["messages"]] == ["first"]
        assert plan["messages"][0]["from"] == "operator"
        assert plan["unread"] == 1
        assert plan["woke_by"] == "operator"
        assert plan["model"] == "m-1"
        assert plan["resume"] is False
        assert "You are bob, " in plan["system_prompt"]
        assert "they/them" in plan["system_prompt"]
        assert (await desk.row("bob")).turn_state is agents.TurnState.THINKING

    asyncio.run(story())


def test_taking_again_before_the_end_gives_the_same_turn(make_desk):
    async def story():
        desk = make_desk()
        bob = await desk.agent("bob")
        await desk.mail.send(desk.olga, "bob", "first")
        one = await desk.turns.take(bob.id, "boot")
        two = await desk.turns.take(bob.id, "boot")
        assert one["turn"] == two["turn"]
        assert one["messages"] == two["messages"]

    asyncio.run(story())


def test_take_parks_until_mail_comes(make_desk):
    async def story():
        desk = make_desk()
        bob = await desk.agent("bob")
        async with asyncio.TaskGroup() as group:
            taking = group.create_task(desk.turns.take(bob.id, "boot"))
            await asyncio.sleep(0)
            assert not taking.done()
            await desk.mail.send(desk.olga, "bob", "wake up")
            plan = await asyncio.wait_for(taking, 5)
        assert plan["messages"][0]["body"] == "wake up"

    asyncio.run(story())


@pytest.mark.parametrize("outcome", [turns.Outcome.OK, turns.Outcome.INTERRUPTED])
def test_an_ended_turn_settles_its_mail(make_desk, outcome):
    async def story():
        desk = make_desk()
        bob = await desk.agent("bob")
        await desk.mail.send(desk.olga, "bob", "first")
        plan = await desk.turns.take(bob.id, "boot")
        await desk.turns.finish(bob.id, plan["turn"], FinishReport(outcome, tool_calls=2))
        assert await states(desk, "bob") == [("first", messages.MessageState.HANDLED, 1)]
        row = await desk.store.read(lambda tx: tx.get_turn(plan["turn"]))
        assert (row.outcome, row.tool_calls) == (outcome, 2)
        # Said twice, with another outcome: nothing changes.
        await desk.turns.finish(bob.id, plan["turn"], FinishReport(turns.Outcome.FAILED))
        assert await states(desk, "bob") == [("first", messages.MessageState.HANDLED, 1)]

    asyncio.run(story())


def test_another_harness_loses_the_turn_of_the_first(make_desk):
    async def story():
        desk = make_desk()
        bob = await desk.agent("bob")
        await desk.mail.send(desk.olga, "bob", "first")
        plan = await desk.turns.take(bob.id, "boot-1")
        await desk.turns.hello(bob.id, "boot-1")  # a reconnection of the same harness
        assert (await states(desk, "bob"))[0][1] is messages.MessageState.LEASED
        await desk.turns.hello(bob.id, "boot-2")
        assert (await states(desk, "bob"))[0][1] is messages.MessageState.QUEUED
        row = await desk.store.read(lambda tx: tx.get_turn(plan["turn"]))
        assert row.outcome is turns.Outcome.LOST
        again = await desk.turns.take(bob.id, "boot-2")
        assert again["messages"][0]["redelivered"] is True

    asyncio.run(story())


def test_a_message_that_fails_five_times_is_dead_and_the_next_goes_on(make_desk):
    async def story():
        desk = make_desk()
        await desk.agent("manager")
        bob = await desk.agent("bob")
        await desk.mail.send(desk.olga, "bob", "poison")
        await desk.mail.send(desk.olga, "bob", "good")
        for _ in range(5):
            desk.clock.advance(1000)
            plan = await desk.turns.take(bob.id, "boot")
            assert plan["messages"][0]["body"] == "poison"
            await desk.turns.finish(bob.id, plan["turn"], FinishReport(turns.Outcome.FAILED))
        desk.clock.advance(1000)
        plan = await desk.turns.take(bob.id, "boot")
        assert plan["messages"][0]["body"] == "good"
        assert (await states(desk, "bob"))[0][1] is messages.MessageState.DEAD

    asyncio.run(story())


def test_no_turn_without_a_model_or_when_not_wanted(make_desk):
    async def story():
        desk = make_desk()
        desk.ready[0] = False
        bob = await desk.agent("bob")
        await desk.mail.send(desk.olga, "bob", "first")
        async with asyncio.TaskGroup() as group:
            taking = group.create_task(desk.turns.take(bob.id, "boot"))
            for _ in range(20):
                await asyncio.sleep(0)
            assert not taking.done()
            desk.ready[0] = True
            await desk.fleet.stop(desk.olga, "bob")
            for _ in range(20):
                await asyncio.sleep(0)
            assert not taking.done()
            await desk.fleet.start(desk.olga, "bob")
            plan = await asyncio.wait_for(taking, 5)
        assert plan["messages"][0]["body"] == "first"

    asyncio.run(story())


def test_an_interrupt_reaches_the_running_turn_only(make_desk):
    async def story():
        desk = make_desk()
        bob = await desk.agent("bob")
        with pytest.raises(errors.HiveError, match="no turn is running"):
            await desk.turns.control.interrupt(desk.olga, "bob")
        await desk.mail.send(desk.olga, "bob", "first")
        plan = await desk.turns.take(bob.id, "boot")
        async with asyncio.TaskGroup() as group:
            ordered = group.create_task(desk.turns.orders(bob.id, plan["turn"]))
            await asyncio.sleep(0)
            await desk.turns.control.interrupt(desk.olga, "bob")
            assert await asyncio.wait_for(ordered, 5) == "interrupt"
        with pytest.raises(errors.HiveError, match="only the operator"):
            await desk.turns.control.interrupt(await desk.caller("manager"), "bob")

    asyncio.run(story())


def test_the_session_is_resumed_once_it_exists(make_desk):
    async def story():
        desk = make_desk()
        bob = await desk.agent("bob")
        await desk.mail.send(desk.olga, "bob", "first")
        await desk.mail.send(desk.olga, "bob", "second")
        plan = await desk.turns.take(bob.id, "boot")
        await desk.turns.session_exists(bob.id, plan["turn"], plan["session"])
        await desk.turns.finish(bob.id, plan["turn"], FinishReport(turns.Outcome.OK))
        again = await desk.turns.take(bob.id, "boot")
        assert (again["session"], again["resume"]) == (plan["session"], True)

    asyncio.run(story())


def test_a_turn_of_another_agent_cannot_be_finished(make_desk):
    async def story():
        desk = make_desk()
        bob, eve = await desk.agent("bob"), await desk.agent("eve")
        await desk.mail.send(desk.olga, "bob", "first")
        plan = await desk.turns.take(bob.id, "boot")
        with pytest.raises(errors.HiveError) as caught:
            await desk.turns.finish(eve.id, plan["turn"], FinishReport(turns.Outcome.OK))
        assert caught.value.kind is errors.ErrorKind.NOT_FOUND
        assert (await states(desk, "bob"))[0][1] is messages.MessageState.LEASED

    asyncio.run(story())


def test_orders_end_with_their_turn(make_desk):
    async def story():
        desk = make_desk()
        bob = await desk.agent("bob")
        await desk.mail.send(desk.olga, "bob", "first")
        plan = await desk.turns.take(bob.id, "boot")
        async with asyncio.TaskGroup() as group:
            ordered = group.create_task(desk.turns.orders(bob.id, plan["turn"]))
            await asyncio.sleep(0)
            await desk.turns.finish(bob.id, plan["turn"], FinishReport(turns.Outcome.OK))
            assert await asyncio.wait_for(ordered, 5) == "none"
        assert await desk.turns.orders(bob.id, plan["turn"]) == "none"

    asyncio.run(story())


def test_taking_again_does_not_repeat_what_recv_took(make_desk):
    async def story():
        desk = make_desk()
        bob = await desk.agent("bob")
        await desk.mail.send(desk.olga, "bob", "first")
        await desk.mail.send(desk.olga, "bob", "second")
        plan = await desk.turns.take(bob.id, "boot")
        taken = await desk.mail.receive(bob.id, plan["turn"], wait_seconds=0, count=5)
        assert [m.body for m in taken] == ["second"]
        again = await desk.turns.take(bob.id, "boot")
        assert [m["body"] for m in again["messages"]] == ["first"]

    asyncio.run(story())


def test_what_a_receive_took_that_nobody_heard_of_goes_back(make_desk):
    async def story():
        desk = make_desk()
        bob = await desk.agent("bob")
        for body in ("first", "heard", "unheard"):
            await desk.mail.send(desk.olga, "bob", body)
        turn = (await desk.turns.take(bob.id, "boot"))["turn"]
        await desk.mail.receive(bob.id, turn, wait_seconds=0, count=1, key="one.0")
        await desk.mail.receive(bob.id, turn, wait_seconds=0, count=1, key="two.0")
        await desk.turns.finish(
            bob.id, turn, FinishReport(turns.Outcome.INTERRUPTED), unheard=["two", "three"]
        )
        assert await states(desk, "bob") == [
            ("first", messages.MessageState.HANDLED, 1),
            ("heard", messages.MessageState.HANDLED, 1),
            ("unheard", messages.MessageState.QUEUED, 0),
        ]

    asyncio.run(story())


def test_stops_do_not_kill_mail_and_crashes_do(make_desk):
    async def story(blame: bool) -> messages.MessageState:
        desk = make_desk()
        await desk.agent("manager")
        bob = await desk.agent("bob")
        await desk.mail.send(desk.olga, "bob", "first")
        for n in range(messages.DELIVERIES_MAX):
            await desk.turns.take(bob.id, f"boot-{n}")
            row = await desk.row("bob")
            await desk.store.write(
                lambda tx, row=row: desk.turns.lose_in(tx, row, "it ended", blame=blame)
            )
        return (await states(desk, "bob"))[0][1]

    assert asyncio.run(story(False)) is messages.MessageState.QUEUED
    assert asyncio.run(story(True)) is messages.MessageState.DEAD
