"""Verbs about secrets that configurations use by name. A value is never an argument."""

from __future__ import annotations

import sys

import click

from hyperhive.cli import client, options, show
from hyperhive.cli.options import Invocation, common
from hyperhive.domain import errors

_VALUE_MAX = 8192
_COMPLETION_SECONDS = 1.0


def _complete(ctx: click.Context, parameter: click.Parameter, incomplete: str) -> list[str]:
    call = options.build(ctx.params.get("home"), json=True, no_color=True)
    try:
        rows = call.client.call("secrets", seconds=_COMPLETION_SECONDS)["secrets"]
    except (client.NoDaemon, client.DaemonBug, errors.HiveError):
        # A shell that completes has nowhere to show an error.
        return []
    return [row["name"] for row in rows if row["name"].startswith(incomplete)]


_name = click.argument("name", metavar="NAME", shell_complete=_complete)


@click.group()
def secret() -> None:
    """Set, list and delete the secrets that configurations use by name.

    A configuration names a secret (`[secrets]` in agent.toml) and never holds its value. The
    value lies in the hive's home, readable by the daemon alone, and reaches only the sandboxes
    of agents whose approved configuration names it.
    """


@secret.command("set")
@_name
@common
def set_secret(call: Invocation, name: str) -> None:
    """Keep the secret NAME; agents that use it have it in their next turn.

    The value is asked for without showing it, or read from standard input when that is no
    terminal (all of it, without the line feed at its end).
    """
    result = call.client.call("set-secret", name=name, value=_read(name))
    if call.json:
        show.as_json(result)
        return
    users = ", ".join(sorted({use["agent"] for use in result["used_by"]}))
    show.echo(f"secret {name} set; " + (f"used by {users}" if users else "no agent uses it yet"))


@secret.command("list")
@common
def list_secrets(call: Invocation) -> None:
    """List names, when each was set and who uses it; never values."""
    result = call.client.call("secrets")
    if call.json:
        show.as_json(result)
        return
    show.table(
        ["NAME", "SET", "USED BY"],
        [
            [
                row["name"],
                "missing" if row["set_at"] is None else f"{show.age(row['set_at'])} ago",
                ", ".join(_use(use) for use in row["used_by"]) or "-",
            ]
            for row in result["secrets"]
        ],
        color=call.color,
    )


@secret.command("delete")
@_name
@common
def delete_secret(call: Invocation, name: str) -> None:
    """Forget the secret NAME; agents that use it go on without."""
    result = call.client.call("delete-secret", name=name)
    if call.json:
        show.as_json(result)
    else:
        show.echo(f"secret {name} deleted")


def _use(use: dict[str, str | None]) -> str:
    of = f" ({use['mcp_server']})" if use["mcp_server"] else ""
    return f"{use['agent']}: {use['variable']}{of}"


def _read(name: str) -> str:
    if sys.stdin.isatty():
        value = str(click.prompt(f"value of {name}", hide_input=True, err=True))
    else:
        value = sys.stdin.read(_VALUE_MAX + 2).removesuffix("\n")
    if not value:
        raise errors.invalid(f"cannot set the secret {name}: nothing was given on standard input")
    return value
