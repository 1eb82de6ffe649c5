"""Verbs about an agent's turns: its model, its session, and whether it begins any."""

from __future__ import annotations

from typing import Any

import click

from hyperhive.cli import names, show
from hyperhive.cli.options import Invocation, common


def answer(call: Invocation, result: dict[str, Any]) -> None:
    """Print what a verb about turns says of itself."""
    if call.json:
        show.as_json(result)
    else:
        show.echo(f"{show.clean(result['name'])}: {show.clean(result['says'])}")


@click.command()
@names.agent
@common
def compact(call: Invocation, name: str) -> None:
    """Make the session of the agent NAME shorter: a summary takes the place of its turns.

    It waits for the turn that runs. What came of it is shown by `hive turns NAME`.
    """
    answer(call, call.client.call("compact", name=name))


@click.command("new-session")
@names.agent
@common
def new_session(call: Invocation, name: str) -> None:
    """Let the next turn of the agent NAME begin a new session; those after it go on with that.

    It then remembers nothing but its files. The old session stays on its disk.
    """
    answer(call, call.client.call("new-session", name=name))


@click.command()
@click.option("--reason", default="", metavar="TEXT", help="Why; shown while it lasts.")
@names.agent
@common
def pause(call: Invocation, name: str, reason: str) -> None:
    """Let the agent NAME begin no more turns until `hive resume NAME`. Its mail stays queued.

    A turn that runs goes on to its end; `hive interrupt NAME` cancels it. A pause survives
    restarts of the agent, the hive and the host.
    """
    answer(call, call.client.call("pause", name=name, reason=reason))


@click.command()
@names.agent
@common
def resume(call: Invocation, name: str) -> None:
    """Let the agent NAME begin turns again, after `hive pause NAME`."""
    answer(call, call.client.call("resume", name=name))
