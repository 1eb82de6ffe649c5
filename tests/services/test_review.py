"""Approvals: what is asked for, what is decided, and who hears of it."""

from __future__ import annotations

import asyncio
import json

import pytest

from hyperhive.domain import approvals, errors, ids
from hyperhive.services import spawning


async def _mail_of(desk, name):
    row = await desk.row(name)
    found = await desk.store.read(lambda tx: tx.list_messages(recipient=ids.PartyId(row.id)))
    return [json.loads(m.body) for m in reversed(found)]


def test_a_spawn_from_request_to_agent(make_desk):
    async def story():
        desk = make_desk()
        manager = await desk.caller("manager")
        asked = await desk.review.request_spawn(manager, "coder", "writes code")
        assert asked.state is approvals.ApprovalState.PENDING
        done = await desk.review.approve(desk.olga, asked.id, asked.digest)
        assert (done.state, done.decided_by, done.decided_via) == (
            approvals.ApprovalState.APPROVED, "operator", "page",
        )  # fmt: skip
        await desk.store.write(lambda tx: spawning.begin_approved(tx, desk.clock))
        coder = await desk.row("coder")
        ended = await desk.store.write(
            lambda tx: spawning.settle(tx, desk.clock, coder, ok=True, note="")
        )
        assert ended is True
        heard = await _mail_of(desk, "manager")
        assert [event["event"] for event in heard] == ["approval_resolved", "spawned"]
        assert heard[0]["status"] == "approved"
        assert heard[1] == {"event": "spawned", "agent": "coder", "ok": True, "note": ""}

    asyncio.run(story())


def test_a_denial_carries_its_note(make_desk):
    async def story():
        desk = make_desk()
        manager = await desk.caller("manager")
        asked = await desk.review.request_spawn(manager, "coder", "writes code")
        denied = await desk.review.deny(desk.olga, asked.id, "not now")
        assert (denied.state, denied.note) == (approvals.ApprovalState.DENIED, "not now")
        heard = await _mail_of(desk, "manager")
        assert heard[0]["status"] == "denied"
        assert heard[0]["note"] == "not now"
        with pytest.raises(errors.HiveError, match="it is denied") as caught:
            await desk.review.approve(desk.olga, asked.id, asked.digest)
        assert caught.value.kind is errors.ErrorKind.CONFLICT

    asyncio.run(story())


def test_approving_another_digest_or_twice_is_a_conflict(make_desk):
    async def story():
        desk = make_desk()
        asked = await desk.review.request_spawn(await desk.caller("manager"), "coder", "x")
        with pytest.raises(errors.HiveError, match="what you saw is not what waits"):
            await desk.review.approve(desk.olga, asked.id, "0" * 64)
        await desk.review.approve(desk.olga, asked.id, asked.digest)
        with pytest.raises(errors.HiveError, match="it is approved"):
            await desk.review.approve(desk.olga, asked.id, asked.digest)

    asyncio.run(story())


def test_fifty_approvals_at_once_approve_once(make_desk):
    async def story():
        desk = make_desk()
        asked = await desk.review.request_spawn(await desk.caller("manager"), "coder", "x")

        async def click(stale: bool) -> str:
            try:
                await desk.review.approve(desk.olga, asked.id, "0" * 64 if stale else asked.digest)
            except errors.HiveError as error:
                return error.kind.value
            return "approved"

        results = await asyncio.gather(*(click(n % 2 == 0) for n in range(50)))
        assert results.count("approved") == 1
        assert results.count("conflict") == 49

    asyncio.run(story())


def test_only_the_operator_decides(make_desk):
    async def story():
        desk = make_desk()
        manager = await desk.caller("manager")
        asked = await desk.review.request_spawn(manager, "coder", "x")
        for attempt in (
            desk.review.approve(manager, asked.id, asked.digest),
            desk.review.deny(manager, asked.id, ""),
            desk.review.spawn(manager, "other", "x"),
            desk.review.request_spawn(await desk.caller("bob"), "other", "x"),
        ):
            with pytest.raises(errors.HiveError) as caught:
                await attempt
            assert caught.value.kind is errors.ErrorKind.FORBIDDEN

    asyncio.run(story())


def test_the_same_request_again_is_the_same_approval_and_another_is_refused(make_desk):
    async def story():
        desk = make_desk()
        manager = await desk.caller("manager")
        one = await desk.review.request_spawn(manager, "coder", "x")
        two = await desk.review.request_spawn(manager, "coder", "x")
        assert one.id == two.id
        with pytest.raises(errors.HiveError, match="approval 1 for that name is pending"):
            await desk.review.request_spawn(desk.olga, "coder", "other")
        with pytest.raises(errors.HiveError, match="an agent of that name exists"):
            await desk.review.request_spawn(manager, (await desk.agent("bob")).name, "x")

    asyncio.run(story())


def test_a_requester_may_withdraw_and_nobody_else(make_desk):
    async def story():
        desk = make_desk()
        manager = await desk.caller("manager")
        asked = await desk.review.request_spawn(manager, "coder", "x")
        with pytest.raises(errors.HiveError, match="you did not request it"):
            await desk.review.withdraw(await desk.caller("bob"), asked.id)
        gone = await desk.review.withdraw(manager, asked.id)
        assert gone.state is approvals.ApprovalState.WITHDRAWN

    asyncio.run(story())


def test_requests_that_wait_are_capped(make_desk):
    async def story():
        desk = make_desk()
        manager = await desk.caller("manager")
        for n in range(10):
            await desk.review.request_spawn(manager, f"agent-{n}", "x")
        with pytest.raises(errors.HiveError, match="already wait for the operator"):
            await desk.review.request_spawn(manager, "one-more", "x")

    asyncio.run(story())


@pytest.mark.parametrize(
    "name", ["", "A", "a b", "abc\n", "-rf", "a--b", "a-", "ä", "operator", "manager", "x" * 33]
)
def test_bad_names_are_refused(make_desk, name):
    async def story():
        desk = make_desk()
        with pytest.raises(errors.HiveError, match="as an agent name") as caught:
            await desk.review.request_spawn(desk.olga, name, "x")
        assert caught.value.kind is errors.ErrorKind.INVALID

    asyncio.run(story())
