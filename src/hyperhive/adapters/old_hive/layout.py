"""What lies in a home of the older hyperhive, found without following a link or running git.

The layout (docs/migration.md)::

    applied/<name>          the old daemon's repository of an agent, with a work tree
    agents/<name>/config    what the manager edited; agents wrote there
    agents/<name>/state     the agent's own
    agents/<name>/claude    its login and its sessions
    meta                    since its last layout: flake.nix and flake.lock
    broker.sqlite           or db/broker.sqlite
"""

from __future__ import annotations

import dataclasses
import json
import os
import pathlib
import socket
import stat
from typing import Any, Final, cast

from hyperhive.domain import errors, imports

DEFAULT: Final = pathlib.Path("/var/lib/hyperhive")
SOCKET: Final = pathlib.Path("/run/hyperhive/host.sock")
MARKER: Final = ".meta-migration-done"
DATABASES: Final = ("db/broker.sqlite", "broker.sqlite")
KNOWN: Final = frozenset({"config", "state", "claude"})
_INPUT: Final = "agent-"
_LOCK_BYTES: Final = 4 * 1024**2


@dataclasses.dataclass(frozen=True, slots=True)
class OldAgent:
    """One name of the older home, with what there is of it."""

    name: str
    applied: bool
    config: bool
    state: bool
    claude: bool
    live: bool
    """Whether it was deployed; else its owner had destroyed it and only kept what was its."""
    left: tuple[str, ...]
    """What else lies in its directory."""


@dataclasses.dataclass(frozen=True, slots=True)
class OldHive:
    """An older home."""

    root: pathlib.Path
    layout: imports.Layout
    agents: tuple[OldAgent, ...]
    manager: str
    """The directory name of the manager; empty when there is none."""
    database: pathlib.Path | None
    meta: bool
    left: tuple[str, ...]
    """What else lies at its top."""


def is_old(root: pathlib.Path) -> bool:
    """Whether *root* looks like a home of the older system, and not like one of ours."""
    if (root / "store" / "hive.db").exists() or not root.is_dir():
        return False
    if (root / MARKER).exists() or any((root / name).exists() for name in DATABASES):
        return True
    return any(_is_directory(place / ".git") for place in _directories(root / "applied"))


def read(root: pathlib.Path, manager: str = "") -> OldHive:
    """Look at *root*; *manager* is the manager's directory there, empty: the usual names.

    `HiveError` NOT_FOUND when nothing of the older system lies there, INVALID for a *manager*
    that does not exist.
    """
    try:
        return _read(root, manager)
    except OSError as error:
        raise errors.unavailable(
            f"cannot read {error.filename or root}: {error.strerror}; run this as the user who "
            "owns the older hive (root)"
        ) from error


def _read(root: pathlib.Path, manager: str) -> OldHive:
    applied = {place.name: place for place in _directories(root / "applied")}
    agents = {place.name: place for place in _directories(root / "agents")}
    names = sorted(applied.keys() | agents.keys())
    database = next((root / name for name in DATABASES if _is_file(root / name)), None)
    if not names and database is None:
        raise errors.not_found(
            f"cannot import {root}: it has neither applied/ nor agents/ nor broker.sqlite; name "
            "the directory of the older hive"
        )
    if manager and manager not in names:
        raise errors.invalid(
            f"cannot import {root}: it has no agent {manager!r}; it has {', '.join(names)}"
        )
    meta = _is_directory(root / "meta")
    locked = _locked(root / "meta" / "flake.lock") if meta else None
    found = [_agent(name, applied, agents, locked) for name in names]
    top = {"applied", "agents", "meta", MARKER, *DATABASES, "db"}
    return OldHive(
        root=root,
        layout=_layout(applied, meta),
        agents=tuple(found),
        manager=manager or next((name for name in imports.MANAGER_NAMES if name in names), ""),
        database=database,
        meta=meta,
        left=tuple(
            sorted(
                path.name
                for path in root.iterdir()
                if path.name not in top and not path.name.startswith("broker.sqlite")
            )
        ),
    )


def _agent(
    name: str,
    applied: dict[str, pathlib.Path],
    agents: dict[str, pathlib.Path],
    locked: frozenset[str] | None,
) -> OldAgent:
    place = agents.get(name)
    there = {path.name for path in place.iterdir()} if place else set[str]()

    def has(part: str) -> bool:
        return place is not None and _is_directory(place / part)

    return OldAgent(
        name=name,
        applied=name in applied,
        config=has("config"),
        state=has("state"),
        claude=has("claude"),
        live=name in applied and (locked is None or name in locked),
        left=tuple(sorted(there - KNOWN)),
    )


def _layout(applied: dict[str, pathlib.Path], meta: bool) -> imports.Layout:
    if meta:
        return imports.Layout.META
    for place in applied.values():
        packed = place / ".git" / "packed-refs"
        if any((place / ".git" / "refs" / "tags").glob("*")) or (
            _is_file(packed) and b" refs/tags/" in packed.read_bytes()
        ):
            return imports.Layout.TAGS
    return imports.Layout.FLAKES


def _locked(path: pathlib.Path) -> frozenset[str] | None:
    """The agents that meta's lock names; None where it cannot be read. It is only data."""
    try:
        if not _is_file(path) or path.stat().st_size > _LOCK_BYTES:
            return None
        inputs = _at(json.loads(path.read_bytes()), "nodes", "root", "inputs")
    except (ValueError, RecursionError):
        return None
    if not isinstance(inputs, dict):
        return None
    names = cast("dict[str, Any]", inputs)
    return frozenset(name.removeprefix(_INPUT) for name in names if name.startswith(_INPUT))


def _at(value: Any, *path: str) -> Any:
    for part in path:
        value = cast("dict[str, Any]", value).get(part) if isinstance(value, dict) else None
    return value


def check_stopped(address: pathlib.Path = SOCKET) -> None:
    """CONFLICT while the older daemon answers."""
    with socket.socket(socket.AF_UNIX, socket.SOCK_STREAM) as client:
        client.settimeout(2.0)
        try:
            client.connect(str(address))
        except OSError:
            return
    raise errors.conflict(
        f"cannot import: the older daemon answers at {address}; end it and its containers first "
        "(systemctl stop hive-c0re 'container@*')"
    )


def check_owner(path: pathlib.Path) -> None:
    """INVALID when somebody but the old daemon could have written to *path*."""
    found = path.lstat()
    if found.st_uid not in (0, os.geteuid()) or found.st_mode & (stat.S_IWGRP | stat.S_IWOTH):
        raise errors.invalid(
            f"cannot trust {path}: it belongs to uid {found.st_uid} with mode "
            f"{stat.S_IMODE(found.st_mode):o}, so others than the old daemon could write to it; "
            "look at it, then: chown root and chmod go-w"
        )


def _directories(place: pathlib.Path) -> list[pathlib.Path]:
    if not _is_directory(place):
        return []
    return sorted(path for path in place.iterdir() if _is_directory(path))


def _is_directory(path: pathlib.Path) -> bool:
    return path.is_dir() and not path.is_symlink()


def _is_file(path: pathlib.Path) -> bool:
    return path.is_file() and not path.is_symlink()
