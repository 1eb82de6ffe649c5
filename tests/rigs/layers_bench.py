"""A layers builder on the real base root, with counted sandboxes. Needs HIVE_TEST_CACHE."""

from __future__ import annotations

import os
import pathlib
import sys
from typing import Any

from hyperhive import ports
from hyperhive.adapters.builder import layers
from hyperhive.adapters.clock import system
from hyperhive.adapters.process import host
from hyperhive.adapters.sandbox import base_root, one_shot
from hyperhive.domain import configuration, ids
from rigs import builder_stories as stories

UID_BASE = 640_000


def find_base() -> pathlib.Path:
    """The base root of this host in HIVE_TEST_CACHE; LookupError says how to get one."""
    cache = os.environ.get("HIVE_TEST_CACHE")
    if cache:
        made = base_root.BaseRoot(
            host.HostProcesses(), system.SystemClock(), pathlib.Path(cache), {}
        )
        if made.is_built():
            return made.path
    raise LookupError("no base root: set HIVE_TEST_CACHE to a cache that `hive up` has filled")


class CountedOneShots:
    """Real sandboxes that are remembered."""

    def __init__(self, inner: ports.OneShots) -> None:
        self._inner = inner
        self.orders: list[ports.OneShot] = []

    async def probe(self) -> list[ports.Finding]:
        return await self._inner.probe()

    async def run(self, order: ports.OneShot, **more: Any) -> ports.ProcessResult:
        self.orders.append(order)
        return await self._inner.run(order, **more)


class LayersBench:
    """A hive's home with a builder; *base* None is the view of the host."""

    small = configuration.Packages(pip=("six",))

    def __init__(self, top: pathlib.Path, base: pathlib.Path | None) -> None:
        self.top = top
        self.base = base
        self.one_shots = CountedOneShots(
            one_shot.BubblewrapOneShots(
                host.HostProcesses(), scratch=top / "one-shots", uid_base=UID_BASE
            )
        )
        self.builder: ports.Builder = self.restart()

    def restart(self) -> ports.Builder:
        return layers.LayersBuilder(
            self.one_shots,
            host.HostProcesses(),
            system.SystemClock(),
            home=self.top,
            base=lambda: self.base,
        )

    async def build(
        self, packages: configuration.Packages, agent: ids.AgentId = stories.ALICE, **more: Any
    ) -> ports.Generation:
        """Build, and forget the log."""
        return await self.builder.build(stories.order(self, packages, agent, **more), _ignore)

    def left(self) -> list[str]:
        """What lies on the shelf half-made."""
        tmp = self.top / "layers" / "tmp"
        return [path.name for path in tmp.iterdir()] if tmp.is_dir() else []


def _ignore(line: str) -> None:
    """Say nothing."""


async def _endless(top: pathlib.Path) -> None:
    """Build something that takes a while, and say when it has begun."""
    bench = LayersBench(top, None)
    order = stories.order(bench, configuration.Packages(pip=("numpy", "pandas")))
    await bench.builder.build(order, lambda line: print(line, flush=True))


if __name__ == "__main__":
    import asyncio

    asyncio.run(_endless(pathlib.Path(sys.argv[1])))
