"""System prompts: one template per role, filled in at every turn (S18, S19).

Templates use ``${name}`` placeholders. Values are put in by one pass over the
template, so quotes, dollar signs and non-ASCII in a value stay what they are.
"""

from __future__ import annotations

import functools
import importlib.resources
import string

from hyperhive.domain import agents


def render(agent: agents.Agent, *, hive: str, pronouns: str) -> str:
    """The system prompt of *agent* as of now."""
    return _template(agent.role).substitute(name=agent.name, hive=hive, pronouns=pronouns)


@functools.cache
def _template(role: agents.Role) -> string.Template:
    text = (importlib.resources.files(__name__) / f"{role.value}.md").read_text(encoding="utf-8")
    shared = (importlib.resources.files(__name__) / "shared.md").read_text(encoding="utf-8")
    return string.Template(text.rstrip("\n") + "\n\n" + shared)
