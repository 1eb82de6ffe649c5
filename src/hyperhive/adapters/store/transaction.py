"""What a work may do on an SQLite connection: `ports.ReadTx` and `ports.Tx`."""

# ruff: noqa: D102 - the port says what each method does
from __future__ import annotations

import dataclasses
import datetime
import itertools
import sqlite3
from collections.abc import Iterable, Sequence
from typing import Any, Final

from hyperhive import ports
from hyperhive.adapters.store import proposal_rows, queries, rows
from hyperhive.domain import agents, approvals, errors, events, ids, messages, turns

TURNS_REMEMBERED: Final = 4096


class SqliteReadTx(proposal_rows.ProposalReads):
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

    def forget(self) -> None:
        """Look everything up again: something was undone."""
        self.agents.clear()
        self.turns.clear()


class SqliteTx(SqliteReadTx, proposal_rows.ProposalWrites):
    """One group of works on the writer's connection.

    Facts are numbered at once and written together by `flush`, before the commit.
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
        self._facts: list[rows.Row] = []
        self.number = number
        self.topics: list[events.Topic] = []
        self.weight = 0

    def mark(self) -> tuple[int, int]:
        """A place to `rewind` to."""
        return self.number, len(self.topics)

    def rewind(self, mark: tuple[int, int]) -> None:
        """Forget what was recorded since *mark*; what went to the connection is not undone."""
        number, topics = mark
        dropped = self.number - number
        self.number = number
        del self.topics[topics:]
        if dropped:
            del self._facts[-dropped:]
        self._lookups.forget()

    def flush(self) -> None:
        """Write the facts that were recorded."""
        together = queries.FACTS_TOGETHER
        whole = len(self._facts) // together * together
        for first in range(0, whole, together):
            bound = itertools.chain.from_iterable(self._facts[first : first + together])
            self._execute(queries.RECORD_TOGETHER, tuple(bound))
        if whole < len(self._facts):
            self._connection.executemany(queries.RECORD, self._facts[whole:])
        self._facts.clear()

    def last_number(self) -> int:
        return self.number

    def facts_after(self, number: int, limit: int) -> list[events.Fact]:
        found = super().facts_after(number, limit)
        fresh = [row for row in self._facts if row[0] > number]
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
        self._facts.append(rows.fact_in(self.number, self._clock.now(), event))
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

    def insert_message(self, message: messages.Message) -> messages.Message:
        try:
            cursor = self._execute(queries.INSERT_MESSAGE, rows.message_in(message))
        except sqlite3.IntegrityError as error:
            raise errors.conflict(
                f"cannot send: {message.sender_name} has used the key {message.key!r} before"
            ) from error
        self.weight += len(message.body)
        number = cursor.lastrowid
        assert number is not None  # an INSERT that did not raise has a row id
        return rows.message_with_id(message, number)

    def lease_messages(
        self, recipient: ids.PartyId, lease: ids.TurnId, at: datetime.datetime, limit: int
    ) -> list[messages.Message]:
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

    def update_approval(self, approval: approvals.Approval) -> None:
        bound = (*rows.approval_in(approval), approval.id)
        if self._execute(queries.UPDATE_APPROVAL, bound).rowcount != 1:
            raise errors.not_found(f"cannot change approval {approval.id}: there is none")

    def insert_turn(self, turn: turns.Turn) -> None:
        try:
            self._execute(queries.INSERT_TURN, rows.turn_in(turn))
        except sqlite3.IntegrityError as error:
            raise errors.conflict(f"cannot open turn {turn.id}: it exists") from error

    def update_turn(self, turn: turns.Turn) -> None:
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
