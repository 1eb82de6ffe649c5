"""What a change of a configuration does, in facts computed by us.

An agent's own words about its change are a quotation; these are not. Every difference between
two configurations that changes what an agent can do or see is one entry, the risky ones first.
"""

from __future__ import annotations

import shlex
from collections.abc import Callable, Iterable, Iterator, Mapping
from typing import Any, Final

from hyperhive.domain.configuration import Configuration, McpServer
from hyperhive.services import configuration_values as values

RISK: Final = "risk"
"""The agent can do, reach or read more than before, or other people's code runs for it."""
NOTICE: Final = "notice"

TOPICS: Final = (
    "secrets", "hosts", "mcp", "packages", "files", "tools", "recipients", "limits", "environment",
    "model", "prompt",
)  # fmt: skip
OFF_UNLESS_NAMED: Final = frozenset({"WebFetch", "WebSearch", "Task"})

Change = dict[str, Any]


def effects(
    before: Configuration | None, after: Configuration, warnings: Iterable[object] = ()
) -> dict[str, Any]:
    """What going from *before* to *after* does; None is an agent without a configuration.

    ``changes`` is a list of ``{"topic", "change": "added"|"removed"|"changed", "name", "before",
    "after", "weight": "risk"|"notice"}``, risks first and then by topic; ``before`` and ``after``
    are texts or null. ``risks`` counts the risky ones. ``warnings`` are those of reading *after*
    (`agent_toml.Reading`), as texts.
    """
    old = Configuration() if before is None else before
    changes = [
        *_packages(old, after),
        *_servers(old, after),
        *_tools(old, after),
        *_listed("hosts", old.allowed_hosts, after.allowed_hosts),
        *_recipients(old, after),
        *_limits(old, after),
        *_mapped("secrets", old.secrets, after.secrets, RISK),
        *_mapped("environment", old.environment, after.environment, NOTICE),
        *_files(old, after),
        *_texts(old, after),
    ]
    changes.sort(key=lambda one: (one["weight"] != RISK, TOPICS.index(one["topic"]), one["name"]))
    return {
        "changes": changes,
        "risks": sum(one["weight"] == RISK for one in changes),
        "warnings": [str(warning) for warning in warnings],
    }


def origins(lock: Mapping[str, object]) -> list[str]:
    """What the card warns of when a build took in other people's flakes (`Generation.lock`).

    The builder evaluated ``flake.nix`` for it: these are not the author's words.
    """
    nix: Any = lock.get("nix", {})
    named: Mapping[str, str] = nix.get("inputs", {})
    said = [f"flake.nix takes {name} from {url}" for name, url in named.items()]
    below = [
        url for url in nix.get("below", ()) if not any(u.startswith(url) for u in named.values())
    ]
    return [*said, *(f"its inputs take in {url}" for url in below)]


def _entry(topic: str, name: str, before: str | None, after: str | None, weight: str) -> Change:
    change = "added" if before is None else "removed" if after is None else "changed"
    return {
        "topic": topic,
        "change": change,
        "name": name,
        "before": before,
        "after": after,
        "weight": NOTICE if change == "removed" else weight,
    }


def _mapped(
    topic: str,
    before: Mapping[str, str],
    after: Mapping[str, str],
    weight: str | Callable[[str], str],
    *,
    of: str = "",
) -> Iterator[Change]:
    for name in dict.fromkeys([*before, *after]):
        old, new = before.get(name), after.get(name)
        if old != new:
            weighs = weight if isinstance(weight, str) else weight(name)
            yield _entry(topic, f"{name}{of}", old, new, weighs)


def _listed(topic: str, before: Iterable[str], after: Iterable[str]) -> Iterator[Change]:
    yield from _mapped(topic, {one: one for one in before}, {one: one for one in after}, RISK)


def _packages(before: Configuration, after: Configuration) -> Iterator[Change]:
    for system in ("apt", "pip", "npm"):
        old = dict(_versions(system, getattr(before.packages, system)))
        new = dict(_versions(system, getattr(after.packages, system)))
        for entry in _mapped("packages", old, new, RISK):
            yield entry | {
                "name": f"{system} {entry['name']}",
                # Another version of what is there already is less than something new.
                "weight": NOTICE if entry["change"] == "changed" else entry["weight"],
            }


def _versions(system: str, listed: Iterable[str]) -> Iterator[tuple[str, str]]:
    for entry in listed:
        name, version = values.split_package(system, entry)
        yield name, version or "any version"


def _servers(before: Configuration, after: Configuration) -> Iterator[Change]:
    nothing = McpServer("")
    old = {key: _command(server) for key, server in before.mcp_servers.items()}
    new = {key: _command(server) for key, server in after.mcp_servers.items()}
    yield from _mapped("mcp", old, new, RISK)
    for key in dict.fromkeys([*old, *new]):
        was = before.mcp_servers.get(key, nothing)
        will = after.mcp_servers.get(key, nothing)
        of = f" of MCP server {key}"
        yield from _mapped("secrets", was.secrets, will.secrets, RISK, of=of)
        yield from _mapped("environment", was.env, will.env, NOTICE, of=of)
        if key in old and key in new and _set(was.allowed_tools) != _set(will.allowed_tools):
            wider = _is_wider(was.allowed_tools, will.allowed_tools)
            yield _entry(
                "mcp",
                f"allowed tools{of}",
                _names(was.allowed_tools, "all"),
                _names(will.allowed_tools, "all"),
                RISK if wider else NOTICE,
            )


def _command(server: McpServer) -> str:
    return shlex.join([server.command, *server.args])


def _tools(before: Configuration, after: Configuration) -> Iterator[Change]:
    if _set(before.tools) == _set(after.tools):
        return
    if before.tools is not None and after.tools is not None:
        yield from _listed("tools", before.tools, after.tools)
        return
    # One side is the host's list, which may be another one tomorrow.
    yield _entry(
        "tools",
        "built-in tools",
        _names(before.tools, "the host's list"),
        _names(after.tools, "the host's list"),
        NOTICE if before.tools is None else RISK,
    )
    old = [tool for tool in before.tools or () if tool in OFF_UNLESS_NAMED]
    new = [tool for tool in after.tools or () if tool in OFF_UNLESS_NAMED]
    yield from _listed("tools", old, new)


def _recipients(before: Configuration, after: Configuration) -> Iterator[Change]:
    old, new = before.recipients, after.recipients
    if old is not None and new is not None:
        yield from _listed("recipients", old, new)
    elif old is not new:
        weight = RISK if new is None else NOTICE
        yield _entry(
            "recipients", "agents it may write to", _names(old, "all"), _names(new, "all"), weight
        )


def _limits(before: Configuration, after: Configuration) -> Iterator[Change]:
    shown: dict[str, Callable[[Any], str]] = {
        "memory_bytes": _size,
        "cpus": lambda value: f"{value:g}",
        "processes": str,
    }
    for field, show in shown.items():
        old, new = getattr(before.limits, field), getattr(after.limits, field)
        if old != new:
            lower = old is not None and new is not None and new < old
            name = field.removesuffix("_bytes")
            yield _entry(
                "limits",
                name,
                None if old is None else show(old),
                None if new is None else show(new),
                NOTICE if lower else RISK,
            )


def _size(size: int) -> str:
    for unit, word in ((1024**3, "GiB"), (1024**2, "MiB"), (1024, "KiB")):
        if size % unit == 0:
            return f"{size // unit} {word}"
    return f"{size} bytes"


def _files(before: Configuration, after: Configuration) -> Iterator[Change]:
    yield from _mapped("files", before.files, after.files, _weigh_file)


def _weigh_file(target: str) -> str:
    """Settings and programs of the system steer what the agent's tools do."""
    runs = "/bin/" in target or "/sbin/" in target
    return RISK if runs or target.startswith("/etc/") else NOTICE


def _texts(before: Configuration, after: Configuration) -> Iterator[Change]:
    if before.model != after.model:
        yield _entry("model", "model", before.model or None, after.model or None, NOTICE)
    if before.prompt_text != after.prompt_text:
        yield _entry(
            "prompt",
            after.prompt or before.prompt or "prompt",
            _length(before.prompt_text),
            _length(after.prompt_text),
            NOTICE,
        )


def _length(text: str) -> str | None:
    return f"{len(text)} characters" if text else None


def _set(names: tuple[str, ...] | None) -> frozenset[str] | None:
    return None if names is None else frozenset(names)


def _names(names: tuple[str, ...] | None, otherwise: str) -> str:
    return otherwise if names is None else ", ".join(sorted(names)) or "none"


def _is_wider(before: tuple[str, ...] | None, after: tuple[str, ...] | None) -> bool:
    if before is None:
        return False
    return after is None or not set(after) <= set(before)
