"""The store's contract for sums of turns and counts. On disk and in memory."""

from __future__ import annotations

import dataclasses
import datetime
import random
from collections.abc import Callable

import pytest

from hyperhive import ports
from hyperhive.adapters.clock.manual import ManualClock
from hyperhive.adapters.store.memory import MemoryStore
from hyperhive.domain import approvals, ids, proposals, statistics, turns
from rigs.store_world import (
    ALICE,
    BOB,
    NOW,
    Run,
    make_approval,
    make_message,
    make_proposal,
    make_turn,
)
from rigs.store_world import run as run

pytestmark = pytest.mark.timeout(30)

LONG_AGO = NOW - datetime.timedelta(days=365)
USED = turns.Usage(10, 2, 100, 5, 0.25, 115)


def ended(
    name: str,
    seconds: float = 1.0,
    *,
    agent: str = ALICE,
    began: datetime.datetime = NOW,
    outcome: turns.Outcome = turns.Outcome.OK,
    **changed: object,
) -> turns.Turn:
    return dataclasses.replace(
        make_turn(name, agent), started_at=began, outcome=outcome, usage=USED, tool_calls=3,
        ended_at=began + datetime.timedelta(seconds=seconds), **changed,
    )  # type: ignore[arg-type]  # fmt: skip


def put(*rows: turns.Turn) -> Callable[[ports.Tx], None]:
    def work(tx: ports.Tx) -> None:
        for row in rows:
            tx.insert_turn(row)

    return work


def test_turns_add_up_by_agent_model_and_outcome(run: Run) -> None:
    async def scenario(store: ports.Store, clock: ManualClock) -> None:
        assert await store.read(lambda tx: tx.sum_turns(LONG_AGO)) == []
        old = ended("0", began=NOW - datetime.timedelta(days=2))
        other = ended("3", model="big", outcome=turns.Outcome.LOST)
        await store.write(
            put(old, ended("1", 2.0), ended("2", 0.5), other, ended("4", agent=BOB), make_turn("5"))
        )

        def look(tx: ports.ReadTx) -> list[statistics.TurnSum]:
            return tx.sum_turns(NOW - datetime.timedelta(days=1))

        found = await store.read(look)
        assert [(one.agent, one.model, one.outcome.value, one.turns) for one in found] == [
            (ALICE, "big", "lost", 1),
            (ALICE, "m", "ok", 2),
            (ALICE, "m", "running", 1),
            (BOB, "m", "ok", 1),
        ]
        assert found[1].seconds == 2.5
        assert found[1].tool_calls == 6
        assert found[1].usage == turns.Usage(20, 4, 200, 10, 0.5, 115), "the fullest window"
        assert (found[2].seconds, found[2].usage) == (0.0, turns.Usage())
        alone = await store.read(lambda tx: tx.sum_turns(LONG_AGO, ids.AgentId(BOB)))
        assert alone == found[3:]

    run(scenario)


def test_half_and_nearly_all_by_nearest_rank(run: Run) -> None:
    async def scenario(store: ports.Store, clock: ManualClock) -> None:
        assert await store.read(lambda tx: tx.measure_turns(LONG_AGO)) == []
        await store.write(put(make_turn("r"), ended("l", 9999.0, outcome=turns.Outcome.LOST)))
        assert await store.read(lambda tx: tx.measure_turns(LONG_AGO)) == []
        times = [float(number) for number in range(1, 21)]
        random.Random(4).shuffle(times)
        rows = [ended(f"a{time}", time) for time in times]
        await store.write(put(*rows, ended("b", 100.0, agent=BOB, model="big")))
        assert await store.read(lambda tx: tx.measure_turns(LONG_AGO)) == [
            statistics.Spread(None, "", 11.0, 20.0),
            statistics.Spread(ids.AgentId(ALICE), "m", 10.0, 19.0),
            statistics.Spread(ids.AgentId(BOB), "big", 100.0, 100.0),
        ]
        alone = await store.read(lambda tx: tx.measure_turns(NOW, ids.AgentId(BOB)))
        assert [one.p50 for one in alone] == [100.0, 100.0]

    run(scenario)


def test_who_woke(run: Run) -> None:
    async def scenario(store: ports.Store, clock: ManualClock) -> None:
        by = ["olga", "bob", "bob", "zoe", "zoe", "zoe"]
        rows = [ended(str(number), woke_by=name) for number, name in enumerate(by)]
        await store.write(put(*rows, ended("x", agent=BOB, woke_by="olga")))
        found = await store.read(lambda tx: tx.count_wakers(NOW))
        assert [(one.agent, one.name, one.turns) for one in found] == [
            (ALICE, "zoe", 3), (ALICE, "bob", 2), (ALICE, "olga", 1), (BOB, "olga", 1),
        ]  # fmt: skip
        alone = await store.read(lambda tx: tx.count_wakers(NOW, ids.AgentId(BOB)))
        assert alone == found[3:]

    run(scenario)


def test_totals_grow_once_a_turn_and_outlive_it(run: Run) -> None:
    async def scenario(store: ports.Store, clock: ManualClock) -> None:
        running = make_turn("1")
        await store.write(put(running))
        assert await store.read(lambda tx: tx.turn_totals()) == []
        await store.write(lambda tx: tx.update_turn(dataclasses.replace(running, model="big")))
        assert await store.read(lambda tx: tx.turn_totals()) == []
        over = ended("1", 4.0)
        await store.write(lambda tx: tx.update_turn(over))
        again = dataclasses.replace(over, note="said twice")
        await store.write(lambda tx: tx.update_turn(again))
        await store.write(put(ended("2", 2.0), ended("3", 1.0, outcome=turns.Outcome.FAILED)))

        def fail(tx: ports.Tx) -> None:
            tx.insert_turn(ended("4"))
            raise ZeroDivisionError

        with pytest.raises(ZeroDivisionError):
            await store.write(fail)
        found = await store.read(lambda tx: tx.turn_totals())
        assert [(one.outcome.value, one.turns, one.seconds) for one in found] == [
            ("failed", 1, 1.0), ("ok", 2, 6.0),
        ]  # fmt: skip
        assert found[1].usage == turns.Usage(20, 4, 200, 10, 0.5, 115)
        later = NOW + datetime.timedelta(days=99)
        assert await store.write(lambda tx: tx.delete_turns(ids.AgentId(ALICE), later, 10)) == 2
        assert await store.read(lambda tx: tx.turn_totals()) == found

    run(scenario)


def test_counts_of_what_waits(run: Run) -> None:
    async def scenario(store: ports.Store, clock: ManualClock) -> None:
        build, step = proposals.BuildState, proposals.DeployStep
        assert await store.read(lambda tx: tx.oldest_queued(BOB)) is None

        def work(tx: ports.Tx) -> datetime.datetime | None:
            for minutes in (0, 1, 2):
                sent = NOW + datetime.timedelta(minutes=minutes)
                tx.insert_message(dataclasses.replace(make_message(), sent_at=sent))
            tx.insert_approval(make_approval(approvals.ApprovalState.PENDING))
            tx.insert_approval(make_approval(approvals.ApprovalState.DENIED))
            tx.insert_proposal(make_proposal(1))
            tx.insert_proposal(make_proposal(2, build=build.BUILT, step=step.CHECKING))
            return tx.oldest_queued(BOB)

        assert await store.write(work) == NOW, "also what the same work has sent"
        await store.write(lambda tx: tx.lease_messages(BOB, ids.TurnId("t"), NOW, 1))
        assert await store.read(lambda tx: tx.oldest_queued(BOB)) == NOW + datetime.timedelta(
            minutes=1
        )
        assert await store.read(lambda tx: tx.oldest_queued(ALICE)) is None
        states = approvals.ApprovalState
        assert await store.read(lambda tx: [tx.count_approvals(one) for one in states]) == [
            int(one in (states.PENDING, states.DENIED)) for one in states
        ]
        assert await store.read(lambda tx: [tx.count_builds(one) for one in build]) == [
            int(one in (build.IMPORTING, build.BUILT)) for one in build
        ]
        assert await store.read(lambda tx: [tx.count_steps(one) for one in step]) == [
            int(one in (step.NONE, step.CHECKING)) for one in step
        ]

    run(scenario)


def test_both_stores_say_the_same_of_many_turns(run: Run) -> None:
    async def scenario(store: ports.Store, clock: ManualClock) -> None:
        twin = MemoryStore(clock)
        dice = random.Random(7)
        rows = [
            ended(
                str(number), dice.randrange(1, 400) / 8, agent=dice.choice([ALICE, BOB]),
                began=NOW - datetime.timedelta(hours=dice.randrange(100)),
                outcome=dice.choice(list(turns.Outcome)), model=dice.choice(["m", "big"]),
                woke_by=dice.choice(["olga", "bob", "zoe"]),
            )
            for number in range(300)
        ]  # fmt: skip
        for each in (store, twin):
            await each.write(put(*rows))
        since = NOW - datetime.timedelta(hours=50)
        for agent in (None, ids.AgentId(ALICE)):

            def look(tx: ports.ReadTx, agent: ids.AgentId | None = agent) -> tuple[object, ...]:
                return (
                    tx.sum_turns(since, agent), tx.measure_turns(since, agent),
                    tx.count_wakers(since, agent), tx.turn_totals(),
                )  # fmt: skip

            assert await store.read(look) == await twin.read(look)

    run(scenario)
