"""Write docs/generated/ from the code, so that these pages cannot be wrong.

`tests/rules/test_references.py` fails while a page differs from what this would write.
"""

from __future__ import annotations

import ast
import dataclasses
import enum
import json
import pathlib
import sys
from collections.abc import Iterator, Mapping
from typing import Any

import click

from hyperhive import settings
from hyperhive.cli import program
from hyperhive.domain import (
    access,
    agents,
    approvals,
    events,
    messages,
    questions,
    reminders,
    turns,
)
from hyperhive.edges import action_table, params
from hyperhive.edges.agent_api import tools
from hyperhive.services import configuration_keys
from hyperhive.wire import problems

ROOT = pathlib.Path(__file__).resolve().parent.parent
TARGET = ROOT / "docs" / "generated"
NOTICE = "<!-- Written by tools/generate_references.py; do not edit. -->\n\n"


def pages() -> dict[str, str]:
    """Every generated page by file name."""
    made = {
        "actions.md": "".join(_actions()),
        "cli.md": "".join(_cli()),
        "configuration.md": "".join(_configuration()),
        "events.md": "".join(_events()),
        "settings.md": "".join(_settings()),
        "states.md": "".join(_states()),
        "tools.md": "".join(_tools()),
    }
    schema = json.dumps(configuration_keys.json_schema(), indent=2) + "\n"
    return {
        **{name: NOTICE + text.rstrip() + "\n" for name, text in made.items()},
        "agent.schema.json": schema,
    }


def _cell(text: str) -> str:
    return " ".join(text.split()).replace("|", "\\|").replace("``", "`")


def _table(heads: list[str], rows: list[list[str]]) -> str:
    lines = [heads, ["---"] * len(heads), *rows]
    return "".join(f"| {' | '.join(map(_cell, line))} |\n" for line in lines) + "\n"


def _documented(owner: type) -> dict[str, str]:
    """What stands under each name in the body of a class."""
    source = pathlib.Path(sys.modules[owner.__module__].__file__ or "").read_text(encoding="utf-8")
    [body] = [
        node.body
        for node in ast.parse(source).body
        if isinstance(node, ast.ClassDef) and node.name == owner.__name__
    ]
    found: dict[str, str] = {}
    for node, after in zip(body, [*body[1:], None], strict=True):
        target = (
            node.target
            if isinstance(node, ast.AnnAssign)
            else node.targets[0]
            if isinstance(node, ast.Assign)
            else None
        )
        if not isinstance(target, ast.Name):
            continue
        found[target.id] = (
            str(after.value.value)
            if isinstance(after, ast.Expr) and isinstance(after.value, ast.Constant)
            else ""
        )
    return found


def _settings() -> Iterator[str]:
    yield "# Settings\n\n"
    yield (
        "Read once, in this order: the default, `hive.toml` in the hive's home, the environment "
        "variable, the command-line option. `hive.toml` is a flat TOML file with these names.\n\n"
    )
    variables = {field: name for name, field in settings.ENVIRONMENT.items()}
    explained = _documented(settings.Settings)
    rows: list[list[str]] = []
    for field in dataclasses.fields(settings.Settings):
        default = "" if field.default is dataclasses.MISSING else _default(field.default)
        variable = f"`{variables[field.name]}`" if field.name in variables else ""
        rows.append([f"`{field.name}`", variable, default, explained[field.name]])
    yield _table(["setting", "variable", "default", "meaning"], rows)
    yield "Durations are seconds, sizes bytes.\n"


def _default(value: object) -> str:
    if isinstance(value, tuple):
        return ", ".join(f"`{item}`" for item in value)
    return f"`{value}`" if value != "" else ""


MACHINES: list[tuple[str, Mapping[tuple[enum.Enum, enum.Enum], enum.Enum], Mapping[enum.Enum, str]]]
MACHINES = [
    ("Sandboxes of agents (`phase`)", agents.TABLE, agents.OWNERS),
    ("Messages", messages.TABLE, messages.OWNERS),
    ("Approvals", approvals.TABLE, approvals.OWNERS),
    ("Questions", questions.TABLE, questions.OWNERS),
    ("Reminders", reminders.TABLE, reminders.OWNERS),
]


def _states() -> Iterator[str]:
    yield "# States\n\n"
    yield "What a table does not have is refused as a conflict.\n\n"
    for title, table, owners in MACHINES:
        yield f"## {title}\n\n"
        yield "```mermaid\nstateDiagram-v2\n"
        for (state, move), to in table.items():
            yield f"    {state.value} --> {to.value}: {move.value}\n"
        yield "```\n\n"
        states = type(next(iter(table))[0])
        yield _table(
            ["state", "who moves it on"],
            [[f"`{state.value}`", owners.get(state, "nobody: final")] for state in states],
        )
    yield "## What a harness reports (`turn_state`)\n\n"
    yield ", ".join(f"`{state.value}`" for state in agents.TurnState) + "\n\n"
    yield "## How a turn ends (`outcome`)\n\n"
    explained = _documented(turns.Outcome)
    rows = [
        [
            f"`{outcome.value}`",
            "" if outcome is turns.Outcome.RUNNING
            else "handled" if outcome in turns.FINAL_HANDLED
            else "returned",
            explained[outcome.name],
        ]
        for outcome in turns.Outcome
    ]  # fmt: skip
    yield _table(["outcome", "its mail", "meaning"], rows)


def _events() -> Iterator[str]:
    yield "# Events\n\n"
    yield (
        "Each fact has a number, a time, one of these kinds, and the ids of what it is about. It "
        "names what changed; what that is now stands in the rows.\n\n"
    )
    explained = _documented(events.EventKind)
    for kind in events.EventKind:
        about = explained[kind.name]
        yield f"- `{kind.value}`" + (f": {_cell(about)}" if about else "") + "\n"


def _tools() -> Iterator[str]:
    yield "# Tools of agents\n\n"
    yield "What the MCP server `hive` offers; see [agent tools](../agent-tools.md).\n\n"
    for tool in tools.TOOLS:
        yield f"## {tool.name}\n\n"
        if tool.right is access.Right.MANAGER:
            yield "For the manager only.\n\n"
        yield f"{tool.description}\n\n"
        yield _parameters(tool.params)


def _actions() -> Iterator[str]:
    yield "# Verbs of the operator\n\n"
    yield "For the page and the [admin socket](../admin-socket.md) alike.\n\n"
    for action in action_table.TABLE:
        yield f"## {action.name}\n\n{action.summary}"
        if isinstance(action, action_table.Stream):
            yield " Answers as a stream."
        yield "\n\n" + _parameters(action.params)


def _parameters(kind: type[params.Params]) -> str:
    schema = params.schema(kind)
    rows = [
        [
            f"`{name}`",
            _type(field),
            # A list that is empty unless given has no default in its schema.
            "required" if name in schema["required"] else f"`{_json(field.get('default', []))}`",
            field.get("description", ""),
        ]
        for name, field in schema["properties"].items()
    ]
    return _table(["parameter", "type", "default", "meaning"], rows) if rows else ""


def _type(field: Mapping[str, Any]) -> str:
    if "anyOf" in field:
        return " or ".join(_type(option) for option in field["anyOf"])
    if "enum" in field:
        return ", ".join(f"`{value}`" for value in field["enum"])
    limits = {"minimum": "from", "maximum": "to", "minLength": "from", "maxLength": "to"}
    said = [f"{word} {field[key]:.0f}" for key, word in limits.items() if key in field]
    # 2^53 is what a number in JSON can be, not a limit that anybody has to know.
    said = [words for words in said if words not in ("to 9007199254740992", "from 0")]
    characters = " characters" if said and field["type"] == "string" else ""
    return " ".join([field["type"], *said]) + characters


def _json(value: object) -> str:
    return json.dumps(value)


def _configuration() -> Iterator[str]:
    yield "# Keys of agent.toml\n\n"
    yield (
        "Schema 1; see [configuration](../configuration.md). No key is required but `command` of "
        "an MCP server. Editors check the file with [agent.schema.json](agent.schema.json).\n\n"
    )
    tables = {key.path[:-1]: None for key in configuration_keys.KEYS}
    for table in tables:
        named = [word.replace(configuration_keys.ANY, "NAME") for word in table]
        yield f"## `[{'.'.join(named)}]`\n\n" if table else "## At the top\n\n"
        rows = [
            [
                f"`{'NAME' if key.path[-1] == configuration_keys.ANY else key.path[-1]}`",
                key.kind.value,
                key.meaning,
                f"`{key.example}`",
            ]
            for key in configuration_keys.KEYS
            if key.path[:-1] == table
        ]
        yield _table(["key", "takes", "meaning", "example"], rows)


def _cli() -> Iterator[str]:
    yield "# The command line\n\n"
    yield _help([], program.root)
    codes = {
        0: "done", problems.EXIT_BUG: "a bug; what happened is on standard error",
        problems.EXIT_NO_DAEMON: "no daemon answers for this home",
        program.EXIT_INTERRUPTED: "interrupted, or a question was answered with no",
        program.EXIT_PIPE: "the reader of the output left",
    }  # fmt: skip
    codes |= {code: kind.value.replace("_", " ") for kind, code in problems.EXIT_CODE.items()}
    yield "## Exit codes\n\n"
    yield _table(["code", "meaning"], [[str(code), codes[code]] for code in sorted(codes)])
    for section, verbs in program.VERBS.items():
        yield f"## {section}\n\n"
        for name in verbs:
            command = program.root.get_command(click.Context(program.root), name)
            assert command is not None
            yield f"### hive {name}\n\n" + _help([name], command)
            inner = command.commands if isinstance(command, click.Group) else {}
            for word, below in inner.items():
                yield f"#### hive {name} {word}\n\n" + _help([name, word], below)


def _help(path: list[str], command: click.Command) -> str:
    # A fixed width: the page must not depend on the terminal of whoever writes it.
    context = click.Context(
        command, info_name=" ".join(["hive", *path]), terminal_width=96, max_content_width=96
    )
    return f"```text\n{command.get_help(context)}\n```\n\n"


def main() -> None:
    """Write the pages that differ and say which."""
    TARGET.mkdir(parents=True, exist_ok=True)
    for name, text in pages().items():
        path = TARGET / name
        if not path.exists() or path.read_text(encoding="utf-8") != text:
            path.write_text(text, encoding="utf-8")
            print(f"written: {path.relative_to(ROOT)}")


if __name__ == "__main__":
    main()
