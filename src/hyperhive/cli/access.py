"""Verbs about getting in: the page's sign-in link and the model's credential."""

from __future__ import annotations

import sys

import click

from hyperhive.cli import show
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


@click.command()
@click.argument(
    "kind", required=False, type=click.Choice(["api-key", "token", "demo", "none"]), metavar="KIND"
)
@common
def model(call: Invocation, kind: str | None) -> None:
    """Show where the model comes from, or set it to KIND.

    \b
    api-key   an API key of the Messages API
    token     a long-lived token, as `claude setup-token` makes it
    demo      the built-in scripted model
    none      forget the credential

    A key or token is asked for without showing it, or read from standard input when that is
    no terminal. It is never an argument, because everybody on the host could read it there.
    """
    if kind is None:
        result = call.client.call("model-status")
    else:
        secret = _read_secret(kind) if kind in ("api-key", "token") else ""
        result = call.client.call("model-source", kind=kind.replace("-", "_"), secret=secret)
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


def _read_secret(kind: str) -> str:
    if sys.stdin.isatty():
        secret = str(click.prompt(kind, hide_input=True, err=True))
    else:
        secret = sys.stdin.readline()
    secret = secret.strip()
    if not secret:
        raise errors.invalid(f"cannot set the {kind}: nothing was given on standard input")
    return secret
