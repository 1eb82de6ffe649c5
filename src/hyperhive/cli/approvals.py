"""Verbs about approvals. A decision names exactly what was shown, by its digest."""

from __future__ import annotations

import shlex
from typing import Any

import click

from hyperhive.cli import card, names, show
from hyperhive.cli.options import Invocation, common
from hyperhive.domain import errors


def _print_approvals(rows: list[dict[str, Any]], call: Invocation) -> None:
    show.table(
        ["ID", "KIND", "AGENT", "STATE", "COMMIT", "BUILD", "ASKED BY", "ASKED", "WHY"],
        [
            [
                str(row["id"]),
                card.name_kind(row),
                row["agent"],
                row["state"],
                (row["proposal"] or {}).get("sha", "")[:12] or "-",
                (row["proposal"] or {}).get("build", "-"),
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


def _find_card(call: Invocation, approval: int) -> dict[str, Any]:
    found = call.client.call("card", id=approval)
    state = found["approval"]["state"]
    if state != "pending":
        raise errors.conflict(f"cannot decide approval {approval}: it is {state}")
    return found


def _ask(question: str, approval: int, script: str) -> None:
    """Return when the operator says yes; `HiveError` INVALID when nobody can be asked."""
    try:
        said = input(f"{question} [y/N] ")
    except EOFError as error:
        show.echo()
        raise errors.invalid(
            f"cannot ask whether to approve {approval}: there is no terminal; in a script use: "
            f"hive approve {approval} {script}"
        ) from error
    if said.strip().lower() not in ("y", "yes"):
        raise click.Abort


def _decide(
    call: Invocation, approval: int, yes: bool, acknowledged: list[str]
) -> tuple[str, list[str]]:
    """Show it and ask; what to send: the digest of what was shown, the files acknowledged."""
    found = _find_card(call, approval)
    digest = str(found["digest"])
    if call.json:
        return digest, acknowledged
    card.print_card(found, call)
    show.echo()
    unread = [
        entry for entry in found["needs_acknowledgement"] if entry["path"] not in acknowledged
    ]
    options = [f"--acknowledge {shlex.quote(entry['path'])}" for entry in unread]
    script = show.clean(" ".join([f"--digest {digest}", *options]))
    if not yes:
        for entry in unread:
            _ask(f"acknowledge {card.name_unread(entry)}?", approval, script)
            acknowledged = [*acknowledged, entry["path"]]
        _ask("approve?", approval, script)
    return digest, acknowledged


@click.command()
@names.approval
@click.option("--digest", metavar="TEXT", help="Approve only if this is what is asked for.")
@click.option("--acknowledge", metavar="FILE", multiple=True,
              help="Accept a file that cannot be taken as read; once for each.")  # fmt: skip
@click.option("--yes", is_flag=True, help="Do not ask.")
@common
def approve(
    call: Invocation, approval: int, digest: str | None, acknowledge: tuple[str, ...], yes: bool
) -> None:
    """Show the approval ID and approve exactly that.

    Should it have changed since it was shown, the daemon refuses (exit code 6). With --digest,
    --yes or --json there is no question; files that nobody can have read (too large, binary,
    invisible characters, very much at once) must be named with --acknowledge then.
    """
    acknowledged = list(acknowledge)
    if digest is None:
        digest, acknowledged = _decide(call, approval, yes, acknowledged)
    result = call.client.call("approve", id=approval, digest=digest, acknowledged=acknowledged)
    if call.json:
        show.as_json(result)
        return
    proposal = result.get("proposal")
    what = f": commit {proposal['sha']}" if proposal and proposal["sha"] else ""
    built = f", generation {proposal['generation']}" if proposal and proposal["generation"] else ""
    show.echo(f"approval {approval} is approved{what}{built}")


@click.command()
@names.approval
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
@names.approval
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
