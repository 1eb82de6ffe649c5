"""What turns come to, as a table, as JSON or for a spreadsheet; and the token of scrapers."""

from __future__ import annotations

import sys
from typing import Any

import click

from hyperhive.cli import names, show
from hyperhive.cli.options import Invocation, common
from hyperhive.domain import errors
from hyperhive.wire import statistics_csv


@click.command()
@names.optional_agent
@click.option(
    "--days", default=7, show_default=True, type=click.IntRange(1, 30), help="How far to look back."
)
@click.option("--csv", "as_csv", is_flag=True, help="Print a table for spreadsheets.")
@common
def stats(call: Invocation, name: str | None, days: int, as_csv: bool) -> None:
    """Say what turns of the last days came to, by agent and model; of the agent NAME alone.

    SHARE is what came from the cache of all that the model was given to read. P50 and P95 are how
    long half, and nearly all, of the turns took at most. CONTEXT is what is in the window now.
    """
    if as_csv and call.json:
        raise errors.invalid("cannot print both CSV and JSON: leave one of them out")
    result = call.client.call("stats", name=name, days=days)
    if call.json:
        show.as_json(result)
        return
    if as_csv:
        # As it is: the line ends belong to the format, and the cells are quoted there.
        sys.stdout.write(statistics_csv.write(result))
        return
    if not result["rows"]:
        show.echo(f"no turn in the last {days} day{'s' if days > 1 else ''}")
        return
    total = {"agent": "all", "model": "", "context_tokens": None, "woke": [], **result["total"]}
    heads = [
        "AGENT", "MODEL", "TURNS", "USD", "IN", "OUT", "SHARE", "P50", "P95", "TOOLS", "CONTEXT",
        "ENDED", "WOKE",
    ]  # fmt: skip
    show.table(heads, [_cells(row) for row in [*result["rows"], total]], color=call.color)


def _cells(row: dict[str, Any]) -> list[str]:
    read = row["input_tokens"] + row["cache_read_tokens"] + row["cache_write_tokens"]
    ended = [
        f"{count} {name.replace('_', ' ')}" for name, count in row["outcomes"].items() if count
    ]
    woke = [f"{one['name']} {one['turns']}" for one in row["woke"][:3]]
    return [
        row["agent"],
        row["model"] or "-",
        str(row["turns"]),
        f"{row['cost_usd']:.4f}",
        _tokens(read),
        _tokens(row["output_tokens"]),
        "-" if row["cache_share"] is None else f"{row['cache_share']:.0%}",
        _seconds(row["p50_seconds"]),
        _seconds(row["p95_seconds"]),
        str(row["tool_calls"]),
        "-" if row["context_tokens"] is None else _tokens(row["context_tokens"]),
        ", ".join(ended) or "-",
        ", ".join(woke) or "-",
    ]


def _tokens(count: int) -> str:
    if count < 10_000:
        return str(count)
    return f"{count / 1000:.0f}k" if count < 10_000_000 else f"{count / 1e6:.0f}M"


def _seconds(value: float | None) -> str:
    if value is None:
        return "-"
    return f"{value:.1f}s" if value < 60 else f"{value / 60:.1f}m"


@click.command("metrics-token")
@click.option("--revoke", is_flag=True, help="Only end the token that there is.")
@common
def metrics_token(call: Invocation, revoke: bool) -> None:
    """Make a token that may read /metrics and nothing else, and print it.

    It is shown this one time; the one before ends. Write it into a file that only the scraper can
    read: hive metrics-token > FILE.
    """
    result = call.client.call("metrics-token", revoke=revoke)
    if call.json:
        show.as_json(result)
    elif revoke:
        show.echo("the metrics token is revoked")
    else:
        show.echo(result["token"])
