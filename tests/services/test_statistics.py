"""What the turns of the last days come to."""

from __future__ import annotations

import asyncio
import csv
import dataclasses
import datetime
import io
from typing import Any

import pytest

from hyperhive import ports
from hyperhive.adapters.clock.manual import ManualClock
from hyperhive.adapters.store.memory import MemoryStore
from hyperhive.domain import errors, ids, turns
from hyperhive.services import statistics
from hyperhive.wire import statistics_csv
from rigs.store_world import NOW, make_agent, make_turn

OK, FAILED, LOST = turns.Outcome.OK, turns.Outcome.FAILED, turns.Outcome.LOST


def turn(name: str, agent: str, seconds: float = 1.0, **changed: Any) -> turns.Turn:
    began = changed.pop("began", NOW - datetime.timedelta(hours=1))
    made = dataclasses.replace(
        make_turn(name, (agent[0] * 12)[:12]), started_at=began, outcome=OK,
        ended_at=began + datetime.timedelta(seconds=seconds),
    )  # fmt: skip
    return dataclasses.replace(made, **changed)


async def world(*rows: turns.Turn) -> statistics.Statistics:
    clock = ManualClock(NOW)
    store = MemoryStore(clock)

    def work(tx: ports.Tx) -> None:
        tx.insert_agent(make_agent("alice", 1))
        tx.insert_agent(make_agent("bob", 2))
        for row in rows:
            tx.insert_turn(row)

    await store.write(work)
    return statistics.Statistics(store, clock)


def test_each_agent_and_model_has_a_row_and_all_have_a_total() -> None:
    dear = turns.Usage(100, 20, 300, 100, 2.0, 500)
    cheap = turns.Usage(10, 2, 0, 0, 0.1, 10)
    failed = turns.Usage()

    async def story() -> None:
        desk = await world(
            turn("1", "alice", 10.0, usage=dear, model="big", woke_by="bob", tool_calls=4),
            turn("2", "alice", 30.0, usage=cheap, woke_by="operator"),
            turn("3", "alice", 20.0, usage=failed, outcome=FAILED, woke_by="operator"),
            turn("4", "bob", 99.0, outcome=LOST, woke_by="alice"),
            turn("5", "zombie", 2.0, usage=cheap),
        )
        seen = await desk.view(1)
        assert [(row["agent"], row["model"]) for row in seen["rows"]] == [
            ("alice", "big"), ("alice", "m"), ("z" * 12, "m"), ("bob", "m"),
        ]  # fmt: skip
        big, small, gone, lost = seen["rows"]
        assert (big["cost_usd"], big["cache_share"], big["tool_calls"]) == (2.0, 0.6, 4)
        assert (big["p50_seconds"], big["p95_seconds"]) == (10.0, 10.0)
        assert big["woke"] == [{"name": "bob", "turns": 1}]
        assert small["outcomes"]["ok"] == small["outcomes"]["failed"] == 1
        assert (small["p50_seconds"], small["p95_seconds"]) == (20.0, 30.0)
        assert small["woke"] == [{"name": "operator", "turns": 2}]
        assert (big["context_tokens"], big["context_max_tokens"]) == (None, 500)
        assert small["context_tokens"] == 10, "the newest turn that reached the model"
        assert gone["turns"] == 1
        assert (lost["cache_share"], lost["p50_seconds"], lost["turns"]) == (None, None, 1)
        total = seen["total"]
        assert total["turns"] == 5
        assert total["cost_usd"] == 2.2
        assert total["input_tokens"] == 120
        assert (total["p50_seconds"], total["p95_seconds"]) == (10.0, 30.0)

    asyncio.run(story())


def test_only_what_began_in_those_days_and_only_the_one_asked_for() -> None:
    async def story() -> None:
        days = [0.5, 5, 20, 29.9]
        began = [NOW - datetime.timedelta(days=each) for each in days]
        desk = await world(
            *[turn(str(at), "alice", began=at) for at in began], turn("b", "bob", model="x")
        )
        for asked, count in ((1, 2), (7, 3), (30, 5)):
            assert (await desk.view(asked))["total"]["turns"] == count
        alone = await desk.view(7, "alice")
        assert [row["agent"] for row in alone["rows"]] == ["alice"]
        assert alone["total"]["turns"] == 2
        assert (await desk.view(7))["since"] == "2029-12-25T12:00:00.123Z"
        with pytest.raises(errors.HiveError) as caught:
            await desk.view(7, "nobody")
        assert caught.value.kind is errors.ErrorKind.NOT_FOUND
        with pytest.raises(errors.HiveError):
            await desk.view(7, ids.OPERATOR)

    asyncio.run(story())


def test_nothing_yet_is_a_row_of_zeros() -> None:
    seen = asyncio.run(_empty())
    assert seen["rows"] == []
    assert seen["total"]["turns"] == 0
    assert seen["total"]["cache_share"] is seen["total"]["p95_seconds"] is None
    assert statistics_csv.write(seen).count("\r\n") == 1


async def _empty() -> dict[str, Any]:
    return await (await world()).view(30)


def test_a_table_for_spreadsheets_holds_no_formula() -> None:
    names = ["=1+1", "@SUM(A1)", "-2", "+3", " =4", "\t=5", "\uff1d6", 'fine, "quoted"\nmodel']

    async def story() -> str:
        rows = [
            turn(str(number), "alice", model=name, woke_by="=cmd|' /C calc'!A0")
            for number, name in enumerate(names)
        ]
        return statistics_csv.write(await (await world(*rows)).view(7))

    text = asyncio.run(story())
    table = list(csv.DictReader(io.StringIO(text, newline="")))
    assert sorted(row["model"] for row in table) == sorted(
        [*(f"'{name}" for name in names[:-1]), names[-1]]
    )
    for row in table:
        assert row["woke"].startswith("'=cmd")
        assert (row["turns"], row["ok"], row["cost_usd"], row["cache_share"]) == ("1", "1", "0", "")
        assert row["p50_seconds"] == "1"


def test_small_money_is_written_out() -> None:
    async def story() -> str:
        used = turns.Usage(cost_usd=0.000012)
        return statistics_csv.write(await (await world(turn("1", "bob", usage=used))).view(7))

    [row] = csv.DictReader(io.StringIO(asyncio.run(story()), newline=""))
    assert row["cost_usd"] == "0.000012"
