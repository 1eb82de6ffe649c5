"""The admin socket: ``{"id", "version", "verb", "args"}`` a line, by anyone the file lets in.

The file is the guard: mode 0660, owned by the daemon and by the group that the
host's settings name. Who connected is recorded with everything that is done.
"""

from __future__ import annotations

import grp
import pathlib
from collections.abc import Mapping
from typing import Annotated, Any, Final

import msgspec

from hyperhive.domain import access, errors
from hyperhive.edges import actions, json_lines, params

VERSION: Final = 1
CONNECTIONS_MAX: Final = 64
LINGER_SECONDS: Final = 5.0
ANSWER_MAX: Final = 64 * 1024 * 1024
"""Bytes of one answer: a hundred long messages are a fair question here."""


class Request(params.Params):
    """One line from the operator's tools."""

    id: params.Id
    verb: str
    version: Annotated[int, msgspec.Meta(ge=0)]
    args: dict[str, Any] = msgspec.field(default_factory=dict[str, Any])


class AdminServer:
    """Serves the verbs of `action_table` on one socket. `start` it, `close` it."""

    def __init__(
        self,
        verbs: actions.Actions,
        path: pathlib.Path,
        *,
        group: str,
        log: json_lines.Log,
    ) -> None:
        self._path = path
        self._group = group
        self._server = json_lines.LineServer(
            _AdminDoor(verbs),
            log,
            limits=json_lines.Limits(
                connections=CONNECTIONS_MAX, answer=ANSWER_MAX, linger=LINGER_SECONDS
            ),
            # Whoever passed the file's mode may; the mode is the rule.
            may_connect=lambda peer: True,
        )

    async def start(self) -> None:
        """Listen; `HiveError` INVALID for an unknown group, UNAVAILABLE when refused."""
        await self._server.open(self._path, gid=_group_id(self._group))

    async def close(self) -> None:
        """Stop listening and end every stream."""
        await self._server.close()


def _group_id(name: str) -> int | None:
    if not name:
        return None
    try:
        return grp.getgrnam(name).gr_gid
    except KeyError as error:
        raise errors.invalid(
            f"cannot give the admin socket to group {name!r}: this host has no such group; "
            "make it, or change admin_group"
        ) from error


class _AdminDoor:
    envelope: Mapping[str, Any] = {"version": VERSION}

    def __init__(self, verbs: actions.Actions) -> None:
        self._verbs = verbs

    async def answer(self, line: json_lines.Line, emit: json_lines.Emit) -> Any:
        version = line.body.get("version")
        if version != VERSION or isinstance(version, bool):
            raise errors.invalid(
                f"cannot speak version {str(version)[:16]!r} of the admin protocol: this daemon "
                f"speaks {VERSION}; use the hive program that belongs to it"
            )
        line.require_clean()
        request = params.convert(Request, line.body, "take this request")
        caller = access.operator(f"admin socket, uid {line.peer.uid}")
        if not actions.streams(request.verb):
            return await self._verbs.call(caller, request.verb, request.args)
        async for event in self._verbs.stream(caller, request.verb, request.args):
            await emit(event)
        return {}

    def may_cancel(self, body: Mapping[str, Any]) -> bool:
        return actions.streams(str(body.get("verb")))
