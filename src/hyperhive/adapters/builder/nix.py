"""Builds configurations with Nix: ``agent.nix`` in a system of NixOS (docs/nix.md, S41).

A generation is the store path of such a system. The agent's sandbox sees the store read-only
and has the system's programs first on its PATH. Locking may fetch what a flake names;
evaluating has no network; both see nothing of the host but what `nix_locking` shows.
"""

from __future__ import annotations

import asyncio
import datetime
import pathlib
import re
import shutil
from collections.abc import Callable, Collection, Mapping
from typing import Final

from hyperhive import ports
from hyperhive.adapters.builder import (
    generations,
    nix_flake,
    nix_locking,
    nix_locks,
    nix_program,
    refusing,
    shelf,
    targets,
)
from hyperhive.domain import configuration, errors, ids

RECIPE: Final = 1
"""Grows when generations are made in another way, so that all are made anew."""
EVALUATION_SECONDS: Final = 600.0
STORE: Final = "/nix/store"

_EVALUATE: Final = """\
nix eval --raw --no-update-lock-file --no-write-lock-file "path:/work/flake#$1.drvPath" > /work/drv
"""
_REALISE: Final = """\
roots=$1; drv=$2; shift 2
rm -rf "$roots"; mkdir -p "$roots"
nix-store --realise "$drv" --add-root "$roots/system" --indirect > /dev/null
test $# = 0 || nix-store --realise "$@" --add-root "$roots/input" --indirect > /dev/null
nix-store --query --requisites "$roots/system" > /work/closure
nix-store --query --size $(cat /work/closure) > /work/sizes
"""
_SET: Final = 'nix-env --profile "$1" --set "$2"\n'
_COLLECT: Final = """\
for profile in "$1"/*; do
  test ! -L "$profile" || nix-env --profile "$profile" --delete-generations +2
done
"""
_SWEEP: Final = "nix-store --gc\n"
"""Only in a store of the hive's own: the host's is swept when its owner wants."""
_DRV: Final = re.compile(r"/nix/store/[0-9a-z]{32}-[0-9A-Za-z+._?=-]+\.drv")
_FREED: Final = re.compile(r"([0-9.]+) MiB freed")


class NixBuilder:
    """Builds with the Nix of this host. See `ports.Builder`."""

    def __init__(
        self,
        program: nix_program.NixProgram,
        locking: nix_locking.Locking,
        *,
        home: pathlib.Path,
    ) -> None:
        self._program = program
        self._locking = locking
        self._generations = generations.Generations(home / "generations")
        self._building = 0
        self._collecting = asyncio.Lock()

    # --- ports.Builder ------------------------------------------------------------------

    async def probe(self) -> list[ports.Finding]:
        """Say whether Nix is here and evaluates, and what it cannot keep apart."""
        broken, notice = ports.Severity.BROKEN, ports.Severity.NOTICE
        try:
            version = ".".join(map(str, await self._program.version()))
            place = self._program.place()
            said = await self._program.run("nix eval --raw --expr '\"tried\"'", timeout=60.0)
        except errors.HiveError as error:
            return [ports.Finding("nix", broken, error.message, nix_program.REMEDY)]
        if said != "tried":
            return [ports.Finding("nix", broken, f"a test evaluation said {said[:200]!r}", "")]
        where = "the host's store, by its daemon" if place.host else f"a store in {place.store}"
        found = [ports.Finding("nix", ports.Severity.OK, f"nix {version} on {where}")]
        if not place.host and not self._program.is_root:
            text = "derivations of one agent can write to what another agent's Nix has built"
            remedy = "run the hive as root, or where Nix has a daemon"
            found.append(ports.Finding("nix", notice, text, remedy))
        return found

    async def inputs(self) -> list[ports.Input]:
        """What all agents share: nixpkgs, and the modules of the hive."""
        pins = self._locking.known()
        return [
            _input(name, url, pins) for name, url in sorted(self._locking.setting.inputs.items())
        ]

    async def update_inputs(
        self, names: Collection[str], log: Callable[[str], None]
    ) -> list[ports.Input]:
        """Lock those inputs anew, once for all agents; NOT_FOUND for an unknown name."""
        await self._locking.update(names, log)
        return await self.inputs()

    def built_from(self) -> str:
        """One word for the shared pins."""
        return shelf.key_of("nix", RECIPE, self._locking.setting.system, self._locking.known())[:16]

    async def build(self, order: ports.BuildOrder, log: Callable[[str], None]) -> ports.Generation:
        """Lock, evaluate, realise. See `ports.Builder.build`."""
        async with self._collecting:
            self._building += 1
        try:
            with refusing.named(order):
                return await self._build(order, log)
        finally:
            self._building -= 1

    async def find(self, generation: ids.GenerationId) -> ports.Generation | None:
        """A generation whose system is still in the store."""
        found = await asyncio.to_thread(self._generations.find, generation)
        if found is None:
            return None
        stores = [bind.source for bind in found.binds if bind.target == STORE]
        name = pathlib.PurePosixPath(_toplevel(found)).name
        return found if any((store / name).exists() for store in stores) else None

    async def activate(self, agent: ids.AgentId, generation: ids.GenerationId | None) -> None:
        """Set the agent's profile (``nix-env --set``), then swap its link."""
        profiles = self._program.place().home / "profiles"
        if generation is None:
            (profiles / ids.parse_agent_id(agent)).unlink(missing_ok=True)
        else:
            found = await self.find(generation)
            if found is not None:
                inside = f"{self._program.place().home_inside}/profiles/{agent}"
                await self._program.run(_SET, [inside, _toplevel(found)], timeout=60.0)
        await asyncio.to_thread(self._generations.activate, agent, generation)

    async def collect(self, keep: Collection[str]) -> int:
        """Forget what nobody needs; bytes freed. The store waits while anything is built."""
        async with self._collecting:
            kept = {*keep, *self._generations.current().values()}
            freed = await asyncio.to_thread(self._generations.forget, kept)
            place = self._program.place()
            gone = [
                path
                for path in (place.home / "roots").iterdir()
                if path.name not in set(self._generations.all())
            ]
            if self._building or not gone:
                return freed
            for path in gone:
                await asyncio.to_thread(shutil.rmtree, path)
            script = _COLLECT if place.host else _COLLECT + _SWEEP
            said = await self._program.run(script, [f"{place.home_inside}/profiles"])
            match = _FREED.search(said)
            return freed + (int(float(match[1]) * 1024**2) if match else 0)

    # --- parts --------------------------------------------------------------------------

    async def _build(self, order: ports.BuildOrder, log: Callable[[str], None]) -> ports.Generation:
        _check(order)
        agent = nix_flake.Agent(order.agent, order.name, order.role, order.sha)
        place = self._program.place()
        base = dict(await self._locking.base(log))
        before = {} if order.fresh else order.lock.get("flake", {})
        name = nix_flake.input_name(order.name)
        pins = {**base, name: before} if before else base
        async with self._locking.workshop([agent], pins) as work:
            declared = await self._locking.declared(work, order.source, log)
            locked = await self._locking.lock(work, agent, declared, log)
            files = dict(order.configuration.files)
            setting = self._locking.setting
            key = shelf.key_of(
                "nix", RECIPE, agent.id, agent.name, agent.role, base, locked.pins, files,
                setting.hive_name, setting.pronouns, setting.system, str(place.store),
            )  # fmt: skip
            found = await self.find(ids.GenerationId(key))
            if found is not None:
                log(f"generation {key[:12]} was built before")
                return found
            drv = await self._evaluate(work, agent, log)
            toplevel, sizes = await self._realise(work, key, drv, locked, log)
        binds = [ports.Bind(place.store, STORE)]
        for target, source in sorted(files.items()):
            inside = place.store / pathlib.PurePosixPath(locked.source).name / source
            binds.append(ports.Bind(inside, target))
        made = ports.Generation(
            ids.GenerationId(key),
            self.built_from(),
            binds=tuple(binds),
            path=(f"{toplevel}/sw/bin",),
            lock={
                "nix": {
                    "system": toplevel,
                    "paths": len(sizes),
                    "bytes": sum(sizes),
                    "inputs": declared,
                    "below": nix_locks.below(locked.pins),
                },
                "flake": locked.pins,
            },
        )
        log(f"{toplevel} is built")
        return await asyncio.to_thread(self._generations.keep, made)

    async def _evaluate(
        self, work: nix_locking.Workshop, agent: nix_flake.Agent, log: Callable[[str], None]
    ) -> str:
        log(f"evaluating {agent.name}")
        await self._program.run(
            _EVALUATE,
            [nix_flake.attribute(agent.name)],
            binds=self._locking.binds(work),
            log=log,
            timeout=EVALUATION_SECONDS,
        )
        drv = work.read("drv")
        if _DRV.fullmatch(drv) is None:
            raise errors.invalid(f"cannot use what it evaluates to: {drv[:200]!r} is no derivation")
        return drv

    async def _realise(
        self,
        work: nix_locking.Workshop,
        key: str,
        drv: str,
        locked: nix_locking.Locked,
        log: Callable[[str], None],
    ) -> tuple[str, list[int]]:
        place = self._program.place()
        log(f"building {drv}")
        await self._program.run(
            _REALISE,
            [f"{place.home_inside}/roots/{key}", drv, *locked.fetched],
            binds=self._locking.binds(work),
            network=self._program.has_caches and not place.host,
            log=log,
        )
        toplevel = str((place.home / "roots" / key / "system").readlink())
        return toplevel, [int(size) for size in work.read("sizes").split()]


def _check(order: ports.BuildOrder) -> None:
    """`HiveError` INVALID for a commit that Nix has no business with."""
    for name in (configuration.NIX_FILE_NAME, nix_flake.FLAKE):
        if not (order.source / name).is_file():
            raise errors.invalid(
                f"cannot find {name} in the commit, and this hive builds with nix; "
                "take it from the seed: git checkout deployed/0 -- " + name
            )
    packages = order.configuration.packages
    if packages.apt or packages.pip or packages.npm:
        raise errors.invalid(
            "cannot take packages from agent.toml: this hive builds with nix; name them in "
            "agent.nix, in environment.systemPackages"
        )
    for target, source in order.configuration.files.items():
        targets.check(target)
        targets.find(order.source, source)


def _toplevel(generation: ports.Generation) -> str:
    return generation.path[0].removesuffix("/sw/bin")


def _input(name: str, url: str, pins: Mapping[str, nix_locks.Pins]) -> ports.Input:
    known = pins.get(name)
    if known is None:
        return ports.Input(name, "", "", url)
    short, seconds = nix_locks.version(known)
    at = datetime.datetime.fromtimestamp(seconds, datetime.UTC).isoformat() if seconds else ""
    return ports.Input(name, short, at, url)
