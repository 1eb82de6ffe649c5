"""Verbs about questions: what agents ask you and each other."""

from __future__ import annotations

import datetime
import sys
from typing import Any

import click

from hyperhive.cli import names, show
from hyperhive.cli.options import Invocation, common
from hyperhive.domain import errors


@click.command()
@click.option("--all", "everything", is_flag=True, help="Also those that have ended.")
@click.option("-n", "--limit", default=30, show_default=True, type=click.IntRange(1, 1000))
@common
def questions(call: Invocation, everything: bool, limit: int) -> None:
    """List the questions that wait, oldest first; those to you and between agents."""
    rows = call.client.call("questions", limit=limit)["questions"]
    if not everything:
        rows = [row for row in rows if row["state"] == "open"]
    if call.json:
        show.as_json({"questions": rows})
        return
    if not rows:
        show.echo("no questions" if everything else "no question waits for an answer")
    for row in rows:
        _print(row, call)


def _print(row: dict[str, Any], call: Invocation) -> None:
    to = "" if row["to"] == "operator" else f" asks {show.clean(row['to'])}"
    left = _left(row) if row["state"] == "open" else ""
    about = f"  {show.age(row['asked_at'])} ago · {row['state']}{left}"
    head = f"{row['id']}  {show.clean(row['from'])}{to}"
    show.echo(show.bold(head, call.color) + show.dim(about, call.color))
    for line in show.clean(row["question"], lines=True).splitlines():
        show.echo("    " + line)
    for option in row["options"]:
        show.echo(show.dim("      - ", call.color) + show.clean(option))
    if row["state"] == "answered":
        by = f"{show.clean(row['answered_by'])}, {show.clean(row['answered_via'])}"
        for line in show.clean(row["answer"], lines=True).splitlines():
            show.echo("    > " + line)
        show.echo(show.dim(f"      {by}", call.color))
    show.echo()


def _left(row: dict[str, Any]) -> str:
    if row["expires_at"] is None:
        return ""
    # Only for the eye, as in `show.age`.
    now = datetime.datetime.now(datetime.UTC)  # noqa: TID251
    left = (datetime.datetime.fromisoformat(row["expires_at"]) - now).total_seconds()
    return f" · ends in {show.duration(left)}"


@click.command()
@names.question
@click.argument("words", metavar="TEXT", nargs=-1)
@click.option("--pick", "picks", multiple=True, metavar="OPTION", help="Pick an option. Repeat.")
@common
def answer(call: Invocation, question: int, words: tuple[str, ...], picks: tuple[str, ...]) -> None:
    """Answer the question ID with TEXT, with options, or with both. TEXT of - reads standard input.

    Who asked hears one text: what is picked and what is written, with commas between. Should
    somebody have answered meanwhile, the daemon refuses (exit code 6).
    """
    text = " ".join(words)
    if text == "-":
        try:
            text = sys.stdin.buffer.read().decode("utf-8")
        except UnicodeDecodeError as error:
            raise errors.invalid(
                f"cannot answer: standard input is not UTF-8 text: {error}"
            ) from error
    result = call.client.call("answer", id=question, picks=list(picks), text=text)
    if call.json:
        show.as_json(result)
    else:
        show.echo(f"question {question} is answered; {show.clean(result['from'])} is told")


@click.command("cancel-question")
@names.question
@common
def cancel_question(call: Invocation, question: int) -> None:
    """End the question ID without an answer; who asked hears [cancelled]."""
    result = call.client.call("cancel-question", id=question)
    if call.json:
        show.as_json(result)
    else:
        show.echo(f"question {question} is cancelled")
