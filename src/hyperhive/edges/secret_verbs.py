"""What the verbs about named secrets take and do. None of them ever answers with a value."""

from __future__ import annotations

from typing import Annotated

from msgspec import Meta

from hyperhive.domain import access
from hyperhive.edges import action_params
from hyperhive.edges.action_verbs import Deps, Json
from hyperhive.edges.params import Params
from hyperhive.services import named_secrets

SecretName = Annotated[
    str, Meta(min_length=1, max_length=64, description="Name that configurations use.")
]


class SetSecret(Params):
    """Of ``set-secret``."""

    name: SecretName
    value: Annotated[
        str,
        Meta(
            min_length=1,
            max_length=named_secrets.VALUE_MAX,
            description="The value; never shown again.",
        ),
    ]


class OneSecret(Params):
    """Of ``delete-secret``."""

    name: SecretName


async def set_secret(deps: Deps, caller: access.Caller, given: SetSecret) -> Json:
    """Keep a secret on this host; agents whose configuration names it have it from now on."""
    return await deps.secrets.set(caller, given.name, given.value)


async def list_secrets(deps: Deps, caller: access.Caller, _: action_params.Nothing) -> Json:
    """The named secrets, who uses each, and what is used without being set; no values."""
    return {"secrets": await deps.secrets.listed(caller)}


async def delete_secret(deps: Deps, caller: access.Caller, given: OneSecret) -> Json:
    """Forget a secret; agents that use it go on without."""
    return await deps.secrets.delete(caller, given.name)
