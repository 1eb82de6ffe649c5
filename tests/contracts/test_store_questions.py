"""The store's contract for questions and reminders. On disk and in memory."""

from __future__ import annotations

import dataclasses
import datetime

import pytest

from hyperhive import ports
from hyperhive.adapters.clock.manual import ManualClock
from hyperhive.domain import errors, events, ids
from hyperhive.domain.questions import Question, QuestionState
from hyperhive.domain.reminders import Reminder, ReminderState
from rigs.store_world import ALICE, BOB, NOW, Run, refused
from rigs.store_world import run as run

pytestmark = pytest.mark.timeout(30)

MINUTE = datetime.timedelta(minutes=1)


def make_question(asker: ids.PartyId = ALICE, **changed: object) -> Question:
    question = Question(
        id=ids.QuestionId(0), asker=asker, asker_name="alice", asked=ids.OPERATOR,
        asked_name="operator", text="tea?", options=(), multi=False, asked_at=NOW,
        expires_at=None, state=QuestionState.OPEN, answer="", answered_by="", answered_via="",
        changed_at=NOW,
    )  # fmt: skip
    return dataclasses.replace(question, **changed)  # type: ignore[arg-type]


def make_reminder(minutes: int, agent: str = "a" * 12, **changed: object) -> Reminder:
    reminder = Reminder(
        id=ids.ReminderId(0), agent=ids.AgentId(agent), text="look", set_at=NOW,
        due_at=NOW + minutes * MINUTE, state=ReminderState.WAITING, changed_at=NOW,
    )  # fmt: skip
    return dataclasses.replace(reminder, **changed)  # type: ignore[arg-type]


def test_a_question_keeps_every_field(run: Run) -> None:
    async def scenario(store: ports.Store, clock: ManualClock) -> None:
        asked = make_question(options=("grün, bitte", 'no "sugar"'), multi=True)
        stored = await store.write(lambda tx: tx.insert_question(asked))
        assert stored == dataclasses.replace(asked, id=ids.QuestionId(1))
        ended = dataclasses.replace(
            stored, state=QuestionState.ANSWERED, answer="grün, bitte", answered_by="operator",
            answered_via="page", expires_at=NOW + MINUTE, changed_at=NOW + MINUTE,
        )  # fmt: skip
        await store.write(lambda tx: tx.update_question(ended))
        assert await store.read(lambda tx: tx.get_question(stored.id)) == ended
        assert await store.read(lambda tx: tx.get_question(ids.QuestionId(2))) is None
        with refused(errors.ErrorKind.NOT_FOUND):
            await store.write(
                lambda tx: tx.update_question(dataclasses.replace(ended, id=ids.QuestionId(9)))
            )

    run(scenario)


def test_questions_are_listed_by_asker_by_what_waits_and_by_deadline(run: Run) -> None:
    async def scenario(store: ports.Store, clock: ManualClock) -> None:
        def fill(tx: ports.Tx) -> None:
            tx.insert_question(make_question(expires_at=NOW + 2 * MINUTE))
            tx.insert_question(make_question(BOB))
            tx.insert_question(make_question(state=QuestionState.CANCELLED, expires_at=NOW))
            tx.insert_question(make_question(BOB, expires_at=NOW + MINUTE))

        await store.write(fill)

        def look(tx: ports.ReadTx) -> list[list[int]]:
            found = [
                tx.list_questions(),
                tx.list_questions(limit=2),
                tx.list_questions(asker=ALICE),
                tx.list_open_questions(),
                tx.list_open_questions(limit=1),
                tx.list_expiring(10),
                tx.list_expiring(1),
            ]
            return [[row.id for row in rows] for rows in found]

        assert await store.read(look) == [
            [4, 3, 2, 1], [4, 3], [3, 1], [1, 2, 4], [1], [4, 1], [4],
        ]  # fmt: skip
        assert await store.write(look) == await store.read(look)

    run(scenario)


def test_reminders_are_listed_by_when_they_are_due(run: Run) -> None:
    async def scenario(store: ports.Store, clock: ManualClock) -> None:
        def fill(tx: ports.Tx) -> list[Reminder]:
            return [
                tx.insert_reminder(make_reminder(3)),
                tx.insert_reminder(make_reminder(1)),
                tx.insert_reminder(make_reminder(2, "b" * 12)),
                tx.insert_reminder(make_reminder(0, state=ReminderState.FIRED)),
                tx.insert_reminder(make_reminder(1)),
            ]

        stored = await store.write(fill)

        def look(tx: ports.ReadTx) -> list[list[int]]:
            alice = ids.AgentId(ALICE)
            found = [tx.list_reminders(), tx.list_reminders(alice), tx.list_reminders(limit=2)]
            return [[row.id for row in rows] for rows in found]

        assert await store.read(look) == [[2, 5, 3, 1], [2, 5, 1], [2, 5]]
        fired = dataclasses.replace(stored[1], state=ReminderState.FIRED, changed_at=NOW + MINUTE)
        await store.write(lambda tx: tx.update_reminder(fired))
        assert await store.read(look) == [[5, 3, 1], [5, 1], [5, 3]]
        assert await store.read(lambda tx: tx.get_reminder(fired.id)) == fired
        assert await store.read(lambda tx: tx.get_reminder(ids.ReminderId(99))) is None
        with refused(errors.ErrorKind.NOT_FOUND):
            await store.write(
                lambda tx: tx.update_reminder(dataclasses.replace(fired, id=ids.ReminderId(99)))
            )

    run(scenario)


def test_only_what_has_ended_long_ago_is_deleted_and_ids_are_not_lent_again(run: Run) -> None:
    async def scenario(store: ports.Store, clock: ManualClock) -> None:
        later = NOW + 10 * MINUTE

        def fill(tx: ports.Tx) -> None:
            tx.insert_question(make_question())
            tx.insert_question(make_question(state=QuestionState.EXPIRED, changed_at=later))
            tx.insert_question(make_question(state=QuestionState.EXPIRED))
            tx.insert_reminder(make_reminder(1))
            tx.insert_reminder(make_reminder(1, state=ReminderState.FIRED, changed_at=later))
            tx.insert_reminder(make_reminder(1, state=ReminderState.CANCELLED))

        await store.write(fill)

        def sweep(tx: ports.Tx) -> tuple[int, int]:
            before = NOW + MINUTE
            return tx.delete_questions(before, 10), tx.delete_reminders(before, 10)

        def sweep_and_fail(tx: ports.Tx) -> None:
            sweep(tx)
            raise errors.invalid("undo it")

        with refused(errors.ErrorKind.INVALID):
            await store.write(sweep_and_fail)
        assert [q.id for q in await store.read(lambda tx: tx.list_questions())] == [3, 2, 1]
        assert await store.write(sweep) == (1, 1)
        assert await store.write(sweep) == (0, 0)
        assert [q.id for q in await store.read(lambda tx: tx.list_questions())] == [2, 1]
        assert await store.read(lambda tx: tx.get_reminder(ids.ReminderId(3))) is None
        assert (await store.write(lambda tx: tx.insert_question(make_question()))).id == 4
        assert (await store.write(lambda tx: tx.insert_reminder(make_reminder(1)))).id == 4

    run(scenario)


def test_what_a_work_did_that_raises_is_undone(run: Run) -> None:
    async def scenario(store: ports.Store, clock: ManualClock) -> None:
        first = await store.write(lambda tx: tx.insert_question(make_question()))

        def fails(tx: ports.Tx) -> None:
            tx.update_question(dataclasses.replace(first, text="coffee?"))
            tx.insert_question(make_question())
            tx.insert_reminder(make_reminder(1))
            raise errors.conflict("changed my mind")

        with refused(errors.ErrorKind.CONFLICT):
            await store.write(fails)
        assert await store.read(lambda tx: tx.list_questions()) == [first]
        assert await store.read(lambda tx: tx.list_reminders()) == []

    run(scenario)


def test_a_fact_names_its_question(run: Run) -> None:
    async def scenario(store: ports.Store, clock: ManualClock) -> None:
        event = events.Event(
            events.EventKind.QUESTION_ASKED, question=ids.QuestionId(7), topics=(events.QUESTIONS,)
        )
        await store.write(lambda tx: tx.record(event))
        await store.write(lambda tx: tx.record(events.Event(events.EventKind.REMINDER_SET)))
        facts = await store.read(lambda tx: tx.facts_after(0, 10))
        assert [fact.event for fact in facts] == [
            event, events.Event(events.EventKind.REMINDER_SET),
        ]  # fmt: skip

    run(scenario)
