"""What a hive that was imported holds, without its random ids; and imports that die."""

from __future__ import annotations

import asyncio
import pathlib
import re
import subprocess
import sys
from typing import Any

from hyperhive import migration, ports, settings
from hyperhive.adapters.clock.system import SystemClock
from hyperhive.adapters.store.sqlite import SqliteStore
from hyperhive.domain import imports
from rigs import old_hives

_RUN = """
import os, pathlib, sys
from hyperhive import migration, settings
home, source, move, last = sys.argv[1:]
left = int(last)
def checkpoint(name):
    global left
    left -= 1
    if left < 0:
        os._exit(9)
order = migration.Order(pathlib.Path(source), move == "move")
made = migration.run(settings.load({}, {"home": home}), order, lambda line: None, checkpoint)
sys.exit(0 if made.is_complete else 3)
"""
_ID = re.compile(r"[0-9a-f]{12}")


def bring(home: pathlib.Path, source: pathlib.Path, **how: Any) -> imports.Outcome:
    """Import *source* into *home*, in this process."""
    order = migration.Order(source, **how)
    return migration.run(settings.load({}, {"home": home}), order, lambda _: None)


def start(
    home: pathlib.Path, source: pathlib.Path, *, move: bool = False, steps: int = 1_000_000
) -> subprocess.Popen[bytes]:
    """Import in a process that dies (code 9) before step number *steps*."""
    how = "move" if move else "copy"
    return subprocess.Popen([sys.executable, "-c", _RUN, str(home), str(source), how, str(steps)])


def facts(home: pathlib.Path) -> dict[str, Any]:
    """Everything that an import leaves, by names."""

    def read(tx: ports.ReadTx) -> dict[str, Any]:
        agents = {agent.id: agent for agent in tx.list_agents()}
        names = {key: str(agent.name) for key, agent in agents.items()}
        return {
            "names": names,
            "agents": [
                (agent.name, agent.role.value, agent.wanted.value, agent.phase.value)
                for agent in agents.values()
            ],
            "slots": sorted(agent.slot for agent in agents.values()),
            "deployments": sorted(
                (
                    names[row.agent_id], row.sha, row.tree, int(row.approval),
                    row.configuration["model"],
                )
                for row in tx.list_deployments()
            ),
            "approvals": [
                (int(row.id), row.kind.value, str(row.agent_name), row.state.value, row.note)
                for row in tx.list_approvals()
            ],
            "proposals": [
                (int(row.approval), row.sha, row.tree, row.tag) for row in tx.list_proposals()
            ],
            "messages": sorted(
                (row.sender_name, row.recipient_name, row.body, row.state.value)
                for row in tx.list_messages()
            ),
        }  # fmt: skip

    async def ask() -> dict[str, Any]:
        store = await SqliteStore.open(home / "store" / "hive.db", SystemClock())
        try:
            return await store.read(read)
        finally:
            await store.close()

    found = asyncio.run(ask())
    names = found.pop("names")
    found["refs"] = {}
    for place in sorted((home / "applied").iterdir()):
        lines = old_hives.git(
            place, "for-each-ref", "--format=%(refname) %(objecttype) %(*objectname) %(contents)"
        )
        commits = old_hives.git(place, "rev-list", "--all")
        found["refs"][names.get(place.name.removesuffix(".git"), place.name)] = (
            re.sub(r"[0-9a-f]{40} tagger.*", "", lines), sorted(commits.split()),
        )  # fmt: skip
    found["files"] = {
        _ID.sub(lambda match: names.get(match[0], match[0]), path): (row[0], *row[2:])
        for top in ("agents", "proposed", "imported")
        for path, row in old_hives.snapshot(home / top).items()
        if path not in ("log.jsonl", "done.json", "broker.sqlite")
    }
    return found
