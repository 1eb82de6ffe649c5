"""What is wrong with a configuration, in words that name the place.

Values are shown as they would stand in the file, in ASCII and cut, so that nothing that an agent
wrote can pose as something else in an error.
"""

from __future__ import annotations

import dataclasses
import difflib
import json
import re
from collections.abc import Iterable, Sequence
from typing import Any, Final

PROBLEMS_SHOWN: Final = 50


@dataclasses.dataclass(frozen=True, slots=True)
class Problem:
    """One thing that is wrong, or (a warning) that is not as its author may think."""

    where: str
    line: int
    key: str
    found: str
    """As it would stand in the file; empty when something is missing."""
    text: str

    def __str__(self) -> str:
        place = f"{self.where}:{self.line}" if self.line else self.where
        subject = f"{self.key} = {self.found}" if self.found else self.key
        return f"{place}: {subject}: {self.text}" if subject else f"{place}: {self.text}"


def explain(problems: Sequence[Problem]) -> str:
    """All of *problems* as one message, a line each; a single one is the whole message."""
    if len(problems) == 1:
        return f"cannot use this configuration: {problems[0]}"
    lines = [str(problem) for problem in problems[:PROBLEMS_SHOWN]]
    if len(problems) > PROBLEMS_SHOWN:
        lines.append(f"and {len(problems) - PROBLEMS_SHOWN} more")
    count = len(problems)
    return f"cannot use this configuration: {count} problems; mend all\n" + "\n".join(lines)


def dotted(path: Sequence[str | int]) -> str:
    """A path as TOML writes it, indexes in brackets."""
    text = ""
    for part in path:
        if isinstance(part, int):
            text += f"[{part}]"
        else:
            bare = re.fullmatch(r"[A-Za-z0-9_-]+", part) is not None
            text += ("." if text else "") + (part if bare else shown(part))
    return text


def shown(value: Any) -> str:
    """A value as the file may write it, at most 100 characters of it."""
    text = json.dumps(value, default=str)
    return text if len(text) <= 100 else text[:99] + "…"


def nearest(name: object, allowed: Iterable[str]) -> str:
    """A clause that names what is most like *name*; empty when nothing is."""
    near = difflib.get_close_matches(str(name), list(allowed), n=1, cutoff=0.6)
    if not near:
        return ""
    plain = near[0].isascii() and near[0].isprintable()
    return f"; did you mean {near[0] if plain else shown(near[0])}?"
