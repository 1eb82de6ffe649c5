"""Locks flakes: what all agents share, and one agent's configuration at one commit.

An agent's flake is locked alone, in a directory made for it, beside pins that stay: its own
repository is the only one that is shown, as a copy. Its inputs are named by who wrote the
commit, so they are looked at before anything is fetched, and again when all is resolved.
"""

from __future__ import annotations

import asyncio
import contextlib
import dataclasses
import json
import os
import pathlib
import secrets
import shutil
from collections.abc import AsyncIterator, Callable, Collection, Iterator, Mapping, Sequence
from typing import Any, Final

from hyperhive import ports
from hyperhive.adapters.builder import (
    bench,
    generations,
    nix_flake,
    nix_locks,
    nix_program,
    shelf,
)
from hyperhive.domain import errors

_DECLARED: Final = """\
nix-instantiate --eval --strict --json --option pure-eval false --option restrict-eval true \\
  -I /work/agent -E '(import /work/agent/flake.nix).inputs or { }' > /work/declared.json
"""
_ARCHIVE: Final = "\nnix flake archive --json path:/work/flake > /work/archive.json\n"
_LOCAL: Final = ("path:", "git+file:")
_DEPTH: Final = 8
_REPOSITORY_MAX: Final = 512 * 1024**2
LOCK_SECONDS: Final = 1200.0

Log = Callable[[str], None]


@dataclasses.dataclass(frozen=True, slots=True)
class Locked:
    """What an agent's flake was resolved to."""

    pins: nix_locks.Pins
    source: str
    """The configuration in the store."""
    fetched: tuple[str, ...]
    """Every input in the store: roots, so that the same can be evaluated again offline."""


class Workshop:
    """A directory to lock and evaluate in, shown as /work; *agents* have systems in its flake."""

    def __init__(self, path: pathlib.Path, agents: Collection[nix_flake.Agent]) -> None:
        self.path = path
        self.agents = tuple(agents)
        self.flake = path / "flake"

    def read(self, name: str) -> str:
        """What Nix left under *name*; INVALID when that is no plain file of a sane size."""
        return bench.read_report(self.path / name)


class Locking:
    """All locks of one hive, below ``<home>/nix``."""

    def __init__(
        self,
        program: nix_program.NixProgram,
        directory: pathlib.Path,
        setting: nix_flake.Setting,
        *,
        allowed: Sequence[str],
    ) -> None:
        self.setting = setting
        self._program = program
        self._directory = directory
        self._allowed = tuple(allowed)
        self._path = directory / "base.json"
        self._base = self._read()
        self._alone = asyncio.Lock()
        self._swept = False

    # --- what all agents share ----------------------------------------------------------

    def known(self) -> Mapping[str, nix_locks.Pins]:
        """The shared pins, or nothing before the first lock."""
        return self._base

    async def base(self, log: Log) -> Mapping[str, nix_locks.Pins]:
        """The shared pins; made when there are none."""
        async with self._alone:
            if self._base.keys() != self.setting.inputs.keys():
                log("locking the inputs that all agents share")
                self._keep(await self._lock_base((), log))
            return self.known()

    async def update(self, names: Collection[str], log: Log) -> None:
        """Resolve those shared inputs anew, each by itself, and keep the others as they are."""
        known = (nix_flake.NIXPKGS, nix_flake.HYPERHIVE)
        for name in names:
            if name not in known:
                raise errors.not_found(
                    f"cannot update input {name!r}: there are {', '.join(known)}"
                )
        await self.base(log)
        async with self._alone:
            self._keep(await self._lock_base(sorted(set(names)), log))

    async def _lock_base(self, names: Sequence[str], log: Log) -> dict[str, nix_locks.Pins]:
        async with self.workshop((), self.known()) as work:
            urls = self.setting.inputs.values()
            await self._lock(work, names, log, network=not all(map(_is_local, urls)))
            return nix_locks.parse(work.read("flake/flake.lock"))

    # --- one agent ----------------------------------------------------------------------

    async def lock(
        self,
        work: Workshop,
        agent: nix_flake.Agent,
        declared: Mapping[str, str],
        log: Log,
    ) -> Locked:
        """Lock the agent of *work*, whose inputs are *declared*, and fetch what it takes in."""
        shared = [url for pins in self.known().values() for url in nix_locks.places(pins)]
        network = not all(map(_is_local, [*declared.values(), *shared]))
        name = nix_flake.input_name(agent.name)
        await self._lock(work, [name], log, network=network, after=_ARCHIVE)
        pins = nix_locks.parse(work.read("flake/flake.lock"))[name]
        for url in nix_locks.below(pins):
            self._check(f"an input below {name}", url)
        try:
            archive: Any = json.loads(work.read("archive.json"))
            source: str = archive["inputs"][name]["path"]
            fetched = tuple(sorted(_paths(archive)))
        except (ValueError, KeyError, TypeError, RecursionError) as error:
            raise errors.unavailable(f"cannot read what nix fetched: {error}") from error
        return Locked(pins, source, fetched)

    async def lock_offline(
        self, work: Workshop, agent: nix_flake.Agent, log: Log
    ) -> nix_locks.Pins:
        """Lock the agent of *work*, which nobody has looked at: nothing can be fetched."""
        name = nix_flake.input_name(agent.name)
        await self._lock(work, [name], log, network=False)
        return nix_locks.parse(work.read("flake/flake.lock"))[name]

    async def declared(self, work: Workshop, source: pathlib.Path, log: Log) -> dict[str, str]:
        """The inputs that a commit's ``flake.nix`` names, by path; INVALID for one that may not be.

        Evaluated with no file but itself and no network.
        """
        place = work.path / "agent"
        place.mkdir(mode=0o755)
        shutil.copyfile(source / nix_flake.FLAKE, place / nix_flake.FLAKE, follow_symlinks=False)
        (place / nix_flake.FLAKE).chmod(0o644)
        await self._program.run(_DECLARED, binds=self.binds(work), timeout=60.0)
        try:
            found = dict(_declared(json.loads(work.read("declared.json"))))
        except (ValueError, RecursionError) as error:
            raise errors.invalid(f"cannot read the inputs in flake.nix: {error}") from error
        for name, url in found.items():
            self._check(f"input {name} of flake.nix", url)
            log(f"flake.nix takes {name} from {url}")
        return found

    @contextlib.asynccontextmanager
    async def workshop(
        self,
        agents: Collection[nix_flake.Agent],
        pins: Mapping[str, nix_locks.Pins],
    ) -> AsyncIterator[Workshop]:
        """Lend a directory with a flake of those agents, locked as *pins* say."""
        parent = self._directory / "tmp"
        path = parent / secrets.token_hex(8)

        def make() -> Workshop:
            if not self._swept:
                self._swept = True
                # What a killed daemon left; nobody else works here.
                for left in parent.glob("*"):
                    shelf.remove_tree(left)
            parent.mkdir(mode=0o700, parents=True, exist_ok=True)
            path.mkdir(mode=0o755)
            work = Workshop(path, agents)
            work.flake.mkdir(mode=0o755)
            flake = work.flake / nix_flake.FLAKE
            flake.write_bytes(nix_flake.render(self.setting, agents))
            if pins:
                (work.flake / nix_flake.LOCK).write_bytes(nix_locks.compose(pins))
            for agent in agents:
                repository = self.setting.applied / f"{agent.id}.git"
                _copy(repository, agent.sha, path / repository.name)
            return work

        try:
            yield await asyncio.to_thread(make)
        finally:
            await asyncio.to_thread(shelf.remove_tree, path)

    def binds(self, work: Workshop) -> list[ports.Bind]:
        """What is shown: the workshop, copies of its repositories, shared inputs on this host."""
        found = [ports.Bind(work.path, "/work", writable=True)]
        for agent in work.agents:
            name = f"{agent.id}.git"
            inside = str(self.setting.applied / name)
            found.append(ports.Bind(work.path / name, inside, writable=True))
        for url in self.setting.inputs.values():
            if url.startswith("path:"):
                path = url.removeprefix("path:").partition("?")[0]
                found.append(ports.Bind(pathlib.Path(path), path))
        return found

    # --- parts --------------------------------------------------------------------------

    async def _lock(
        self, work: Workshop, names: Sequence[str], log: Log, *, network: bool, after: str = ""
    ) -> None:
        version = await self._program.version()
        script, words = 'nix flake lock "$@"', ["path:/work/flake"]
        if names and version >= nix_program.NEW_UPDATE:
            script, words = 'nix flake update "$@"', ["--flake", "path:/work/flake", *names]
        else:
            for name in names:
                words += ["--update-input", name]
        await self._program.run(
            script + after,
            words,
            binds=self.binds(work),
            network=network,
            log=log,
            timeout=LOCK_SECONDS,
        )

    def _check(self, what: str, url: str) -> None:
        if not url.startswith(self._allowed) and url not in self.setting.inputs.values():
            raise errors.invalid(
                f"cannot take {what} from {url[:200]!r}; allowed here (nix_inputs): "
                + ", ".join(self._allowed)
            )

    def _read(self) -> dict[str, nix_locks.Pins]:
        try:
            said = json.loads(self._path.read_text(encoding="utf-8"))
        except FileNotFoundError:
            return {}
        # Under another setting what was locked is not what is asked for.
        urls = self.setting.inputs.items()
        return {
            name: said["pins"][name]
            for name, url in urls
            if said["urls"].get(name) == url and name in said["pins"]
        }

    def _keep(self, pins: dict[str, nix_locks.Pins]) -> None:
        said = {"urls": dict(self.setting.inputs), "pins": pins}
        new = self._path.with_name(f".{self._path.name}.new")
        with new.open("w", encoding="utf-8") as stream:
            stream.write(json.dumps(said, indent=1, sort_keys=True) + "\n")
            stream.flush()
            os.fsync(stream.fileno())
        new.replace(self._path)
        generations.sync_directory(self._path.parent)
        self._base = pins


def _is_local(url: str) -> bool:
    return url.startswith(_LOCAL)


def _copy(repository: pathlib.Path, sha: str, target: pathlib.Path) -> None:
    """Make a bare repository with the objects of another, whose main is *sha*. Blocking.

    Nix fetches by a branch, and what is only proposed is on none.
    """
    size = shelf.size_of(repository)
    if size > _REPOSITORY_MAX:
        raise errors.invalid(f"cannot show nix its repository: it has {size} bytes")
    target.mkdir(mode=0o755)
    ignore = shutil.ignore_patterns("tmp_*", "incoming-*", "*.lock", "bulk-fsync*")
    shutil.copytree(repository / "objects", target / "objects", ignore=ignore)
    (target / "refs" / "heads").mkdir(parents=True)
    (target / "refs" / "heads" / "main").write_text(f"{sha}\n", encoding="ascii")
    (target / "HEAD").write_text("ref: refs/heads/main\n", encoding="ascii")
    config = "[core]\n\trepositoryformatversion = 0\n\tbare = true\n"
    (target / "config").write_text(config, encoding="ascii")


def _declared(inputs: Any, path: str = "", depth: int = 0) -> Iterator[tuple[str, str]]:
    """Every place that the value of a flake's ``inputs`` names, by the input's path."""
    if not isinstance(inputs, dict) or depth > _DEPTH:
        raise errors.invalid("cannot use the inputs in flake.nix: they are no set, or too deep")
    for name, value in inputs.items():  # pyright: ignore[reportUnknownVariableType]
        where = f"{path}{name}"
        if name == "self" and not path:
            continue
        if not isinstance(value, dict):
            raise errors.invalid(f"cannot use input {where} of flake.nix: it is no set")
        said: dict[str, Any] = value  # pyright: ignore[reportUnknownVariableType]
        if "url" in said:
            yield where, str(said["url"])
        elif "type" in said:
            yield where, nix_locks.url(said)
        elif "follows" not in said and depth == 0:
            raise errors.invalid(f"cannot use input {where} of flake.nix: it has no url")
        if said.get("inputs"):
            yield from _declared(said["inputs"], f"{where}/", depth + 1)


def _paths(archive: Mapping[str, Any]) -> Iterator[str]:
    for each in archive.get("inputs", {}).values():
        if "path" in each:
            yield each["path"]
        yield from _paths(each)
