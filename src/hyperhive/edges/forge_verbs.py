"""Verbs about the forge that keeps a copy of the configurations."""

from __future__ import annotations

import dataclasses
from collections.abc import Sequence
from typing import Annotated

from msgspec import Meta

from hyperhive import ports
from hyperhive.domain import access, errors
from hyperhive.edges import action_params
from hyperhive.edges.action_verbs import Deps, Json
from hyperhive.edges.params import Params
from hyperhive.services import mirroring


class SetToken(Params):
    """Of ``set-forge-token``."""

    token: Annotated[
        str, Meta(max_length=8192, description="The account's token; never shown again.")
    ]


async def status(deps: Deps, _: access.Caller, __: action_params.Nothing) -> Json:
    """How the forge's copy stands: each repository, its lag and its last error."""
    return _forge(deps).status()


async def set_token(deps: Deps, caller: access.Caller, given: SetToken) -> Json:
    """Set the token of the hive's account on the forge, and try it."""
    return {"findings": _views(await _forge(deps).set_token(caller, given.token))}


def _views(found: Sequence[ports.Finding]) -> list[Json]:
    return [{**dataclasses.asdict(each), "severity": each.severity.value} for each in found]


def _forge(deps: Deps) -> mirroring.Mirroring:
    if deps.forge is None:
        raise errors.unavailable("cannot use a forge: this hive keeps no configurations")
    return deps.forge
