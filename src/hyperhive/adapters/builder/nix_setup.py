"""Puts the Nix builder together from what the operator has set."""

from __future__ import annotations

import dataclasses
import hashlib
import pathlib
import shutil
from collections.abc import Callable, Mapping, Sequence
from typing import Final

from hyperhive import ports
from hyperhive.adapters.builder import nix, nix_flake, nix_locking, nix_meta, nix_program
from hyperhive.domain import errors

_PACKAGE: Final = pathlib.Path(__file__).resolve().parents[2]


@dataclasses.dataclass(frozen=True, slots=True)
class Choice:
    """What the operator decides about Nix."""

    nixpkgs: str
    hyperhive: str = ""
    """Empty: the modules that came with this hive."""
    allowed: Sequence[str] = ()
    """What the inputs of an agent's flake may begin with."""
    substituters: Sequence[str] = ()
    keys: Sequence[str] = ()
    hive_name: str = "hive"
    pronouns: str = ""


@dataclasses.dataclass(frozen=True, slots=True)
class Nix:
    """The builder, and what meta's files are made by."""

    builder: nix.NixBuilder
    meta: nix_meta.NixMeta


def make(
    one_shots: ports.OneShots,
    processes: ports.Processes,
    home: pathlib.Path,
    choice: Choice,
    *,
    env: Mapping[str, str],
    root: bool,
    log: Callable[[str], None],
    path: str = nix_program.PATH,
    binds: Sequence[ports.Bind] = (),
) -> Nix:
    """Make the parts; starts nothing. *env* reaches Nix (proxies, no secret)."""
    directory = home / "nix"
    # Closed to people of this host: what a derivation leaves behind may belong to any uid.
    directory.mkdir(mode=0o700, parents=True, exist_ok=True)
    program = nix_program.NixProgram(
        one_shots,
        processes,
        directory,
        env=env,
        substituters=choice.substituters,
        keys=choice.keys,
        root=root,
        path=path,
        binds=binds,
    )
    setting = nix_flake.Setting(
        applied=home / "applied",
        inputs={
            nix_flake.NIXPKGS: choice.nixpkgs,
            nix_flake.HYPERHIVE: choice.hyperhive or _lend_modules(directory),
        },
        hive_name=choice.hive_name,
        pronouns=choice.pronouns,
    )
    locking = nix_locking.Locking(program, directory, setting, allowed=choice.allowed)
    builder = nix.NixBuilder(program, locking, home=home)
    return Nix(builder, nix_meta.NixMeta(locking, log))


def find_modules() -> pathlib.Path:
    """Return the directory ``nix`` of this program; UNAVAILABLE when it was not installed."""
    for place in (_PACKAGE / "nix", _PACKAGE.parents[1] / "nix"):
        if (place / nix_flake.FLAKE).is_file():
            return place
    raise errors.unavailable(
        "cannot find the nix modules of hyperhive; set nix_hyperhive to a flake that has them"
    )


def _lend_modules(directory: pathlib.Path) -> str:
    """Copy the modules to a place that is named after them, so that a lock of it stays true."""
    source = find_modules()
    digest = hashlib.sha256()
    for path in sorted(source.rglob("*.nix")):
        digest.update(f"{path.relative_to(source)}\0".encode() + path.read_bytes() + b"\0")
    target = directory / f"hyperhive-{digest.hexdigest()[:16]}"
    if not target.exists():
        new = directory / f".{target.name}"
        shutil.rmtree(new, ignore_errors=True)
        for path in sorted(source.rglob("*.nix")):
            copy = new / path.relative_to(source)
            copy.parent.mkdir(mode=0o755, parents=True, exist_ok=True)
            shutil.copyfile(path, copy)
        # What reads it is another uid.
        for path in (new, *new.rglob("*")):
            path.chmod(0o755 if path.is_dir() else 0o644)
        new.rename(target)
    return f"path:{target}"
