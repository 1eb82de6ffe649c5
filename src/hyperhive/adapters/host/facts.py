"""Facts about the host that decide whether a hive can run here, each with its remedy."""

from __future__ import annotations

import os
import pathlib
import re
import shutil
import socket
import stat
import sys
from typing import Final

from hyperhive import ports
from hyperhive.adapters.host import packages
from hyperhive.domain import errors

GIT_MIN: Final = (2, 39, 4)
"""The first with the fixes of 2024 for reading hostile repositories (CVE-2024-32004, -32465)."""
GIT_FIXED: Final = (GIT_MIN, (2, 40, 2), (2, 41, 1), (2, 42, 2), (2, 43, 4), (2, 44, 1), (2, 45, 1))
"""The first of each line with those fixes; later lines have them from the start."""
DISK_BROKEN: Final = 200_000_000
DISK_NOTICE: Final = 3_000_000_000
"""Bytes: room for the claude program, the base system and a few agents."""

_OK = ports.Severity.OK
_NOTICE = ports.Severity.NOTICE
_BROKEN = ports.Severity.BROKEN


def look_at_python() -> ports.Finding:
    """The Python that runs the daemon."""
    return ports.Finding("python", _OK, f"{sys.version.split()[0]} at {sys.executable}")


async def look_at_git(processes: ports.Processes) -> ports.Finding:
    """Whether git is there and new enough to face what agents write.

    Broken without it or below `GIT_MIN`; a notice where its own line has fixes that its number
    does not show, because distributions put fixes into old numbers.
    """
    remedy = "sudo apt-get update && sudo apt-get install git"
    try:
        result = await processes.run(["git", "--version"], timeout=10.0)
    except errors.HiveError:
        return ports.Finding("git", _BROKEN, "git is not installed, or cannot be run", remedy)
    said = result.stdout.decode("utf-8", "replace").strip()
    found = re.search(r"(\d+)\.(\d+)\.(\d+)", said)
    if found is None:
        return ports.Finding("git", _BROKEN, f"git --version says {said[:60]!r}", remedy)
    major, minor, patch = (int(part) for part in found.groups())
    fixed = next((line for line in GIT_FIXED if line[:2] == (major, minor)), GIT_MIN)
    if (major, minor, patch) >= fixed:
        return ports.Finding("git", _OK, found[0])
    wanted = ".".join(map(str, fixed))
    text = f"git {found[0]} is older than {wanted}, the first that is safe with hostile content"
    if (major, minor, patch) < GIT_MIN:
        return ports.Finding("git", _BROKEN, text, remedy)
    text += ", unless your distribution has put its fixes in"
    return ports.Finding("git", _NOTICE, text, remedy)


async def require_git(processes: ports.Processes) -> None:
    """Refuse to go on with a git that `look_at_git` calls broken: `HiveError` UNAVAILABLE."""
    finding = await look_at_git(processes)
    if finding.severity is _BROKEN:
        raise errors.unavailable(f"cannot start: {finding.text}; mend it with: {finding.remedy}")


def look_at_packages() -> list[ports.Finding]:
    """The programs that are missing; a required one breaks the hive."""
    return [
        ports.Finding(
            need.package,
            _BROKEN if need.required else _NOTICE,
            f"not installed; it is for {need.purpose}",
            packages.command([need]),
        )
        for need in packages.find_missing()
        if need.program != "git"
    ]


def look_at_disk(place: pathlib.Path) -> ports.Finding:
    """Free space where *place* is or will be."""
    existing = place
    while not existing.exists():
        existing = existing.parent
    free = shutil.disk_usage(existing).free
    text = f"{free / 1e9:.1f} GB free in {existing}"
    if free < DISK_BROKEN:
        return ports.Finding("disk", _BROKEN, text, "make room: nothing can be stored")
    if free < DISK_NOTICE:
        return ports.Finding("disk", _NOTICE, text, "make room: a hive wants 3 GB and more")
    return ports.Finding("disk", _OK, text)


def look_at_home(home: pathlib.Path) -> ports.Finding:
    """Whether the home is ours alone to write to."""
    try:
        found = home.stat()
    except FileNotFoundError:
        parent = next(parent for parent in home.parents if parent.exists())
        if os.access(parent, os.W_OK):
            return ports.Finding("home", _OK, f"{home} will be made by the first start")
        return ports.Finding(
            "home", _BROKEN, f"{home} cannot be made: {parent} is not writable",
            "choose another with --home or HIVE_HOME",
        )  # fmt: skip
    except OSError as error:
        return ports.Finding("home", _BROKEN, f"{home}: {error.strerror}", "choose another: --home")
    if found.st_uid != os.geteuid():
        return ports.Finding(
            "home", _BROKEN, f"{home} belongs to uid {found.st_uid}, this is uid {os.geteuid()}",
            "run hive as its owner, or choose another with --home",
        )  # fmt: skip
    if found.st_mode & (stat.S_IWGRP | stat.S_IWOTH):
        return ports.Finding("home", _BROKEN, f"others may write to {home}", f"chmod go-w {home}")
    return ports.Finding("home", _OK, str(home))


def look_at_port(host: str, port: int) -> ports.Finding:
    """Whether the page's port can be taken; ask only while no daemon of this home runs."""
    family = socket.AF_INET6 if ":" in host else socket.AF_INET
    with socket.socket(family, socket.SOCK_STREAM) as probe:
        # As servers do: connections of a daemon that has just ended do not count.
        probe.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        try:
            probe.bind((host, port))
        except OSError as error:
            return ports.Finding(
                "port", _BROKEN, f"{host}:{port} cannot be taken: {error.strerror}",
                "choose another with --port or HIVE_PORT; 0 takes a free one",
            )  # fmt: skip
    return ports.Finding("port", _OK, f"{host}:{port} is free" if port else "any free port")
