"""Verbs about getting in: the page's sign-in link and the model's credential."""

from __future__ import annotations

import sys
from typing import Final

import click

from hyperhive.cli import names, show, turns
from hyperhive.cli.options import Invocation, common
from hyperhive.domain import errors


@click.command()
@common
def login(call: Invocation) -> None:
    """Print a new link to the page. It signs in one browser, once, and not for long."""
    result = call.client.call("sign-in-link")
    if call.json:
        show.as_json(result)
    else:
        show.echo(result["sign_in"])


KINDS: Final = ("api-key", "token", "demo", "none")


@click.command()
@click.argument("what", required=False, metavar="[KIND | NAME]", shell_complete=names.complete)
@click.argument("chosen", required=False, metavar="[MODEL]")
@common
def model(call: Invocation, what: str | None, chosen: str | None) -> None:
    """Show where the model comes from, or set it to KIND; show or set the model of agent NAME.

    MODEL counts from the agent's next turn on; `default` takes it back.

    \b
    api-key   an API key of the Messages API
    token     a long-lived token, as `claude setup-token` makes it
    demo      the built-in scripted model
    none      forget the credential

    A key or token is asked for without showing it, or read from standard input when that is
    no terminal. It is never an argument, because everybody on the host could read it there.
    """
    if what in KINDS and chosen is not None:
        # Else a key that stands on the command line by mistake would end up as a model's name.
        raise click.UsageError(
            f"{what!r} takes no second word; the model of an agent of that name is set on its page"
        )
    if what is not None and chosen is not None:
        turns.answer(call, call.client.call("set-model", name=what, model=chosen))
        return
    if what is not None and what not in KINDS:
        _show_model(call, what)
        return
    if what is None:
        result = call.client.call("model-status")
    else:
        secret = _read_secret(what) if what in ("api-key", "token") else ""
        result = call.client.call("model-source", kind=what.replace("-", "_"), secret=secret)
    if call.json:
        show.as_json(result)
        return
    show.pairs(
        [
            (name.replace("_", " "), "-" if value is None else str(value))
            for name, value in result.items()
        ],
        color=call.color,
    )


def _show_model(call: Invocation, name: str) -> None:
    rows = call.client.call("list")["agents"]
    row = next((row for row in rows if row["name"] == name), None)
    if row is None:
        raise errors.not_found(
            f"cannot find agent {name[:64]!r}: there is none of that name, and it is not one of "
            f"{', '.join(KINDS)}"
        )
    if call.json:
        show.as_json({"name": name, "model": row["model"]})
    else:
        show.echo(show.clean(row["model"]))


def _read_secret(kind: str) -> str:
    if sys.stdin.isatty():
        secret = str(click.prompt(kind, hide_input=True, err=True))
    else:
        secret = sys.stdin.readline()
    secret = secret.strip()
    if not secret:
        raise errors.invalid(f"cannot set the {kind}: nothing was given on standard input")
    return secret
