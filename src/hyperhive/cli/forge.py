"""Verbs about the forge that keeps a copy of the configurations."""

from __future__ import annotations

import sys
from typing import Any

import click

from hyperhive.cli import show
from hyperhive.cli.options import Invocation, common
from hyperhive.domain import errors


@click.group()
def forge() -> None:
    """Show how the forge's copy stands; set the token of its account.

    The address is `forge_url` in hive.toml (HIVE_FORGE_URL). A hive works as well without a
    forge, and while it is down: what is behind is pushed once it answers.
    """


@forge.command()
@common
def status(call: Invocation) -> None:
    """List what is mirrored, how far each copy is behind, and why."""
    result = call.client.call("forge-status")
    if call.json:
        show.as_json(result)
        return
    if not result["configured"]:
        show.echo("no forge is configured; set forge_url in hive.toml")
        return
    show.echo(f"{show.clean(result['url'])}/{show.clean(result['organisation'])}")
    if not result["repositories"]:
        show.echo("nothing to mirror yet")
        return
    show.table(
        ["REPOSITORY", "STATE", "BEHIND", "LAST OK", "ERROR"],
        [
            [
                row["name"],
                row["state"].replace("_", " "),
                _behind(row),
                "never" if row["last_ok"] is None else f"{show.age(row['last_ok'])} ago",
                row["error"] or "-",
            ]
            for row in result["repositories"]
        ],
        color=call.color,
    )


@forge.command("set-token")
@common
def set_token(call: Invocation) -> None:
    """Keep the token of the hive's account on the forge, and try it.

    It is asked for without showing it, or read from standard input when that is no terminal. It
    is never an argument, because everybody on the host could read it there.
    """
    result = call.client.call("set-forge-token", token=_read())
    if call.json:
        show.as_json(result)
        return
    show.echo("the token is kept")
    for finding in result["findings"]:
        mark = "ok    " if finding["severity"] == "ok" else "notice"
        show.echo(f"{mark}  {show.clean(finding['text'])}")
        if finding["remedy"]:
            show.echo(f"        {show.dim('-> ', call.color)}{show.clean(finding['remedy'])}")


def _behind(row: dict[str, Any]) -> str:
    if row["behind_since"] is None:
        return "-"
    since = show.age(row["behind_since"])
    return since if not row["lag_refs"] else f"{row['lag_refs']} refs, {since}"


def _read() -> str:
    if sys.stdin.isatty():
        token = str(click.prompt("token", hide_input=True, err=True))
    else:
        token = sys.stdin.readline()
    token = token.strip()
    if not token:
        raise errors.invalid("cannot set the token: nothing was given on standard input")
    return token
