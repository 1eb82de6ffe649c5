"""Secrets of the host that configurations use by name.

A value lies with the `Secrets` port alone. The store knows names and when they were set, never
values; no verb, fact or log ever says one. Configurations name them, so a commit holds none.
"""

from __future__ import annotations

import dataclasses
import re
from collections.abc import Collection, Mapping
from typing import Any, Final

from hyperhive import ports
from hyperhive.domain import access, agents, configuration, errors, events
from hyperhive.services import configuration_values, effective
from hyperhive.wire import views

VALUE_MAX: Final = 8192
FILE_PREFIX: Final = "agent-secret-"
_KEY: Final = "secret:"
# Files keep ASCII; a variable cannot hold NUL, and nobody can see other control characters.
_VALUE: Final = re.compile(r"[\t\n\x20-\x7e]+")


@dataclasses.dataclass(frozen=True, slots=True)
class Use:
    """One place of a configuration where a secret is used."""

    secret: str
    variable: str
    server: str
    """Key of the MCP server that has the variable; empty: the agent's tools."""


def uses(configured: configuration.Configuration) -> list[Use]:
    """Every use of a secret by a configuration."""
    found = [Use(secret, variable, "") for variable, secret in configured.secrets.items()]
    for key, server in configured.mcp_servers.items():
        found += [Use(secret, variable, key) for variable, secret in server.secrets.items()]
    return found


def missing(tx: ports.ReadTx, configured: configuration.Configuration) -> list[str]:
    """The names that a configuration uses and this host does not have; for cards and rows."""
    names = dict.fromkeys(use.secret for use in uses(configured))
    return [name for name in names if tx.get_value(_KEY + name) is None]


def explain_missing(names: Collection[str]) -> list[str]:
    """A sentence for each missing secret."""
    return [
        f"the secret {name} is not set on this host, so its variable is missing; set it with: "
        f"hive secret set {name}"
        for name in names
    ]


class NamedSecrets:
    """The one place that reads and writes them."""

    def __init__(self, store: ports.Store, secrets: ports.Secrets, clock: ports.Clock) -> None:
        self._store = store
        self._secrets = secrets
        self._clock = clock

    async def set(self, caller: access.Caller, name: str, value: str) -> dict[str, Any]:
        """Keep a secret; agents that use it have it in their next turn."""
        access.require(caller, access.Right.OPERATOR, "set a secret")
        _check_name(name)
        if len(value) > VALUE_MAX or _VALUE.fullmatch(value) is None:
            raise errors.invalid(
                f"cannot set the secret {name}: its value has 1 to {VALUE_MAX} printable ASCII "
                "characters, tabs and line feeds; encode anything else"
            )
        await self._secrets.write(FILE_PREFIX + name, value)

        def work(tx: ports.Tx) -> dict[str, Any]:
            tx.put_value(_KEY + name, {"set_at": views.timestamp(self._clock.now())})
            _record(tx, events.EventKind.SECRET_SET, name, caller)
            return _view(tx, name)

        return await self._store.write(work)

    async def delete(self, caller: access.Caller, name: str) -> dict[str, Any]:
        """Forget a secret; NOT_FOUND when there is none. Who uses it runs without from now on."""
        access.require(caller, access.Right.OPERATOR, "delete a secret")
        _check_name(name)

        def work(tx: ports.Tx) -> dict[str, Any]:
            if tx.get_value(_KEY + name) is None:
                raise errors.not_found(f"cannot delete the secret {name}: there is none")
            shown = _view(tx, name)
            tx.delete_value(_KEY + name)
            _record(tx, events.EventKind.SECRET_DELETED, name, caller)
            return shown

        shown = await self._store.write(work)
        await self._secrets.delete(FILE_PREFIX + name)
        return shown

    async def listed(self, caller: access.Caller) -> list[dict[str, Any]]:
        """Every secret by name, and every name that is used without being set."""
        access.require(caller, access.Right.OPERATOR, "list secrets")

        def look(tx: ports.ReadTx) -> list[dict[str, Any]]:
            names = {key.removeprefix(_KEY) for key in tx.list_values(_KEY)}
            for _, use in _all_uses(tx):
                names.add(use.secret)
            return [_view(tx, name) for name in sorted(names)]

        return await self._store.read(look)

    async def values(
        self, configured: configuration.Configuration
    ) -> tuple[Mapping[str, str], list[str]]:
        """The values that a configuration uses, and a sentence for each that is not there."""
        values: dict[str, str] = {}
        warnings: list[str] = []
        for name in dict.fromkeys(use.secret for use in uses(configured)):
            try:
                value = await self._secrets.read(FILE_PREFIX + name)
            except errors.HiveError as error:
                warnings.append(error.message)
                continue
            if value is None:
                warnings += explain_missing([name])
            else:
                values[name] = value
        return values, warnings


def _all_uses(tx: ports.ReadTx) -> list[tuple[agents.Agent, Use]]:
    found: list[tuple[agents.Agent, Use]] = []
    for agent in tx.list_agents():
        try:
            configured = effective.current(tx, agent.id).configuration
        except errors.HiveError:
            # Its own row says what is wrong with it.
            continue
        found += [(agent, use) for use in uses(configured)]
    return found


def _view(tx: ports.ReadTx, name: str) -> dict[str, Any]:
    known = tx.get_value(_KEY + name)
    return {
        "name": name,
        "set_at": None if known is None else known["set_at"],
        "used_by": [
            {"agent": agent.name, "variable": use.variable, "mcp_server": use.server or None}
            for agent, use in _all_uses(tx)
            if use.secret == name
        ],
    }


def _record(tx: ports.Tx, kind: events.EventKind, name: str, caller: access.Caller) -> None:
    """One fact for each agent that uses it, so that its row is shown anew; at least one."""
    users = dict.fromkeys(agent.id for agent, use in _all_uses(tx) if use.secret == name)
    for agent in [*users] or [None]:
        text = f"{name}, by {caller.name} via {caller.via}"
        tx.record(events.Event(kind, agent=agent, text=text, topics=(events.SETTINGS,)))


def _check_name(name: str) -> None:
    try:
        configuration_values.secret_name(name)
    except configuration_values.Wrong as wrong:
        raise errors.invalid(
            f"cannot use {name[:64]!r} as the name of a secret: allowed: {wrong}"
        ) from wrong
