"""What meta holds on Nix: ``flake.nix`` and ``flake.lock`` of all agents (S41, S44).

An agent that was built is pinned with what was locked for that build, to the byte; so a deploy
moves the entry of that agent and of nobody else. One that was never built (the seed) is locked
here, without a network. Who cannot be locked is left out, and said: one broken repository must
not keep the others from being deployed (S45).
"""

from __future__ import annotations

import json
import pathlib
from collections.abc import Callable, Collection
from typing import Any, Final

from hyperhive.adapters.builder import nix_flake, nix_locking, nix_locks
from hyperhive.domain import errors, ids

HIVE_LOCK: Final = "hive.lock"
"""What meta says about every agent, as JSON (docs/repositories.md)."""


class NixMeta:
    """Writes the two files into meta's work tree."""

    def __init__(self, locking: nix_locking.Locking, log: Callable[[str], None]) -> None:
        self._locking = locking
        self._log = log
        self._seeds: dict[nix_flake.Agent, nix_locks.Pins] = {}

    async def relock(
        self, work_tree: pathlib.Path, changed: Collection[ids.AgentId]
    ) -> Collection[str]:
        """Write the flake of the agents in ``hive.lock``; the files that it consists of.

        Without the shared inputs (nothing fetched yet, no network) what is committed stays.
        """
        names = (nix_flake.FLAKE, nix_flake.LOCK)
        try:
            pins = dict(await self._locking.base(_ignore))
        except errors.HiveError as error:
            self._log(f"cannot lock meta: {error.message}")
            return [name for name in names if (work_tree / name).exists()]
        said: Any = json.loads((work_tree / HIVE_LOCK).read_text(encoding="utf-8"))
        agents: list[nix_flake.Agent] = []
        for id_, row in sorted(said["agents"].items()):
            agent = nix_flake.Agent(
                ids.AgentId(id_), ids.AgentName(row["name"]), row["role"], row["sha"]
            )
            found = row["lock"].get("flake") or self._seeds.get(agent)
            if found is None or nix_locks.commit(found) != agent.sha:
                found = await self._lock(agent, pins)
            if found is not None:
                agents.append(agent)
                pins[nix_flake.input_name(agent.name)] = found
        flake = nix_flake.render(self._locking.setting, agents)
        (work_tree / nix_flake.FLAKE).write_bytes(flake)
        (work_tree / nix_flake.LOCK).write_bytes(nix_locks.compose(pins))
        return names

    async def _lock(
        self, agent: nix_flake.Agent, pins: dict[str, nix_locks.Pins]
    ) -> nix_locks.Pins | None:
        shared = {name: pins[name] for name in self._locking.setting.inputs}
        try:
            async with self._locking.workshop([agent], shared) as work:
                locked = await self._locking.lock_offline(work, agent, _ignore)
        except (errors.HiveError, OSError) as error:
            self._log(f"meta's flake goes without {agent.name}, which cannot be locked: {error}")
            return None
        self._seeds[agent] = locked
        return locked


def _ignore(line: str) -> None:
    """Say nothing: what fails is said as a whole."""
