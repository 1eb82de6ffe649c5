"""State machines as data: a table says every edge, and says no to the rest."""

from __future__ import annotations

import enum
from collections.abc import Mapping
from typing import TypeVar

from hyperhive.domain import errors

State = TypeVar("State", bound=enum.Enum)
Action = TypeVar("Action", bound=enum.Enum)


def advance(
    table: Mapping[tuple[State, Action], State], state: State, action: Action, what: str
) -> State:
    """Return the state after *action*; `HiveError` CONFLICT when the table has no such edge.

    *what* names the thing for the message, e.g. ``"approval 17"``.
    """
    following = table.get((state, action))
    if following is None:
        raise errors.conflict(f"cannot {action.value} {what}: it is {state.value}")
    return following
