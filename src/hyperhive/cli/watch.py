"""The verb `watch`."""

from __future__ import annotations

import click

from hyperhive.cli.options import Invocation, common
from hyperhive.domain import errors


@click.command()
@common
def watch(call: Invocation) -> None:
    """Not there yet."""
    raise errors.unavailable("cannot watch: this version has no such verb")
