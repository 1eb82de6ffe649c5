"""The store's contract for agents, approvals, turns and values. On disk and in memory."""

from __future__ import annotations

import contextlib
import dataclasses
import datetime

import pytest

from hyperhive import ports
from hyperhive.adapters.clock.manual import ManualClock
from hyperhive.domain import agents, approvals, errors, events, ids, turns
from rigs.store_world import (
    ALICE,
    BOB,
    NOTED,
    NOW,
    TURN,
    Run,
    make_agent,
    make_approval,
    make_message,
    make_turn,
    refused,
)
from rigs.store_world import run as run

pytestmark = pytest.mark.timeout(30)


def test_agents(run: Run) -> None:
    async def scenario(store: ports.Store, clock: ManualClock) -> None:
        zoe, alice = make_agent("zoe", 1), make_agent("alice", 2)
        manager = make_agent("manager", 3, role=agents.Role.MANAGER)
        full = dataclasses.replace(
            alice, phase=agents.Phase.CRASHED, crashes=2, retry_at=NOW, session_started=True,
            sandbox=agents.SandboxIdentity("boot", 42, 99), wanted=agents.Wanted.STOPPED,
            turn_state=agents.TurnState.PAUSED, model="m", status="söme \U0001f41d",
        )  # fmt: skip

        def work(tx: ports.Tx) -> None:
            for agent in (zoe, alice, manager):
                tx.insert_agent(agent)
            tx.update_agent(full)

        await store.write(work)
        assert await store.read(lambda tx: tx.list_agents()) == [manager, full, zoe]
        assert await store.read(lambda tx: tx.get_agent(alice.id)) == full
        assert await store.read(lambda tx: tx.find_agent("zoe")) == zoe
        assert await store.read(lambda tx: tx.find_agent("nobody")) is None
        assert await store.read(lambda tx: tx.get_agent(ids.AgentId("f" * 12))) is None
        for twin in (
            dataclasses.replace(zoe, name=ids.AgentName("other"), slot=9),
            dataclasses.replace(zoe, id=ids.AgentId("e" * 12), slot=9),
            dataclasses.replace(zoe, id=ids.AgentId("e" * 12), name=ids.AgentName("other")),
        ):
            with refused(errors.ErrorKind.CONFLICT):
                await store.write(lambda tx, twin=twin: tx.insert_agent(twin))
        with refused(errors.ErrorKind.NOT_FOUND):
            await store.write(lambda tx: tx.update_agent(make_agent("nobody", 7)))
        assert [await store.write(lambda tx: tx.next_slot()) for _ in range(3)] == [1, 2, 3]

    run(scenario)


def test_approvals(run: Run) -> None:
    async def scenario(store: ports.Store, clock: ManualClock) -> None:
        pending, denied = approvals.ApprovalState.PENDING, approvals.ApprovalState.DENIED

        def work(tx: ports.Tx) -> tuple[approvals.Approval, approvals.Approval]:
            first = tx.insert_approval(make_approval(pending))
            return first, tx.insert_approval(make_approval(pending))

        first, second = await store.write(work)
        assert (first.id, second.id) == (1, 2)
        decided = dataclasses.replace(
            first, state=denied, decided_by="olga", decided_via="page", decided_at=NOW, note="no",
            agent_id=ids.AgentId(ALICE),
        )  # fmt: skip
        await store.write(lambda tx: tx.update_approval(decided))
        assert await store.read(lambda tx: tx.get_approval(first.id)) == decided
        assert await store.read(lambda tx: tx.list_approvals()) == [second, decided]
        assert await store.read(lambda tx: tx.list_approvals(limit=1)) == [second]
        assert await store.read(lambda tx: tx.list_approvals(states=[denied])) == [decided]
        assert len(await store.read(lambda tx: tx.list_approvals(states=[denied, pending]))) == 2
        assert await store.read(lambda tx: tx.list_approvals(states=[])) == []
        assert await store.read(lambda tx: tx.get_approval(ids.ApprovalId(9))) is None
        with refused(errors.ErrorKind.NOT_FOUND):
            missing = dataclasses.replace(first, id=ids.ApprovalId(9))
            await store.write(lambda tx: tx.update_approval(missing))

    run(scenario)


def test_turns(run: Run) -> None:
    async def scenario(store: ports.Store, clock: ManualClock) -> None:
        for number in (3, 1, 2):
            await store.write(lambda tx, number=number: tx.insert_turn(make_turn(f"t{number}")))
        ended = dataclasses.replace(
            make_turn("t1"), ended_at=NOW, outcome=turns.Outcome.OK, tool_calls=4, note="done",
            usage=turns.Usage(1, 2, 3, 4, 0.125, 6),
        )  # fmt: skip
        await store.write(lambda tx: tx.update_turn(ended))
        listed = await store.read(lambda tx: tx.list_turns(ids.AgentId(ALICE)))
        assert [turn.id for turn in listed] == ["t2", "t1", "t3"]
        assert listed[1] == ended == await store.read(lambda tx: tx.get_turn(ended.id))
        assert await store.read(lambda tx: tx.list_turns(ids.AgentId(ALICE), 1)) == listed[:1]
        assert await store.read(lambda tx: tx.list_turns(ids.AgentId(BOB))) == []
        assert await store.read(lambda tx: tx.get_turn(TURN)) is None
        with refused(errors.ErrorKind.CONFLICT):
            await store.write(lambda tx: tx.insert_turn(make_turn("t1")))
        with refused(errors.ErrorKind.NOT_FOUND):
            await store.write(lambda tx: tx.update_turn(make_turn("t9")))

    run(scenario)


def test_old_turns_are_deleted_but_the_newest_and_those_that_hold_mail(run: Run) -> None:
    day = datetime.timedelta(days=1)

    async def scenario(store: ports.Store, clock: ManualClock) -> None:
        def fill(tx: ports.Tx) -> None:
            for number in range(1, 7):
                tx.insert_turn(
                    dataclasses.replace(
                        make_turn(f"t{number}"),
                        ended_at=NOW + number * day,
                        outcome=turns.Outcome.OK,
                    )
                )
            tx.insert_turn(make_turn("running"))
            tx.insert_turn(dataclasses.replace(make_turn("b1", "b" * 12), ended_at=NOW))
            tx.insert_message(make_message())
            tx.lease_messages(BOB, ids.TurnId("t2"), NOW, 1)

        async def left(agent: ids.PartyId = ALICE) -> list[str]:
            found = await store.read(lambda tx: tx.list_turns(ids.AgentId(agent)))
            return [turn.id for turn in reversed(found)]

        async def delete(days: int, limit: int = 99, agent: ids.PartyId = ALICE) -> int:
            return await store.write(
                lambda tx: tx.delete_turns(ids.AgentId(agent), NOW + days * day, limit)
            )

        await store.write(fill)
        assert await delete(1) == 0
        assert await delete(6, limit=3) == 2
        assert await left() == ["t2", "t4", "t5", "t6", "running"]

        def fail(tx: ports.Tx) -> None:
            assert tx.get_turn(ids.TurnId("t4")) is not None
            assert tx.delete_turns(ids.AgentId(ALICE), NOW + 99 * day, 99) == 3
            assert tx.get_turn(ids.TurnId("t4")) is None
            raise errors.conflict("undo this")

        with refused(errors.ErrorKind.CONFLICT):
            await store.write(fail)
        assert await left() == ["t2", "t4", "t5", "t6", "running"]
        assert await delete(5) == 1
        assert await delete(99) == 2
        assert await left() == ["t2", "running"]
        # Bob's only turn is his newest; who has none loses none.
        assert await delete(99, agent=BOB) == 0
        assert await left(BOB) == ["b1"]
        assert await delete(99, agent=ids.OPERATOR) == 0

    run(scenario)


def test_values(run: Run) -> None:
    async def scenario(store: ports.Store, clock: ManualClock) -> None:
        def work(tx: ports.Tx) -> None:
            tx.put_value("a_1", {"x": [1, None]})
            tx.put_value("a_2", "text")
            tx.put_value("ab", False)
            tx.put_value("a_2", "newer")
            tx.put_value("b", 0)
            tx.delete_value("b")
            tx.delete_value("never")

        await store.write(work)
        assert await store.read(lambda tx: tx.get_value("a_1")) == {"x": [1, None]}
        assert await store.read(lambda tx: tx.get_value("b")) is None
        # The underscore is a letter here, not a wildcard.
        listed = await store.read(lambda tx: tx.list_values("a_"))
        assert listed == {"a_1": {"x": [1, None]}, "a_2": "newer"}
        assert list(await store.read(lambda tx: tx.list_values(""))) == ["a_1", "a_2", "ab"]

    run(scenario)


def test_old_facts_are_deleted_and_numbers_go_on(run: Run) -> None:
    async def scenario(store: ports.Store, clock: ManualClock) -> None:
        def record(tx: ports.Tx) -> None:
            for _ in range(5):
                tx.record(events.Event(NOTED))

        await store.write(record)
        assert await store.write(lambda tx: tx.delete_facts(3, 2)) == 2
        left = await store.read(lambda tx: tx.facts_after(0, 10))
        assert [fact.number for fact in left] == [3, 4, 5]

        def fail(tx: ports.Tx) -> None:
            tx.delete_facts(5, 10)
            raise errors.conflict("undo this")

        with contextlib.suppress(errors.HiveError):
            await store.write(fail)
        assert len(await store.read(lambda tx: tx.facts_after(0, 10))) == 3
        # The newest stays, whatever is asked for.
        assert await store.write(lambda tx: tx.delete_facts(99, 99)) == 2
        assert await store.write(lambda tx: tx.delete_facts(99, 99)) == 0
        assert await store.read(lambda tx: tx.last_number()) == 5
        assert await store.write(lambda tx: tx.record(events.Event(NOTED))) == 6
        left = await store.read(lambda tx: tx.facts_after(4, 10))
        assert [fact.number for fact in left] == [5, 6]

    run(scenario)
