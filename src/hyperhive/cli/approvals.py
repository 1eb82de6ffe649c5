"""Verbs about approvals. A decision names exactly what was shown, by its digest."""

from __future__ import annotations

from typing import Any

import click

from hyperhive.cli import show
from hyperhive.cli.options import Invocation, common
from hyperhive.domain import errors


def _print_approvals(rows: list[dict[str, Any]], call: Invocation) -> None:
    show.table(
        ["ID", "KIND", "AGENT", "STATE", "ASKED BY", "ASKED", "WHY"],
        [
            [
                str(row["id"]),
                row["kind"],
                row["agent"],
                row["state"],
                row["requested_by"],
                show.age(row["requested_at"]),
                show.first_line(row["note"] or row["description"], 60),
            ]
            for row in rows
        ],
        color=call.color,
    )


@click.command()
@common
def pending(call: Invocation) -> None:
    """List what waits for your decision."""
    result = call.client.call("pending")
    if call.json:
        show.as_json(result)
    elif not result["approvals"]:
        show.echo("nothing waits for a decision")
    else:
        _print_approvals(result["approvals"], call)


@click.command()
@click.option("-n", "--limit", default=30, show_default=True, type=click.IntRange(1, 200))
@common
def approvals(call: Invocation, limit: int) -> None:
    """List all approvals, newest first."""
    result = call.client.call("approvals", limit=limit)
    if call.json:
        show.as_json(result)
    elif not result["approvals"]:
        show.echo("no approvals yet")
    else:
        _print_approvals(result["approvals"], call)


def _find_pending(call: Invocation, approval: int) -> dict[str, Any]:
    for row in call.client.call("pending")["approvals"]:
        if row["id"] == approval:
            return row
    for row in call.client.call("approvals", limit=200)["approvals"]:
        if row["id"] == approval:
            raise errors.conflict(f"cannot decide approval {approval}: it is {row['state']}")
    raise errors.not_found(f"cannot find approval {approval}; see: hive pending")


def _print_approval(row: dict[str, Any], call: Invocation) -> None:
    show.pairs(
        [
            ("approval", str(row["id"])),
            ("kind", row["kind"]),
            ("agent", row["agent"]),
            ("asked by", f"{row['requested_by']}, {show.age(row['requested_at'])} ago"),
            ("digest", row["digest"]),
        ],
        color=call.color,
    )
    if row["description"]:
        show.echo(show.dim("why, in the words of the one who asks:", call.color))
        for line in show.clean(row["description"], lines=True).splitlines():
            show.echo("  | " + line)


def _ask(approval: int, digest: str) -> None:
    """Return when the operator says yes; `HiveError` INVALID when nobody can be asked."""
    try:
        said = input("approve? [y/N] ")
    except EOFError as error:
        show.echo()
        raise errors.invalid(
            f"cannot ask whether to approve {approval}: there is no terminal; in a script use: "
            f"hive approve {approval} --digest {digest}"
        ) from error
    if said.strip().lower() not in ("y", "yes"):
        raise click.Abort


@click.command()
@click.argument("approval", metavar="ID", type=int)
@click.option("--digest", metavar="TEXT", help="Approve only if this is what is asked for.")
@click.option("--yes", is_flag=True, help="Do not ask.")
@common
def approve(call: Invocation, approval: int, digest: str | None, yes: bool) -> None:
    """Show the approval ID and approve exactly that.

    Should it have changed since it was shown, the daemon refuses (exit code 6). With --digest,
    --yes or --json there is no question.
    """
    if digest is None:
        row = _find_pending(call, approval)
        digest = str(row["digest"])
        if not call.json:
            _print_approval(row, call)
            if not yes:
                _ask(approval, digest)
    result = call.client.call("approve", id=approval, digest=digest)
    if call.json:
        show.as_json(result)
    else:
        show.echo(f"approval {approval} is approved")


@click.command()
@click.argument("approval", metavar="ID", type=int)
@click.option("--note", default="", metavar="TEXT", help="Told to the one who asked.")
@common
def deny(call: Invocation, approval: int, note: str) -> None:
    """Deny the approval ID."""
    result = call.client.call("deny", id=approval, note=note)
    if call.json:
        show.as_json(result)
    else:
        show.echo(f"approval {approval} is denied")


@click.command()
@click.argument("approval", metavar="ID", type=int)
@common
def withdraw(call: Invocation, approval: int) -> None:
    """Take the request ID back, as the one who asked or for them."""
    result = call.client.call("withdraw", id=approval)
    if call.json:
        show.as_json(result)
    else:
        show.echo(f"approval {approval} is withdrawn")


def _spawn(verb: str) -> Any:
    @click.argument("name", metavar="NAME")
    @click.option("--description", default="", metavar="TEXT", help="What the agent is for.")
    @common
    def run(call: Invocation, name: str, description: str) -> None:
        result = call.client.call(verb, name=name, description=description)
        if call.json:
            show.as_json(result)
        elif verb == "spawn":
            show.echo(f"{name}: approved as {result['id']}; watch it come up with: hive list")
        else:
            show.echo(f"{name}: approval {result['id']} waits; decide: hive approve {result['id']}")

    return run


spawn = click.command(
    "spawn",
    help="Request the agent NAME and approve it at once: one step for the one who may do both.",
)(_spawn("spawn"))
request_spawn = click.command(
    "request-spawn", help="Request the agent NAME; nothing is made until somebody approves."
)(_spawn("request-spawn"))
