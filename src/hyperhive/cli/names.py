"""Arguments that name things, with completion of what exists now."""

from __future__ import annotations

import click

from hyperhive.cli import client, options
from hyperhive.domain import errors

_COMPLETION_SECONDS = 1.0


def _complete_agents(ctx: click.Context, parameter: click.Parameter, incomplete: str) -> list[str]:
    call = options.build(ctx.params.get("home"), json=True, no_color=True)
    try:
        rows = call.client.call("list", seconds=_COMPLETION_SECONDS)["agents"]
    except (client.NoDaemon, client.DaemonBug, errors.HiveError):
        # A shell that completes has nowhere to show an error.
        return []
    return [row["name"] for row in rows if row["name"].startswith(incomplete)]


def complete(ctx: click.Context, parameter: click.Parameter, incomplete: str) -> list[str]:
    """Names of agents, where something else may stand too."""
    return _complete_agents(ctx, parameter, incomplete)


def _complete_pending(ctx: click.Context, parameter: click.Parameter, incomplete: str) -> list[str]:
    call = options.build(ctx.params.get("home"), json=True, no_color=True)
    try:
        rows = call.client.call("pending", seconds=_COMPLETION_SECONDS)["approvals"]
    except (client.NoDaemon, client.DaemonBug, errors.HiveError):
        return []
    return [str(row["id"]) for row in rows if str(row["id"]).startswith(incomplete)]


def _complete_open(ctx: click.Context, parameter: click.Parameter, incomplete: str) -> list[str]:
    call = options.build(ctx.params.get("home"), json=True, no_color=True)
    try:
        rows = call.client.call("questions", seconds=_COMPLETION_SECONDS)["questions"]
    except (client.NoDaemon, client.DaemonBug, errors.HiveError):
        return []
    found = [str(row["id"]) for row in rows if row["state"] == "open"]
    return [number for number in found if number.startswith(incomplete)]


agent = click.argument("name", metavar="NAME", shell_complete=_complete_agents)
optional_agent = click.argument(
    "name", metavar="[NAME]", required=False, shell_complete=_complete_agents
)
recipient = click.argument("to", metavar="TO", shell_complete=_complete_agents)
approval = click.argument("approval", metavar="ID", type=int, shell_complete=_complete_pending)
question = click.argument("question", metavar="ID", type=int, shell_complete=_complete_open)
