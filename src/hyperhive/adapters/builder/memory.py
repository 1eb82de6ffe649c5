"""Builds that exist only in a test's imagination, with the log lines and failures of real ones.

A `Shelf` stands for the disk. It outlives each `MemoryBuilder`, as layers outlive the daemon:
a test that restarts the daemon makes a new one on the same shelf.
"""

from __future__ import annotations

import asyncio
import dataclasses
import hashlib
from collections.abc import Callable, Collection

from hyperhive import ports
from hyperhive.adapters.builder import generations
from hyperhive.domain import errors, ids

NO_SUCH_PACKAGE = "no-such-package"
"""A package of this name, in any package system, cannot be installed."""
_FIRST = "2026-01-01T00:00:00Z"


class Shelf:
    """What was built, and how the next builds behave."""

    def __init__(self) -> None:
        self.generations: dict[str, ports.Generation] = {}
        self.current: dict[ids.AgentId, ids.GenerationId] = {}
        """What `activate` said last; agents on the base are absent."""
        self.inputs: dict[str, int] = {"apt": 1, "npm": 1, "pip": 1}
        """How often each was renewed; also the version that its packages have."""
        self.gate: asyncio.Event | None = None
        """When there is one, a build waits for it, after its first lines of log."""
        self.unavailable = ""
        """When not empty: why no build can run now."""
        self.began: list[ports.BuildOrder] = []
        """Every build that was asked for."""
        self.made: list[ids.GenerationId] = []
        """Every build that had to be made and was."""


class MemoryBuilder:
    """One daemon's view of a `Shelf`. See `ports.Builder`."""

    def __init__(self, shelf: Shelf | None = None) -> None:
        self.shelf = shelf or Shelf()

    async def probe(self) -> list[ports.Finding]:
        """Say that it is not real, or why it cannot build."""
        if self.shelf.unavailable:
            broken = ports.Severity.BROKEN
            return [ports.Finding("builder", broken, self.shelf.unavailable, "wait")]
        return [ports.Finding("builder", ports.Severity.OK, "in memory: builds nothing")]

    async def inputs(self) -> list[ports.Input]:
        """One input for each package system."""
        return [
            ports.Input(name, str(count), _FIRST)
            for name, count in sorted(self.shelf.inputs.items())
        ]

    async def update_inputs(
        self, names: Collection[str], log: Callable[[str], None]
    ) -> list[ports.Input]:
        """Take the next version of those inputs."""
        unknown = sorted(set(names) - set(self.shelf.inputs))
        if unknown:
            raise errors.not_found(f"cannot update input {unknown[0]}: there is none of that name")
        for name in sorted(set(names)):
            self.shelf.inputs[name] += 1
            log(f"{name} is {self.shelf.inputs[name]} now")
        return await self.inputs()

    def built_from(self) -> str:
        """The versions of all inputs."""
        text = repr(sorted(self.shelf.inputs.items()))
        return hashlib.sha256(text.encode()).hexdigest()[:16]

    async def build(self, order: ports.BuildOrder, log: Callable[[str], None]) -> ports.Generation:
        """Pretend to install packages; the version of each is that of its input, unless locked."""
        self.shelf.began.append(order)
        await asyncio.sleep(0)
        if self.shelf.unavailable:
            raise errors.unavailable(f"cannot build {order.name}: {self.shelf.unavailable}")
        generation = self._imagine(order)
        if generation.id in self.shelf.generations:
            log(f"generation {generation.id[:12]} was built before")
            return self.shelf.generations[generation.id]
        packages = order.configuration.packages
        wanted = {"apt": packages.apt, "npm": packages.npm, "pip": packages.pip}
        log(f"building {order.name} at {order.sha[:12]}")
        for system, names in wanted.items():
            for name in names:
                log(f"{system}: installing {name}")
        if self.shelf.gate is not None:
            await self.shelf.gate.wait()
        for system, names in wanted.items():
            if NO_SUCH_PACKAGE in names:
                reason = f"Unable to locate package {NO_SUCH_PACKAGE}"
                log(f"E: {reason}")
                raise errors.invalid(f"cannot build {order.name}: {system}: {reason}")
        self.shelf.generations[generation.id] = generation
        self.shelf.made.append(generation.id)
        log(f"generation {generation.id[:12]} is built")
        return generation

    async def find(self, generation: ids.GenerationId) -> ports.Generation | None:
        """A generation that was built and not collected."""
        return self.shelf.generations.get(generation)

    async def activate(self, agent: ids.AgentId, generation: ids.GenerationId | None) -> None:
        """Remember it."""
        if generation is None:
            self.shelf.current.pop(agent, None)
            return
        if generation not in self.shelf.generations:
            raise errors.not_found(
                f"cannot activate generation {generation}: it was never built or has been "
                "collected; build it again"
            )
        self.shelf.current[agent] = generation

    async def collect(self, keep: Collection[str]) -> int:
        """Forget the others; each was a kilobyte."""
        kept = {*keep, *self.shelf.current.values()}
        gone = [name for name in self.shelf.generations if name not in kept]
        for name in gone:
            del self.shelf.generations[name]
        return 1024 * len(gone)

    def _imagine(self, order: ports.BuildOrder) -> ports.Generation:
        packages = order.configuration.packages
        lock: dict[str, object] = {}
        systems = (("apt", packages.apt), ("npm", packages.npm), ("pip", packages.pip))
        for system, names in systems:
            if names:
                pins = {} if order.fresh else _pins(order, system)
                version = f"{self.shelf.inputs[system]}.0"
                lock[system] = {name: pins.get(name, version) for name in sorted(names)}
        content = hashlib.sha256()
        for target, source in sorted(order.configuration.files.items()):
            path = order.source / source
            if not path.is_file():
                raise errors.invalid(
                    f"cannot build {order.name}: the commit has no file {source!r} (files)"
                )
            content.update(f"{target}\n".encode() + path.read_bytes() + b"\n")
        if order.configuration.files:
            lock["files"] = content.hexdigest()[:16]
        generation = ports.Generation(
            ids.GenerationId(""), self.built_from(), path=("/opt/memory/bin",), lock=lock
        )
        return dataclasses.replace(generation, id=generations.identify(generation))


def _pins(order: ports.BuildOrder, system: str) -> dict[str, str]:
    pins = order.lock.get(system, {})
    return {str(k): str(v) for k, v in pins.items()} if isinstance(pins, dict) else {}  # pyright: ignore[reportUnknownArgumentType, reportUnknownVariableType]
