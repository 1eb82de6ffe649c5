"""The contract of ``agent.toml``, schema 1, in one table: every key, what it takes, what it means.

Reading, the reference (docs/generated/configuration.md) and the JSON schema for editors are
made from this table, so they cannot disagree.
"""

from __future__ import annotations

import dataclasses
import enum
from collections.abc import Callable, Mapping
from typing import Any, Final

from hyperhive.domain import configuration
from hyperhive.services import configuration_values as values

ANY: Final = "*"
"""In a path: whatever name the file gives."""


class Kind(enum.Enum):
    """What TOML must give for a key."""

    TEXT = "text"
    WHOLE = "a whole number"
    NUMBER = "a number"
    SIZE = "a size"
    TEXTS = "a list of texts"


@dataclasses.dataclass(frozen=True, slots=True)
class Key:
    """One key. ``check`` takes one text of a list, else the value."""

    path: tuple[str, ...]
    kind: Kind
    check: Callable[[Any], Any]
    meaning: str
    example: str
    required: bool = False
    most: int = 200
    """Entries of a list."""
    schema: Mapping[str, Any] = dataclasses.field(default_factory=dict[str, Any])
    """What an editor may check besides the kind."""

    @property
    def name(self) -> str:
        """As the reference writes it."""
        return ".".join("NAME" if part == ANY else part for part in self.path)


KEYS: Final[tuple[Key, ...]] = (
    Key(
        ("schema",), Kind.WHOLE, values.schema,
        "Version of this contract; may be left out.",
        "schema = 1", schema={"const": configuration.SCHEMA},
    ),
    Key(
        ("description",), Kind.TEXT, values.line,
        "What this agent is for, in one line; for people.",
        'description = "writes the code"', schema={"maxLength": 500},
    ),
    Key(
        ("model",), Kind.TEXT, values.model,
        "Model of its turns; default: the hive's. What the operator sets for the agent wins.",
        'model = "claude-sonnet-5"',
    ),
    Key(
        ("prompt",), Kind.TEXT, values.repository_path,
        "A text file of the repository that is added to the role's system prompt (UTF-8, at most "
        "64 KiB).",
        'prompt = "prompt.md"',
    ),
    Key(
        ("tools",), Kind.TEXTS, values.tool,
        "The built-in tools, in place of the host's list (setting `tools`). WebFetch, WebSearch "
        "and Task are only there when they are named.",
        'tools = ["Bash", "Read", "Edit", "Write"]', schema={"enum": list(values.TOOLS)},
    ),
    Key(
        ("recipients",), Kind.TEXTS, values.recipient,
        "Agents that it may write to; manager and operator always. Left out: all. What the "
        "operator set with `hive recipients` wins.",
        'recipients = ["reviewer"]', most=1000,
    ),
    Key(
        ("allowed_hosts",), Kind.TEXTS, values.host,
        "Hosts that it may reach besides those of the setting `allowed_hosts`.",
        'allowed_hosts = ["api.example.org", "*.example.net"]',
    ),
    Key(
        ("packages", "apt"), Kind.TEXTS, values.apt,
        "Debian packages.", 'apt = ["jq", "postgresql-client=15+248"]',
    ),
    Key(
        ("packages", "pip"), Kind.TEXTS, values.pip,
        "Python packages.", 'pip = ["httpx==0.27.2", "rich[jupyter]>=13,<14"]',
    ),
    Key(
        ("packages", "npm"), Kind.TEXTS, values.npm,
        "Packages for Node.", 'npm = ["prettier@3.3.3", "@biomejs/biome"]',
    ),
    Key(
        ("environment", ANY), Kind.TEXT, values.env_value,
        "An environment variable of the agent's tools and MCP servers. Never a secret: this file "
        "is shown, copied and mirrored.",
        'TZ = "Europe/Berlin"', schema={"maxLength": values.TEXT_MAX},
    ),
    Key(
        ("secrets", ANY), Kind.TEXT, values.secret_name,
        "An environment variable whose value is a secret of the host, by the name that `hive "
        "secret set` gave it.",
        'GITLAB_TOKEN = "gitlab-read"',
    ),
    Key(
        ("files", ANY), Kind.TEXT, values.repository_path,
        "A file of the repository, shown read-only at that absolute path (below /etc, /opt, /srv "
        "or /usr/local; at most 1 MiB each, 8 MiB together).",
        '"/etc/tool/settings.yaml" = "files/settings.yaml"',
    ),
    Key(
        ("limits", "memory"), Kind.SIZE, values.size,
        "Memory of the sandbox with everything in it; default: the setting `memory_bytes`.",
        'memory = "8GiB"',
    ),
    Key(
        ("limits", "cpus"), Kind.NUMBER, values.cpus,
        "Processor time, in whole processors; default: the setting `cpus`.",
        "cpus = 1.5", schema={"minimum": 0.1, "maximum": values.CPUS_MAX},
    ),
    Key(
        ("limits", "processes"), Kind.WHOLE, values.processes,
        "Processes and threads; default: the setting `processes`.",
        "processes = 1024",
        schema={"minimum": values.PROCESSES_MIN, "maximum": values.PROCESSES_MAX},
    ),
    Key(
        ("mcp_servers", ANY, "command"), Kind.TEXT, values.command,
        "The program of an extra MCP server, which talks over standard input and output: a name "
        "on PATH or an absolute path.",
        'command = "clock-mcp"', required=True,
    ),
    Key(
        ("mcp_servers", ANY, "args"), Kind.TEXTS, values.env_value,
        "Its arguments. `${NAME}` stands for a variable of the agent's environment.",
        'args = ["--zone", "UTC"]',
    ),
    Key(
        ("mcp_servers", ANY, "env", ANY), Kind.TEXT, values.env_value,
        "An environment variable of this server alone. `${NAME}` stands for one of the agent's.",
        'LEVEL = "debug"', schema={"maxLength": values.TEXT_MAX},
    ),
    Key(
        ("mcp_servers", ANY, "secrets", ANY), Kind.TEXT, values.secret_name,
        "An environment variable of this server alone whose value is a secret of the host.",
        'API_TOKEN = "clock-token"',
    ),
    Key(
        ("mcp_servers", ANY, "allowed_tools"), Kind.TEXTS, values.mcp_tool,
        "Its tools that the agent may use; left out: all.",
        'allowed_tools = ["now"]',
    ),
)  # fmt: skip


@dataclasses.dataclass(frozen=True, slots=True)
class Names:
    """What the names in a table that the file chooses may be."""

    check: Callable[[str], str]
    most: int


NAMES: Final[Mapping[tuple[str, ...], Names]] = {
    ("environment",): Names(values.env_name, 64),
    ("secrets",): Names(values.env_name, 64),
    ("files",): Names(values.file_target, 200),
    ("mcp_servers",): Names(values.mcp_key, 16),
    ("mcp_servers", ANY, "env"): Names(values.env_name, 64),
    ("mcp_servers", ANY, "secrets"): Names(values.env_name, 64),
}

BY_PATH: Final[Mapping[tuple[str, ...], Key]] = {key.path: key for key in KEYS}
TABLES: Final = frozenset(key.path[:n] for key in KEYS for n in range(len(key.path)))
"""The paths of everything that is a table."""


def members(table: tuple[str, ...]) -> list[str]:
    """The names that *table* may have; empty when the file chooses them."""
    found = dict.fromkeys(
        path[len(table)]
        for path in BY_PATH
        if path[: len(table)] == table and len(path) > len(table)
    )
    return [] if ANY in found else list(found)


def json_schema() -> dict[str, Any]:
    """The contract as a JSON schema, as far as an editor can check it."""
    return {
        "$schema": "http://json-schema.org/draft-07/schema#",
        "title": "agent.toml of hyperhive, schema 1",
        **_object(()),
    }


def _object(table: tuple[str, ...]) -> dict[str, Any]:
    made: dict[str, Any] = {"type": "object"}
    named = members(table)
    if not named:
        inner = (*table, ANY)
        made["additionalProperties"] = _member(inner)
        made["maxProperties"] = NAMES[table].most
        return made
    made["properties"] = {name: _member((*table, name)) for name in named}
    made["additionalProperties"] = False
    keys = {name: BY_PATH.get((*table, name)) for name in named}
    needed = [name for name, key in keys.items() if key is not None and key.required]
    if needed:
        made["required"] = needed
    return made


_TYPES: Final[Mapping[Kind, dict[str, Any]]] = {
    Kind.TEXT: {"type": "string"},
    Kind.WHOLE: {"type": "integer"},
    Kind.NUMBER: {"type": "number"},
    Kind.SIZE: {"type": ["string", "integer"]},
    Kind.TEXTS: {"type": "array"},
}


def _member(path: tuple[str, ...]) -> dict[str, Any]:
    key = BY_PATH.get(path)
    if key is None:
        return _object(path)
    made = dict(_TYPES[key.kind])
    if key.kind is Kind.TEXTS:
        made |= {"items": {"type": "string", **key.schema}, "maxItems": key.most}
    else:
        made |= key.schema
    return {"description": key.meaning, **made}
