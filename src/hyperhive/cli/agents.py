"""Verbs about agents: how they stand, and starting and stopping them."""

from __future__ import annotations

from typing import Any

import click

from hyperhive.cli import names, show
from hyperhive.cli.options import Invocation, common


def _doing(agent: dict[str, Any]) -> str:
    if agent["doing"]:
        return str(agent["doing"])
    return str(agent["turn_state"] if agent["phase"] == "running" else agent["phase"])


def _remark(agent: dict[str, Any]) -> str:
    notes = (
        agent["status"] if agent["phase"] == "running" else agent["phase_note"],
        agent["turn_note"],
        *agent.get("trouble", ()),
        *(
            f"MCP server {server['name']}: {server['status']}"
            for server in agent.get("mcp_servers", ())
            if server["status"] not in ("connected", "unknown")
        ),
    )
    return show.first_line(" · ".join(note for note in notes if note), 60)


def print_agents(rows: list[dict[str, Any]], call: Invocation) -> None:
    """Print the table of agents."""
    if not rows:
        show.echo("no agents yet; request one with: hive spawn NAME")
        return
    show.table(
        ["NAME", "ROLE", "STATE", "SINCE", "MAIL", "MODEL", "REMARK"],
        [
            [
                agent["name"],
                agent["role"],
                _doing(agent),
                show.age(
                    agent["turn_since"] if agent["phase"] == "running" else agent["phase_since"]
                ),
                str(agent["unread"] or "-"),
                agent["model"] or "-",
                _remark(agent),
            ]
            for agent in rows
        ],
        color=call.color,
    )


@click.command("list")
@common
def list_agents(call: Invocation) -> None:
    """List the agents: the manager first, then by name.

    STATE is what the agent does while it runs (idle, thinking, ...), else where its sandbox
    stands (stopped, starting, crashed, ...). MAIL counts messages that wait for it.
    """
    result = call.client.call("list")
    if call.json:
        show.as_json(result)
    else:
        print_agents(result["agents"], call)


@click.command()
@common
def status(call: Invocation) -> None:
    """Say how the hive stands: the model, what waits for you, and the agents."""
    result = call.client.call("status")
    if call.json:
        show.as_json(result)
        return
    model = result["model"]
    said = model["kind"].replace("_", " ") if model["ready"] else "none yet: hive model --help"
    show.pairs(
        [
            ("home", str(call.home)),
            ("version", result["version"]),
            ("model", said),
            ("pending", _count(result["pending"], "approval", "hive pending")),
            ("questions", _count(result["questions"], "question", "hive questions")),
            ("inbox", _count(result["inbox"], "message", "hive inbox")),
        ],
        color=call.color,
    )
    show.echo()
    print_agents(result["agents"], call)


def _count(number: int, thing: str, verb: str) -> str:
    if number == 0:
        return "nothing waits for you"
    return f"{number} {thing}{'s' if number > 1 else ''} for you; see: {verb}"


def _ask(verb: str, done: str) -> click.Command:
    """Build one of the verbs that take an agent's name and a reason."""

    @click.option(
        "--reason", default="", metavar="TEXT", help="Shown, and told to an agent that is started."
    )
    @names.agent
    @common
    def run(call: Invocation, name: str, reason: str) -> None:
        result = call.client.call(verb, name=name, reason=reason)
        if call.json:
            show.as_json(result)
        else:
            show.echo(f"{show.clean(name)}: {done}")

    run.__doc__ = ORDERS[verb]
    return click.command(verb)(run)


ORDERS = {
    "start": "Start the agent NAME; one that crashed too often is given a fresh count.",
    "stop": "Stop the agent NAME: its processes get time to end. It stays stopped until started.",
    "restart": "Stop the agent NAME and start it again. Its mail and its session are kept.",
    "kill": "End all processes of the agent NAME at once. Mail of its turn goes back, marked.",
}
start = _ask("start", "start asked for")
stop = _ask("stop", "stop asked for")
restart = _ask("restart", "restart asked for")
kill = _ask("kill", "kill asked for")


@click.command()
@names.agent
@common
def interrupt(call: Invocation, name: str) -> None:
    """Cancel the turn that the agent NAME is in. The mail of that turn counts as handled."""
    result = call.client.call("interrupt", name=name)
    if call.json:
        show.as_json(result)
    else:
        show.echo(f"{show.clean(name)}: interrupt asked for")


@click.command()
@names.agent
@common
def retry(call: Invocation, name: str) -> None:
    """End the pause of the agent NAME after a failed turn: it tries again now.

    It pauses after a rate limit, a refused credential or a failure of the model's side. Its
    sandbox, its session and its mail stay as they are; if it fails again it pauses for longer.
    """
    result = call.client.call("retry", name=name)
    if call.json:
        show.as_json(result)
    else:
        show.echo(f"{show.clean(name)}: tries again now")


@click.command()
@names.agent
@click.option("-n", "--limit", default=20, show_default=True, type=click.IntRange(1, 1000))
@common
def turns(call: Invocation, name: str, limit: int) -> None:
    """List the newest turns of the agent NAME: how each ended and what it used."""
    result = call.client.call("turns", name=name, limit=limit)
    if call.json:
        show.as_json(result)
        return
    if not result["turns"]:
        show.echo(f"{show.clean(name)} has had no turn yet")
        return
    show.table(
        ["TURN", "STARTED", "OUTCOME", "WOKE BY", "TOOLS", "IN", "OUT", "CONTEXT", "USD", "NOTE"],
        [
            [
                turn["id"],
                show.age(turn["started_at"]),
                turn["outcome"],
                turn["woke_by"] or "-",
                str(turn["tool_calls"]),
                str(turn["input_tokens"]),
                str(turn["output_tokens"]),
                str(turn["context_tokens"]),
                f"{turn['cost_usd']:.4f}",
                show.first_line(turn["note"], 50),
            ]
            for turn in result["turns"]
        ],
        color=call.color,
    )


@click.command()
@names.agent
@click.option("-f", "--follow", is_flag=True, help="Go on with new lines until interrupted.")
@click.option(
    "-n", "--lines", default=100, show_default=True, type=click.IntRange(0, 5000), help="How many."
)
@common
def logs(call: Invocation, name: str, follow: bool, lines: int) -> None:
    """Show what the harness of the agent NAME wrote to its log.

    What the agent itself says and does is shown by `hive watch`.
    """
    for event in call.client.stream("logs", name=name, lines=lines, follow=follow):
        if call.json:
            show.as_json(event)
        else:
            show.echo(show.clean(event["line"], lines=False))
