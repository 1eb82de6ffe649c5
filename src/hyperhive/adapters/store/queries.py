"""All SQL of the facts, in one place, each with the index that serves it.

``tests/golden/test_queries.py`` explains every constant and refuses a scan.
What varies is only which of a few shapes is used; values are always bound.
"""

# ruff: noqa: S608 - what is put into a query are the constants of this file
from __future__ import annotations

import functools
from typing import Final

from hyperhive.domain import approvals, messages

_FACT: Final = "number, at, kind, agent, message, approval, turn, text, topics, question"
_AGENT: Final = (
    "id, name, role, slot, created_at, wanted, epoch, phase, phase_since, phase_note, "
    "running_epoch, sandbox_boot_id, sandbox_pid, sandbox_start_time, crashes, retry_at, "
    "turn_state, turn_since, turn_note, status, model, session_id, session_started, start_reason"
)
_MESSAGE: Final = (
    "id, sender, sender_name, recipient, recipient_name, type, body, in_reply_to, key, sent_at, "
    "state, deliveries, lease, changed_at"
)
_APPROVAL: Final = (
    "id, kind, agent_name, agent_id, description, requested_by, requested_by_name, requested_at, "
    "state, digest, decided_by, decided_via, decided_at, note, changed_at"
)
_TURN: Final = (
    "id, agent, started_at, ended_at, outcome, note, woke_by, model, tool_calls, input_tokens, "
    "output_tokens, cache_read_tokens, cache_write_tokens, cost_usd, context_tokens, kind"
)


def _insert(table: str, columns: str) -> str:
    marks = ", ".join("?" for _ in columns.split(","))
    return f"INSERT INTO {table} ({columns}) VALUES ({marks})"


def _update(table: str, columns: str) -> str:
    """Every column but the leading id is set; the id is bound last."""
    settings = ", ".join(f"{column.strip()} = ?" for column in columns.split(",")[1:])
    return f"UPDATE {table} SET {settings} WHERE id = ?"


def _without_id(columns: str) -> str:
    return columns.removeprefix("id, ")


LAST_NUMBER: Final = "SELECT max(number) FROM facts"
FACTS_AFTER: Final = f"SELECT {_FACT} FROM facts WHERE number > ? ORDER BY number LIMIT ?"
RECORD: Final = _insert("facts", _FACT)
DELETE_FACTS: Final = (
    "DELETE FROM facts WHERE number IN "
    "(SELECT number FROM facts WHERE number <= ? ORDER BY number LIMIT ?)"
)

GET_AGENT: Final = f"SELECT {_AGENT} FROM agents WHERE id = ?"
FIND_AGENT: Final = f"SELECT {_AGENT} FROM agents WHERE name = ?"
LIST_AGENTS: Final = f"SELECT {_AGENT} FROM agents ORDER BY role <> 'manager', name"
INSERT_AGENT: Final = _insert("agents", _AGENT)
UPDATE_AGENT: Final = _update("agents", _AGENT)
NEXT_SLOT: Final = (
    "INSERT INTO counters (name, value) VALUES ('slot', 1) "
    "ON CONFLICT (name) DO UPDATE SET value = value + 1 RETURNING value"
)

GET_MESSAGE: Final = f"SELECT {_MESSAGE} FROM messages WHERE id = ?"
FIND_MESSAGE_BY_KEY: Final = f"SELECT {_MESSAGE} FROM messages WHERE sender = ? AND key = ?"
COUNT_QUEUED: Final = "SELECT count(*) FROM messages WHERE recipient = ? AND state = 'queued'"
LAST_MESSAGE: Final = "SELECT seq FROM sqlite_sequence WHERE name = 'messages'"
INSERT_MESSAGE: Final = _insert("messages", _MESSAGE)
UPDATE_MESSAGE: Final = (
    "UPDATE messages SET state = ?, deliveries = ?, lease = ?, changed_at = ? WHERE id = ?"
)
# Read, then updated by id: with UPDATE … RETURNING the same takes twice as long.
NEXT_QUEUED: Final = (
    f"SELECT {_MESSAGE} FROM messages WHERE recipient = ? AND state = 'queued' ORDER BY id LIMIT ?"
)
# Named, because the planner does not come upon it; sorted by the caller.
LIST_LEASED: Final = (
    f"SELECT {_MESSAGE} FROM messages INDEXED BY messages_leased WHERE state = 'leased'"
)
LIST_LEASED_BY: Final = (
    f"SELECT {_MESSAGE} FROM messages WHERE lease = ? AND state = 'leased' ORDER BY id"
)
LIST_LEASED_TO: Final = (
    f"SELECT {_MESSAGE} FROM messages WHERE recipient = ? AND state = 'leased' ORDER BY id"
)
LIST_LEASED_BY_TO: Final = (
    f"SELECT {_MESSAGE} FROM messages WHERE lease = ? AND recipient = ? AND state = 'leased' "
    "ORDER BY id"
)
DELETE_HANDLED: Final = (
    "DELETE FROM messages WHERE id IN (SELECT id FROM messages WHERE state = 'handled' "
    "AND changed_at < ? ORDER BY changed_at LIMIT ?)"
)

GET_APPROVAL: Final = f"SELECT {_APPROVAL} FROM approvals WHERE id = ?"
INSERT_APPROVAL: Final = _insert("approvals", _without_id(_APPROVAL))
ADOPT_APPROVAL: Final = _insert("approvals", _APPROVAL)
UPDATE_APPROVAL: Final = _update("approvals", _APPROVAL)

GET_TURN: Final = f"SELECT {_TURN} FROM turns WHERE id = ?"
LIST_TURNS: Final = f"SELECT {_TURN} FROM turns WHERE agent = ? ORDER BY rowid DESC LIMIT ?"
INSERT_TURN: Final = _insert("turns", _TURN)
UPDATE_TURN: Final = _update("turns", _TURN)
# Turns of an agent end in the order of their rows, so the oldest are enough to look at.
DELETE_TURNS: Final = (
    "DELETE FROM turns WHERE rowid IN (SELECT rowid FROM turns WHERE agent = ? "
    "ORDER BY rowid LIMIT ?) AND ended_at < ? "
    "AND rowid < (SELECT max(rowid) FROM turns WHERE agent = ?) "
    "AND NOT EXISTS (SELECT 1 FROM messages WHERE lease = turns.id AND state = 'leased')"
)

GET_VALUE: Final = "SELECT value FROM named_values WHERE key = ?"
LIST_VALUES: Final = "SELECT key, value FROM named_values WHERE key >= ? AND key < ? ORDER BY key"
PUT_VALUE: Final = (
    "INSERT INTO named_values (key, value) VALUES (?, ?) "
    "ON CONFLICT (key) DO UPDATE SET value = excluded.value"
)
DELETE_VALUE: Final = "DELETE FROM named_values WHERE key = ?"


@functools.cache
def together(insert: str, count: int) -> str:
    """*insert* for *count* rows in one statement."""
    head, marks = insert.split(" VALUES ")
    return f"{head} VALUES {', '.join([marks] * count)}"


@functools.cache
def list_messages(
    of_recipient: bool, states: frozenset[messages.MessageState] | None, before: bool
) -> str:
    """Newest messages first. Bind recipient, before (where asked for) and the limit.

    States are written out and not bound: only then may a partial index serve them.
    """
    conditions: list[str] = []
    if of_recipient:
        conditions.append("recipient = ?")
    if before:
        conditions.append("id < ?")
    if states is not None:
        conditions.append(_one_of(sorted(state.value for state in states)))
    where = f"WHERE {' AND '.join(conditions)} " if conditions else ""
    return f"SELECT {_MESSAGE} FROM messages {where}ORDER BY id DESC LIMIT ?"


@functools.cache
def list_approvals(states: frozenset[approvals.ApprovalState] | None) -> str:
    """Newest approvals first. Bind the limit."""
    where = ""
    if states is not None:
        where = f"WHERE {_one_of(sorted(state.value for state in states))} "
    return f"SELECT {_APPROVAL} FROM approvals {where}ORDER BY id DESC LIMIT ?"


def _one_of(values: list[str]) -> str:
    """*values* are members of our own enums, never input."""
    if len(values) == 1:
        return f"state = '{values[0]}'"
    listed = ", ".join(f"'{value}'" for value in values)
    return f"state IN ({listed})"
