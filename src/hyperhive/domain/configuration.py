"""The configuration of an agent, as data: what ``agent.toml`` says once it has been read.

Pure values with their limits; reading and explaining errors is `services.agent_toml`. Schema
1 is documented in docs/configuration.md. Secrets appear by name only, never by value.
"""

from __future__ import annotations

import dataclasses
import functools
from collections.abc import Mapping
from typing import Any, Final

from hyperhive.domain import errors

FILE_NAME: Final = "agent.toml"
NIX_FILE_NAME: Final = "agent.nix"
SCHEMA: Final = 1


@dataclasses.dataclass(frozen=True, slots=True)
class McpServer:
    """One extra MCP server (S20), started inside the sandbox over stdio."""

    command: str
    args: tuple[str, ...] = ()
    env: Mapping[str, str] = dataclasses.field(default_factory=dict[str, str])
    secrets: Mapping[str, str] = dataclasses.field(default_factory=dict[str, str])
    """Environment variable to the name of a secret of the host."""
    allowed_tools: tuple[str, ...] | None = None
    """Names of its tools that need no further permission; None is all."""


@dataclasses.dataclass(frozen=True, slots=True)
class Packages:
    """What is installed, by package system; each entry as that system writes it."""

    apt: tuple[str, ...] = ()
    """``name`` or ``name=version``."""
    pip: tuple[str, ...] = ()
    """``name`` or ``name==version`` with optional extras."""
    npm: tuple[str, ...] = ()
    """``name``, ``@scope/name`` or either with ``@version``."""


@dataclasses.dataclass(frozen=True, slots=True)
class Limits:
    """Ceilings of the sandbox; None leaves the host's default."""

    memory_bytes: int | None = None
    cpus: float | None = None
    processes: int | None = None


@dataclasses.dataclass(frozen=True, slots=True)
class Configuration:
    """Everything that a configuration can say. The default changes nothing."""

    schema: int = SCHEMA
    description: str = ""
    model: str = ""
    """Empty: the hive's."""
    prompt: str = ""
    """Path in the repository of a text that is added to the role's system prompt; empty: none."""
    prompt_text: str = ""
    """The content of that file; filled in when the commit is read."""
    packages: Packages = Packages()
    environment: Mapping[str, str] = dataclasses.field(default_factory=dict[str, str])
    files: Mapping[str, str] = dataclasses.field(default_factory=dict[str, str])
    """Absolute path in the sandbox to the path in the repository."""
    mcp_servers: Mapping[str, McpServer] = dataclasses.field(default_factory=dict[str, McpServer])
    tools: tuple[str, ...] | None = None
    """Built-in tools of the model's program; None leaves the host's list."""
    recipients: tuple[str, ...] | None = None
    """Agents that it may write to besides manager and operator; None is all."""
    allowed_hosts: tuple[str, ...] = ()
    """Added to the host's list (`edges.egress.rules` says what an entry may be)."""
    limits: Limits = Limits()
    secrets: Mapping[str, str] = dataclasses.field(default_factory=dict[str, str])
    """Environment variable of the agent's tools to the name of a secret of the host."""


def to_json(configuration: Configuration) -> dict[str, Any]:
    """All of *configuration* as JSON values; equal configurations give equal values."""
    return dataclasses.asdict(configuration, dict_factory=_json_object)


def from_json(value: Mapping[str, Any]) -> Configuration:
    """Read what `to_json` wrote; absent members have their default, unknown ones are ignored.

    So a row of an older or a newer version of the same schema can be read. `HiveError` INVALID
    for another schema or for what `to_json` never wrote.
    """
    require_schema(value)
    try:
        return _read(value)
    except (TypeError, ValueError, AttributeError) as error:
        raise errors.invalid(
            f"cannot read a stored configuration: {error}; propose the configuration again"
        ) from error


def require_schema(value: Mapping[str, Any]) -> None:
    """Raise `HiveError` INVALID unless *value* is of the schema that this hive knows."""
    if value.get("schema", SCHEMA) != SCHEMA:
        raise errors.invalid(
            f"cannot read a stored configuration: its schema is {value['schema']!r}, "
            f"and this hive knows {SCHEMA}; propose the configuration again"
        )


def _read(value: Mapping[str, Any]) -> Configuration:
    fields = _known(Configuration, value)
    servers: Mapping[str, Mapping[str, Any]] = value.get("mcp_servers", {})
    fields["mcp_servers"] = {
        key: McpServer(**_known(McpServer, server)) for key, server in servers.items()
    }
    fields["packages"] = Packages(**_known(Packages, value.get("packages", {})))
    fields["limits"] = Limits(**_known(Limits, value.get("limits", {})))
    return Configuration(**fields)


def _known(kind: type, value: Mapping[str, Any]) -> dict[str, Any]:
    names = _names(kind)
    return {name: _value(member) for name, member in value.items() if name in names}


@functools.cache
def _names(kind: type) -> frozenset[str]:
    return frozenset(field.name for field in dataclasses.fields(kind))


def _value(member: Any) -> Any:
    if isinstance(member, list):
        return tuple(map(str, member))  # pyright: ignore[reportUnknownArgumentType, reportUnknownVariableType]
    return dict(member) if isinstance(member, dict) else member  # pyright: ignore[reportUnknownArgumentType, reportUnknownVariableType]


def _json_object(members: list[tuple[str, Any]]) -> dict[str, Any]:
    return {
        name: list(value) if isinstance(value, tuple) else value  # pyright: ignore[reportUnknownArgumentType]
        for name, value in members
    }
