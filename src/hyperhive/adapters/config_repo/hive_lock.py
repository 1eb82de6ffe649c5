"""``hive.lock``: what meta pins for every agent, as JSON that is the same for the same facts."""

from __future__ import annotations

import json
import re
from collections.abc import Iterable, Mapping
from typing import Any, Final

from hyperhive import ports
from hyperhive.domain import errors, ids

FILE_NAME: Final = "hive.lock"
VERSION: Final = 1
TRAILER: Final = "Deploy-Id"
"""A line of a deploy's commit in meta by which it is found again."""

_TRAILER: Final = re.compile(rf"\n{TRAILER}: ([0-9]+)\s*\Z")


def render(entries: Iterable[ports.MetaEntry]) -> bytes:
    """The file for exactly these agents, in the order of their ids."""
    agents = {
        entry.agent: {
            "name": entry.name,
            "role": entry.role,
            "sha": entry.sha,
            "generation": entry.generation,
            "lock": entry.lock,
        }
        for entry in entries
    }
    content = {"version": VERSION, "agents": agents}
    return (json.dumps(content, indent=2, sort_keys=True, ensure_ascii=True) + "\n").encode()


def parse(content: bytes) -> dict[ids.AgentId, ports.MetaEntry]:
    """The inverse of `render`; UNAVAILABLE when it is damaged or of another version."""
    try:
        found: Any = json.loads(content)
        if found["version"] != VERSION:
            raise errors.unavailable(
                f"cannot read {FILE_NAME}: it has version {found['version']!r}, this hive knows "
                f"{VERSION}; run the newer hive"
            )
        return {
            ids.AgentId(agent): ports.MetaEntry(
                ids.AgentId(agent),
                ids.AgentName(row["name"]),
                row["role"],
                row["sha"],
                row["generation"],
                row["lock"],
            )
            for agent, row in found["agents"].items()
        }
    except (ValueError, KeyError, TypeError, AttributeError) as error:
        raise errors.unavailable(f"cannot read {FILE_NAME}: it is damaged ({error})") from error


def replace(
    entries: Mapping[ids.AgentId, ports.MetaEntry], entry: ports.MetaEntry
) -> list[ports.MetaEntry]:
    """*entries* with the one of the same agent replaced, or added."""
    return list({**entries, entry.agent: entry}.values())


def deploy_message(message: str, approval: int) -> str:
    """The message of a deploy's commit, with the trailer by which it is found again."""
    return f"{message.strip()}\n\n{TRAILER}: {approval}"


def deploy_of(message: str) -> int | None:
    """The approval that a commit of meta is the deploy of; None for other commits."""
    match = _TRAILER.search(f"\n{message}")
    return None if match is None else int(match[1])
