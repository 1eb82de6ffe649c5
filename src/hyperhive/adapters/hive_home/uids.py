"""Host uids for the agents of a home, which no other hive of this host gives out.

Ranges are written down in one directory of the host, a file each that names its home, and the
home keeps its own as well: sandboxes and files outlive every daemon, so a lock alone would not
do. The lock, flock(2) on that file, says that a daemon lives although its home was deleted.
A registration goes when its home is gone, nobody holds the lock and no process has its uids.
"""

from __future__ import annotations

import contextlib
import fcntl
import os
import pathlib
from collections.abc import Iterator
from typing import Final

from hyperhive.adapters.hive_home import home as homes
from hyperhive.domain import agents, errors

REGISTRY: Final = pathlib.Path("/var/lib/hyperhive-uids")
FIRST: Final = 870_000
"""The first range; what every home took before ranges were told apart."""
SIZE: Final = agents.SLOTS_MAX + 1
RANGES: Final = 1000
KEPT_IN: Final = "uids"
"""File in the home with the first uid of its range."""


@contextlib.contextmanager
def hold(home: pathlib.Path, wanted: int) -> Iterator[int]:
    """Hold *home* as `homes.hold` does, as root with a range of host uids (see `reserve`).

    Gives the first uid of the range. Only root gives uids out: for others it is just *wanted*.
    """
    with homes.hold(home):
        if os.geteuid() != 0:
            yield wanted
            return
        with reserve(home, wanted) as first:
            yield first


@contextlib.contextmanager
def reserve(home: pathlib.Path, wanted: int, registry: pathlib.Path = REGISTRY) -> Iterator[int]:
    """Write down a range of host uids as that of *home*, which is held; gives its first.

    *wanted* is what the operator set; 0 keeps the range that the home has, or takes a free one.
    `HiveError` CONFLICT when another hive has some of these uids, UNAVAILABLE when none is left.
    """
    try:
        descriptor, first = _register(home, wanted, registry)
    except OSError as error:
        raise errors.unavailable(
            f"cannot keep the host uids of {home} apart from other hives': {error}; they are "
            f"written down in {registry}"
        ) from error
    try:
        yield first
    finally:
        os.close(descriptor)


def _register(home: pathlib.Path, wanted: int, registry: pathlib.Path) -> tuple[int, int]:
    """Write down which range is *home*'s; return its locked file and its first uid."""
    registry.mkdir(mode=0o700, parents=True, exist_ok=True)
    # One at a time: between looking and writing nobody else may write.
    guard = os.open(registry / "lock", os.O_RDWR | os.O_CREAT | os.O_CLOEXEC, 0o600)
    try:
        fcntl.flock(guard, fcntl.LOCK_EX)
        kept = _kept(home)
        others = _others(home, kept, registry)
        first = wanted or kept or min(_of(home, registry), default=None)
        if first is None:
            # A home from before ranges were told apart has agents, and they have the first one.
            first = FIRST if any((home / "agents").iterdir()) else _free(others)
        for other, owner in sorted(others.items()):
            if abs(other - first) < SIZE:
                raise errors.conflict(
                    f"cannot start: agents of {home} would have host uids that agents of {owner} "
                    f"have ({first} to {first + SIZE - 1}); give this home others with uid_base "
                    'and its agents\' files with them (docs/sandbox.md, "Host uids")'
                )
        file = registry / str(first)
        descriptor = os.open(file, os.O_RDWR | os.O_CREAT | os.O_CLOEXEC, 0o600)
        try:
            if not _lock(descriptor):
                raise errors.conflict(
                    f"cannot start: a daemon of an earlier home at {home} still runs; end it first"
                )
            _write(descriptor, os.fsencode(os.path.realpath(home)))
            _keep(home, first)
            # What this home had before is free again: its files are the operator's business.
            for old in _of(home, registry) - {first}:
                (registry / str(old)).unlink()
        except BaseException:
            os.close(descriptor)
            raise
        return descriptor, first
    finally:
        os.close(guard)


def _others(
    home: pathlib.Path, kept: int | None, registry: pathlib.Path
) -> dict[int, pathlib.Path]:
    """The ranges of other homes; registrations of homes that are gone are removed."""
    found: dict[int, pathlib.Path] = {}
    for first, owner in _registrations(registry):
        # A home that was moved is still itself: it has its note, and nobody is where it was.
        if _is_same(owner, home) or (first == kept and not owner.is_dir()):
            continue
        if _is_gone(first, owner, registry / str(first)):
            (registry / str(first)).unlink()
        else:
            found[first] = owner
    return found


def _is_gone(first: int, owner: pathlib.Path, file: pathlib.Path) -> bool:
    """Whether nothing is left that could need the range: no home, no daemon, no process."""
    if owner.is_dir():
        try:
            if _kept(owner) in (None, first):
                return False
        except errors.HiveError:
            return False
    descriptor = os.open(file, os.O_RDWR | os.O_CLOEXEC)
    try:
        if not _lock(descriptor):
            return False
    finally:
        os.close(descriptor)
    return not _running() & set(range(first, first + SIZE))


def _free(others: dict[int, pathlib.Path]) -> int:
    for first in range(FIRST, FIRST + RANGES * SIZE, SIZE):
        if all(abs(other - first) >= SIZE for other in others):
            return first
    raise errors.unavailable(
        f"cannot start: all {RANGES} ranges of host uids belong to other hives of this host; "
        "remove a home that nobody needs, or choose a range with uid_base"
    )


def _of(home: pathlib.Path, registry: pathlib.Path) -> set[int]:
    """The ranges that are written down for *home*, which may have lost its own note."""
    return {first for first, owner in _registrations(registry) if _is_same(owner, home)}


def _registrations(registry: pathlib.Path) -> list[tuple[int, pathlib.Path]]:
    """Each range with its home; a registration that was cut short names a place that is not."""
    return [
        (int(file.name), pathlib.Path(os.fsdecode(file.read_bytes().rstrip(b"\n")) or "/nowhere"))
        for file in registry.iterdir()
        if file.name.isdigit()
    ]


def _is_same(owner: pathlib.Path, home: pathlib.Path) -> bool:
    try:
        return owner.samefile(home)
    except OSError:
        return False


def _running() -> set[int]:
    """The uids that processes of this host have (proc(5), ``status``)."""
    found: set[int] = set()
    for process in pathlib.Path("/proc").glob("[0-9]*"):
        # It may end while we look.
        with contextlib.suppress(FileNotFoundError, ProcessLookupError):
            for line in (process / "status").read_text("utf-8", "replace").splitlines():
                if line.startswith("Uid:"):
                    found.update(map(int, line.split()[1:]))
    return found


def _lock(descriptor: int) -> bool:
    """Whether the lock could be had at once."""
    try:
        fcntl.flock(descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except BlockingIOError:
        return False
    return True


def _kept(home: pathlib.Path) -> int | None:
    try:
        text = (home / KEPT_IN).read_text(encoding="ascii").strip()
    except FileNotFoundError:
        return None
    if not text.isdigit():
        raise errors.invalid(
            f"cannot read {home / KEPT_IN}: it must hold the first host uid of the agents; "
            "remove it and set uid_base to what `stat` says of agents/*/state"
        )
    return int(text)


def _keep(home: pathlib.Path, first: int) -> None:
    """Note the range in the home, whole or not at all."""
    if _kept(home) == first:
        return
    fresh = home / f".{KEPT_IN}"
    descriptor = os.open(fresh, os.O_WRONLY | os.O_CREAT | os.O_TRUNC | os.O_CLOEXEC, 0o600)
    try:
        _write(descriptor, str(first).encode())
    finally:
        os.close(descriptor)
    fresh.rename(home / KEPT_IN)


def _write(descriptor: int, text: bytes) -> None:
    os.ftruncate(descriptor, 0)
    os.pwrite(descriptor, text + b"\n", 0)
    os.fsync(descriptor)
