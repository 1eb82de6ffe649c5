"""Questions: ask the operator or another agent, answer, and tell whoever asked.

Asking returns at once; the answer comes as a system mail, in the transaction that ends the
question. So it is told exactly once, whoever else tried to end it in the same moment.
"""

from __future__ import annotations

import dataclasses
import datetime
from collections.abc import Sequence
from typing import Any, Final

from hyperhive import ports
from hyperhive.domain import access, agents, errors, events, ids, machine, messages, questions
from hyperhive.domain.questions import Ending, Question, QuestionState
from hyperhive.services import lookup, posting, recipients, reminding
from hyperhive.wire import views

HOUR: Final = datetime.timedelta(hours=1)
EXPIRED_AT_ONCE: Final = 100
"""Questions that one transaction expires at most."""


class Asking:
    """Verbs over questions. Who is calling comes from the edge, never from a body."""

    def __init__(self, store: ports.Store, clock: ports.Clock) -> None:
        self._store = store
        self._clock = clock

    async def ask(
        self,
        caller: access.Caller,
        to: str,
        text: str,
        *,
        options: Sequence[str] = (),
        multi: bool = False,
        ttl_seconds: float | None = None,
        once: str | None = None,
    ) -> Question:
        """Put a question to the operator or to the agent named *to*; it returns at once (S65).

        The same words to the same one while they wait are the same question. With *once*
        (`posting.once_key`) a repetition returns what the first call asked. `HiveError`
        INVALID: to oneself, or what cannot be asked; FORBIDDEN: a list of recipients forbids
        the question or its answer; NOT_FOUND: no such agent; UNAVAILABLE: too many wait, or
        too many within an hour.
        """
        asker = ids.PartyId(caller.agent_id)
        questions.check_text(text)
        choices = questions.check_options(options)
        ttl = questions.check_ttl(ttl_seconds)

        def work(tx: ports.Tx) -> Question:
            made = None if once is None else tx.get_value(once)
            if made is not None:
                return _require(tx, made, "ask again")
            asked, asked_name = _find_asked(tx, caller, to)
            waiting = [row for row in tx.list_open_questions() if row.asker == asker]
            row = next(
                (
                    row
                    for row in waiting
                    if (row.asked, row.text, row.options) == (asked, text, choices)
                ),
                None,
            )
            if row is None:
                self._refuse_flood(tx, asker, asked, waiting)
                now = self._clock.now()
                row = tx.insert_question(
                    Question(
                        id=ids.QuestionId(0),
                        asker=asker,
                        asker_name=caller.name,
                        asked=asked,
                        asked_name=asked_name,
                        text=text,
                        options=choices,
                        multi=multi,
                        asked_at=now,
                        expires_at=None if ttl is None else now + ttl,
                        state=QuestionState.OPEN,
                        answer="",
                        answered_by="",
                        answered_via="",
                        changed_at=now,
                    )
                )
                _record(tx, events.EventKind.QUESTION_ASKED, row, f"{caller.name} to {asked_name}")
                _tell_asked(tx, now, row)
            if once is not None:
                tx.put_value(once, row.id)
            return row

        return await self._store.write(work)

    async def answer(
        self, caller: access.Caller, question: int, *, picks: Sequence[str] = (), text: str = ""
    ) -> Question:
        """Answer with picked options, own words, or both; the same answer again is harmless.

        Only the one asked and the operator may. `HiveError` CONFLICT when it has ended otherwise.
        """
        answer = questions.compose(picks, text)

        def work(tx: ports.Tx) -> Question:
            found = _require(tx, question, "answer")
            if not caller.is_operator and caller.party != found.asked:
                raise errors.forbidden(
                    f"cannot answer question {found.id}: only {found.asked_name} or the operator "
                    "may"
                )
            if found.state is QuestionState.ANSWERED and found.answer == answer:
                return found
            asker = tx.get_agent(ids.AgentId(found.asker))
            if asker is not None:
                recipients.require(tx, caller, asker)
            return _end(tx, self._clock.now(), found, Ending.ANSWER, answer, caller)

        return await self._store.write(work)

    async def cancel(self, caller: access.Caller, question: int) -> Question:
        """End a question without an answer; again is harmless.

        Only who asked and the operator may; who asked is told when it was the operator (S69).
        """

        def work(tx: ports.Tx) -> Question:
            found = _require(tx, question, "cancel")
            if not caller.is_operator and caller.party != found.asker:
                raise errors.forbidden(
                    f"cannot cancel question {found.id}: only {found.asker_name} or the operator "
                    "may"
                )
            if found.state is QuestionState.CANCELLED:
                return found
            return _end(tx, self._clock.now(), found, Ending.CANCEL, questions.CANCELLED, caller)

        return await self._store.write(work)

    async def loose_ends(self, caller: access.Caller) -> dict[str, Any]:
        """All that an agent has begun and not ended: questions both ways, reminders, held mail."""
        agent = caller.agent_id
        party = ids.PartyId(agent)

        def look(tx: ports.ReadTx) -> dict[str, Any]:
            waiting = tx.list_open_questions()
            held = tx.list_messages(recipient=party, states=[messages.MessageState.LEASED])
            return {
                "now": views.timestamp(self._clock.now()),
                "asked_by_me": [views.question_view(q) for q in waiting if q.asker == party],
                "asked_of_me": [views.question_view(q) for q in waiting if q.asked == party],
                "reminders": [views.reminder_view(r) for r in reminding.waiting(tx, agent)],
                "mail_in_hand": [
                    {"id": m.id, "from": m.sender_name, "sent_at": views.timestamp(m.sent_at)}
                    for m in reversed(held)
                ],
                "mail_unread": tx.count_queued(party),
            }

        return await self._store.read(look)

    async def list_all(self, limit: int) -> list[Question]:
        """Those that wait, oldest first, and then those that ended, newest first."""

        def look(tx: ports.ReadTx) -> list[Question]:
            ended = [row for row in tx.list_questions(limit=limit) if not row.is_open]
            return [*tx.list_open_questions(limit), *ended]

        return await self._store.read(look)

    def _refuse_flood(
        self, tx: ports.ReadTx, asker: ids.PartyId, asked: ids.PartyId, waiting: Sequence[Question]
    ) -> None:
        to_operator = asked == ids.OPERATOR
        most = questions.OPEN_TO_OPERATOR if to_operator else questions.OPEN_TO_AGENTS
        alike = [row for row in waiting if (row.asked == ids.OPERATOR) is to_operator]
        if len(alike) >= most:
            whom = "the operator" if to_operator else "other agents"
            raise errors.unavailable(
                f"cannot ask: {len(alike)} of your questions wait for {whom} already and the limit "
                f"is {most}; wait for an answer, or take one back"
            )
        after = self._clock.now() - HOUR
        newest = tx.list_questions(asker=asker, limit=questions.HOURLY)
        recent = [row for row in newest if row.asked_at > after]
        of_one = [row for row in recent if row.asked == asked]
        if len(of_one) >= questions.HOURLY_TO_ONE:
            raise errors.unavailable(
                f"cannot ask: you asked {of_one[0].asked_name} {len(of_one)} questions within an "
                f"hour, the limit is {questions.HOURLY_TO_ONE}; decide yourself, or ask later"
            )
        if len(recent) >= questions.HOURLY:
            raise errors.unavailable(
                f"cannot ask: you asked {len(recent)} questions within an hour, which is the "
                "limit; ask later"
            )


_NUMBER_MAX: Final = 2**63 - 1


def expire_due(tx: ports.Tx, now: datetime.datetime) -> datetime.datetime | None:
    """In a transaction: end what nobody answered in time (S68); when the next one is due."""
    timed = tx.list_expiring(EXPIRED_AT_ONCE)
    for row in timed:
        if row.expires_at is not None and row.expires_at > now:
            return row.expires_at
        _end(tx, now, row, Ending.EXPIRE, questions.EXPIRED, access.SYSTEM_CALLER)
    # There may be more that are due.
    return now if len(timed) == EXPIRED_AT_ONCE else None


def _end(
    tx: ports.Tx,
    now: datetime.datetime,
    question: Question,
    ending: Ending,
    answer: str,
    caller: access.Caller,
) -> Question:
    state = machine.advance(questions.TABLE, question.state, ending, f"question {question.id}")
    ended = dataclasses.replace(
        question,
        state=state,
        answer=answer,
        answered_by=caller.name,
        answered_via=caller.via,
        changed_at=now,
    )
    tx.update_question(ended)
    _record(tx, events.EventKind.QUESTION_ENDED, ended, f"{state.value} by {caller.name}")
    asker = tx.get_agent(ids.AgentId(ended.asker))
    if asker is None or caller.party == ended.asker:
        return ended
    if ended.asked == ids.OPERATOR:
        posting.post_event(
            tx, now, asker, "operator_answered",
            id=ended.id, question=ended.text, answer=answer,
        )  # fmt: skip
    else:
        posting.post_event(
            tx, now, asker, "question_answered",
            id=ended.id, by=caller.name, question=ended.text, answer=answer,
        )  # fmt: skip
    return ended


def _tell_asked(tx: ports.Tx, now: datetime.datetime, question: Question) -> None:
    """An agent hears of a question by mail; the operator has a page for them."""
    if question.asked == ids.OPERATOR:
        return
    agent = lookup.require_agent(tx, ids.AgentId(question.asked))
    advice: dict[str, Any] = {}
    if question.options:
        advice = {"options": question.options, "multi": question.multi}
    if question.expires_at is not None:
        advice["expires_at"] = views.timestamp(question.expires_at)
    posting.post_event(
        tx, now, agent, "question_asked",
        **{"id": question.id, "from": question.asker_name, "question": question.text, **advice},
    )  # fmt: skip


def _find_asked(tx: ports.ReadTx, caller: access.Caller, to: str) -> tuple[ids.PartyId, str]:
    """Who is meant by *to*; nobody is asked who could not answer."""
    if to == ids.OPERATOR:
        return ids.OPERATOR, "operator"
    agent = lookup.require_named(tx, to)
    if agent.id == caller.agent_id:
        raise errors.invalid("cannot ask: that is yourself")
    recipients.require(tx, caller, agent)
    listed = recipients.allowed(tx, agent.id)
    asks_as_manager = caller.role is agents.Role.MANAGER
    if listed is not None and caller.agent_id not in listed and not asks_as_manager:
        raise errors.forbidden(
            f"cannot ask {agent.name}: it may not write to you, so it could not answer; "
            "ask the manager or the operator"
        )
    return ids.PartyId(agent.id), agent.name


def _record(tx: ports.Tx, kind: events.EventKind, question: Question, text: str) -> None:
    tx.record(
        events.Event(
            kind,
            agent=ids.AgentId(question.asker),
            question=question.id,
            text=text,
            topics=(events.QUESTIONS,),
        )
    )


def _require(tx: ports.ReadTx, question: int, doing: str) -> Question:
    """The row, also for a number that no database could hold, or NOT_FOUND."""
    known = 0 < question <= _NUMBER_MAX
    found = tx.get_question(ids.QuestionId(question)) if known else None
    if found is None:
        raise errors.not_found(f"cannot {doing}: there is no question {question}")
    return found
