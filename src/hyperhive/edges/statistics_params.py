"""What the verbs about statistics take. Descriptions end up in the reference."""

from __future__ import annotations

from typing import Annotated

from msgspec import Meta

from hyperhive.edges.params import Name, Params
from hyperhive.services import statistics


class Stats(Params):
    """Of ``stats``."""

    name: Annotated[Name | None, Meta(description="One agent; else all.")] = None
    days: Annotated[
        int, Meta(ge=1, le=statistics.DAYS_MAX, description="How far to look back.")
    ] = 7


class MetricsToken(Params):
    """Of ``metrics-token``."""

    revoke: Annotated[bool, Meta(description="Only end the one there is.")] = False
