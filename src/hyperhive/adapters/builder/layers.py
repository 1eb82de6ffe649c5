"""Builds configurations as layers over the base root (see docs/builder.md).

One chain: apt, then npm, then pip, then files. Every step is a layer of its own, named after
what it was resolved to and what it lies on, so that the next agent with the same packages costs
nothing. Without a base root (the host's own /usr) npm, pip and files become read-only binds, and
apt is refused: there is nothing that a package could be installed into.
"""

from __future__ import annotations

import asyncio
import os
import pathlib
from collections.abc import Callable, Collection, Mapping

from hyperhive import ports
from hyperhive.adapters.builder import bench, chain, generations, refusing, shelf, tools
from hyperhive.adapters.builder import inputs as inputs_file
from hyperhive.domain import errors, ids


class LayersBuilder:
    """Builds on the shelf of one hive. See `ports.Builder`."""

    def __init__(
        self,
        one_shots: ports.OneShots,
        processes: ports.Processes,
        clock: ports.Clock,
        *,
        home: pathlib.Path,
        base: Callable[[], pathlib.Path | None],
        env: Mapping[str, str] | None = None,
    ) -> None:
        """*base* says which root agents get now, None for the host's own /usr; *env* reaches
        every build (proxy variables, no secret).
        """
        self._one_shots = one_shots
        self._shelf = shelf.Shelf(home / "layers", clock)
        self._generations = generations.Generations(home / "generations")
        self._inputs = inputs_file.Inputs(home / "generations" / "inputs.json", clock, base)
        self._parts = chain.Parts(
            processes,
            bench.Bench(one_shots, clock, env or {}),
            self._shelf,
            self._generations,
            self._inputs,
        )
        self._swept = False

    # --- ports.Builder ------------------------------------------------------------------

    async def probe(self) -> list[ports.Finding]:
        """Say what can be built here; a layer is tried on the base root."""
        found: list[ports.Finding] = []
        base = self._inputs.base()
        ok, notice = ports.Severity.OK, ports.Severity.NOTICE
        if base is None:
            text = "no base root: npm, pip and files can be built, apt packages cannot"
            found.append(ports.Finding("builder", notice, text, "set HIVE_SANDBOX to base"))
        else:
            found.append(await self._try_layer(base))
        pip = tools.find_pip()
        if pip is None:
            text = "there is no pip to install pip and npm packages with"
            found.append(ports.Finding("pip", notice, text, tools.PIP_REMEDY))
        else:
            found.append(ports.Finding("pip", ok, f"pip and npm packages by {pip}"))
        return found

    async def inputs(self) -> list[ports.Input]:
        """The package archives, and the base root."""
        return self._inputs.list()

    async def update_inputs(
        self, names: Collection[str], log: Callable[[str], None]
    ) -> list[ports.Input]:
        """Resolve packages of those archives anew from now on; NOT_FOUND for an unknown name."""
        await asyncio.to_thread(self._inputs.renew, names, log)
        return self._inputs.list()

    def built_from(self) -> str:
        """One word for base root and archives as of now."""
        return self._inputs.word()

    async def build(self, order: ports.BuildOrder, log: Callable[[str], None]) -> ports.Generation:
        """Build, or find. See `ports.Builder.build`."""
        with refusing.named(order):
            await self._sweep()
            return await chain.Build(self._parts, order, log).run()

    async def find(self, generation: ids.GenerationId) -> ports.Generation | None:
        """A generation all of whose layers are there."""
        return await asyncio.to_thread(self._generations.find, generation)

    async def activate(self, agent: ids.AgentId, generation: ids.GenerationId | None) -> None:
        """Swap the agent's link."""
        await asyncio.to_thread(self._generations.activate, agent, generation)

    async def collect(self, keep: Collection[str]) -> int:
        """Forget what neither *keep* nor any agent's link needs; bytes freed."""
        async with self._parts.steady:
            building = {key for build in self._parts.building for key in build.needs}
            return await asyncio.to_thread(self._collect, keep, building)

    # --- parts --------------------------------------------------------------------------

    def _collect(self, keep: Collection[str], building: Collection[str]) -> int:
        kept = {*keep, *building, *self._generations.current().values()}
        freed = self._generations.forget(kept)
        needed = set(building)
        for generation in self._generations.all():
            found = self._generations.find(generation)
            if found is not None:
                sources = (*found.lowers, *(bind.source for bind in found.binds))
                needed |= {self._layer_of(path) for path in sources}
        needed |= {
            key for key in (self._inputs.index_key(), chain.npm_key()) if self._shelf.find(key)
        }
        return freed + self._shelf.forget(needed)

    def _layer_of(self, path: pathlib.Path) -> str:
        return path.relative_to(self._shelf.directory).parts[0]

    async def _sweep(self) -> None:
        """Once: remove what builds left that were killed."""
        if not self._swept:
            self._swept = True
            await asyncio.to_thread(self._shelf.sweep)

    async def _try_layer(self, base: pathlib.Path) -> ports.Finding:
        key = shelf.key_of("probe", os.getpid())
        async with self._shelf.alone(key), self._shelf.workshop(key) as place:
            order = ports.OneShot(
                ("/bin/sh", "-c", "echo tried > /etc/hive-probe"),
                {}, lowers=(base,), upper=place / "root", as_root=True,
            )  # fmt: skip
            try:
                result = await self._one_shots.run(order)
            except errors.HiveError as error:
                remedy = "use Linux 5.19 or newer, and a home on ext4, xfs or btrfs"
                return ports.Finding("builder", ports.Severity.NOTICE, error.message, remedy)
            done = result.code == 0 and (place / "root/etc/hive-probe").exists()
        if not done:
            text = f"a test layer failed: {result.stderr.decode('utf-8', 'replace').strip()}"
            return ports.Finding("builder", ports.Severity.NOTICE, text, "look at the text")
        return ports.Finding("builder", ports.Severity.OK, f"layers over {base}")
