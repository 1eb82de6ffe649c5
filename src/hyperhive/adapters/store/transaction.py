"""What a work may do on an SQLite connection: `ports.ReadTx` and `ports.Tx`."""

# ruff: noqa: D102 - the port says what each method does
from __future__ import annotations

import dataclasses
import datetime
import sqlite3
from collections.abc import Iterable, Sequence
from typing import Any, Final, NamedTuple

from hyperhive import ports
from hyperhive.adapters.store import (
    proposal_rows,
    queries,
    question_rows,
    rows,
    statistics_rows,
    unwritten,
)
from hyperhive.domain import agents, approvals, errors, events, ids, messages, turns

TURNS_REMEMBERED: Final = 4096


class SqliteReadTx(
    proposal_rows.ProposalReads, question_rows.QuestionReads, statistics_rows.StatisticsReads
):
    """A consistent view. Valid only while the work that was given it runs."""

    def __init__(self, connection: sqlite3.Connection) -> None:
        self._connection = connection
        self._execute = connection.execute

    def last_number(self) -> int:
        """See `ports.ReadTx`, as for all methods here."""
        return self._execute(queries.LAST_NUMBER).fetchone()[0] or 0

    def facts_after(self, number: int, limit: int) -> list[events.Fact]:
        return [rows.fact_out(r) for r in self._execute(queries.FACTS_AFTER, (number, limit))]

    def get_agent(self, agent: ids.AgentId) -> agents.Agent | None:
        row = self._execute(queries.GET_AGENT, (agent,)).fetchone()
        return None if row is None else rows.agent_out(row)

    def find_agent(self, name: str) -> agents.Agent | None:
        row = self._execute(queries.FIND_AGENT, (name,)).fetchone()
        return None if row is None else rows.agent_out(row)

    def list_agents(self) -> list[agents.Agent]:
        return [rows.agent_out(row) for row in self._execute(queries.LIST_AGENTS)]

    def get_message(self, message: ids.MessageId) -> messages.Message | None:
        row = self._execute(queries.GET_MESSAGE, (message,)).fetchone()
        return None if row is None else rows.message_out(row)

    def find_message_by_key(self, sender: ids.PartyId, key: str) -> messages.Message | None:
        row = self._execute(queries.FIND_MESSAGE_BY_KEY, (sender, key)).fetchone()
        return None if row is None else rows.message_out(row)

    def count_queued(self, recipient: ids.PartyId) -> int:
        return self._execute(queries.COUNT_QUEUED, (recipient,)).fetchone()[0]

    def list_messages(
        self,
        *,
        recipient: ids.PartyId | None = None,
        states: Iterable[messages.MessageState] | None = None,
        before: ids.MessageId | None = None,
        limit: int = 100,
    ) -> list[messages.Message]:
        wanted = None if states is None else frozenset(states)
        if wanted is not None and not wanted:
            return []
        bound: list[Any] = [value for value in (recipient, before) if value is not None]
        query = queries.list_messages(recipient is not None, wanted, before is not None)
        return [rows.message_out(row) for row in self._execute(query, (*bound, limit))]

    def get_approval(self, approval: ids.ApprovalId) -> approvals.Approval | None:
        row = self._execute(queries.GET_APPROVAL, (approval,)).fetchone()
        return None if row is None else rows.approval_out(row)

    def list_approvals(
        self,
        *,
        states: Iterable[approvals.ApprovalState] | None = None,
        limit: int = 200,
    ) -> list[approvals.Approval]:
        wanted = None if states is None else frozenset(states)
        if wanted is not None and not wanted:
            return []
        query = queries.list_approvals(wanted)
        return [rows.approval_out(row) for row in self._execute(query, (limit,))]

    def get_turn(self, turn: ids.TurnId) -> turns.Turn | None:
        row = self._execute(queries.GET_TURN, (turn,)).fetchone()
        return None if row is None else rows.turn_out(row)

    def list_turns(self, agent: ids.AgentId, limit: int = 50) -> list[turns.Turn]:
        return [rows.turn_out(row) for row in self._execute(queries.LIST_TURNS, (agent, limit))]

    def get_value(self, key: str) -> Any | None:
        row = self._execute(queries.GET_VALUE, (key,)).fetchone()
        return None if row is None else rows.json_out(row[0])

    def list_values(self, prefix: str) -> dict[str, Any]:
        # A range, not LIKE: a prefix may hold the wildcards _ and %.
        found = self._execute(queries.LIST_VALUES, (prefix, prefix + "\U0010ffff"))
        return {key: rows.json_out(text) for key, text in found}


class Lookups:
    """Rows that nearly every work looks up, as last seen by the only thread that writes."""

    def __init__(self) -> None:
        self.agents: dict[str, agents.Agent] = {}
        self.turns: dict[ids.TurnId, turns.Turn] = {}
        self.last_message: int | None = None

    def forget(self) -> None:
        """Look everything up again: something was undone."""
        self.agents.clear()
        self.turns.clear()
        self.last_message = None


class Mark(NamedTuple):
    """How much a group had added at some moment."""

    number: int
    topics: int
    facts: int
    mail: int


class SqliteTx(
    SqliteReadTx,
    proposal_rows.ProposalWrites,
    question_rows.QuestionWrites,
    statistics_rows.StatisticsWrites,
):
    """One group of works on the writer's connection.

    Facts and new messages are numbered at once and written together, at the latest by `flush`.
    ``number`` and ``topics`` are what has to be announced after it; ``weight`` is how many
    characters of unbounded text were written.
    """

    def __init__(
        self,
        connection: sqlite3.Connection,
        clock: ports.Clock,
        number: int,
        lookups: Lookups,
    ) -> None:
        super().__init__(connection)
        self._clock = clock
        self._lookups = lookups
        self._unwritten = unwritten.Unwritten(self._execute)
        self._free_keys: set[tuple[ids.PartyId, str]] = set()
        self.number = number
        self.topics: list[events.Topic] = []
        self.weight = 0

    def mark(self) -> Mark:
        """A place to `rewind` to."""
        kept = self._unwritten
        return Mark(self.number, len(self.topics), len(kept.facts), len(kept.mail))

    def rewind(self, mark: Mark) -> None:
        """Forget what was added since *mark*; what went to the connection is not undone."""
        self.number = mark.number
        del self.topics[mark.topics :]
        self._unwritten.rewind(mark.facts, mark.mail)
        self._lookups.forget()

    def flush(self) -> None:
        """Write what was kept back. It may raise what a work would have raised."""
        self._unwritten.write()

    def last_number(self) -> int:
        return self.number

    def facts_after(self, number: int, limit: int) -> list[events.Fact]:
        found = super().facts_after(number, limit)
        fresh = [row for row in self._unwritten.facts if row[0] > number]
        return found + [rows.fact_out(row) for row in fresh[: max(0, limit - len(found))]]

    def find_agent(self, name: str) -> agents.Agent | None:
        found = self._lookups.agents.get(name)
        if found is None:
            found = super().find_agent(name)
            if found is not None:
                self._lookups.agents[name] = found
        return found

    def get_turn(self, turn: ids.TurnId) -> turns.Turn | None:
        found = self._lookups.turns.get(turn)
        if found is None:
            found = super().get_turn(turn)
            if found is not None:
                if len(self._lookups.turns) >= TURNS_REMEMBERED:
                    self._lookups.turns.clear()
                self._lookups.turns[turn] = found
        return found

    def record(self, event: events.Event) -> int:
        self.number += 1
        self._unwritten.facts.append(rows.fact_in(self.number, self._clock.now(), event))
        self.topics.extend(event.topics)
        self.weight += len(event.text)
        return self.number

    def insert_agent(self, agent: agents.Agent) -> None:
        try:
            self._execute(queries.INSERT_AGENT, rows.agent_in(agent))
        except sqlite3.IntegrityError as error:
            raise errors.conflict(
                f"cannot create agent {agent.name}: that name, id or slot exists; choose another"
            ) from error

    def update_agent(self, agent: agents.Agent) -> None:
        number, *settings = rows.agent_in(agent)
        if self._execute(queries.UPDATE_AGENT, (*settings, number)).rowcount != 1:
            raise errors.not_found(f"cannot change agent {agent.name}: no agent has id {agent.id}")
        # All of them: this one may have had another name.
        self._lookups.agents.clear()

    def next_slot(self) -> int:
        # Fetched to the end: an open RETURNING statement would hold the commit back.
        return self._execute(queries.NEXT_SLOT).fetchall()[0][0]

    def get_message(self, message: ids.MessageId) -> messages.Message | None:
        return self._unwritten.mail.get(message) or super().get_message(message)

    def find_message_by_key(self, sender: ids.PartyId, key: str) -> messages.Message | None:
        if (sender, key) in self._free_keys:
            return None
        found = self._unwritten.find_message_by_key(sender, key)
        if found is None:
            found = super().find_message_by_key(sender, key)
        if found is None:
            self._free_keys.add((sender, key))
        return found

    def oldest_queued(self, recipient: ids.PartyId) -> datetime.datetime | None:
        self._unwritten.write_mail()
        return super().oldest_queued(recipient)

    def count_queued(self, recipient: ids.PartyId) -> int:
        self._unwritten.write_mail()
        return super().count_queued(recipient)

    def list_messages(
        self,
        *,
        recipient: ids.PartyId | None = None,
        states: Iterable[messages.MessageState] | None = None,
        before: ids.MessageId | None = None,
        limit: int = 100,
    ) -> list[messages.Message]:
        self._unwritten.write_mail()
        return super().list_messages(recipient=recipient, states=states, before=before, limit=limit)

    def insert_message(self, message: messages.Message) -> messages.Message:
        if message.key is not None:
            if self.find_message_by_key(message.sender, message.key) is not None:
                raise errors.conflict(
                    f"cannot send: {message.sender_name} has used the key {message.key!r} before"
                )
            self._free_keys.discard((message.sender, message.key))
        stored = rows.message_with_id(message, self._next_message())
        self._unwritten.add_message(stored)
        if stored.state is not messages.MessageState.QUEUED:
            self._unwritten.write_mail()
        self.weight += len(stored.body)
        return stored

    def _next_message(self) -> int:
        last = self._lookups.last_message
        if last is None:
            self._unwritten.write_mail()
            row = self._execute(queries.LAST_MESSAGE).fetchone()
            last = 0 if row is None else row[0]
        self._lookups.last_message = last + 1
        return last + 1

    def lease_messages(
        self, recipient: ids.PartyId, lease: ids.TurnId, at: datetime.datetime, limit: int
    ) -> list[messages.Message]:
        if self._unwritten.has_mail_for(recipient):
            self._unwritten.write_mail()
        queued = self._execute(queries.NEXT_QUEUED, (recipient, limit)).fetchall()
        leased = [rows.message_leased(row, lease, at) for row in queued]
        self.update_messages(leased)
        return leased

    def list_leased(
        self, *, lease: ids.TurnId | None = None, recipient: ids.PartyId | None = None
    ) -> list[messages.Message]:
        if lease is not None and recipient is not None:
            found = self._execute(queries.LIST_LEASED_BY_TO, (lease, recipient))
        elif lease is not None:
            found = self._execute(queries.LIST_LEASED_BY, (lease,))
        elif recipient is not None:
            found = self._execute(queries.LIST_LEASED_TO, (recipient,))
        else:
            found = sorted(self._execute(queries.LIST_LEASED))
        return [rows.message_out(row) for row in found]

    def update_messages(self, changed: Sequence[messages.Message]) -> None:
        bound = [
            (m.state.value, m.deliveries, m.lease, rows.time_in(m.changed_at), m.id)
            for m in changed
        ]
        if not bound:
            return
        self._unwritten.write_mail()
        if self._connection.executemany(queries.UPDATE_MESSAGE, bound).rowcount != len(bound):
            numbers = ", ".join(str(message.id) for message in changed)
            raise errors.not_found(f"cannot change messages {numbers}: not all of them exist")

    def delete_facts(self, up_to: int, limit: int) -> int:
        # The newest stays, also in an otherwise quiet hive: the next number is found from it.
        written = super().last_number()
        bound = (min(up_to, written - 1), limit)
        return self._execute(queries.DELETE_FACTS, bound).rowcount

    def delete_handled(self, before: datetime.datetime, limit: int) -> int:
        return self._execute(queries.DELETE_HANDLED, (rows.time_in(before), limit)).rowcount

    def delete_turns(self, agent: ids.AgentId, before: datetime.datetime, limit: int) -> int:
        self._lookups.turns.clear()
        bound = (agent, limit, rows.time_in(before), agent)
        return self._execute(queries.DELETE_TURNS, bound).rowcount

    def insert_approval(self, approval: approvals.Approval) -> approvals.Approval:
        number = self._execute(queries.INSERT_APPROVAL, rows.approval_in(approval)).lastrowid
        assert number is not None  # an INSERT that did not raise has a row id
        return dataclasses.replace(approval, id=ids.ApprovalId(number))

    def adopt_approval(self, approval: approvals.Approval) -> None:
        bound = (approval.id, *rows.approval_in(approval))
        try:
            self._execute(queries.ADOPT_APPROVAL, bound)
        except sqlite3.IntegrityError as error:
            raise errors.conflict(f"cannot adopt approval {approval.id}: it exists") from error

    def update_approval(self, approval: approvals.Approval) -> None:
        bound = (*rows.approval_in(approval), approval.id)
        if self._execute(queries.UPDATE_APPROVAL, bound).rowcount != 1:
            raise errors.not_found(f"cannot change approval {approval.id}: there is none")

    def insert_turn(self, turn: turns.Turn) -> None:
        try:
            self._execute(queries.INSERT_TURN, rows.turn_in(turn))
        except sqlite3.IntegrityError as error:
            raise errors.conflict(f"cannot open turn {turn.id}: it exists") from error
        self._count_ended(turn)

    def update_turn(self, turn: turns.Turn) -> None:
        before = self.get_turn(turn.id)
        if before is not None and before.ended_at is None:
            self._count_ended(turn)
        number, *settings = rows.turn_in(turn)
        if self._execute(queries.UPDATE_TURN, (*settings, number)).rowcount != 1:
            raise errors.not_found(f"cannot change turn {turn.id}: there is none")
        self._lookups.turns.pop(turn.id, None)

    def put_value(self, key: str, value: Any) -> None:
        text = rows.json_in(value)
        self.weight += len(text)
        self._execute(queries.PUT_VALUE, (key, text))

    def delete_value(self, key: str) -> None:
        self._execute(queries.DELETE_VALUE, (key,))
