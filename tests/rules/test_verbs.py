"""`hive` asks for verbs that the daemon has, and has one for each of them."""

from __future__ import annotations

import ast
import pathlib

import click

from hyperhive.cli import agents, program
from hyperhive.edges import action_table

CLI = pathlib.Path(program.__file__).parent


def asked() -> set[str]:
    """Every verb that stands as a text in a call of the client."""
    found = {"spawn", "request-spawn", *agents.ORDERS}
    for path in CLI.glob("*.py"):
        for node in ast.walk(ast.parse(path.read_text())):
            if (
                isinstance(node, ast.Call)
                and isinstance(node.func, ast.Attribute)
                and node.func.attr in ("call", "stream")
                and node.args
                and isinstance(node.args[0], ast.Constant)
            ):
                found.add(str(node.args[0].value))
    return found


def test_both_know_the_same_verbs() -> None:
    assert asked() == set(action_table.BY_NAME)


def test_every_verb_of_the_help_can_be_imported_and_explains_itself() -> None:
    context = click.Context(program.root)
    for name in program.root.list_commands(context):
        command = program.root.get_command(context, name)
        assert command is not None
        assert command.name == name
        assert command.help, name
