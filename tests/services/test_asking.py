"""Questions as they are asked, answered, cancelled and expired, on both stores."""

from __future__ import annotations

import asyncio
import dataclasses
import json
from typing import Any

import pytest

from hyperhive.domain import access, errors, events, ids, questions
from hyperhive.domain.questions import QuestionState
from hyperhive.services import asking, history, recipients
from rigs.office import CONFLICT, FORBIDDEN, INVALID, NOT_FOUND, OLGA, Office, Run
from rigs.office import run as run
from rigs.store_world import run as in_store  # noqa: F401 - the fixture of `run`

pytestmark = pytest.mark.timeout(30)

UNAVAILABLE = errors.ErrorKind.UNAVAILABLE


def desk(office: Office) -> asking.Asking:
    return asking.Asking(office.store, office.clock)


async def heard(office: Office, who: access.Caller) -> list[dict[str, Any]]:
    """The system's events in an inbox, oldest first."""
    found = await office.store.read(lambda tx: tx.list_messages(recipient=who.party))
    return [json.loads(m.body) for m in reversed(found) if m.sender == ids.SYSTEM]


async def listed(office: Office, who: access.Caller, only: list[access.Caller]) -> access.Caller:
    """*who* with a list of recipients."""
    await office.store.write(
        lambda tx: recipients.put(tx, who.agent_id, [each.agent_id for each in only])
    )
    return dataclasses.replace(who, recipients=frozenset(each.agent_id for each in only))


def test_an_answer_of_the_operator_reaches_who_asked_once(run: Run) -> None:
    async def scenario(office: Office) -> None:
        alice, desk_ = await office.hire("alice"), desk(office)
        asked = await desk_.ask(alice, "operator", "tea or coffee?", options=["tea", "coffee"])
        assert (asked.id, asked.state, asked.asked_name) == (1, QuestionState.OPEN, "operator")
        assert await heard(office, alice) == []
        ended = await desk_.answer(OLGA, 1, picks=["tea"], text=" with milk ")
        assert (ended.state, ended.answer) == (QuestionState.ANSWERED, "tea, with milk")
        assert (ended.answered_by, ended.answered_via) == ("operator", "page")
        assert await desk_.answer(OLGA, 1, text="tea, with milk") == ended
        for other in (
            desk_.answer(OLGA, 1, text="coffee"),
            desk_.cancel(OLGA, 1),
        ):
            assert "it is answered" in await office.refuses(CONFLICT, other)
        assert await heard(office, alice) == [
            {
                "event": "operator_answered", "id": 1, "question": "tea or coffee?",
                "answer": "tea, with milk",
            }
        ]  # fmt: skip
        facts = await office.store.read(lambda tx: tx.facts_after(0, 99))
        about = [f.event for f in facts if f.event.question == 1]
        assert [e.kind for e in about] == [
            events.EventKind.QUESTION_ASKED, events.EventKind.QUESTION_ENDED,
        ]  # fmt: skip
        assert all(e.topics == (events.QUESTIONS,) and e.agent == alice.agent_id for e in about)
        assert not any("coffee" in e.text for e in about)

    run(scenario)


def test_the_first_of_many_endings_wins_and_the_others_are_refused(run: Run) -> None:
    async def scenario(office: Office) -> None:
        alice, desk_ = await office.hire("alice"), desk(office)
        await desk_.ask(alice, "operator", "now?", ttl_seconds=60)
        office.clock.advance(61)
        done = await asyncio.gather(
            *(desk_.answer(OLGA, 1, text=f"answer {n}") for n in range(10)),
            office.store.write(lambda tx: asking.expire_due(tx, office.clock.now())),
            desk_.cancel(OLGA, 1),
            return_exceptions=True,
        )
        refused = [each for each in done if isinstance(each, errors.HiveError)]
        assert len(refused) == 10
        assert {each.kind for each in refused} == {CONFLICT}
        assert len(await heard(office, alice)) == 1

    run(scenario)


def test_nobody_answers_in_time(run: Run) -> None:
    async def scenario(office: Office) -> None:
        alice, desk_ = await office.hire("alice"), desk(office)
        start = office.clock.now()
        late = await desk_.ask(alice, "operator", "later?", ttl_seconds=90)
        soon = await desk_.ask(alice, "operator", "soon?", ttl_seconds=30)
        await desk_.ask(alice, "operator", "ever?")

        def expire() -> Any:
            return office.store.write(lambda tx: asking.expire_due(tx, office.clock.now()))

        assert await expire() == soon.expires_at
        assert soon.expires_at is not None
        assert (soon.expires_at - start).total_seconds() == 30
        office.clock.advance(30)
        assert await expire() == late.expires_at
        office.clock.advance(60)
        assert await expire() is None
        assert [(e["id"], e["answer"]) for e in await heard(office, alice)] == [
            (soon.id, "[expired]"), (late.id, "[expired]"),
        ]  # fmt: skip
        ended = await office.store.read(lambda tx: tx.get_question(soon.id))
        assert ended is not None
        assert (ended.state, ended.answered_by) == (QuestionState.EXPIRED, "system")
        await office.refuses(CONFLICT, desk_.answer(OLGA, soon.id, text="too late"))

    run(scenario)


def test_cancelled_by_the_operator_is_told_and_taken_back_is_not(run: Run) -> None:
    async def scenario(office: Office) -> None:
        alice, bob, desk_ = await office.hire("alice"), await office.hire("bob"), desk(office)
        await desk_.ask(alice, "operator", "one?")
        await desk_.ask(alice, "operator", "two?")
        told = await office.refuses(FORBIDDEN, desk_.cancel(bob, 1))
        assert "alice" in told
        ended = await desk_.cancel(OLGA, 1)
        assert await desk_.cancel(OLGA, 1) == ended
        assert (await desk_.cancel(alice, 2)).state is QuestionState.CANCELLED
        assert [(e["event"], e["id"], e["answer"]) for e in await heard(office, alice)] == [
            ("operator_answered", 1, "[cancelled]")
        ]

    run(scenario)


def test_agents_ask_each_other(run: Run) -> None:
    async def scenario(office: Office) -> None:
        alice, bob, desk_ = await office.hire("alice"), await office.hire("bob"), desk(office)
        eve = await office.hire("eve")
        asked = await desk_.ask(
            alice, "bob", "which?", options=["x", "y"], multi=True, ttl_seconds=3600
        )
        assert asked.expires_at is not None
        (event,) = await heard(office, bob)
        assert event == {
            "event": "question_asked", "id": 1, "from": "alice", "question": "which?",
            "options": ["x", "y"], "multi": True, "expires_at": "2030-01-01T13:00:00.123Z",
        }  # fmt: skip
        for other in (eve, alice):
            told = await office.refuses(FORBIDDEN, desk_.answer(other, 1, text="x"))
            assert "only bob or the operator" in told
        await desk_.answer(bob, 1, picks=["x", "y"])
        assert await heard(office, alice) == [
            {
                "event": "question_answered", "id": 1, "by": "bob", "question": "which?",
                "answer": "x, y",
            }
        ]  # fmt: skip
        await desk_.ask(alice, "bob", "and?")
        await desk_.answer(OLGA, 2, text="no")
        assert (await heard(office, alice))[-1]["by"] == "operator"

    run(scenario)


def test_who_cannot_be_asked(run: Run) -> None:
    async def scenario(office: Office) -> None:
        alice, bob = await office.hire("alice"), await office.hire("bob")
        manager, desk_ = await office.hire("manager"), desk(office)
        await office.refuses(INVALID, desk_.ask(alice, "alice", "me?"))
        await office.refuses(NOT_FOUND, desk_.ask(alice, "nobody", "you?"))
        await office.refuses(FORBIDDEN, desk_.ask(OLGA, "bob", "you?"))
        shy = await listed(office, bob, [])
        # Neither may bob ask alice, nor could it answer her.
        await office.refuses(FORBIDDEN, desk_.ask(shy, "alice", "you?"))
        told = await office.refuses(FORBIDDEN, desk_.ask(alice, "bob", "you?"))
        assert "could not answer" in told
        # Manager and operator can be reached by all, and ask all.
        await desk_.ask(shy, "manager", "you?")
        await desk_.ask(shy, "operator", "you?")
        await desk_.ask(manager, "bob", "you?")
        assert (await desk_.answer(shy, 3, text="yes")).answered_by == "bob"
        # A list that was set after the question holds for its answer.
        asked = await desk_.ask(manager, "alice", "you?")
        known = await desk_.ask(bob, "alice", "you too?")
        await office.refuses(
            FORBIDDEN, desk_.answer(await listed(office, alice, []), known.id, text="no")
        )
        assert (await desk_.answer(await listed(office, alice, []), asked.id, text="no")).answer

    run(scenario)


def test_a_flood_of_questions_is_refused_and_the_same_words_are_one(run: Run) -> None:
    async def scenario(office: Office) -> None:
        alice, bob, desk_ = await office.hire("alice"), await office.hire("bob"), desk(office)
        for n in range(questions.OPEN_TO_OPERATOR):
            await desk_.ask(alice, "operator", f"question {n}?")
        again = await desk_.ask(alice, "operator", "question 1?")
        assert again.id == 2
        told = await office.refuses(UNAVAILABLE, desk_.ask(alice, "operator", "one more?"))
        assert "limit is 3" in told
        assert (await desk_.ask(bob, "operator", "question 1?")).id == 4
        for _ in range(questions.HOURLY_TO_ONE - questions.OPEN_TO_OPERATOR):
            waiting = await desk_.ask(alice, "operator", "question 0?")
            await desk_.answer(OLGA, waiting.id, text="x")
            assert (await desk_.ask(alice, "operator", "question 0?")).id > waiting.id
        for each in await office.store.read(lambda tx: tx.list_open_questions()):
            await desk_.cancel(OLGA, each.id)
        told = await office.refuses(UNAVAILABLE, desk_.ask(alice, "operator", "more?"))
        assert "within an hour" in told
        assert (await desk_.ask(alice, "bob", "more?")).asked == bob.party
        office.clock.advance(3601)
        assert (await desk_.ask(alice, "operator", "more?")).is_open
        for n in range(questions.OPEN_TO_AGENTS - 1):
            await desk_.ask(alice, "bob", f"question {n}?")
        await office.refuses(UNAVAILABLE, desk_.ask(alice, "bob", "one more?"))

    run(scenario)


def test_asking_and_answering_is_no_way_around_the_loop_breaker(run: Run) -> None:
    async def scenario(office: Office) -> None:
        alice, bob, desk_ = await office.hire("alice"), await office.hire("bob"), desk(office)
        await office.hire("eve")
        for n in range(questions.HOURLY_TO_ONE):
            asked = await desk_.ask(alice, "bob", f"and {n}?")
            await desk_.answer(bob, asked.id, text="yes, and you?")
        told = await office.refuses(UNAVAILABLE, desk_.ask(alice, "bob", "and now?"))
        assert "you asked bob 20 questions within an hour" in told
        assert (await desk_.ask(alice, "eve", "and now?")).is_open
        office.clock.advance(3601)
        assert (await desk_.ask(alice, "bob", "and now?")).is_open

    run(scenario)


def test_a_repeated_call_asks_once_also_when_it_was_answered_meanwhile(run: Run) -> None:
    async def scenario(office: Office) -> None:
        alice, desk_ = await office.hire("alice"), desk(office)
        asked = await desk_.ask(alice, "operator", "once?", once="once:turn-alice:k")
        ended = await desk_.answer(OLGA, asked.id, text="yes")
        before = office.store.number()
        assert await desk_.ask(alice, "operator", "once?", once="once:turn-alice:k") == ended
        assert office.store.number() == before
        assert (await desk_.ask(alice, "operator", "once?", once="once:turn-alice:l")).id == 2

    run(scenario)


def test_what_cannot_be_asked_or_answered(run: Run) -> None:
    async def scenario(office: Office) -> None:
        alice, desk_ = await office.hire("alice"), desk(office)
        for text in ("", " \n", "a\0b", "\ud800", "x" * (questions.TEXT_MAX + 1)):
            await office.refuses(INVALID, desk_.ask(alice, "operator", text))
        for options in ([""], ["a", "a"], ["x" * 201], [str(n) for n in range(13)], ["a\0"]):
            await office.refuses(INVALID, desk_.ask(alice, "operator", "x?", options=options))
        for ttl in (0.0, -1.0, questions.TTL_MAX + 1, float("nan"), float("inf")):
            await office.refuses(INVALID, desk_.ask(alice, "operator", "x?", ttl_seconds=ttl))
        await desk_.ask(alice, "operator", "x?")
        for picks, text in (
            ([], ""),
            ([], " "),
            ([], "x" * (questions.ANSWER_MAX + 1)),
            (["\0"], ""),
        ):
            await office.refuses(INVALID, desk_.answer(OLGA, 1, picks=picks, text=text))
        for number in (0, 2, 2**63):
            await office.refuses(NOT_FOUND, desk_.answer(OLGA, number, text="y"))
            await office.refuses(NOT_FOUND, desk_.cancel(OLGA, number))

    run(scenario)


def test_old_questions_go_and_open_ones_stay(run: Run) -> None:
    async def scenario(office: Office) -> None:
        alice, desk_ = await office.hire("alice"), desk(office)
        await desk_.ask(alice, "operator", "one?")
        await desk_.ask(alice, "operator", "two?")
        await desk_.cancel(alice, 2)
        office.clock.advance(questions.KEPT.total_seconds() + 1)
        await desk_.ask(alice, "operator", "three?")
        await desk_.answer(OLGA, 3, text="yes")
        assert await history.sweep_questions(office.store, office.clock) == 1
        assert [q.id for q in await desk_.list_all(10)] == [1, 3]
        assert await history.sweep_questions(office.store, office.clock) == 0

    run(scenario)
