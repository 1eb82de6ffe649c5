"""What the verbs about an agent's turns take."""

from __future__ import annotations

from typing import Annotated

from msgspec import Meta

from hyperhive.edges import action_params
from hyperhive.edges.params import Params
from hyperhive.services import turn_control


class SetModel(Params):
    """Of ``set-model``."""

    name: action_params.AgentName
    model: Annotated[
        str,
        Meta(
            max_length=200,
            description="A model's name; `default` is that of its configuration, or the hive's.",
        ),
    ]


class Pause(Params):
    """Of ``pause``."""

    name: action_params.AgentName
    reason: Annotated[
        str, Meta(max_length=turn_control.REASON_MAX, description="Why; shown while it lasts.")
    ] = ""
