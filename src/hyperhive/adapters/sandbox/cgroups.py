"""Ceilings and counters of a sandbox, in whichever kind of control groups this host has.

Detected, never assumed: v2 when ``cgroup.controllers`` holds ``memory``
(Documentation/admin-guide/cgroup-v2), else the v1 hierarchies that are mounted
and writable, else nothing, which `probe` says. Groups are made below
``hyperhive/`` at the top when we may write there, else below our own group.
"""

from __future__ import annotations

import contextlib
import dataclasses
import datetime
import enum
import os
import pathlib
import re
from collections.abc import Sequence
from typing import Final

from hyperhive import ports
from hyperhive.domain import ids

_PARENT: Final = "hyperhive"
_LEAF: Final = "hyperhive-daemon"
_V1: Final = ("memory", "pids", "cpu", "cpuacct")
_V2: Final = ("memory", "pids", "cpu")
_PERIOD: Final = 100_000
_GROUP: Final = re.compile(r"[0-9a-f]{12}")
"""The name of an agent's group: its id."""
_LEFT_SECONDS: Final = 600.0
"""A group that was empty for so long is no start under way."""


class Kind(enum.Enum):
    """What this host offers us."""

    V2 = "v2"
    V1 = "v1"
    NONE = "none"


@dataclasses.dataclass(frozen=True, slots=True)
class Usage:
    """Counters of one sandbox; None where no controller counts them."""

    processes: int | None
    memory_bytes: int | None
    cpu_seconds: float | None


class Cgroups:
    """The control groups of all sandboxes. *root* and *own* are given by tests."""

    def __init__(
        self,
        root: pathlib.Path = pathlib.Path("/sys/fs/cgroup"),
        own: pathlib.Path = pathlib.Path("/proc/self/cgroup"),
    ) -> None:
        self._root = root
        self._paths = _own_paths(own)
        self.parents: dict[str, pathlib.Path] = {}
        """By controller: the directory in which an agent's group is made."""
        self.kind = self._detect()

    @property
    def controllers(self) -> frozenset[str]:
        """What can be limited here: some of memory, pids, cpu."""
        return frozenset(self.parents) & frozenset(_V2)

    def create(self, agent: ids.AgentId, limits: ports.Limits) -> tuple[pathlib.Path, ...]:
        """Make the groups of *agent* with *limits* and return the directories to join.

        OSError when the host refuses a limit: nothing is started with fewer limits than said.
        """
        made: dict[pathlib.Path, set[str]] = {}
        for controller, parent in self.parents.items():
            parent.mkdir(exist_ok=True)
            if self.kind is Kind.V2:
                _enable(parent)
            directory = (parent / agent).resolve()
            directory.mkdir(exist_ok=True)
            made.setdefault(directory, set()).add(controller)
        for directory, controllers in made.items():
            for name, value in self._files(controllers, limits):
                if (directory / name).exists():
                    _write(directory / name, value)
        return tuple(made)

    def existing(self, agent: ids.AgentId) -> tuple[pathlib.Path, ...]:
        """Return the groups of *agent* that are there."""
        found = {(parent / agent).resolve() for parent in self.parents.values()}
        return tuple(directory for directory in found if directory.is_dir())

    def sweep(self, now: datetime.datetime) -> None:
        """Remove empty groups of agents that somebody left, as a daemon that was killed does.

        All hives of a host make theirs in one place: a group that was made a moment ago may be
        another's start. Nothing else is touched, and the kernel refuses groups with members.
        """
        for parent in set(self.parents.values()):
            for group in parent.glob("*"):
                if _GROUP.fullmatch(group.name) is None or members([group]):
                    continue
                with contextlib.suppress(FileNotFoundError):
                    made = group.stat().st_mtime
                    if now.timestamp() - made > _LEFT_SECONDS:
                        remove([group])

    def _detect(self) -> Kind:
        listed = _words(self._root / "cgroup.controllers")
        if "memory" in listed:
            parent = self._top_v2()
            if parent is None:
                return Kind.NONE
            self.parents = {name: parent for name in _V2 if name in listed}
            return Kind.V2
        for name in _V1:
            top = self._root / name
            for candidate in (top, top / self._paths.get(name, "/").lstrip("/")):
                if (candidate / "cgroup.procs").exists() and os.access(candidate, os.W_OK):
                    self.parents[name] = candidate / _PARENT
                    break
        return Kind.V1 if self.parents else Kind.NONE

    def _top_v2(self) -> pathlib.Path | None:
        own = self._root / self._paths.get("", "/").lstrip("/")
        for candidate in (self._root, own):
            if not os.access(candidate / "cgroup.subtree_control", os.W_OK):
                continue
            if not os.access(candidate, os.W_OK):
                continue
            try:
                if candidate == own != self._root:
                    _leave(own)
                _enable(candidate)
            except OSError:
                # Not delegated to us after all (a login session, a read-only mount).
                continue
            return candidate / _PARENT
        return None

    def _files(self, controllers: set[str], limits: ports.Limits) -> list[tuple[str, str]]:
        files: list[tuple[str, str]] = []
        memory, quota = str(limits.memory_bytes), str(int(limits.cpus * _PERIOD))
        if "memory" in controllers and self.kind is Kind.V2:
            files += [("memory.max", memory), ("memory.swap.max", "0")]
        elif "memory" in controllers:
            # The sum with swap may never be below the limit without: also where a group that
            # could not be removed is used again, with other numbers.
            both = "memory.memsw.limit_in_bytes"
            files += [(both, "-1"), ("memory.limit_in_bytes", memory), (both, memory)]
        if "pids" in controllers:
            files.append(("pids.max", str(limits.processes)))
        if "cpu" in controllers and self.kind is Kind.V2:
            files.append(("cpu.max", f"{quota} {_PERIOD}"))
        elif "cpu" in controllers:
            files += [("cpu.cfs_period_us", str(_PERIOD)), ("cpu.cfs_quota_us", quota)]
        return files


def _write(path: pathlib.Path, value: str) -> None:
    try:
        path.write_text(value, encoding="ascii")
    except OSError as error:
        # The kernel refuses at the write, which does not name the file.
        raise OSError(error.errno, error.strerror, str(path)) from error


def usage(directories: Sequence[pathlib.Path]) -> Usage:
    """Return what the members of an agent's groups use; page cache that can go is not counted."""
    processes: int | None = None
    memory: int | None = None
    cpu: float | None = None
    for directory in directories:
        if (count := _number(directory / "pids.current")) is not None:
            processes = count
        for total, inactive in (
            ("memory.current", "inactive_file"),
            ("memory.usage_in_bytes", "total_inactive_file"),
        ):
            if (used := _number(directory / total)) is not None:
                memory = max(0, used - _field(directory / "memory.stat", inactive))
        if (nanoseconds := _number(directory / "cpuacct.usage")) is not None:
            cpu = nanoseconds / 1e9
        elif (microseconds := _field(directory / "cpu.stat", "usage_usec")) > 0:
            cpu = microseconds / 1e6
    return Usage(processes, memory, cpu)


def memory_kills(directories: Sequence[pathlib.Path]) -> int:
    """Return how many processes were killed because the memory limit was reached."""
    names = ("memory.events", "memory.oom_control")
    return sum(_field(directory / name, "oom_kill") for directory in directories for name in names)


def members(directories: Sequence[pathlib.Path]) -> set[int]:
    """Return the pids in an agent's groups."""
    return {int(word) for path in directories for word in _words(path / "cgroup.procs")}


def remove(directories: Sequence[pathlib.Path]) -> list[pathlib.Path]:
    """Remove an agent's groups and return those that still have members."""
    left: list[pathlib.Path] = []
    for directory in directories:
        try:
            directory.rmdir()
        except FileNotFoundError:
            continue
        except OSError:
            left.append(directory)
    return left


def _own_paths(own: pathlib.Path) -> dict[str, str]:
    paths: dict[str, str] = {}
    with contextlib.suppress(OSError):
        for line in own.read_text(encoding="utf-8").splitlines():
            _, controllers, path = line.split(":", 2)
            paths |= dict.fromkeys(controllers.split(","), path)
    return paths


def _enable(directory: pathlib.Path) -> None:
    """Hand the controllers to the groups below *directory*; those already handed are kept."""
    control = directory / "cgroup.subtree_control"
    missing = set(_V2) & set(_words(directory / "cgroup.controllers")) - set(_words(control))
    if missing:
        control.write_text(" ".join(f"+{name}" for name in sorted(missing)), encoding="ascii")


def _leave(own: pathlib.Path) -> None:
    """Move the members of our group into a leaf: v2 allows members in leaves only."""
    leaf = own / _LEAF
    leaf.mkdir(exist_ok=True)
    for pid in _words(own / "cgroup.procs"):
        with contextlib.suppress(ProcessLookupError):
            (leaf / "cgroup.procs").write_text(pid, encoding="ascii")


def _words(path: pathlib.Path) -> list[str]:
    try:
        return path.read_text(encoding="ascii").split()
    except OSError:
        return []


def _number(path: pathlib.Path) -> int | None:
    words = _words(path)
    return int(words[0]) if words and words[0].isdigit() else None


def _field(path: pathlib.Path, name: str) -> int:
    words = _words(path)
    for key, value in zip(words[::2], words[1::2], strict=False):
        if key == name and value.isdigit():
            return int(value)
    return 0
