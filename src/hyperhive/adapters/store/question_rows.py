"""Questions and reminders in SQLite: queries, rows, and the methods of a transaction."""

# ruff: noqa: D102, S608 - the port says what each method does; only constants go into queries
from __future__ import annotations

import dataclasses
import datetime
import sqlite3
from collections.abc import Callable
from typing import Final

from hyperhive.adapters.store import rows
from hyperhive.domain import errors, ids, questions, reminders

_QUESTION: Final = (
    "asker, asker_name, asked, asked_name, text, options, multi, asked_at, expires_at, state, "
    "answer, answered_by, answered_via, changed_at"
)
_REMINDER: Final = "agent, text, set_at, due_at, state, changed_at"


def _insert(table: str, columns: str) -> str:
    marks = ", ".join("?" for _ in columns.split(","))
    return f"INSERT INTO {table} ({columns}) VALUES ({marks})"


def _update(table: str, columns: str) -> str:
    settings = ", ".join(f"{column.strip()} = ?" for column in columns.split(","))
    return f"UPDATE {table} SET {settings} WHERE id = ?"


GET_QUESTION: Final = f"SELECT id, {_QUESTION} FROM questions WHERE id = ?"
LIST_QUESTIONS: Final = f"SELECT id, {_QUESTION} FROM questions ORDER BY id DESC LIMIT ?"
LIST_QUESTIONS_OF: Final = (
    f"SELECT id, {_QUESTION} FROM questions WHERE asker = ? ORDER BY id DESC LIMIT ?"
)
LIST_OPEN_QUESTIONS: Final = (
    f"SELECT id, {_QUESTION} FROM questions INDEXED BY questions_open WHERE state = 'open' "
    "ORDER BY id LIMIT ?"
)
LIST_EXPIRING: Final = (
    f"SELECT id, {_QUESTION} FROM questions INDEXED BY questions_expiring "
    "WHERE state = 'open' AND expires_at IS NOT NULL ORDER BY expires_at LIMIT ?"
)
INSERT_QUESTION: Final = _insert("questions", _QUESTION)
UPDATE_QUESTION: Final = _update("questions", _QUESTION)
DELETE_QUESTIONS: Final = (
    "DELETE FROM questions WHERE id IN (SELECT id FROM questions WHERE state <> 'open' "
    "AND changed_at < ? ORDER BY changed_at LIMIT ?)"
)

GET_REMINDER: Final = f"SELECT id, {_REMINDER} FROM reminders WHERE id = ?"
LIST_REMINDERS_OF: Final = (
    f"SELECT id, {_REMINDER} FROM reminders WHERE agent = ? AND state = 'waiting' "
    "ORDER BY due_at, id LIMIT ?"
)
LIST_REMINDERS: Final = (
    f"SELECT id, {_REMINDER} FROM reminders INDEXED BY reminders_waiting "
    "WHERE state = 'waiting' ORDER BY due_at, id LIMIT ?"
)
INSERT_REMINDER: Final = _insert("reminders", _REMINDER)
UPDATE_REMINDER: Final = _update("reminders", _REMINDER)
DELETE_REMINDERS: Final = (
    "DELETE FROM reminders WHERE id IN (SELECT id FROM reminders WHERE state <> 'waiting' "
    "AND changed_at < ? ORDER BY changed_at LIMIT ?)"
)


def question_in(question: questions.Question) -> rows.Row:
    """A row from a question, without its id."""
    return (
        question.asker, question.asker_name, question.asked, question.asked_name, question.text,
        rows.json_in(question.options), int(question.multi), rows.time_in(question.asked_at),
        rows.maybe_time_in(question.expires_at), question.state.value, question.answer,
        question.answered_by, question.answered_via, rows.time_in(question.changed_at),
    )  # fmt: skip


def question_out(row: rows.Row) -> questions.Question:
    """A question from its row."""
    return questions.Question(
        id=ids.QuestionId(row[0]),
        asker=ids.PartyId(row[1]),
        asker_name=row[2],
        asked=ids.PartyId(row[3]),
        asked_name=row[4],
        text=row[5],
        options=tuple(rows.json_out(row[6])),
        multi=bool(row[7]),
        asked_at=rows.time_out(row[8]),
        expires_at=rows.maybe_time_out(row[9]),
        state=questions.QuestionState(row[10]),
        answer=row[11],
        answered_by=row[12],
        answered_via=row[13],
        changed_at=rows.time_out(row[14]),
    )


def reminder_in(reminder: reminders.Reminder) -> rows.Row:
    """A row from a reminder, without its id."""
    return (
        reminder.agent, reminder.text, rows.time_in(reminder.set_at),
        rows.time_in(reminder.due_at), reminder.state.value, rows.time_in(reminder.changed_at),
    )  # fmt: skip


def reminder_out(row: rows.Row) -> reminders.Reminder:
    """A reminder from its row."""
    return reminders.Reminder(
        id=ids.ReminderId(row[0]),
        agent=ids.AgentId(row[1]),
        text=row[2],
        set_at=rows.time_out(row[3]),
        due_at=rows.time_out(row[4]),
        state=reminders.ReminderState(row[5]),
        changed_at=rows.time_out(row[6]),
    )


class QuestionReads:
    """The part of `ports.ReadTx` about questions and reminders."""

    _execute: Callable[..., sqlite3.Cursor]
    """Of the connection."""

    def get_question(self, question: ids.QuestionId) -> questions.Question | None:
        row = self._execute(GET_QUESTION, (question,)).fetchone()
        return None if row is None else question_out(row)

    def list_questions(
        self, *, asker: ids.PartyId | None = None, limit: int = 200
    ) -> list[questions.Question]:
        if asker is None:
            found = self._execute(LIST_QUESTIONS, (limit,))
        else:
            found = self._execute(LIST_QUESTIONS_OF, (asker, limit))
        return [question_out(row) for row in found]

    def list_open_questions(self, limit: int = 1000) -> list[questions.Question]:
        return [question_out(row) for row in self._execute(LIST_OPEN_QUESTIONS, (limit,))]

    def list_expiring(self, limit: int) -> list[questions.Question]:
        return [question_out(row) for row in self._execute(LIST_EXPIRING, (limit,))]

    def get_reminder(self, reminder: ids.ReminderId) -> reminders.Reminder | None:
        row = self._execute(GET_REMINDER, (reminder,)).fetchone()
        return None if row is None else reminder_out(row)

    def list_reminders(
        self, agent: ids.AgentId | None = None, limit: int = 100
    ) -> list[reminders.Reminder]:
        if agent is None:
            found = self._execute(LIST_REMINDERS, (limit,))
        else:
            found = self._execute(LIST_REMINDERS_OF, (agent, limit))
        return [reminder_out(row) for row in found]


class QuestionWrites(QuestionReads):
    """The part of `ports.Tx` about questions and reminders."""

    def insert_question(self, question: questions.Question) -> questions.Question:
        number = self._execute(INSERT_QUESTION, question_in(question)).lastrowid
        assert number is not None  # an INSERT that did not raise has a row id
        return dataclasses.replace(question, id=ids.QuestionId(number))

    def update_question(self, question: questions.Question) -> None:
        bound = (*question_in(question), question.id)
        if self._execute(UPDATE_QUESTION, bound).rowcount != 1:
            raise errors.not_found(f"cannot change question {question.id}: there is none")

    def delete_questions(self, before: datetime.datetime, limit: int) -> int:
        return self._execute(DELETE_QUESTIONS, (rows.time_in(before), limit)).rowcount

    def insert_reminder(self, reminder: reminders.Reminder) -> reminders.Reminder:
        number = self._execute(INSERT_REMINDER, reminder_in(reminder)).lastrowid
        assert number is not None  # an INSERT that did not raise has a row id
        return dataclasses.replace(reminder, id=ids.ReminderId(number))

    def update_reminder(self, reminder: reminders.Reminder) -> None:
        bound = (*reminder_in(reminder), reminder.id)
        if self._execute(UPDATE_REMINDER, bound).rowcount != 1:
            raise errors.not_found(f"cannot change reminder {reminder.id}: there is none")

    def delete_reminders(self, before: datetime.datetime, limit: int) -> int:
        return self._execute(DELETE_REMINDERS, (rows.time_in(before), limit)).rowcount
