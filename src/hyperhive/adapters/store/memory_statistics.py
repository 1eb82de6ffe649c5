"""What turns add up to, in memory: the twin of `statistics_rows`."""

# ruff: noqa: D102 - the port says what each method does
from __future__ import annotations

import collections
import datetime
from collections.abc import Callable, Iterable
from typing import Any

from hyperhive.domain import approvals, ids, messages, proposals, statistics, turns

Totals = dict[tuple[str, str, str], statistics.TurnSum]


def add(totals: Totals, found: Iterable[turns.Turn]) -> Totals:
    """*totals* with *found*, in the order of their keys."""
    for turn in found:
        key = turn.agent, turn.model, turn.outcome.value
        totals[key] = statistics.add_turn(totals.get(key), turn)
    return dict(sorted(totals.items()))


class MemoryStatistics:
    """The part of `ports.Tx` about what there is of things."""

    _tables: Any
    _put: Callable[[dict[Any, Any], Any, Any], None]

    def sum_turns(
        self, since: datetime.datetime, agent: ids.AgentId | None = None
    ) -> list[statistics.TurnSum]:
        return list(add({}, self._since(since, agent)).values())

    def measure_turns(
        self, since: datetime.datetime, agent: ids.AgentId | None = None
    ) -> list[statistics.Spread]:
        lost = turns.Outcome.LOST
        return statistics.measure(
            (turn.agent, turn.model, (turn.ended_at - turn.started_at).total_seconds())
            for turn in self._since(since, agent)
            if turn.ended_at is not None and turn.outcome is not lost
        )

    def count_wakers(
        self, since: datetime.datetime, agent: ids.AgentId | None = None
    ) -> list[statistics.Waker]:
        found = collections.Counter(
            (turn.agent, turn.model, turn.woke_by) for turn in self._since(since, agent)
        )
        wakers = [statistics.Waker(*key, count) for key, count in found.items()]
        return sorted(wakers, key=lambda one: (one.agent, one.model, -one.turns, one.name))

    def turn_totals(self) -> list[statistics.TurnSum]:
        return [total for _, total in sorted(self._tables.totals.items())]

    def oldest_queued(self, recipient: ids.PartyId) -> datetime.datetime | None:
        queued = messages.MessageState.QUEUED
        rows: Iterable[messages.Message] = self._tables.messages.values()
        found = (row for row in rows if row.recipient == recipient and row.state is queued)
        first = next(found, None)
        return None if first is None else first.sent_at

    def count_approvals(self, state: approvals.ApprovalState) -> int:
        return sum(row.state is state for row in self._tables.approvals.values())

    def count_builds(self, build: proposals.BuildState) -> int:
        return sum(row.build is build for row in self._tables.proposals.values())

    def count_steps(self, step: proposals.DeployStep) -> int:
        return sum(row.step is step for row in self._tables.proposals.values())

    def _count_ended(self, turn: turns.Turn) -> None:
        if turn.ended_at is not None:
            key = turn.agent, turn.model, turn.outcome.value
            self._put(
                self._tables.totals,
                key,
                statistics.add_turn(self._tables.totals.get(key), turn),
            )

    def _since(self, since: datetime.datetime, agent: ids.AgentId | None) -> Iterable[turns.Turn]:
        rows: Iterable[turns.Turn] = self._tables.turns.values()
        return [
            row for row in rows if row.started_at >= since and (agent is None or row.agent == agent)
        ]
