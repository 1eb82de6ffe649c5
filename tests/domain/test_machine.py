"""A table says yes to its edges and no to everything else."""

from __future__ import annotations

import itertools

import pytest

from hyperhive.domain import agents, approvals, errors, machine, messages

MACHINES = [
    (agents.TABLE, agents.Phase, agents.Move),
    (messages.TABLE, messages.MessageState, messages.Move),
    (approvals.TABLE, approvals.ApprovalState, approvals.Decision),
]


@pytest.mark.parametrize(("table", "states", "moves"), MACHINES)
def test_every_pair_is_an_edge_or_a_conflict(table, states, moves):
    for state, move in itertools.product(states, moves):
        if (state, move) in table:
            assert machine.advance(table, state, move, "it") is table[state, move]
        else:
            with pytest.raises(errors.HiveError, match=f"it is {state.value}") as caught:
                machine.advance(table, state, move, "it")
            assert caught.value.kind is errors.ErrorKind.CONFLICT
