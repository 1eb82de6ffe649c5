"""A daemon's death at an exact moment: what it does passes a fuse, which blows after the n-th."""

from __future__ import annotations

import asyncio
import socket
from collections.abc import Callable
from typing import TypeVar

from hyperhive import ports
from hyperhive.adapters.sandbox.memory import MemorySandbox, World
from hyperhive.domain import agents, events, ids

T = TypeVar("T")


class Fuse:
    """Counts the moments at which a daemon may die, and lets it die at one of them.

    A moment is a commit or a deed in the world (a sandbox, a door) that has just been
    done and that nobody in the daemon has heard of yet.
    """

    def __init__(self, at: int | None = None) -> None:
        self.at = at
        self.count = 0
        self.blown = False
        self.has_blown = asyncio.Event()
        self.on_blow: Callable[[], None] = lambda: None

    async def passed(self) -> None:
        """One more moment; the caller of the last one never goes on."""
        self.count += 1
        if self.count == self.at:
            self.blow()
            await asyncio.get_running_loop().create_future()
        self.check()

    def blow(self) -> None:
        """Die now."""
        self.blown = True
        self.has_blown.set()
        self.on_blow()

    def check(self) -> None:
        """A dead daemon does nothing."""
        if self.blown:
            raise asyncio.CancelledError


class FusedStore:
    """A store that its daemon may not live to see the answer of."""

    def __init__(self, store: ports.Store, fuse: Fuse) -> None:
        self._store = store
        self._fuse = fuse

    async def write(self, work: Callable[[ports.Tx], T]) -> T:
        self._fuse.check()
        before = self._store.number()
        value = await self._store.write(work)
        if self._store.number() != before:
            await self._fuse.passed()
        self._fuse.check()
        return value

    async def read(self, work: Callable[[ports.ReadTx], T]) -> T:
        self._fuse.check()
        value = await self._store.read(work)
        self._fuse.check()
        return value

    def number(self) -> int:
        return self._store.number()

    async def changed(self, topic: events.Topic, after: int) -> int:
        self._fuse.check()
        return await self._store.changed(topic, after)

    async def close(self) -> None:
        await self._store.close()


class FusedSandbox(MemorySandbox):
    """Sandboxes whose daemon may not live to see that they started or ended."""

    def __init__(self, world: World, fuse: Fuse, sockets: list[socket.socket]) -> None:
        super().__init__(world)
        self._fuse = fuse
        self._sockets = sockets

    async def start(self, spec: ports.SandboxSpec) -> ports.Started:
        self._fuse.check()
        started = await super().start(spec)
        self._sockets.extend(started.listeners.values())
        await self._fuse.passed()
        return started

    async def stop(
        self, agent: ids.AgentId, identity: agents.SandboxIdentity, grace: float
    ) -> None:
        self._fuse.check()
        await super().stop(agent, identity, grace)
        await self._fuse.passed()

    async def kill(self, agent: ids.AgentId, identity: agents.SandboxIdentity) -> None:
        self._fuse.check()
        await super().kill(agent, identity)
        await self._fuse.passed()

    async def open_port(
        self, agent: ids.AgentId, identity: agents.SandboxIdentity, port: int
    ) -> socket.socket:
        self._fuse.check()
        listener = await super().open_port(agent, identity, port)
        self._sockets.append(listener)
        return listener
