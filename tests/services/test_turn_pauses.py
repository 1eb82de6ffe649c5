"""Pauses after failed turns: how long, what ends them, and who hears of it."""

from __future__ import annotations

import asyncio
import json

import pytest

from hyperhive.domain import agents, errors, events, turns
from hyperhive.services import pauses
from hyperhive.services.turns import FinishReport, is_pausing
from rigs.turn_stories import states, until

RETRY = events.EventKind.TURN_RETRY_ASKED


def test_a_failed_turn_returns_its_mail_after_a_pause(make_desk):
    async def story():
        desk = make_desk()
        bob = await desk.agent("bob")
        await desk.mail.send(desk.olga, "bob", "first")
        plan = await desk.turns.take(bob.id, "boot")
        await desk.turns.finish(bob.id, plan["turn"], FinishReport(turns.Outcome.FAILED, "boom"))
        row = await desk.row("bob")
        assert row.turn_state is agents.TurnState.BACKING_OFF
        assert row.turn_note.startswith("boom; next try at ")
        async with asyncio.TaskGroup() as group:
            taking = group.create_task(desk.turns.take(bob.id, "boot"))
            await until(lambda: desk.clock.sleepers == 1)
            assert not taking.done()
            desk.clock.advance(5.1)
            again = await asyncio.wait_for(taking, 5)
        assert again["messages"][0]["redelivered"] is True

    asyncio.run(story())


def test_a_refused_credential_parks_until_there_is_another(make_desk):
    async def story():
        desk = make_desk()
        bob = await desk.agent("bob")
        await desk.mail.send(desk.olga, "bob", "first")
        plan = await desk.turns.take(bob.id, "boot")
        report = FinishReport(turns.Outcome.NEEDS_LOGIN, "401")
        await desk.turns.finish(bob.id, plan["turn"], report)
        assert (await desk.row("bob")).turn_state is agents.TurnState.NEEDS_LOGIN
        async with asyncio.TaskGroup() as group:
            taking = group.create_task(desk.turns.take(bob.id, "boot"))
            desk.clock.advance(100_000)
            for _ in range(20):
                await asyncio.sleep(0)
            assert not taking.done()

            def set_source(tx):
                tx.put_value("model_source", {"kind": "api_key", "number": 2})
                kind = events.EventKind.MODEL_SOURCE_SET
                tx.record(events.Event(kind, topics=(events.SETTINGS,)))

            await desk.store.write(set_source)
            again = await asyncio.wait_for(taking, 5)
        # The model never saw it: not a failed delivery.
        assert again["messages"][0]["redelivered"] is False

    asyncio.run(story())


def test_a_rate_limit_waits_for_the_time_that_was_named(make_desk):
    async def story():
        desk = make_desk()
        bob = await desk.agent("bob")
        await desk.mail.send(desk.olga, "bob", "first")
        plan = await desk.turns.take(bob.id, "boot")
        at = desk.clock.now().timestamp() + 1000
        report = FinishReport(turns.Outcome.RATE_LIMITED, "limit", retry_at=at)
        await desk.turns.finish(bob.id, plan["turn"], report)
        assert (await desk.row("bob")).turn_state is agents.TurnState.RATE_LIMITED
        async with asyncio.TaskGroup() as group:
            taking = group.create_task(desk.turns.take(bob.id, "boot"))
            await until(lambda: desk.clock.sleepers == 1)
            desk.clock.advance(990)
            for _ in range(20):
                await asyncio.sleep(0)
            assert not taking.done()
            desk.clock.advance(11)
            await asyncio.wait_for(taking, 5)

    asyncio.run(story())


def test_an_agent_whose_mail_is_dead_does_not_seem_to_try_again(make_desk):
    async def story():
        desk = make_desk()
        bob = await desk.agent("bob")
        await desk.mail.send(desk.olga, "bob", "poison")
        for _ in range(5):
            desk.clock.advance(1000)
            plan = await desk.turns.take(bob.id, "boot")
            await desk.turns.finish(bob.id, plan["turn"], FinishReport(turns.Outcome.FAILED, "no"))
        row = await desk.row("bob")
        assert (row.turn_state, row.turn_note) == (agents.TurnState.IDLE, "")
        await desk.mail.send(desk.olga, "bob", "good")
        plan = await asyncio.wait_for(desk.turns.take(bob.id, "boot"), 5)
        assert plan["messages"][0]["body"] == "good"

    asyncio.run(story())


def test_a_restarted_agent_tries_again_at_once(make_desk):
    async def story():
        desk = make_desk()
        bob = await desk.agent("bob")
        await desk.mail.send(desk.olga, "bob", "first")
        plan = await desk.turns.take(bob.id, "boot")
        await desk.turns.finish(bob.id, plan["turn"], FinishReport(turns.Outcome.NEEDS_LOGIN))
        row = await desk.row("bob")
        await desk.store.write(lambda tx: desk.turns.lose_in(tx, row, "stopped", blame=False))
        await desk.turns.hello(bob.id, "boot-2")
        assert (await desk.row("bob")).turn_state is agents.TurnState.IDLE
        await asyncio.wait_for(desk.turns.take(bob.id, "boot-2"), 5)

    asyncio.run(story())


def test_the_manager_hears_that_a_peer_needs_a_login_and_has_one_again(make_desk):
    async def story():
        desk = make_desk()
        await desk.agent("manager")
        bob = await desk.agent("bob")
        await desk.mail.send(desk.olga, "bob", "first")
        plan = await desk.turns.take(bob.id, "boot")
        await desk.turns.finish(bob.id, plan["turn"], FinishReport(turns.Outcome.NEEDS_LOGIN))
        await desk.store.write(lambda tx: tx.put_value("model_source", {"number": 2}))
        plan = await desk.turns.take(bob.id, "boot")
        await desk.turns.finish(bob.id, plan["turn"], FinishReport(turns.Outcome.OK))
        heard = [json.loads(body) for body, _, _ in await states(desk, "manager")]
        assert heard == [
            {"event": "needs_login", "agent": "bob"}, {"event": "logged_in", "agent": "bob"},
        ]  # fmt: skip

    asyncio.run(story())


def test_the_pause_after_a_limit_without_a_time_grows(make_desk):
    async def story():
        desk = make_desk()
        bob = await desk.agent("bob")
        await desk.mail.send(desk.olga, "bob", "first")
        waits = []
        for _ in range(7):
            plan = await desk.turns.take(bob.id, "boot")
            report = FinishReport(turns.Outcome.RATE_LIMITED, "limit")
            await desk.turns.finish(bob.id, plan["turn"], report)
            waits.append(
                await desk.store.read(lambda tx: pauses.seconds_left(tx, bob.id, desk.clock.now()))
            )
            desk.clock.advance(waits[-1] + 1)
        assert waits == [300, 600, 1200, 2400, 3600, 3600, 3600]

    asyncio.run(story())


def test_the_operator_ends_a_pause_and_the_next_one_is_no_shorter(make_desk):
    async def story():
        desk = make_desk()
        bob = await desk.agent("bob")
        await desk.mail.send(desk.olga, "bob", "first")
        for number, seconds in enumerate((300, 600, 1200)):
            plan = await desk.turns.take(bob.id, "boot")
            report = FinishReport(turns.Outcome.RATE_LIMITED, "limit")
            await desk.turns.finish(bob.id, plan["turn"], report)
            left = await desk.store.read(
                lambda tx: pauses.seconds_left(tx, bob.id, desk.clock.now())
            )
            assert left == seconds
            async with asyncio.TaskGroup() as group:
                taking = group.create_task(desk.turns.take(bob.id, "boot"))
                await until(lambda number=number: desk.clock.sleepers == 1)
                assert not taking.done()
                row = await desk.turns.control.retry(desk.olga, "bob")
                assert (row.turn_state, row.turn_note) == (agents.TurnState.IDLE, "")
                again = await asyncio.wait_for(taking, 5)
            assert again["messages"][0]["body"] == "first"
        facts = await desk.store.read(lambda tx: tx.facts_after(0, 1000))
        asked = [fact.event for fact in facts if fact.event.kind is RETRY]
        assert [(event.agent, event.text) for event in asked] == [
            (bob.id, "by operator on the page")
        ] * 3

    asyncio.run(story())


def test_a_refused_credential_can_be_tried_again(make_desk):
    async def story():
        desk = make_desk()
        bob = await desk.agent("bob")
        await desk.agent("manager")
        await desk.mail.send(desk.olga, "bob", "first")
        plan = await desk.turns.take(bob.id, "boot")
        await desk.turns.finish(
            bob.id, plan["turn"], FinishReport(turns.Outcome.NEEDS_LOGIN, "401")
        )
        await desk.turns.control.retry(desk.olga, "bob")
        plan = await desk.turns.take(bob.id, "boot")
        await desk.turns.finish(bob.id, plan["turn"], FinishReport(turns.Outcome.OK))
        heard = [json.loads(body)["event"] for body, _, _ in await states(desk, "manager")]
        assert heard == ["needs_login", "logged_in"]

    asyncio.run(story())


def test_who_does_not_pause_cannot_be_retried(make_desk):
    async def story():
        desk = make_desk()
        bob = await desk.agent("bob")

        async def refused(caller, kind) -> None:
            number = desk.store.number()
            with pytest.raises(errors.HiveError, match="cannot") as caught:
                await desk.turns.control.retry(caller, "bob")
            assert caught.value.kind is kind
            assert desk.store.number() == number

        await refused(desk.olga, errors.ErrorKind.CONFLICT)
        await desk.mail.send(desk.olga, "bob", "first")
        plan = await desk.turns.take(bob.id, "boot")
        await desk.turns.finish(bob.id, plan["turn"], FinishReport(turns.Outcome.FAILED, "boom"))
        assert await desk.store.read(lambda tx: is_pausing(tx, bob.id))
        await refused(await desk.caller("bob"), errors.ErrorKind.FORBIDDEN)
        await refused(await desk.caller("manager"), errors.ErrorKind.FORBIDDEN)
        desk.clock.advance(5)
        await desk.turns.take(bob.id, "boot")
        # Its failures are remembered while the turn runs, but it does not pause.
        assert not await desk.store.read(lambda tx: is_pausing(tx, bob.id))
        await refused(desk.olga, errors.ErrorKind.CONFLICT)

    asyncio.run(story())
