"""One build: a chain of layers, each found on the shelf or made in a throw-away sandbox.

Order: apt, npm, pip, files. A step's key holds the key of the layer that it lies on, so whatever
changes below is made anew above.
"""

from __future__ import annotations

import asyncio
import dataclasses
import json
import os
import pathlib
from collections.abc import Awaitable, Callable
from typing import Any, Final, cast

from hyperhive import ports
from hyperhive.adapters.builder import bench, generations, recipes, shelf, targets, tools
from hyperhive.adapters.builder import inputs as inputs_file
from hyperhive.domain import errors, ids

_LEFTOVERS: Final = (
    "var/lib/apt/lists", "var/cache/apt", "var/cache/ldconfig", "var/cache/debconf", "var/log",
    "var/lib/dpkg/lock", "var/lib/dpkg/lock-frontend", "var/lib/dpkg/status-old", "root", "tmp",
    "run", "etc/passwd-", "etc/group-", "etc/shadow-", "etc/gshadow-",
)  # fmt: skip
"""What an installation leaves and no agent needs."""
_Made = tuple[dict[str, str], dict[str, Any]]
"""Pins, and what else goes into the lock."""


@dataclasses.dataclass(frozen=True, slots=True)
class Parts:
    """What builds of one hive share."""

    processes: ports.Processes
    bench: bench.Bench
    shelf: shelf.Shelf
    generations: generations.Generations
    inputs: inputs_file.Inputs
    building: list[Build] = dataclasses.field(default_factory=list["Build"])
    """Builds at work: what they have found or made must not be collected."""
    steady: asyncio.Lock = dataclasses.field(default_factory=asyncio.Lock)
    """Held while layers go to or from the shelf, so that none goes that was just found."""


def npm_key() -> str:
    """Return the key of the layer that holds npm itself."""
    return shelf.key_of("npm-tool", inputs_file.RECIPE, recipes.NPM_TOOL)


class Build:
    """One build: the chain of its layers."""

    def __init__(self, parts: Parts, order: ports.BuildOrder, log: Callable[[str], None]) -> None:
        self._parts = parts
        self._shelf = parts.shelf
        self._bench = parts.bench
        self._inputs = parts.inputs
        self._order = order
        self._log = log
        self._base = self._inputs.base()
        self._layers: list[shelf.Layer] = []
        self._lock: dict[str, object] = {}
        self._generation = ""

    @property
    def needs(self) -> set[str]:
        """The keys of what this build lies on so far, and the generation that comes of it."""
        made = {self._generation} if self._generation else set[str]()
        return made | {layer.key for layer in self._layers}

    async def run(self) -> ports.Generation:
        """Make what is missing and return the generation, written down."""
        self._parts.building.append(self)
        try:
            return await self._run()
        finally:
            self._parts.building.remove(self)

    async def _run(self) -> ports.Generation:
        built_from = self._inputs.word()
        packages = self._order.configuration.packages
        if packages.apt:
            await self._step("apt", packages.apt, self._make_apt)
        if packages.npm:
            await self._step("npm", packages.npm, self._make_npm)
        if packages.pip:
            await self._step("pip", packages.pip, self._make_pip)
        if self._order.configuration.files:
            await self._files()
        made = generations.named(
            ports.Generation(
                id=ids.GenerationId(""),
                built_from=built_from,
                lowers=self._lowers() if self._base is not None else (),
                binds=self._binds() if self._base is None else (),
                path=tuple(recipes.PATHS[kind] for kind in ("pip", "npm") if kind in self._lock),
                lock=self._lock,
            )
        )
        self._generation = made.id
        self._log(f"generation {made.id[:12]} is ready")
        return await asyncio.to_thread(self._parts.generations.keep, made)

    def _lowers(self) -> tuple[pathlib.Path, ...]:
        return tuple(layer.root for layer in reversed(self._layers))

    def _roots(self) -> tuple[pathlib.Path, ...] | None:
        """What a step runs on."""
        return None if self._base is None else (*self._lowers(), self._base)

    def _binds(self) -> tuple[ports.Bind, ...]:
        """Show layers where there is no overlay; each has a place of its own."""
        binds: list[ports.Bind] = []
        for layer in self._layers:
            if layer.kind == "files":
                for target in sorted(self._order.configuration.files):
                    binds.append(ports.Bind(layer.root / target.lstrip("/"), target))
            else:
                prefix = recipes.PIP_PREFIX if layer.kind == "pip" else recipes.NPM_PREFIX
                binds.append(ports.Bind(layer.root / prefix.lstrip("/"), prefix))
        return tuple(binds)

    # --- packages -----------------------------------------------------------------------

    async def _step(
        self,
        kind: str,
        names: tuple[str, ...],
        make: Callable[[tuple[str, ...], pathlib.Path], Awaitable[_Made]],
    ) -> None:
        """Find the layer of a request, or make it."""
        parent = self._layers[-1].key if self._layers else self._inputs.root_key()
        pins, more = self._pins(kind)
        wanted = [parent, kind, sorted(names)]
        request = shelf.key_of(*wanted, "serial", self._inputs.serial(kind), pins, more)
        if pins:
            found = self._shelf.find(shelf.key_of(*wanted, pins))
            if found is not None:
                request = found.key
        if not await self._take(request):
            async with self._shelf.alone(request):
                if not await self._take(request):
                    self._log(f"{kind}: installing {' '.join(sorted(names))}")
                    async with self._shelf.workshop(request) as place:
                        made = await make(names, place)
                        await self._bench.check_size(place)
                        key = shelf.key_of(*wanted, made[0])
                        await self._keep(place / "root", key, kind, made, request)
        else:
            self._log(f"{kind}: {' '.join(sorted(names))} (built before)")
        layer = self._layers[-1]
        self._lock[kind] = dict(layer.pins)
        self._lock |= layer.more

    async def _take(self, key: str) -> bool:
        """Put the layer of that key on the chain; whether it is there."""
        async with self._parts.steady:
            layer = self._shelf.find(key)
            if layer is not None:
                self._layers.append(layer)
            return layer is not None

    async def _keep(
        self, tree: pathlib.Path, key: str, kind: str, made: _Made, request: str
    ) -> None:
        """Put a new layer on the shelf, and on the chain."""
        async with self._parts.steady:
            layer = await asyncio.to_thread(self._shelf.keep, tree, key, kind, *made)
            await asyncio.to_thread(self._shelf.resolve, request, layer)
            self._layers.append(layer)

    def _pins(self, kind: str) -> tuple[dict[str, str], dict[str, Any]]:
        """Return the pins of the lock, unless newer versions are wanted."""
        if self._order.fresh:
            return {}, {}
        pins, more = self._order.lock.get(kind, {}), self._order.lock.get(f"{kind}_lock", {})
        if not isinstance(pins, dict) or not isinstance(more, dict):
            raise errors.invalid(f"cannot read the lock: {kind!r} is no table")
        return cast("dict[str, str]", pins), cast("dict[str, Any]", more)

    async def _make_apt(self, names: tuple[str, ...], place: pathlib.Path) -> _Made:
        base = self._base
        if base is None:
            raise errors.invalid(
                "cannot install apt packages: they need a base root, and agents here get a view of "
                "the host's /usr; set HIVE_SANDBOX to base, or ask for none"
            )
        ordinary = os.geteuid() != 0
        configuration = recipes.apt_configuration(
            await _proxies(self._parts.processes), ordinary=ordinary
        )
        index = await self._index(base, configuration)
        pins, _ = self._pins("apt")
        step = bench.Step(
            "apt",
            recipes.APT,
            words=tuple(recipes.apt_words(names, pins)),
            tell={
                "apt.conf": configuration,
                "preferences": recipes.apt_preferences(pins),
                "policy-rc.d": recipes.NO_SERVICES,
            },
            binds=(ports.Bind(place / "apt.told" / "policy-rc.d", "/usr/sbin/policy-rc.d"),),
            lowers=(index.root, base),
            upper=place / "root",
        )
        await self._bench.run(step, place, self._log)
        out = place / "out"
        found = recipes.apt_pins(
            bench.read_report(out / "before"), bench.read_report(out / "after")
        )
        for name, version in pins.items():
            if found.get(name, version) != version:
                raise errors.invalid(
                    f"cannot install {name} {version}, which the lock names: the archive has "
                    f"{found[name]} now; update the agent to take newer versions"
                )
        await asyncio.to_thread(tidy, place / "root")
        return found, {}

    async def _index(self, base: pathlib.Path, configuration: str) -> shelf.Layer:
        """Return the package lists as of the last update of the input ``apt``."""
        key = self._inputs.index_key()
        async with self._shelf.alone(key):
            layer = self._shelf.find(key)
            if layer is None:
                self._log("apt: reading what the archive has")
                async with self._shelf.workshop(key) as place:
                    step = bench.Step(
                        "apt",
                        recipes.INDEX,
                        tell={"apt.conf": configuration, "preferences": ""},
                        lowers=(base,),
                        upper=place / "root",
                    )
                    await self._bench.run(step, place, self._log)
                    layer = await asyncio.to_thread(
                        self._shelf.keep, place / "root", key, "index", {}
                    )
        return layer

    async def _make_pip(self, names: tuple[str, ...], place: pathlib.Path) -> _Made:
        pins, _ = self._pins("pip")
        pip, run_pip = tools.lend_pip()
        prefix = _prefix(place / "root", recipes.PIP_PREFIX)
        step = bench.Step(
            "pip",
            recipes.PIP,
            tell={
                "requirements.txt": "".join(f"{name}\n" for name in sorted(names)),
                "constraints.txt": recipes.pip_constraints(pins),
            },
            # Of the host's own packages pip would say that they are there already.
            env={"SITE": "" if self._base is None else "--system-site-packages", **run_pip},
            binds=(ports.Bind(prefix, recipes.PIP_PREFIX, writable=True), pip),
            lowers=self._roots(),
        )
        await self._bench.run(step, place, self._log)
        return recipes.pip_pins(bench.read_report(place / "out" / "after")), {}

    async def _make_npm(self, names: tuple[str, ...], place: pathlib.Path) -> _Made:
        tool = await self._npm_tool()
        _, packages = self._pins("npm")
        lock, word = recipes.npm_lock(names, packages)
        prefix = _prefix(place / "root", recipes.NPM_PREFIX)
        tell = {"package.json": json.dumps(recipes.npm_manifest(names))}
        if packages:
            tell["package-lock.json"] = lock
        step = bench.Step(
            "npm",
            recipes.NPM,
            words=(word,),
            tell=tell,
            binds=(
                ports.Bind(prefix, recipes.NPM_PREFIX, writable=True),
                ports.Bind(tool.root / "npm", "/run/tools/npm"),
            ),
            lowers=self._roots(),
        )
        await self._bench.run(step, place, self._log)
        try:
            pins, entries = recipes.npm_pins(bench.read_report(prefix / "package-lock.json"))
        except (ValueError, KeyError, TypeError, AttributeError) as error:
            raise errors.invalid("cannot read the package-lock.json that npm left") from error
        return pins, {"npm_lock": entries}

    async def _npm_tool(self) -> shelf.Layer:
        """Return npm itself, fetched once."""
        key = npm_key()
        async with self._shelf.alone(key):
            layer = self._shelf.find(key)
            if layer is None:
                pip, run_pip = tools.lend_pip()
                self._log(f"npm: fetching npm {recipes.NPM_TOOL_VERSION}")
                async with self._shelf.workshop(key) as place:
                    step = bench.Step(
                        "npm",
                        recipes.GET_NPM,
                        tell={"requirements.txt": recipes.NPM_TOOL},
                        env=run_pip,
                        binds=(pip,),
                        lowers=None if self._base is None else (self._base,),
                    )
                    await self._bench.run(step, place, self._log)
                    pins = {"npm": recipes.NPM_TOOL_VERSION}
                    layer = await asyncio.to_thread(
                        self._shelf.keep, place / "out", key, "npm-tool", pins
                    )
        return layer

    # --- files --------------------------------------------------------------------------

    async def _files(self) -> None:
        files, source = self._order.configuration.files, self._order.source
        parent = self._layers[-1].key if self._layers else self._inputs.root_key()
        content = {
            target: [shelf.digest(path), bool(path.stat().st_mode & 0o100)]
            for target, name in files.items()
            if (path := targets.find(source, name)) and targets.check(target)
        }
        key = shelf.key_of(parent, "files", content)
        async with self._shelf.alone(key):
            if not await self._take(key):
                async with self._shelf.workshop(key) as place:
                    tree = place / "root"
                    tree.mkdir(mode=0o755)
                    lowers = self._roots() or ()
                    await asyncio.to_thread(targets.lay, files, source, tree, lowers)
                    await self._keep(tree, key, "files", ({}, {}), key)
        self._log(f"files: {len(files)}")


async def _proxies(processes: ports.Processes) -> list[str]:
    """The proxies of the host's apt, as lines for apt.conf(5); never one with a password."""
    try:
        result = await processes.run(
            ["apt-config", "dump", "Acquire::http::Proxy", "Acquire::https::Proxy"]
        )
    except errors.HiveError:
        return []  # No apt on this host, so no settings of it either.
    lines = result.stdout.decode("utf-8", "replace").splitlines() if result.code == 0 else []
    return [line.strip().rstrip(";") for line in lines if '""' not in line and "@" not in line]


def _prefix(tree: pathlib.Path, prefix: str) -> pathlib.Path:
    """Make the directory of a package system in a new layer."""
    tree.mkdir(mode=0o755)
    made = tree
    for part in pathlib.PurePosixPath(prefix).parts[1:]:
        made /= part
        made.mkdir(mode=0o755)
    return made


def tidy(tree: pathlib.Path) -> None:
    """Remove what an installation leaves; never through a link that a package has made."""
    for name in _LEFTOVERS:
        made = tree
        for part in pathlib.PurePosixPath(name).parts:
            made /= part
            if made.is_symlink():
                break
        if made.is_symlink() or not made.exists():
            continue
        if made.is_dir():
            shelf.remove_tree(made)
        else:
            made.unlink()
