"""What an agent's configuration adds to the program: MCP servers, variables, secrets.

Rule: nothing here can keep a turn from running. A plan whose extras cannot be
understood runs without any of them, and says so. Secrets are for the program and
its servers only; `hide` keeps them out of everything that the harness writes down.
"""

from __future__ import annotations

import json
from typing import Any, Dict, Iterable, List, Set, Tuple

OWN_SERVER = "hive"
DOLLAR = "HIVE_DOLLAR"
"""Variable that holds one dollar sign: see `_literal`."""
SHORTEST_HIDDEN = 6
"""Shorter values would be found everywhere."""

Servers = Dict[str, Dict[str, Any]]


def servers(plan: Dict[str, Any]) -> Tuple[Servers, str]:
    """The extra servers as the program's MCP configuration has them, and what is wrong.

    When anything is wrong there are none.
    """
    made: Servers = {}
    given = plan.get("mcp_servers") or {}
    try:
        for name, server in given.items():
            if name == OWN_SERVER:
                continue
            made[name] = _server(server)
    except (AttributeError, KeyError, TypeError, ValueError) as error:
        return {}, f"the extra MCP servers are left out: their entries cannot be read ({error!r})"
    return made, ""


def names(plan: Dict[str, Any]) -> List[str]:
    """The extra servers that the plan asks for."""
    given = plan.get("mcp_servers")
    return [name for name in given if name != OWN_SERVER] if isinstance(given, dict) else []


def variables(plan: Dict[str, Any]) -> Dict[str, str]:
    """What comes into the environment of the program and of the agent's shells."""
    made = dict(secrets(plan))
    made[DOLLAR] = "$"
    return made


def secrets(plan: Dict[str, Any]) -> Dict[str, str]:
    """The secret variables of the agent's tools, by name."""
    given = plan.get("secrets")
    if not isinstance(given, dict):
        return {}
    return {
        name: value for name, value in given.items() if isinstance(value, str) and "\0" not in value
    }


def hidden(plan: Dict[str, Any]) -> List[Tuple[str, str]]:
    """(value, mark) of every secret of the plan, the longest first."""
    found: Dict[str, str] = {}
    tables: List[Any] = [secrets(plan)]
    given = plan.get("mcp_servers")
    if isinstance(given, dict):
        tables += [one.get("secrets") for one in given.values() if isinstance(one, dict)]
    for table in tables:
        for name, value in table.items() if isinstance(table, dict) else ():
            for part in _forms(str(value)):
                if len(part) >= SHORTEST_HIDDEN:
                    found[part] = f"[secret {name}]"
    return sorted(found.items(), key=lambda pair: -len(pair[0]))


def hide(value: Any, marks: List[Tuple[str, str]]) -> Any:
    """*value* with every secret in any of its texts replaced by its mark."""
    if not marks:
        return value
    if isinstance(value, str):
        for secret, mark in marks:
            value = value.replace(secret, mark)
        return value
    if isinstance(value, dict):
        return {hide(key, marks): hide(one, marks) for key, one in value.items()}
    if isinstance(value, (list, tuple)):
        return [hide(one, marks) for one in value]
    return value


def statuses(wanted: Iterable[str], event: Dict[str, Any]) -> List[Dict[str, str]]:
    """How each wanted server stands, by the ``init`` event of a turn.

    The program leaves out what it cannot read without a word; here that is "missing".
    """
    told = {
        str(server.get("name")): str(server.get("status"))
        for server in event.get("mcp_servers") or []
        if isinstance(server, dict)
    }
    return [{"name": name, "status": told.get(name, "missing")} for name in wanted]


def _server(given: Dict[str, Any]) -> Dict[str, Any]:
    env = {str(name): _text(value) for name, value in (given.get("env") or {}).items()}
    for name, value in (given.get("secrets") or {}).items():
        env[str(name)] = _literal(_text(value))
    return {
        "type": "stdio",
        "command": _text(given["command"]),
        "args": [_text(word) for word in given.get("args") or []],
        "env": env,
    }


def _text(value: Any) -> str:
    if not isinstance(value, str) or "\0" in value:
        raise ValueError("a value is no text")
    return value


def _forms(value: str) -> Set[str]:
    """How a value may stand in a text: as it is, line by line, in JSON, in `_literal`."""
    forms = {value, _literal(value)}
    forms |= {json.dumps(form)[1:-1] for form in forms}
    return forms.union(value.splitlines())


def _literal(value: str) -> str:
    """A value that the program leaves as it is.

    It puts variables in place of ``${NAME}`` once, without looking at what it put there.
    """
    return value.replace("${", "${%s}{" % DOLLAR)
