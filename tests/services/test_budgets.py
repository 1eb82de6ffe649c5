"""Budgets: turns that do not begin, requests that do not go out, and what lets them go on."""

from __future__ import annotations

import asyncio
import dataclasses
import datetime

import pytest

from hyperhive.domain import agents, errors, ids, messages, turns
from hyperhive.domain.budgets import Amount
from hyperhive.services import budgets, holds, waits
from hyperhive.services.turns import FinishReport, Turns
from rigs.turn_stories import until

HAIKU = "claude-haiku-4-5"


def used(tokens: int) -> budgets.Used:
    return HAIKU, turns.Usage(output_tokens=tokens)


class Till:
    """A desk whose agents have budgets."""

    def __init__(self, desk, **limits: Amount) -> None:
        self.desk = desk
        # Days begin at midnight UTC, wherever this test runs.
        self.purse = budgets.Budgets(desk.store, desk.clock, budgets.Limits(**limits), datetime.UTC)
        settings = dataclasses.replace(desk.turns._settings, model=HAIKU)
        self.turns = Turns(
            desk.store, desk.clock, settings, lambda: "api_key", "run-1",
            before_turn=self.purse.before_turn,
        )  # fmt: skip
        self.waits = waits.Waits(desk.store, desk.clock, self.purse, lambda: True)

    async def turn(self, agent: agents.Agent, tokens: int) -> None:
        """One whole turn that takes *tokens*, which the gateway has counted."""
        await self.desk.mail.send(self.desk.olga, agent.name, "work")
        plan = await asyncio.wait_for(self.turns.take(agent.id, "boot"), 5)
        await self.purse.charge(agent.id, used(tokens))
        report = FinishReport(turns.Outcome.OK, usage=turns.Usage(output_tokens=tokens))
        await self.turns.finish(agent.id, plan["turn"], report)

    async def held(self, name: str) -> list[holds.Hold]:
        agent = await self.desk.agent(name)
        return await self.desk.store.read(lambda tx: holds.found(tx, agent.id))

    async def told(self) -> list[str]:
        found = await self.desk.store.read(lambda tx: tx.list_messages(recipient=ids.OPERATOR))
        return [message.body for message in found]

    def to_midnight(self) -> None:
        now = self.desk.clock.now()
        night = (now + datetime.timedelta(days=1)).replace(hour=0, minute=0, second=0)
        self.desk.clock.advance((night.replace(microsecond=0) - now).total_seconds() + 1)


def test_no_turn_begins_that_would_pass_the_budget_and_the_next_day_it_does(make_desk):
    async def story():
        till = Till(make_desk(), agent=Amount(tokens=250))
        bob = await till.desk.agent("bob")
        await till.turn(bob, 100)
        await till.turn(bob, 100)
        await till.desk.mail.send(till.desk.olga, "bob", "one more")
        async with asyncio.TaskGroup() as group:
            taking = group.create_task(till.turns.take(bob.id, "boot"))
            await until(lambda: till.desk.clock.sleepers == 1)
            row = await till.desk.row("bob")
            assert row.turn_state is agents.TurnState.PAUSED
            assert "200 of 250 tokens used today, and a turn takes about 100" in row.turn_note
            [wait] = await till.waits.listed()
            assert (wait["reason"], wait["agent"], wait["unread"]) == ("budget", "bob", 1)
            till.to_midnight()
            plan = await asyncio.wait_for(taking, 5)
        assert plan["messages"][0]["body"] == "one more"
        assert plan["messages"][0]["redelivered"] is False
        assert await till.held("bob") == []
        assert len(await till.told()) == 1

    asyncio.run(story())


def test_raising_the_budget_lets_the_agent_go_on_at_once(make_desk):
    async def story():
        till = Till(make_desk())
        bob = await till.desk.agent("bob")
        await till.purse.set(till.desk.olga, "bob", tokens=100)
        await till.turn(bob, 100)
        await till.desk.mail.send(till.desk.olga, "bob", "one more")
        async with asyncio.TaskGroup() as group:
            taking = group.create_task(till.turns.take(bob.id, "boot"))
            await until(lambda: till.desk.clock.sleepers == 1)
            await till.purse.set(till.desk.olga, "bob", tokens=150)
            assert await till.held("bob")
            await till.purse.set(till.desk.olga, "bob", clear=True)
            await asyncio.wait_for(taking, 5)
        assert await till.held("bob") == []

    asyncio.run(story())


def test_letting_go_allows_once_more_what_a_day_allows(make_desk):
    async def story():
        till = Till(make_desk(), agent=Amount(tokens=100))
        bob = await till.desk.agent("bob")
        await till.turn(bob, 100)
        for _ in range(2):
            await till.desk.mail.send(till.desk.olga, "bob", "more")
        async with asyncio.TaskGroup() as group:
            taking = group.create_task(till.turns.take(bob.id, "boot"))
            await until(lambda: till.desk.clock.sleepers == 1)
            await till.waits.go_on(till.desk.olga, "bob")
            plan = await asyncio.wait_for(taking, 5)
        await till.purse.charge(bob.id, used(100))
        report = FinishReport(turns.Outcome.OK, usage=turns.Usage(output_tokens=100))
        await till.turns.finish(bob.id, plan["turn"], report)
        async with asyncio.TaskGroup() as group:
            taking = group.create_task(till.turns.take(bob.id, "boot"))
            await until(lambda: till.desk.clock.sleepers == 1)
            [hold] = await till.held("bob")
            assert "200 of 200 tokens" in hold.text
            taking.cancel()
        view = await till.purse.view()
        assert [row["times_today"] for row in view["budgets"]] == [1, 2]
        till.to_midnight()
        view = await till.purse.view()
        assert [row["times_today"] for row in view["budgets"]] == [1, 1]

    asyncio.run(story())


def test_the_gateway_stops_a_turn_and_its_mail_returns_without_blame(make_desk):
    async def story():
        till = Till(make_desk(), agent=Amount(tokens=100))
        bob = await till.desk.agent("bob")
        for _ in range(messages.DELIVERIES_MAX + 2):
            await till.desk.mail.send(till.desk.olga, "bob", "long work")
            plan = await asyncio.wait_for(till.turns.take(bob.id, "boot"), 5)
            await till.purse.admit(bob.id, [])
            await till.purse.charge(bob.id, used(90))
            # Under way and told, not charged: it counts.
            with pytest.raises(errors.HiveError, match="110 of 100 tokens used today"):
                await till.purse.admit(bob.id, [used(20)])
            assert (await till.desk.row("bob")).turn_state is agents.TurnState.THINKING
            report = FinishReport(turns.Outcome.FAILED, "API Error: 400", tool_calls=3)
            await till.turns.finish(bob.id, plan["turn"], report)
            row = await till.desk.row("bob")
            assert row.turn_state is agents.TurnState.PAUSED
            assert "bob's budget" in row.turn_note
            till.to_midnight()
            found = await till.desk.store.read(
                lambda tx: tx.list_messages(states=[messages.MessageState.DEAD])
            )
            assert found == []

    asyncio.run(story())


def test_the_hives_budget_holds_everybody_and_is_told_once(make_desk):
    async def story():
        till = Till(make_desk(), hive=Amount(usd=0.001))
        bob, eve = await till.desk.agent("bob"), await till.desk.agent("eve")
        await till.turn(bob, 200)  # 0.001 USD of haiku
        for agent in (bob, eve):
            await till.desk.mail.send(till.desk.olga, agent.name, "work")
        async with asyncio.TaskGroup() as group:
            taking = [group.create_task(till.turns.take(a.id, "boot")) for a in (bob, eve)]
            await until(lambda: till.desk.clock.sleepers == 2)
            [told] = await till.told()
            assert told.startswith("the hive's budget: 0.0010 of 0.0010 USD used today")
            # More for the hive is more for all.
            await till.waits.go_on(till.desk.olga, "eve")
            await asyncio.wait_for(asyncio.gather(*taking), 5)

    asyncio.run(story())


def test_what_is_spent_survives_a_restart_and_old_days_go(make_desk):
    async def story():
        till = Till(make_desk(), agent=Amount(tokens=100))
        bob = await till.desk.agent("bob")
        await till.purse.charge(bob.id, used(100))
        again = Till(till.desk, agent=Amount(tokens=100))
        with pytest.raises(errors.HiveError) as refused:
            await again.purse.admit(bob.id, [])
        assert refused.value.kind is errors.ErrorKind.UNAVAILABLE
        till.desk.clock.advance(40 * 86_400)
        await again.purse.charge(bob.id, used(1))
        kept = await till.desk.store.read(lambda tx: tx.list_values("spent:"))
        assert len(kept) == 2
        assert {row["tokens"] for row in kept.values()} == {1}

    asyncio.run(story())


def test_a_hold_that_is_over_ends_without_mail(make_desk):
    async def story():
        till = Till(make_desk(), agent=Amount(tokens=100))
        bob = await till.desk.agent("bob")
        await till.turns.hello(bob.id, "boot")
        await till.purse.charge(bob.id, used(100))
        with pytest.raises(errors.HiveError):
            await till.purse.admit(bob.id, [])
        assert (await till.desk.row("bob")).turn_state is agents.TurnState.PAUSED
        async with asyncio.TaskGroup() as group:
            taking = group.create_task(till.turns.take(bob.id, "boot"))
            await until(lambda: till.desk.clock.sleepers == 1)
            till.to_midnight()
            for _ in range(50):
                await asyncio.sleep(0)
            assert (await till.desk.row("bob")).turn_state is agents.TurnState.IDLE
            assert not taking.done()
            taking.cancel()

    asyncio.run(story())


def test_budgets_are_the_operators_and_have_sense(make_desk):
    async def story():
        till = Till(make_desk())
        bob = await till.desk.caller("bob")
        with pytest.raises(errors.HiveError) as refused:
            await till.purse.set(bob, None, tokens=10**9)
        assert refused.value.kind is errors.ErrorKind.FORBIDDEN
        with pytest.raises(errors.HiveError) as refused:
            await till.waits.go_on(bob, "bob")
        assert refused.value.kind is errors.ErrorKind.FORBIDDEN
        for usd in (-1.0, float("nan"), float("inf")):
            with pytest.raises(errors.HiveError, match="cannot set that budget"):
                await till.purse.set(till.desk.olga, "bob", usd=usd)
        with pytest.raises(errors.HiveError, match="nothing holds it"):
            await till.waits.go_on(till.desk.olga, "bob")
        await till.purse.set(till.desk.olga, None, usd=3.5)
        view = await till.purse.set(till.desk.olga, None, tokens=7)
        [hive, _] = view["budgets"]
        assert (hive["usd_per_day"], hive["tokens_per_day"]) == (3.5, 7)

    asyncio.run(story())
