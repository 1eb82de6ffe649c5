"""Every state machine is a whole: each state can be reached and each live one has an owner."""

from __future__ import annotations

import enum
from collections.abc import Mapping
from typing import Any

import pytest

from hyperhive.domain import (
    agents,
    approvals,
    errors,
    machine,
    messages,
    proposals,
    questions,
    reminders,
)

MACHINES = {
    "agents": (agents.TABLE, agents.OWNERS, agents.Phase.SPAWNING),
    "approvals": (approvals.TABLE, approvals.OWNERS, approvals.ApprovalState.PENDING),
    "builds": (proposals.BUILD_TABLE, proposals.BUILD_OWNERS, proposals.BuildState.IMPORTING),
    "messages": (messages.TABLE, messages.OWNERS, messages.MessageState.QUEUED),
    "questions": (questions.TABLE, questions.OWNERS, questions.QuestionState.OPEN),
    "reminders": (reminders.TABLE, reminders.OWNERS, reminders.ReminderState.WAITING),
}
Table = Mapping[tuple[enum.Enum, enum.Enum], enum.Enum]
every_machine = pytest.mark.parametrize(
    ("table", "owners", "first"), MACHINES.values(), ids=MACHINES
)


@every_machine
def test_every_state_that_is_not_final_has_an_owner_and_no_final_one_has(
    table: Table, owners: Mapping[enum.Enum, str], first: enum.Enum
) -> None:
    live = {state for state, _ in table}
    assert set(owners) == live
    assert all(owner.strip() for owner in owners.values())


@every_machine
def test_every_state_is_reachable(table: Table, owners: Any, first: enum.Enum) -> None:
    reached = {first}
    while True:
        further = {to for (state, _), to in table.items() if state in reached} - reached
        if not further:
            break
        reached |= further
    assert reached == set(type(first))


@every_machine
def test_every_move_is_used(table: Table, owners: Any, first: enum.Enum) -> None:
    moves = {move for _, move in table}
    assert moves == set(type(next(iter(moves))))


@every_machine
def test_what_the_table_lacks_is_a_conflict_that_names_the_state(
    table: Table, owners: Any, first: enum.Enum
) -> None:
    moves = type(next(iter(table))[1])
    refused = 0
    for state in type(first):
        for move in moves:
            if (state, move) in table:
                assert machine.advance(table, state, move, "it") is table[state, move]
                continue
            with pytest.raises(errors.HiveError, match=state.value) as caught:
                machine.advance(table, state, move, "it")
            assert caught.value.kind is errors.ErrorKind.CONFLICT
            refused += 1
    assert refused > 0


def test_live_approvals_are_those_with_an_owner() -> None:
    assert set(approvals.OWNERS) == approvals.LIVE
