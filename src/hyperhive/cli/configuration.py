"""Verbs about configurations in git: look, compare, follow a build, go back, build anew."""

from __future__ import annotations

from typing import Any

import click

from hyperhive.cli import card, names, show

# The group and its verbs that need no daemon; those that do are added below.
from hyperhive.cli.config import config
from hyperhive.cli.options import Invocation, common

_BASES = click.Choice(["deployed", "approved", "previous"])


@click.command("show")
@names.approval
@click.option(
    "--base",
    type=_BASES,
    default="deployed",
    show_default=True,
    help="What to compare with: what runs, the last approval, the last proposal.",
)
@common
def show_approval(call: Invocation, approval: int, base: str) -> None:
    """Show everything about the approval ID: what it does, who asked and why, every changed byte.

    Characters without a picture are written out, like ⟦U+202E⟧. Nothing is left out but lines
    that both sides have; files that are no text or too large are listed with size and hash.
    """
    result = call.client.call("card", id=approval, base=base)
    if call.json:
        show.as_json(result)
    else:
        card.print_card(result, call)


@click.command()
@names.approval
@click.option("-f", "--follow", is_flag=True, help="Go on until the build has ended.")
@click.option(
    "-n", "--lines", default=1000, show_default=True, type=click.IntRange(0, 5000), help="How many."
)
@common
def log(call: Invocation, approval: int, follow: bool, lines: int) -> None:
    """Show what the build for the approval ID printed."""
    for event in call.client.stream("build-log", id=approval, lines=lines, follow=follow):
        if call.json:
            show.as_json(event)
            continue
        for line in event["lines"]:
            show.echo(show.clean(line))
    if follow and not call.json:
        proposal = call.client.call("card", id=approval)["proposal"]
        show.note(show.clean(" ".join(filter(None, (proposal["build"], proposal["build_note"])))))


@click.command("cancel-build")
@names.approval
@common
def cancel_build(call: Invocation, approval: int) -> None:
    """End the build for the approval ID. It has failed then; a new proposal is the retry."""
    result = call.client.call("cancel-build", id=approval)
    if call.json:
        show.as_json(result)
    else:
        show.echo(f"approval {approval}: the build is cancelled")


@click.command()
@names.agent
@common
def history(call: Invocation, name: str) -> None:
    """List the configurations of the agent NAME and who decided on them, when and from where."""
    result = call.client.call("history", agent=name)
    if call.json:
        show.as_json(result)
        return
    runs = (result["deployment"] or {}).get("sha")
    if not result["commits"]:
        show.echo(f"{show.clean(name)} has no configuration yet")
    else:
        show.table(
            ["COMMIT", "", "TAGS", "WRITTEN", "MESSAGE"],
            [
                [
                    commit["sha"][:12],
                    "runs" if commit["sha"] == runs else "",
                    " ".join(commit["tags"]),
                    show.age(commit["at"]),
                    show.first_line(commit["message"], 60),
                ]
                for commit in result["commits"]
            ],
            color=call.color,
        )
    if result["decisions"]:
        show.echo()
        show.table(
            ["ID", "KIND", "COMMIT", "STATE", "DECIDED BY", "FROM", "WHEN", "NOTE"],
            [_decision(row) for row in result["decisions"]],
            color=call.color,
        )


def _decision(row: dict[str, Any]) -> list[str]:
    return [
        str(row["id"]),
        card.name_kind(row),
        (row["proposal"] or {}).get("sha", "")[:12] or "-",
        row["state"],
        row["decided_by"] or "-",
        row["decided_via"] or "-",
        row["decided_at"] or "-",
        show.first_line(row["note"], 40),
    ]


@click.command()
@names.agent
@click.argument("tag", metavar="TAG")
@click.option("--why", default="", metavar="TEXT", help="Shown with the proposal.")
@common
def rollback(call: Invocation, name: str, tag: str, why: str) -> None:
    """Propose that the agent NAME runs again what TAG (deployed/ID) names.

    It is built and waits for your approval like any other proposal. `hive history NAME` has the
    tags.
    """
    result = call.client.call("rollback", agent=name, tag=tag, description=why)
    if call.json:
        show.as_json(result)
    else:
        number = result["id"]
        show.echo(f"{show.clean(name)}: approval {number} waits; decide: hive approve {number}")


@click.command()
@names.agent
@common
def rebuild(call: Invocation, name: str) -> None:
    """Build the configuration of the agent NAME on the present inputs and restart it."""
    result = call.client.call("rebuild", name=name)
    if call.json:
        show.as_json(result)
    else:
        show.echo(
            f"{show.clean(name)}: rebuild asked for; follow it with: hive log {result['id']} -f"
        )


@click.command()
@common
def repos(call: Invocation) -> None:
    """List the configuration repositories: what is deployed, and how the forge stands."""
    result = call.client.call("repositories")
    if call.json:
        show.as_json(result)
        return
    mirror = result["mirror"]
    if mirror.get("configured"):
        show.echo(show.clean(f"forge: {mirror.get('url', '')} {mirror.get('organisation', '')}"))
    else:
        show.echo("forge: none is set up")
    rows = [*result["repositories"], {"agent": "meta", "deployment": None} | result["meta"]]
    show.table(
        ["REPOSITORY", "TAG", "COMMIT", "SINCE", "FORGE", "REMARK"],
        [
            [
                row["agent"],
                (row["deployment"] or {}).get("tag", "-"),
                (row["deployment"] or {}).get("sha", "-")[:12],
                show.age((row["deployment"] or {}).get("deployed_at")),
                (row["mirror"] or {}).get("state", "-"),
                show.first_line((row["mirror"] or {}).get("error") or "", 60),
            ]
            for row in rows
        ],
        color=call.color,
    )


@click.command()
@common
def meta(call: Invocation) -> None:
    """List every successful deploy, newest first."""
    result = call.client.call("meta-log")
    if call.json:
        show.as_json(result)
    elif not result["commits"]:
        show.echo("nothing was deployed yet")
    else:
        show.table(
            ["COMMIT", "WHEN", "WHAT"],
            [
                [commit["sha"][:12], show.age(commit["at"]), show.first_line(commit["message"], 90)]
                for commit in result["commits"]
            ],
            color=call.color,
        )


@click.group(invoke_without_command=True)
@common
def inputs(call: Invocation) -> None:
    """List what configurations are built from, or update some of it: hive inputs update NAME."""
    if click.get_current_context().invoked_subcommand is not None:
        return
    result = call.client.call("inputs")
    if call.json:
        show.as_json(result)
    elif not result["inputs"]:
        show.echo("nothing is built from inputs here")
    else:
        show.table(
            ["INPUT", "CURRENT", "LOCKED", "FROM"],
            [
                [row["name"], row["current"], row["locked_at"] or "-", row["url"] or "-"]
                for row in result["inputs"]
            ],
            color=call.color,
        )


@inputs.command("update")
@click.argument("inputs", metavar="NAME...", nargs=-1, required=True)
@common
def update_inputs(call: Invocation, inputs: tuple[str, ...]) -> None:
    """Take newer versions of the inputs NAME and rebuild every agent that was built from them."""
    result = call.client.call("update-inputs", names=list(inputs))
    if call.json:
        show.as_json(result)
    else:
        show.echo(f"update asked for as approval {result['id']}; see: hive approvals")


@config.command("show")
@names.agent
@click.argument("path", metavar="[PATH]", required=False)
@click.option("--at", default="", metavar="TAG", help="A tag or commit; else what is deployed.")
@common
def show_config(call: Invocation, name: str, path: str | None, at: str) -> None:
    """List the files of the configuration of the agent NAME, or print the one at PATH."""
    if path is not None:
        result = call.client.call("config-file", agent=name, path=path, revision=at)
        if call.json:
            show.as_json(result)
        else:
            card.print_content(result, call)
        return
    result = call.client.call("config-files", agent=name, revision=at)
    if call.json:
        show.as_json(result)
        return
    commit = result["commit"]
    show.echo(f"commit {commit['sha']}  {' '.join(commit['tags'])}")
    show.table(
        ["FILE", "MODE", "BYTES"],
        [[file["path"], file["mode"], str(file["size"])] for file in result["files"]],
        color=call.color,
    )


@config.command("diff")
@names.agent
@click.argument("before", metavar="TAG")
@click.argument("after", metavar="[TAG]", required=False, default="")
@common
def diff(call: Invocation, name: str, before: str, after: str) -> None:
    """Show what changes from one configuration of the agent NAME to another, or to what runs."""
    result = call.client.call("compare", agent=name, before=before, after=after)
    if call.json:
        show.as_json(result)
    else:
        card.print_files(result["files"], call)
