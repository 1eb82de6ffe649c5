"""What the verbs about configurations take. Descriptions end up in the reference."""

from __future__ import annotations

from typing import Annotated, Literal

from msgspec import Meta

from hyperhive.domain import approvals
from hyperhive.edges.action_params import AgentName
from hyperhive.edges.params import Id, Name, Params

Revision = Annotated[
    str, Meta(max_length=64, description="A tag (`deployed/7`), or the id of a tagged commit.")
]
Path = Annotated[str, Meta(min_length=1, max_length=4096, description="As the list shows it.")]


class Card(Params):
    """Of ``card``."""

    id: Annotated[Id, Meta(description="The approval.")]
    base: Annotated[
        Literal["deployed", "approved", "previous"],
        Meta(description="What to compare with: what runs, the last approval, the last proposal."),
    ] = "deployed"


class BuildLog(Params):
    """Of ``build-log``."""

    id: Annotated[Id, Meta(description="The approval.")]
    lines: Annotated[int, Meta(ge=0, le=5000, description="How many of the last lines.")] = 1000
    follow: Annotated[bool, Meta(description="Go on until the build has ended.")] = False


class History(Params):
    """Of ``history``."""

    agent: AgentName


class ConfigFiles(Params):
    """Of ``config-files``."""

    agent: AgentName
    revision: Annotated[Revision, Meta(description="Else what is deployed.")] = ""


class ConfigFile(Params):
    """Of ``config-file``."""

    agent: AgentName
    path: Path
    revision: Annotated[Revision, Meta(description="Else what is deployed.")] = ""


class Compare(Params):
    """Of ``compare``."""

    agent: AgentName
    before: Revision
    after: Annotated[Revision, Meta(description="Else what is deployed.")] = ""


class Rollback(Params):
    """Of ``rollback``."""

    agent: AgentName
    tag: Annotated[str, Meta(max_length=64, description="`deployed/ID`, from its history.")]
    description: Annotated[str, Meta(max_length=approvals.DESCRIPTION_MAX, description="Why.")] = ""


class UpdateInputs(Params):
    """Of ``update-inputs``."""

    names: Annotated[
        list[Name], Meta(min_length=1, max_length=100, description="As `inputs` lists them.")
    ]
