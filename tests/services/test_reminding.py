"""Reminders: when they are due, how many there may be, and that each fires once."""

from __future__ import annotations

import asyncio
import json
from typing import Any

import pytest

from hyperhive.domain import access, errors, ids, reminders
from hyperhive.domain.reminders import ReminderState
from hyperhive.services import asking, history, reminding
from rigs.office import CONFLICT, INVALID, NOT_FOUND, OLGA, Office, Run
from rigs.office import run as run
from rigs.store_world import run as in_store  # noqa: F401 - the fixture of `run`

pytestmark = pytest.mark.timeout(30)

FORBIDDEN, UNAVAILABLE = errors.ErrorKind.FORBIDDEN, errors.ErrorKind.UNAVAILABLE


async def fire(office: Office) -> Any:
    return await office.store.write(lambda tx: reminding.fire_due(tx, office.clock.now()))


async def heard(office: Office, who: access.Caller) -> list[dict[str, Any]]:
    found = await office.store.read(lambda tx: tx.list_messages(recipient=who.party))
    return [json.loads(m.body) for m in reversed(found) if m.sender == ids.SYSTEM]


def test_a_reminder_fires_once_at_its_time(run: Run) -> None:
    async def scenario(office: Office) -> None:
        alice = await office.hire("alice")
        desk = reminding.Reminding(office.store, office.clock)
        later = await desk.remind(alice, "look again", after="2h")
        first = await desk.remind(alice, "now", after=90)
        assert await fire(office) == first.due_at
        office.clock.advance(89)
        assert await fire(office) == first.due_at
        assert await heard(office, alice) == []
        office.clock.advance(1)
        # Two loops at once: still one mail.
        assert await asyncio.gather(fire(office), fire(office)) == [later.due_at] * 2
        assert await heard(office, alice) == [
            {
                "event": "reminder", "id": first.id, "text": "now",
                "set_at": "2030-01-01T12:00:00.123Z", "due_at": "2030-01-01T12:01:30.123Z",
            }
        ]  # fmt: skip
        office.clock.advance(7200)
        assert await fire(office) is None
        assert [event["id"] for event in await heard(office, alice)] == [first.id, later.id]
        assert await fire(office) is None
        fired = await office.store.read(lambda tx: tx.get_reminder(first.id))
        assert fired is not None
        assert fired.state is ReminderState.FIRED
        await office.refuses(CONFLICT, desk.cancel(alice, first.id))

    run(scenario)


@pytest.mark.parametrize(
    ("given", "seconds"),
    [
        ({"after": 1}, 1), ({"after": 0.5}, 0.5), ({"after": "45m"}, 2700),
        ({"after": "1d12h"}, 129_600), ({"after": "1h 30min"}, 5400), ({"after": "10s"}, 10),
        ({"at": "2030-01-01T13:00:00.123456Z"}, 3600),
        ({"at": "2030-01-01T14:00:00.123456+01:00"}, 3600),
        ({"after": 366 * 86_400}, 366 * 86_400),
    ],
)  # fmt: skip
def test_a_time_may_be_said_in_several_ways(
    run: Run, given: dict[str, Any], seconds: float
) -> None:
    async def scenario(office: Office) -> None:
        alice = await office.hire("alice")
        desk = reminding.Reminding(office.store, office.clock)
        set_ = await desk.remind(alice, "x", **given)
        assert (set_.due_at - office.clock.now()).total_seconds() == seconds

    run(scenario)


@pytest.mark.parametrize(
    "given",
    [
        {}, {"at": "2030-01-02T00:00:00Z", "after": 5}, {"at": "2030-01-02T00:00:00"},
        {"at": "tomorrow"}, {"at": "2030-01-01T12:00:00Z"}, {"at": "2031-02-01T00:00:00Z"},
        {"at": "0001-01-01T00:00:00+14:00"}, {"at": ""}, {"after": 0}, {"after": -5},
        {"after": float("nan")}, {"after": float("inf")}, {"after": 366 * 86_400 + 1},
        {"after": "soon"}, {"after": ""}, {"after": "0m"}, {"after": "12"}, {"after": "1m1h"},
        {"after": "999999999d"}, {"after": "-5m"}, {"after": "\u0665m"},
    ],
)  # fmt: skip
def test_times_that_mean_nothing_are_refused(run: Run, given: dict[str, Any]) -> None:
    async def scenario(office: Office) -> None:
        alice = await office.hire("alice")
        desk = reminding.Reminding(office.store, office.clock)
        await office.refuses(INVALID, desk.remind(alice, "x", **given))

    run(scenario)


def test_fifty_may_wait_and_each_is_its_agents_own(run: Run) -> None:
    async def scenario(office: Office) -> None:
        alice, bob = await office.hire("alice"), await office.hire("bob")
        desk = reminding.Reminding(office.store, office.clock)
        for n in range(reminders.WAITING_MAX):
            await desk.remind(alice, f"note {n}", after=60 + n)
        await office.refuses(UNAVAILABLE, desk.remind(alice, "one more", after=5))
        assert (await desk.remind(bob, "mine", after=5)).id == 51
        await office.refuses(NOT_FOUND, desk.cancel(bob, 1))
        for number in (0, 99, 2**63):
            await office.refuses(NOT_FOUND, desk.cancel(alice, number))
        gone = await desk.cancel(alice, 1)
        assert await desk.cancel(alice, 1) == gone
        assert (await desk.remind(alice, "one more", after=5)).id == 52
        office.clock.advance(3600)
        while await fire(office) is not None:
            pass
        assert len(await heard(office, alice)) == reminders.WAITING_MAX
        assert len(await heard(office, bob)) == 1
        await office.refuses(FORBIDDEN, desk.remind(OLGA, "x", after=5))
        for text in ("", "a\0b", "x" * (reminders.TEXT_MAX + 1)):
            await office.refuses(INVALID, desk.remind(alice, text, after=5))

    run(scenario)


def test_a_repeated_call_sets_one_reminder(run: Run) -> None:
    async def scenario(office: Office) -> None:
        alice = await office.hire("alice")
        desk = reminding.Reminding(office.store, office.clock)
        key = "once:turn-alice:k"
        at = "2030-01-01T12:00:30Z"
        first = await desk.remind(alice, "x", at=at, once=key)
        office.clock.advance(60)
        await fire(office)
        again = await desk.remind(alice, "x", at=at, once=key)
        assert (again.id, again.state) == (first.id, ReminderState.FIRED)

    run(scenario)


def test_loose_ends_are_all_that_has_begun(run: Run) -> None:
    async def scenario(office: Office) -> None:
        alice, bob = await office.hire("alice"), await office.hire("bob")
        remind = reminding.Reminding(office.store, office.clock)
        ask = asking.Asking(office.store, office.clock)
        await ask.ask(alice, "operator", "mine?")
        await ask.ask(bob, "alice", "yours?")
        await ask.ask(bob, "operator", "not hers?")
        await remind.remind(alice, "look", after="1h")
        await remind.remind(bob, "not hers", after="1h")
        await office.mail.send(bob, "alice", "hello")
        await office.receive(alice)
        await office.mail.send(bob, "alice", "hello again")
        found = await ask.loose_ends(alice)
        assert [q["question"] for q in found["asked_by_me"]] == ["mine?"]
        assert [(q["from"], q["question"]) for q in found["asked_of_me"]] == [("bob", "yours?")]
        assert [r["text"] for r in found["reminders"]] == ["look"]
        assert [m["from"] for m in found["mail_in_hand"]] == ["system", "bob"]
        assert found["mail_unread"] == 1
        assert found["now"] == "2030-01-01T12:00:00.123Z"

    run(scenario)


def test_old_reminders_go(run: Run) -> None:
    async def scenario(office: Office) -> None:
        alice = await office.hire("alice")
        desk = reminding.Reminding(office.store, office.clock)
        await desk.remind(alice, "x", after=5)
        await desk.remind(alice, "y", after="365d")
        office.clock.advance(10)
        await fire(office)
        office.clock.advance(reminders.KEPT.total_seconds() + 1)
        assert await history.sweep_questions(office.store, office.clock) == 1
        left = await office.store.read(lambda tx: tx.list_reminders())
        assert [row.text for row in left] == ["y"]

    run(scenario)
