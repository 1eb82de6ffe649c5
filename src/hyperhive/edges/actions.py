"""The operator's verbs by name, for the page and the admin socket alike."""

from __future__ import annotations

from collections.abc import AsyncIterator
from typing import Any

from hyperhive.domain import access, errors
from hyperhive.edges import action_table, params
from hyperhive.edges.action_verbs import Deps

__all__ = ["Actions", "Deps"]


class Actions:
    """Checks who asks and what for, then does it."""

    def __init__(self, deps: Deps) -> None:
        self._deps = deps

    async def call(self, caller: access.Caller, name: str, given: dict[str, Any]) -> Any:
        """Do one verb and return JSON.

        `HiveError` NOT_FOUND for an unknown verb, INVALID for one that streams and
        for parameters that do not fit, FORBIDDEN unless the operator calls.
        """
        action = _find(caller, name)
        if isinstance(action, action_table.Stream):
            raise errors.invalid(f"cannot {name}: it answers as a stream, which is not for here")
        return await action.run(self._deps, caller, params.convert(action.params, given, name))

    async def stream(
        self, caller: access.Caller, name: str, given: dict[str, Any]
    ) -> AsyncIterator[Any]:
        """Follow one verb; each item is a JSON object. Refuses like `call`."""
        action = _find(caller, name)
        if isinstance(action, action_table.Action):
            raise errors.invalid(f"cannot follow {name}: it answers once")
        events = action.run(self._deps, caller, params.convert(action.params, given, name))
        async for event in events:
            yield event


def streams(name: str) -> bool:
    """Whether the verb of that name answers as a stream; unknown ones do not."""
    return isinstance(action_table.BY_NAME.get(name), action_table.Stream)


def _find(caller: access.Caller, name: str) -> action_table.Action | action_table.Stream:
    access.require(caller, access.Right.OPERATOR, "act for the operator")
    action = action_table.BY_NAME.get(name)
    if action is None:
        raise errors.not_found(
            f"cannot {name[:32]!r}: there is no such verb; there are "
            f"{', '.join(sorted(action_table.BY_NAME))}"
        )
    return action
