"""What the page needs from the rest of the daemon, as Protocols.

The page decides nothing: verbs go through the one action layer that the admin
socket uses too, and pictures come from the overview service.
"""

from __future__ import annotations

from collections.abc import AsyncIterator, Mapping
from typing import Any, Protocol

from hyperhive.domain import access


class Actions(Protocol):
    """The operator's verbs by name, shared with the admin socket."""

    async def call(self, caller: access.Caller, name: str, given: dict[str, Any]) -> Any:
        """Do one verb and return JSON; `HiveError` NOT_FOUND for an unknown verb."""
        ...

    def stream(
        self, caller: access.Caller, name: str, given: dict[str, Any]
    ) -> AsyncIterator[dict[str, Any]]:
        """Follow one verb (``logs``); each item is a JSON object."""
        ...


class Overview(Protocol):
    """The whole picture, and what changed since a number."""

    async def snapshot(self) -> Mapping[str, Any]:
        """``{"number", "hive", "agents", "messages", "approvals", "inbox",
        "questions"}``, from one read."""
        ...

    async def updates_after(self, number: int) -> Mapping[str, Any] | None:
        """The next facts after *number* with the rows they name; None when there are none."""
        ...

    async def wait(self, number: int) -> object:
        """Return once there is a fact with a greater number."""
        ...


class Log(Protocol):
    """The structured log: one event name, then fields."""

    def error(self, event: str, **fields: Any) -> Any:
        """Log a bug; ``exc_info`` carries the exception."""
        ...
