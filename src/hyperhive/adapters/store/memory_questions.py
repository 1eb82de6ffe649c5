"""Questions and reminders in memory: the twin of `question_rows`, with a way back."""

# ruff: noqa: D102 - the port says what each method does
from __future__ import annotations

import dataclasses
import datetime
from collections.abc import Callable
from typing import Any

from hyperhive.domain import errors, ids, questions, reminders


class QuestionTables:
    """Rows in the order of their ids."""

    def __init__(self) -> None:
        self.question_id = 0
        self.reminder_id = 0
        self.questions: dict[ids.QuestionId, questions.Question] = {}
        self.reminders: dict[ids.ReminderId, reminders.Reminder] = {}


class MemoryQuestions:
    """The part of `ports.Tx` about questions and reminders."""

    _tables: Any
    _undo: list[Callable[[], object]]
    _put: Callable[[dict[Any, Any], Any, Any], None]

    @property
    def _asked(self) -> QuestionTables:
        return self._tables.asked

    def get_question(self, question: ids.QuestionId) -> questions.Question | None:
        return self._asked.questions.get(question)

    def list_questions(
        self, *, asker: ids.PartyId | None = None, limit: int = 200
    ) -> list[questions.Question]:
        rows = self._asked.questions.values()
        return [row for row in rows if asker is None or row.asker == asker][::-1][:limit]

    def list_open_questions(self, limit: int = 1000) -> list[questions.Question]:
        return [row for row in self._asked.questions.values() if row.is_open][:limit]

    def list_expiring(self, limit: int) -> list[questions.Question]:
        timed = [
            (row.expires_at, row.id, row)
            for row in self._asked.questions.values()
            if row.is_open and row.expires_at is not None
        ]
        return [row for _, _, row in sorted(timed)[:limit]]

    def get_reminder(self, reminder: ids.ReminderId) -> reminders.Reminder | None:
        return self._asked.reminders.get(reminder)

    def list_reminders(
        self, agent: ids.AgentId | None = None, limit: int = 100
    ) -> list[reminders.Reminder]:
        waiting = [
            row
            for row in self._asked.reminders.values()
            if row.state is reminders.ReminderState.WAITING and agent in (None, row.agent)
        ]
        return sorted(waiting, key=lambda row: (row.due_at, row.id))[:limit]

    def insert_question(self, question: questions.Question) -> questions.Question:
        number = ids.QuestionId(self._next("question_id"))
        stored = dataclasses.replace(question, id=number)
        self._put(self._asked.questions, number, stored)
        return stored

    def update_question(self, question: questions.Question) -> None:
        if question.id not in self._asked.questions:
            raise errors.not_found(f"cannot change question {question.id}: there is none")
        self._put(self._asked.questions, question.id, question)

    def delete_questions(self, before: datetime.datetime, limit: int) -> int:
        rows = self._asked.questions.values()
        old = [row for row in rows if not row.is_open and row.changed_at < before]
        return self._drop("questions", sorted(old, key=lambda row: row.changed_at)[:limit])

    def insert_reminder(self, reminder: reminders.Reminder) -> reminders.Reminder:
        number = ids.ReminderId(self._next("reminder_id"))
        stored = dataclasses.replace(reminder, id=number)
        self._put(self._asked.reminders, number, stored)
        return stored

    def update_reminder(self, reminder: reminders.Reminder) -> None:
        if reminder.id not in self._asked.reminders:
            raise errors.not_found(f"cannot change reminder {reminder.id}: there is none")
        self._put(self._asked.reminders, reminder.id, reminder)

    def delete_reminders(self, before: datetime.datetime, limit: int) -> int:
        waiting = reminders.ReminderState.WAITING
        rows = self._asked.reminders.values()
        old = [row for row in rows if row.state is not waiting and row.changed_at < before]
        return self._drop("reminders", sorted(old, key=lambda row: row.changed_at)[:limit])

    def _next(self, counter: str) -> int:
        tables = self._asked
        number = getattr(tables, counter) + 1
        self._undo.append(lambda: setattr(tables, counter, number - 1))
        setattr(tables, counter, number)
        return number

    def _drop(self, name: str, old: list[Any]) -> int:
        tables, gone = self._asked, {row.id for row in old}
        before = getattr(tables, name)
        # A whole dict, because the order of the rows has to come back too.
        self._undo.append(lambda: setattr(tables, name, before))
        setattr(tables, name, {key: row for key, row in before.items() if key not in gone})
        return len(gone)
