"""Verbs about mail: sending, reading, and settling it."""

from __future__ import annotations

import sys
from typing import Any, Final

import click

from hyperhive.cli import names, show
from hyperhive.cli.options import Invocation, common
from hyperhive.domain import errors, events

_SENT: Final = events.EventKind.MESSAGE_SENT.value


@click.command()
@names.recipient
@click.argument("body", metavar="BODY")
@click.option("--reply-to", "in_reply_to", type=int, metavar="ID", help="The message answered.")
@click.option("--key", metavar="TEXT", help="The same key again sends nothing a second time.")
@common
def send(call: Invocation, to: str, body: str, in_reply_to: int | None, key: str | None) -> None:
    """Send BODY to the agent TO, or to all agents when TO is '*'. A BODY of - reads standard input.

    The message is durable when this returns. The agent takes it at its next turn.
    """
    if body == "-":
        try:
            body = sys.stdin.buffer.read().decode("utf-8")
        except UnicodeDecodeError as error:
            raise errors.invalid(
                f"cannot send: standard input is not UTF-8 text: {error}"
            ) from error
    optional = {"in_reply_to": in_reply_to, "key": key}
    given = {name: value for name, value in optional.items() if value is not None}
    result = call.client.call("send", to=to, body=body, **given)
    if call.json:
        show.as_json(result)
    elif "messages" in result:
        show.echo(f"sent to {', '.join(each['to'] for each in result['messages']) or 'nobody'}")
    else:
        show.echo(f"message {result['id']} sent to {show.clean(to)}")


@click.command()
@names.agent
@click.option("--only", "listed", multiple=True, metavar="NAME", help="May write to NAME. Repeat.")
@click.option("--nobody", is_flag=True, help="May write to no agent but the manager.")
@click.option("--everybody", is_flag=True, help="May write to all again.")
@common
def recipients(
    call: Invocation, name: str, listed: tuple[str, ...], nobody: bool, everybody: bool
) -> None:
    """Say, or show without an option, whom the agent NAME may write to.

    The manager and you can be reached by all agents, whatever is set here.
    """
    if bool(listed) + nobody + everybody > 1:
        raise errors.invalid("cannot set recipients: use one of --only, --nobody and --everybody")
    if listed or nobody or everybody:
        only = None if everybody else list(listed)
        agent = call.client.call("recipients", name=name, only=only)
    else:
        found = [row for row in call.client.call("list")["agents"] if row["name"] == name]
        if not found:
            raise errors.not_found(f"cannot find agent {name!r}; see: hive list")
        agent = found[0]
    if call.json:
        show.as_json(agent)
    elif agent["recipients"] is None:
        show.echo(f"{show.clean(name)} may write to everybody")
    else:
        who = ", ".join([*agent["recipients"], "manager", "operator"])
        show.echo(f"{show.clean(name)} may write to {who}")


@click.command()
@click.option("--handled", type=int, metavar="ID", help="Mark one message as handled.")
@click.option("--all", "everything", is_flag=True, help="Also show what is handled.")
@click.option("--watch", is_flag=True, help="Go on with new mail until interrupted.")
@click.option(
    "-n",
    "--limit",
    default=50,
    show_default=True,
    type=click.IntRange(1, 1000),
    help="How many of those that are there.",
)
@common
def inbox(call: Invocation, handled: int | None, everything: bool, watch: bool, limit: int) -> None:
    """Show mail to you, oldest first. It stays until you mark it handled."""
    if handled is not None:
        result = call.client.call("handled", id=handled)
        if call.json:
            show.as_json(result)
        else:
            show.echo(f"message {handled} is handled")
        return
    if watch:
        _watch_inbox(call, limit)
        return
    result = call.client.call("inbox", limit=limit, all=everything)
    if call.json:
        show.as_json(result)
        return
    if not result["messages"]:
        show.echo("no mail")
    for message in reversed(result["messages"]):
        _print_message(message, call)


def _watch_inbox(call: Invocation, limit: int) -> None:
    """Show up to *limit* that are there, then all that comes, each once.

    The feed's number, noted first, makes sure that nothing is missed; what is new is what the
    feed says was sent, however much and whoever has handled it meanwhile.
    """
    number = call.client.call("status")["number"]

    def show_one(message: dict[str, Any]) -> None:
        if call.json:
            show.as_json(message)
        else:
            _print_message(message, call)

    there = call.client.call("inbox", limit=limit, all=False)["messages"]
    for message in reversed(there):
        show_one(message)
    shown = {message["id"] for message in there}
    for update in call.client.stream("subscribe", after=number):
        sent = {fact["message"] for fact in update["facts"] if fact["kind"] == _SENT}
        for message in sorted(update["messages"], key=lambda row: row["id"]):
            if message["to"] == "operator" and message["id"] in sent - shown:
                show_one(message)


def _print_message(message: dict[str, Any], call: Invocation) -> None:
    reply = f" · answers {message['in_reply_to']}" if message["in_reply_to"] else ""
    again = " · delivered again" if message["redelivered"] else ""
    head = f"{message['id']}  {show.clean(message['from'])}"
    about = f"  {show.age(message['sent_at'])} ago · {message['state']}{reply}{again}"
    show.echo(show.bold(head, call.color) + show.dim(about, call.color))
    for line in show.clean(message["body"], lines=True).splitlines() or [""]:
        show.echo("    " + line)
    show.echo()


@click.command()
@click.option("--agent", metavar="NAME", help="Only mail to this agent (or operator).")
@click.option("--before", type=int, metavar="ID", help="Only older ones: pages back.")
@click.option("-n", "--limit", default=30, show_default=True, type=click.IntRange(1, 1000))
@common
def messages(call: Invocation, agent: str | None, before: int | None, limit: int) -> None:
    """List the newest messages between all parties, newest first."""
    optional = {"agent": agent, "before": before}
    given = {name: value for name, value in optional.items() if value is not None}
    result = call.client.call("messages", limit=limit, **given)
    if call.json:
        show.as_json(result)
        return
    if not result["messages"]:
        show.echo("no messages")
        return
    show.table(
        ["ID", "SENT", "FROM", "TO", "STATE", "TEXT"],
        [
            [
                str(message["id"]),
                show.age(message["sent_at"]),
                message["from"],
                message["to"],
                message["state"],
                show.first_line(message["body"], 70),
            ]
            for message in result["messages"]
        ],
        color=call.color,
    )


@click.command()
@click.argument("message", metavar="ID", type=int)
@common
def requeue(call: Invocation, message: int) -> None:
    """Deliver the dead message ID again. It died because too many turns ended with it."""
    result = call.client.call("requeue", id=message)
    if call.json:
        show.as_json(result)
    else:
        show.echo(f"message {message} waits to be delivered again")
