"""What turns add up to, in SQLite: queries, rows, and the methods of a transaction.

Sums are made by the database, so that a month of turns comes as a few rows. Nothing here is asked
for by a loop: only when somebody looks at the statistics.
"""

# ruff: noqa: D102, S608 - the port says what each method does; only constants go into queries
from __future__ import annotations

import datetime
import functools
import sqlite3
from collections.abc import Callable
from typing import Final

from hyperhive.adapters.store import rows
from hyperhive.domain import approvals, ids, proposals, statistics, turns

_SUMS: Final = (
    "count(*), coalesce(sum(ended_at - started_at), 0), sum(tool_calls), sum(input_tokens), "
    "sum(output_tokens), sum(cache_read_tokens), sum(cache_write_tokens), sum(cost_usd), "
    "max(context_tokens)"
)
_TOTAL: Final = (
    "agent, model, outcome, turns, microseconds, tool_calls, input_tokens, output_tokens, "
    "cache_read_tokens, cache_write_tokens, cost_usd, context_tokens"
)
_ADDED: Final = ", ".join(
    f"{column} = {column} + excluded.{column}"
    for column in (
        "turns", "microseconds", "tool_calls", "input_tokens", "output_tokens",
        "cache_read_tokens", "cache_write_tokens", "cost_usd",
    )
)  # fmt: skip

TURN_TOTALS: Final = f"SELECT {_TOTAL} FROM turn_totals ORDER BY agent, model, outcome"
ADD_TURN: Final = (
    f"INSERT INTO turn_totals ({_TOTAL}) VALUES ({', '.join('?' * 12)}) "
    f"ON CONFLICT (agent, model, outcome) DO UPDATE SET {_ADDED}, "
    "context_tokens = max(context_tokens, excluded.context_tokens)"
)
OLDEST_QUEUED: Final = (
    "SELECT sent_at FROM messages WHERE recipient = ? AND state = 'queued' ORDER BY id LIMIT 1"
)
COUNT_APPROVALS: Final = "SELECT count(*) FROM approvals WHERE state = ?"
COUNT_BUILDS: Final = "SELECT count(*) FROM proposals WHERE build = ?"
COUNT_STEPS: Final = "SELECT count(*) FROM proposals WHERE step = ?"


def _chosen(of_agent: bool) -> str:
    """The index is named: of all agents, the planner would rather group than choose by time."""
    if of_agent:
        return "FROM turns INDEXED BY turns_by_agent WHERE agent = ? AND started_at >= ?"
    return "FROM turns INDEXED BY turns_by_start WHERE started_at >= ?"


@functools.cache
def sum_turns(of_agent: bool) -> str:
    """Bind the agent (where asked for) and the time."""
    return (
        f"SELECT agent, model, outcome, {_SUMS} {_chosen(of_agent)} "
        "GROUP BY agent, model, outcome ORDER BY agent, model, outcome"
    )


@functools.cache
def count_wakers(of_agent: bool) -> str:
    """Bind the agent (where asked for) and the time."""
    return (
        f"SELECT agent, model, woke_by, count(*) {_chosen(of_agent)} "
        "GROUP BY agent, model, woke_by ORDER BY agent, model, count(*) DESC, woke_by"
    )


@functools.cache
def turn_times(of_agent: bool) -> str:
    """Bind the agent (where asked for) and the time.

    Sorted by the reader: window functions take ten times as long for a month of turns.
    """
    return (
        f"SELECT agent, model, ended_at - started_at {_chosen(of_agent)} "
        "AND ended_at IS NOT NULL AND outcome <> 'lost'"
    )


def sum_out(row: rows.Row) -> statistics.TurnSum:
    """A sum from its row."""
    return statistics.TurnSum(
        agent=ids.AgentId(row[0]),
        model=row[1],
        outcome=turns.Outcome(row[2]),
        turns=row[3],
        seconds=row[4] / 1e6,
        tool_calls=row[5],
        usage=turns.Usage(*row[6:12]),
    )


class StatisticsReads:
    """The part of `ports.ReadTx` about what there is of things."""

    _execute: Callable[..., sqlite3.Cursor]
    """Of the connection."""

    def sum_turns(
        self, since: datetime.datetime, agent: ids.AgentId | None = None
    ) -> list[statistics.TurnSum]:
        return [sum_out(row) for row in self._of_turns(sum_turns(agent is not None), since, agent)]

    def measure_turns(
        self, since: datetime.datetime, agent: ids.AgentId | None = None
    ) -> list[statistics.Spread]:
        found = self._of_turns(turn_times(agent is not None), since, agent)
        return statistics.measure((ids.AgentId(row[0]), row[1], row[2] / 1e6) for row in found)

    def count_wakers(
        self, since: datetime.datetime, agent: ids.AgentId | None = None
    ) -> list[statistics.Waker]:
        found = self._of_turns(count_wakers(agent is not None), since, agent)
        return [statistics.Waker(ids.AgentId(row[0]), *row[1:]) for row in found]

    def turn_totals(self) -> list[statistics.TurnSum]:
        return [sum_out(row) for row in self._execute(TURN_TOTALS)]

    def oldest_queued(self, recipient: ids.PartyId) -> datetime.datetime | None:
        row = self._execute(OLDEST_QUEUED, (recipient,)).fetchone()
        return None if row is None else rows.time_out(row[0])

    def count_approvals(self, state: approvals.ApprovalState) -> int:
        return self._execute(COUNT_APPROVALS, (state.value,)).fetchone()[0]

    def count_builds(self, build: proposals.BuildState) -> int:
        return self._execute(COUNT_BUILDS, (build.value,)).fetchone()[0]

    def count_steps(self, step: proposals.DeployStep) -> int:
        return self._execute(COUNT_STEPS, (step.value,)).fetchone()[0]

    def _of_turns(
        self, query: str, since: datetime.datetime, agent: ids.AgentId | None
    ) -> sqlite3.Cursor:
        moment = rows.time_in(since)
        return self._execute(query, (moment,) if agent is None else (agent, moment))


class StatisticsWrites(StatisticsReads):
    """The part of `ports.Tx` that keeps the totals."""

    def _count_ended(self, turn: turns.Turn) -> None:
        """Add a turn that has ended to the totals."""
        if turn.ended_at is None:
            return
        took = rows.time_in(turn.ended_at) - rows.time_in(turn.started_at)
        usage = turn.usage
        self._execute(
            ADD_TURN,
            (
                turn.agent, turn.model, turn.outcome.value, 1, took, turn.tool_calls,
                usage.input_tokens, usage.output_tokens, usage.cache_read_tokens,
                usage.cache_write_tokens, usage.cost_usd, usage.context_tokens,
            ),
        )  # fmt: skip
