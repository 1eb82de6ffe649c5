"""The verb that brings a hive of the older system over."""

from __future__ import annotations

import dataclasses
import pathlib
from typing import TYPE_CHECKING

import click

from hyperhive.cli import show
from hyperhive.cli.options import Invocation, common
from hyperhive.domain import errors

if TYPE_CHECKING:
    from hyperhive.domain import imports


@click.command("import")
@click.argument("path", default="/var/lib/hyperhive", type=click.Path(path_type=pathlib.Path))
@click.option("--dry-run", is_flag=True, help="Only say what would be brought over.")
@click.option("--move", is_flag=True, help="Move agents' states instead of copying them.")
@click.option("--manager", metavar="NAME", default="", help="The manager's directory there.")
@click.option(
    "--rename", "renames", metavar="OLD=NEW", multiple=True, help="Give an agent another name."
)
@common
def import_hive(
    call: Invocation,
    path: pathlib.Path,
    dry_run: bool,
    move: bool,
    manager: str,
    renames: tuple[str, ...],
) -> None:
    """Bring over agents, configurations, states and mail of the older hyperhive.

    PATH is its directory, /var/lib/hyperhive if none is given. Where that is this hive's home
    too, what lies there is set aside in before-import/ first. Neither daemon may run. Nothing of
    the older hive is changed, unless --move is given, and it may be done again: what is here
    already stays as it is. HIVE_SKIP_META_MIGRATION=1 skips it all.
    """
    from hyperhive import settings

    renamed = dict(_rename(text) for text in renames)
    loaded = settings.load(settings.environment(), {"home": call.named_home})
    if loaded.skip_migration:
        if call.json:
            show.as_json({"state": "skipped"})
        else:
            show.echo("skipped: HIVE_SKIP_META_MIGRATION is set")
        return
    from hyperhive import migration

    order = migration.Order(path, move, manager, renamed, dry_run)

    def report(line: str) -> None:
        show.note("  " + show.clean(line))

    outcome = migration.run(loaded, order, report)
    if call.json:
        show.as_json(dataclasses.asdict(outcome))
    else:
        _print(call, outcome)
    if outcome.state == "incomplete":
        raise errors.unavailable(
            "cannot import all of it: see above; mend it and import again, before the first "
            "`hive up`"
        )


def _rename(text: str) -> tuple[str, str]:
    old, sign, new = text.partition("=")
    if not (old and sign and new):
        raise errors.invalid(f"cannot rename {text[:80]!r}: write OLD=NEW")
    return old, new


def _print(call: Invocation, outcome: imports.Outcome) -> None:
    show.echo(f"{outcome.state}: {show.clean(outcome.source)} -> {show.clean(outcome.home)}")
    show.echo(f"layout: {outcome.layout}")
    if outcome.state == "planned":
        show.table(
            ["THERE", "HERE", "RUNS", "HAS"],
            [
                [row.old, row.name or "-", "yes" if row.live else "no", ", ".join(row.has)]
                for row in outcome.agents
            ],
            color=call.color,
        )
        show.echo(f"approvals and mail: {'yes' if outcome.database else 'there is no database'}")
    else:
        _print_agents(call, outcome)
    for title, counts in (("approvals", outcome.approvals), ("messages", outcome.messages)):
        said = ", ".join(f"{count} {show.clean(what)}" for what, count in sorted(counts.items()))
        if said:
            show.echo(f"{title}: {said}")
    for what, count in sorted(outcome.left.items()):
        show.echo(f"not brought over: {count} {show.clean(what)}")
    for row in outcome.agents:
        for left in row.left:
            show.echo(f"not brought over: {show.clean(row.old)}: {show.clean(left)}")
        for problem in row.problems:
            show.echo(f"problem: {show.clean(row.old)}: {show.clean(problem)}")
    for problem in outcome.problems:
        show.echo(f"problem: {show.clean(problem)}")


def _print_agents(call: Invocation, outcome: imports.Outcome) -> None:
    show.table(
        ["THERE", "HERE", "ID", "RUNS", "TAGS", "FILES"],
        [
            [
                row.old,
                row.name or "-",
                row.id or "-",
                row.deployed[:12] or "a new one",
                str(row.tags),
                str(row.files),
            ]
            for row in outcome.agents
        ],
        color=call.color,
    )
