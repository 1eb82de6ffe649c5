"""From an approved spawn to a row, and from its first start back to the approval."""

from __future__ import annotations

import asyncio
import json

import pytest

from hyperhive.domain import agents, errors, ids
from hyperhive.domain.approvals import ApprovalState
from hyperhive.services import posting, spawning


def run(make_desk, story) -> None:
    async def main():
        desk = make_desk()
        await desk.agent("manager")
        await story(desk)

    asyncio.run(main())


async def begin(desk) -> None:
    await desk.store.write(lambda tx: spawning.begin_approved(tx, desk.clock))


async def told(desk) -> list[dict]:
    """What the manager was told of spawns."""
    manager = await desk.row("manager")
    mail = await desk.store.read(lambda tx: tx.list_messages(recipient=ids.PartyId(manager.id)))
    found = [json.loads(message.body) for message in reversed(mail)]
    return [event for event in found if event["event"] == "spawned"]


def test_a_new_agent_is_wanted_and_has_a_session_of_its_own(make_desk):
    async def story(desk):
        await desk.review.spawn(desk.olga, "bob", "")
        await desk.review.spawn(desk.olga, "eve", "")
        await begin(desk)
        bob, eve = await desk.row("bob"), await desk.row("eve")
        assert (bob.phase, bob.wanted, bob.epoch, bob.running_epoch) == (
            agents.Phase.SPAWNING, agents.Wanted.RUNNING, 1, 0,
        )  # fmt: skip
        assert bob.role is agents.Role.AGENT
        assert len({bob.id, eve.id, bob.session_id, eve.session_id}) == 4
        assert bob.slot != eve.slot
        assert bob.start_reason == "spawned by approval 1"

    run(make_desk, story)


def test_beginning_again_makes_nothing_twice(make_desk):
    async def story(desk):
        await desk.review.spawn(desk.olga, "bob", "")
        await begin(desk)
        bob = await desk.row("bob")
        await begin(desk)
        assert await desk.row("bob") == bob
        (approval,) = await desk.store.read(lambda tx: tx.list_approvals())
        assert (approval.state, approval.agent_id) == (ApprovalState.BUILDING, bob.id)

    run(make_desk, story)


def test_a_name_that_was_taken_meanwhile_fails_the_approval(make_desk):
    async def story(desk):
        await desk.review.spawn(desk.olga, "bob", "")
        await desk.agent("bob")
        await begin(desk)
        (approval,) = await desk.store.read(lambda tx: tx.list_approvals())
        assert approval.state is ApprovalState.FAILED
        assert approval.agent_id is None
        (event,) = await told(desk)
        assert (event["ok"], event["note"]) == (False, "an agent named bob exists")

    run(make_desk, story)


@pytest.mark.parametrize("ok", [True, False])
def test_the_first_start_ends_the_approval_once(make_desk, ok):
    async def story(desk):
        await desk.review.spawn(desk.olga, "bob", "")
        await begin(desk)
        bob = await desk.row("bob")

        def settle(tx):
            return spawning.settle(tx, desk.clock, bob, ok=ok, note="it burned")

        assert await desk.store.write(settle) is True
        assert await desk.store.write(settle) is False
        (approval,) = await desk.store.read(lambda tx: tx.list_approvals())
        assert approval.state is (ApprovalState.DEPLOYED if ok else ApprovalState.FAILED)
        note = "" if ok else "it burned"
        assert await told(desk) == [{"event": "spawned", "agent": "bob", "ok": ok, "note": note}]

    run(make_desk, story)


def test_the_start_of_another_agent_ends_nothing(make_desk):
    async def story(desk):
        await desk.review.spawn(desk.olga, "bob", "")
        await begin(desk)
        eve = await desk.agent("eve")
        done = await desk.store.write(
            lambda tx: spawning.settle(tx, desk.clock, eve, ok=True, note="")
        )
        assert done is False
        (approval,) = await desk.store.read(lambda tx: tx.list_approvals())
        assert approval.state is ApprovalState.BUILDING

    run(make_desk, story)


def test_a_repeated_request_finds_its_approval_also_when_that_is_carried_out(make_desk):
    """The daemon died before the manager had its answer, and the operator was quick."""

    async def story(desk):
        manager = await desk.caller("manager")
        once = posting.once_key(ids.TurnId("turn"), "call-1")
        asked = await desk.review.request_spawn(manager, "bob", "to count", once=once)
        await desk.review.approve(desk.olga, asked.id, asked.digest)
        await begin(desk)
        again = await desk.review.request_spawn(manager, "bob", "to count", once=once)
        assert (again.id, again.state) == (asked.id, ApprovalState.BUILDING)
        other = posting.once_key(ids.TurnId("turn"), "call-2")
        with pytest.raises(errors.HiveError, match="an agent of that name exists"):
            await desk.review.request_spawn(manager, "bob", "to count", once=other)

    run(make_desk, story)


@pytest.mark.parametrize("verb", ["start", "restart", "kill"])
def test_a_repeated_order_does_not_overrule_what_was_wanted_since(make_desk, verb):
    async def story(desk):
        await desk.agent("bob")
        manager = await desk.caller("manager")
        once = posting.once_key(ids.TurnId("turn"), "call-1")
        await getattr(desk.fleet, verb)(manager, "bob", once=once)
        await desk.fleet.stop(desk.olga, "bob")
        if verb == "kill":
            await desk.fleet.start(desk.olga, "bob")
        before = await desk.row("bob")
        assert await getattr(desk.fleet, verb)(manager, "bob", once=once) == before
        assert await desk.row("bob") == before
        # What is remembered goes with the turn that it belongs to.
        await desk.mail.sweep()
        assert await desk.store.read(lambda tx: tx.list_values("once:")) == {}

    run(make_desk, story)
