"""The verbs about what waits and about budgets, as page, socket and `hive` ask for them."""

from __future__ import annotations

import asyncio
import contextlib
from collections.abc import Callable
from typing import Any

import pytest

from hyperhive.domain import errors, turns
from hyperhive.services.turns import FinishReport

Open = Callable[..., contextlib.AbstractAsyncContextManager[Any]]


def test_a_budget_is_set_shown_and_cleared(open_hive: Open) -> None:
    async def story() -> None:
        async with open_hive() as hive:
            await hive.agent("bob")
            call = hive.actions.call
            [whole, bob] = (await call(hive.olga, "budgets", {}))["budgets"]
            assert (whole["agent"], bob["agent"], bob["usd_per_day"]) == (None, "bob", None)
            assert bob["is_default"] is True
            await call(hive.olga, "set-budget", {"name": "bob", "usd_per_day": 2.5})
            given = {"name": "bob", "tokens_per_day": 1000}
            [_, bob] = (await call(hive.olga, "set-budget", given))["budgets"]
            assert (bob["usd_per_day"], bob["tokens_per_day"]) == (2.5, 1000)
            assert (bob["is_default"], bob["spent_usd"], bob["requests"]) == (False, 0, 0)
            given = {"name": "bob", "clear": True}
            [_, bob] = (await call(hive.olga, "set-budget", given))["budgets"]
            assert bob["is_default"] is True
            [whole, _] = (await call(hive.olga, "set-budget", {"usd_per_day": 9}))["budgets"]
            assert whole["usd_per_day"] == 9

    asyncio.run(story())


@pytest.mark.parametrize(
    ("given", "said"),
    [
        ({}, "give a limit, or clear it, and not both"),
        ({"clear": True, "usd_per_day": 1}, "and not both"),
        ({"usd_per_day": -1}, "usd_per_day: expected `float` >= 0"),
        ({"tokens_per_day": 1.5}, "tokens_per_day: expected `int"),
        ({"usd_per_day": 1e9}, "usd_per_day: expected `float` <= "),
        ({"name": "nobody", "usd_per_day": 1}, "nobody"),
    ],
)
def test_what_makes_no_sense_is_refused(open_hive: Open, given: dict[str, Any], said: str) -> None:
    async def story() -> None:
        async with open_hive() as hive:
            with pytest.raises(errors.HiveError) as refusal:
                await hive.actions.call(hive.olga, "set-budget", given)
            assert said in refusal.value.message

    asyncio.run(story())


def test_everything_that_waits_is_listed_and_let_go(open_hive: Open) -> None:
    async def story() -> None:
        async with open_hive() as hive:
            call = hive.actions.call
            bob, eve = await hive.agent("bob"), await hive.agent("eve")
            await call(hive.olga, "model-source", {"kind": "api_key", "secret": "sk-12345678"})
            assert await call(hive.olga, "waiting", {}) == {"waiting": []}
            await call(hive.olga, "pause", {"name": "eve", "reason": "thinking about it"})
            await hive.mail.send(hive.olga, "bob", "work")
            plan = await asyncio.wait_for(hive.turns.take(bob.id, "boot"), 5)
            report = FinishReport(
                turns.Outcome.RATE_LIMITED, "limit", retry_at=hive.clock.now().timestamp() + 100
            )
            await hive.turns.finish(bob.id, plan["turn"], report)
            rows = (await call(hive.olga, "waiting", {}))["waiting"]
            assert [(row["agent"], row["reason"], row["unread"]) for row in rows] == [
                ("bob", "rate_limited", 1),
                ("eve", "operator", 0),
            ]
            assert rows[0]["until"] > rows[0]["since"]
            assert rows[1]["until"] is None
            assert "thinking about it" in rows[1]["text"]
            listed = (await call(hive.olga, "list", {}))["agents"]
            assert [len(row["waiting"]) for row in listed] == [1, 1]
            row = await call(hive.olga, "go-on", {"name": "eve"})
            assert (row["waiting"], row["name"]) == ([], eve.name)
            await call(hive.olga, "go-on", {"name": "bob"})
            assert await call(hive.olga, "waiting", {}) == {"waiting": []}
            again = await asyncio.wait_for(hive.turns.take(bob.id, "boot"), 5)
            assert again["messages"][0]["body"] == "work"

    asyncio.run(story())


def test_no_model_waits_for_the_operator(open_hive: Open) -> None:
    async def story() -> None:
        async with open_hive() as hive:
            await hive.actions.call(hive.olga, "model-source", {"kind": "none"})
            [row] = (await hive.actions.call(hive.olga, "waiting", {}))["waiting"]
            assert (row["agent"], row["reason"], row["go_on"]) == (None, "no_model", "model")

    asyncio.run(story())
