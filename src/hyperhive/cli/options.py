"""What every verb understands: ``--home``, ``--json``, ``--no-color``."""

from __future__ import annotations

import dataclasses
import functools
import pathlib
import sys
from collections.abc import Callable
from typing import Any

import click

from hyperhive import settings
from hyperhive.cli import client


@dataclasses.dataclass(frozen=True, slots=True)
class Invocation:
    """How `hive` was called, before any verb's own options."""

    home: pathlib.Path
    named_home: str | None
    """What ``--home`` said, for those who read the settings themselves."""
    json: bool
    color: bool

    @property
    def client(self) -> client.AdminClient:
        """A client of the daemon of this home."""
        return client.AdminClient(self.home)


def build(home: str | None, json: bool, no_color: bool) -> Invocation:
    """Settle the common options with the environment."""
    env = settings.environment()
    place = home or env.get("HIVE_HOME") or settings.default_home(env)
    plain = no_color or json or bool(env.get("NO_COLOR")) or env.get("TERM") == "dumb"
    color = not plain and sys.stdout.isatty()
    return Invocation(pathlib.Path(place).expanduser().absolute(), home, json, color)


def attach(verb: Callable[..., Any]) -> Callable[..., Any]:
    """Add the common options to a click callback, without using them."""
    for option in reversed(
        (
            click.option("--home", metavar="DIR", help="Directory of the hive (HIVE_HOME)."),
            click.option("--json", "as_json", is_flag=True, help="Print JSON for scripts."),
            click.option("--no-color", is_flag=True, help="Print without colours."),
        )
    ):
        verb = option(verb)
    return verb


def common(verb: Callable[..., Any]) -> Callable[..., Any]:
    """Give a verb the common options and, as its first argument, the `Invocation`.

    They may stand before or after the verb's name; after it wins.
    """

    @functools.wraps(verb)
    def run(home: str | None, as_json: bool, no_color: bool, **own: Any) -> Any:
        before: dict[str, Any] = click.get_current_context().find_root().obj or {}
        call = build(
            home or before.get("home"),
            as_json or before.get("as_json", False),
            no_color or before.get("no_color", False),
        )
        return verb(call, **own)

    return attach(run)
