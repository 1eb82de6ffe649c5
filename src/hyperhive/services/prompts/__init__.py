"""System prompts: one template per role, filled in at every turn (S18, S19).

Templates use ``${name}`` placeholders. Values are put in by one pass over the
template, so quotes, dollar signs and non-ASCII in a value stay what they are.
"""

from __future__ import annotations

import functools
import importlib.resources
import string
from typing import Final

from hyperhive.domain import agents

ADDED: Final = "## From this agent's own configuration, approved by the operator"


def render(agent: agents.Agent, *, hive: str, pronouns: str, added: str = "") -> str:
    """The system prompt of *agent* as of now.

    *added* is the prompt of its configuration: it stands behind ours, under a heading of its
    own, and nothing in it is a placeholder.
    """
    text = _template(agent.role).substitute(name=agent.name, hive=hive, pronouns=pronouns)
    return f"{text.rstrip()}\n\n{ADDED}\n\n{added.strip()}\n" if added.strip() else text


@functools.cache
def _template(role: agents.Role) -> string.Template:
    text = (importlib.resources.files(__name__) / f"{role.value}.md").read_text(encoding="utf-8")
    shared = (importlib.resources.files(__name__) / "shared.md").read_text(encoding="utf-8")
    return string.Template(text.rstrip("\n") + "\n\n" + shared)
