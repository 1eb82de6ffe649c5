"""When a session is compacted or begun anew: every death in between leads on to an end."""

from __future__ import annotations

import itertools

import pytest

from hyperhive.domain import sessions, turns
from hyperhive.domain.sessions import Next, Reason, Session

Outcome = turns.Outcome
MAIL = Next(turns.TurnKind.MAIL)


def following(session: Session, **given: bool) -> Next | None:
    known = {"started": True, "has_mail": True} | given
    return sessions.next_turn(session, share=0.75, **known)


def mail(session: Session, outcome: Outcome, **given: int | bool) -> Session:
    known = {"context": 0, "window": 0, "hopeless": False} | given
    return sessions.after_mail(session, outcome, **known)  # type: ignore[arg-type]


def compacted(session: Session, outcome: Outcome, context: int = 10) -> Session:
    found = following(session)
    assert found is not None
    assert found.why is not None
    return sessions.after_compaction(session, found.why, outcome, context=context)


def test_an_idle_agent_has_nothing_to_do() -> None:
    assert following(Session(), has_mail=False) is None
    assert following(Session()) == MAIL


def test_a_window_that_fills_up_is_compacted_before_the_next_mail_and_not_while_idle() -> None:
    full = mail(Session(), Outcome.OK, context=750, window=1000)
    assert following(full, has_mail=False) is None
    assert following(full) == Next(turns.TurnKind.COMPACTION, Reason.FULL)
    assert following(mail(Session(), Outcome.OK, context=749, window=1000)) == MAIL
    assert following(mail(Session(), Outcome.OK, context=10**9)) == MAIL, "no window is known"
    assert sessions.next_turn(full, started=True, share=1.0, has_mail=True) == MAIL
    assert following(compacted(full, Outcome.OK)) == MAIL


def test_what_cannot_be_compacted_ahead_of_time_holds_up_no_mail() -> None:
    full = mail(Session(), Outcome.OK, context=900, window=1000)
    for _ in range(sessions.TRIES_MAX):
        assert following(full) == Next(turns.TurnKind.COMPACTION, Reason.FULL)
        full = compacted(full, Outcome.FAILED)
        assert following(full) == MAIL
        full = mail(full, Outcome.OK, context=900)
    assert following(full) == MAIL, "not for ever"


def test_too_long_is_compacted_once_and_tried_once_again() -> None:
    session = mail(Session(), Outcome.TOO_LONG)
    assert following(session) == Next(turns.TurnKind.COMPACTION, Reason.TOO_LONG)
    session = compacted(session, Outcome.OK)
    assert following(session) == MAIL
    assert session.renew is None
    assert following(mail(session, Outcome.OK)) == MAIL
    session = mail(session, Outcome.TOO_LONG)
    assert (session.renew, session.compact) == (Reason.TOO_LONG, None)
    assert sessions.begun_anew(session) == Session(told=False)


def test_a_session_that_cannot_be_compacted_is_begun_anew_at_once() -> None:
    session = compacted(mail(Session(), Outcome.TOO_LONG), Outcome.TOO_LONG)
    assert (session.renew, session.compact) == (Reason.TOO_LONG, None)
    assert following(session) == MAIL


@pytest.mark.parametrize("outcome", [Outcome.FAILED, Outcome.LOST])
def test_a_compaction_that_comes_to_nothing_is_tried_again_but_not_for_ever(
    outcome: Outcome,
) -> None:
    session = mail(Session(), Outcome.TOO_LONG)
    for left in reversed(range(sessions.TRIES_MAX)):
        session = compacted(session, outcome)
        assert (session.renew is None) is (left > 0)


@pytest.mark.parametrize("outcome", [Outcome.NEEDS_LOGIN, Outcome.RATE_LIMITED])
def test_a_closed_way_to_the_model_is_not_a_failure_of_compacting(outcome: Outcome) -> None:
    session = mail(Session(), Outcome.TOO_LONG)
    assert compacted(session, outcome) == session


def test_the_operators_word_is_obeyed_once() -> None:
    asked = sessions.ask_compaction(Session())
    assert following(asked, has_mail=False) == Next(turns.TurnKind.COMPACTION, Reason.ASKED)
    assert following(asked, started=False) == MAIL
    assert compacted(asked, Outcome.OK).compact is None
    assert compacted(asked, Outcome.FAILED).compact is None
    assert compacted(asked, Outcome.INTERRUPTED).compact is None
    assert compacted(asked, Outcome.LOST).compact is Reason.ASKED


def test_a_new_session_makes_compacting_pointless() -> None:
    wanted = sessions.ask_new(mail(Session(), Outcome.TOO_LONG))
    assert following(wanted) == MAIL
    assert following(wanted, has_mail=False) is None
    assert sessions.begun_anew(wanted) == Session(), "nobody needs to be told"


def test_mail_that_is_too_long_by_itself_spoils_its_session_alone() -> None:
    spoiled = mail(Session(told=False), Outcome.TOO_LONG, hopeless=True)
    assert following(spoiled) == MAIL
    assert sessions.begun_anew(spoiled) == Session(told=False)


def test_whatever_happens_it_never_compacts_more_than_a_few_times_between_two_turns() -> None:
    """All ways through eight steps: a session that nobody asks anything of finds back to mail."""
    ends = [Outcome.OK, Outcome.FAILED, Outcome.TOO_LONG, Outcome.LOST, Outcome.INTERRUPTED]
    for way in itertools.product(ends, repeat=6):
        session, in_a_row = mail(Session(), Outcome.TOO_LONG, context=9, window=10), 0
        for outcome in way:
            found = following(session)
            assert found is not None
            if found.kind is turns.TurnKind.COMPACTION:
                in_a_row += 1
                assert in_a_row <= sessions.TRIES_MAX
                session = compacted(session, outcome, context=1)
            else:
                in_a_row = 0
                if session.renew is not None:
                    session = sessions.begun_anew(session)
                session = mail(session, outcome)
