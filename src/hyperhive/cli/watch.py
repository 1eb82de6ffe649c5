"""The verb that shows an agent at work."""

from __future__ import annotations

from typing import Any

import click

from hyperhive.cli import names, show
from hyperhive.cli.options import Invocation, common


@click.command()
@names.agent
@click.option("-n", "--history", default=100, show_default=True, type=click.IntRange(0, 2000),
              help="Events of the past to begin with.")  # fmt: skip
@click.option("--no-follow", is_flag=True, help="Show the past only.")
@click.option("--full", is_flag=True, help="Do not shorten long results.")
@common
def watch(call: Invocation, name: str, history: int, no_follow: bool, full: bool) -> None:
    """Watch the agent NAME: the mail that wakes it, its thoughts, tools, results and words.

    Goes on until interrupted. With --json, one event a line.
    """
    view = _json if call.json else _terminal(call, full)
    for event in call.client.stream("watch", name=name, lines=history, follow=not no_follow):
        view(event)


def _json(event: dict[str, Any]) -> None:
    show.as_json(event)


def _terminal(call: Invocation, full: bool) -> Any:
    import rich.console

    from hyperhive.cli import terminal

    console = rich.console.Console(no_color=not call.color, highlight=False, emoji=False)
    return terminal.Terminal(console, full=full).show
