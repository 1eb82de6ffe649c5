"""Verbs about what waits, and about what agents may spend."""

from __future__ import annotations

from typing import Any

import click

from hyperhive.cli import names, show
from hyperhive.cli.options import Invocation, common


@click.command("waiting")
@common
def waiting(call: Invocation) -> None:
    """List everything that waits: why, since when, until when, and what lets it go on.

    An agent waits because of a budget, a loop with another agent, a rate limit, a refused
    credential, a failed turn or a crash, or because you paused it. Its mail stays queued.
    """
    result = call.client.call("waiting")
    if call.json:
        show.as_json(result)
        return
    if not result["waiting"]:
        show.echo("nothing waits")
        return
    show.table(
        ["AGENT", "WHY", "FOR", "UNTIL", "MAIL", "GO ON WITH"],
        [
            [
                row["agent"] or "(hive)",
                show.first_line(f"{row['reason'].replace('_', ' ')}: {row['text']}", 90),
                show.age(row["since"]) if row["since"] else "-",
                _clock(row["until"]) if row["until"] else "you act",
                str(row["unread"]),
                f"hive {row['go_on']}" + (f" {row['agent']}" if row["agent"] else ""),
            ]
            for row in result["waiting"]
        ],
        color=call.color,
    )


@click.command("go-on")
@names.agent
@common
def go_on(call: Invocation, name: str) -> None:
    """Let an agent go on now, whatever it waits for.

    A budget that is used up allows as much again, for today only. Of two agents that were
    paused because they only answered each other, both go on.
    """
    result = call.client.call("go-on", name=name)
    if call.json:
        show.as_json(result)
    else:
        show.echo(f"{name} goes on")


@click.command("budget")
@click.argument("name", metavar="[NAME]", required=False)
@click.option("--usd-per-day", type=float, metavar="X", help="US dollars; 0: no limit.")
@click.option("--tokens-per-day", type=int, metavar="N", help="Tokens of all kinds; 0: no limit.")
@click.option("--clear", is_flag=True, help="Let the default of the settings count again.")
@common
def budget(
    call: Invocation,
    name: str | None,
    usd_per_day: float | None,
    tokens_per_day: int | None,
    clear: bool,
) -> None:
    """Show what was spent today, or set what agent NAME (or the whole hive) may spend in a day.

    Money is at list prices. A turn that would pass the budget does not begin, and a running
    one is stopped before its next request. It goes on by itself with the next day.
    """
    if usd_per_day is None and tokens_per_day is None and not clear:
        result = call.client.call("budgets")
    else:
        result = call.client.call(
            "set-budget",
            name=name,
            usd_per_day=usd_per_day,
            tokens_per_day=tokens_per_day,
            clear=clear,
        )
    if call.json:
        show.as_json(result)
        return
    rows = [row for row in result["budgets"] if name is None or row["agent"] == name]
    show.table(
        ["", "SPENT TODAY", "BUDGET", "TOKENS TODAY", "BUDGET"],
        [
            [
                row["agent"] or "(hive)",
                f"${row['spent_usd']:.4f}",
                _limit(row, "usd_per_day", "${:.2f}"),
                str(row["spent_tokens"]),
                _limit(row, "tokens_per_day", "{}"),
            ]
            for row in rows
        ],
        color=call.color,
    )
    show.echo(f"{result['day']} ends at {_clock(result['ends_at'])}")


def _limit(row: dict[str, Any], key: str, form: str) -> str:
    if row[key] is None:
        return "-"
    times = row["times_today"]
    said = form.format(row[key]) + (f" x {times} today" if times > 1 else "")
    return said + (" (default)" if row["is_default"] else "")


def _clock(moment: str) -> str:
    return moment[:16].replace("T", " ") + " UTC"
