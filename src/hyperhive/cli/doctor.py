"""The verb `doctor`."""

from __future__ import annotations

import click

from hyperhive.cli.options import Invocation, common
from hyperhive.domain import errors


@click.command()
@common
def doctor(call: Invocation) -> None:
    """Not there yet."""
    raise errors.unavailable("cannot doctor: this version has no such verb")
