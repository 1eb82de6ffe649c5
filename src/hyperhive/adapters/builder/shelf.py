"""The shelf of layers: read-only directories named after what went into them.

``<key>/root`` is the tree, ``<key>/layer.json`` says what it is. A layer is made in ``tmp/``,
made durable, and moved to its place by one rename: what has its final name is whole and is
never touched again (changing the lower layer of a mounted overlay is undefined, see the kernel's
overlayfs documentation). A symbolic link from the key of a *request* ("jq, as of today") to the key
of what it was resolved to ("jq 1.6-2.1") lets the same request find it again. A key's lock keeps
two builds of one layer apart, and tells what a killed build left from one that is at work.
"""

from __future__ import annotations

import asyncio
import contextlib
import ctypes
import dataclasses
import fcntl
import hashlib
import json
import os
import pathlib
import shutil
import stat
from collections.abc import AsyncIterator, Collection, Iterator, Mapping
from typing import Any, Final

from hyperhive import ports
from hyperhive.adapters.builder import generations
from hyperhive.domain import errors

KEY_DIGITS: Final = 32
_ROUND: Final = 0.05
_CAPABILITY: Final = "security.capability"
_RAISED: Final = stat.S_ISUID | stat.S_ISGID
_libc = ctypes.CDLL(None, use_errno=True)


@dataclasses.dataclass(frozen=True, slots=True)
class Layer:
    """A layer that is whole."""

    key: str
    kind: str
    root: pathlib.Path
    pins: Mapping[str, str]
    """What is in it, by name and version."""
    more: Mapping[str, Any]
    """What else its maker wrote down."""
    made_at: str
    """RFC 3339."""


def key_of(*parts: object) -> str:
    """Return the key of a layer: a hash over all that went in, in their one written form."""
    text = json.dumps(parts, sort_keys=True, separators=(",", ":"), ensure_ascii=True)
    return hashlib.sha256(text.encode()).hexdigest()[:KEY_DIGITS]


def digest(path: pathlib.Path) -> str:
    """Return the hash of a file's content."""
    with path.open("rb") as stream:
        return hashlib.file_digest(stream, "sha256").hexdigest()


class Shelf:
    """All layers of one hive; the directory is the daemon's alone."""

    def __init__(self, directory: pathlib.Path, clock: ports.Clock) -> None:
        self.directory = directory
        self._clock = clock
        self._tmp = directory / "tmp"
        self._locks = directory / "locks"

    def find(self, key: str) -> Layer | None:
        """The layer of that key, or the one that a request of that key was resolved to."""
        path = self.directory / key
        try:
            said = json.loads((path / "layer.json").read_text(encoding="utf-8"))
        except FileNotFoundError:
            return None
        place = path.resolve()
        return Layer(
            place.name, said["kind"], place / "root", said["pins"], said["more"], said["made_at"]
        )

    @contextlib.asynccontextmanager
    async def alone(self, key: str) -> AsyncIterator[None]:
        """Wait until nobody else makes that layer, and keep others from it (flock(2))."""
        self._locks.mkdir(mode=0o700, parents=True, exist_ok=True)
        fd = os.open(self._locks / key, os.O_CREAT | os.O_RDWR | os.O_CLOEXEC, 0o600)
        try:
            while not _locked(fd):
                await self._clock.sleep(_ROUND)
            yield
        finally:
            os.close(fd)

    @contextlib.asynccontextmanager
    async def workshop(self, key: str) -> AsyncIterator[pathlib.Path]:
        """Lend an empty directory to make the layer of *key* in, and remove what is left of it.

        Only while `alone` with that key.
        """
        self._tmp.mkdir(mode=0o700, parents=True, exist_ok=True)
        place = self._tmp / key
        if place.exists():
            await asyncio.to_thread(remove_tree, place)
        place.mkdir(mode=0o700)
        try:
            yield place
        finally:
            await asyncio.to_thread(remove_tree, place)

    def keep(
        self,
        tree: pathlib.Path,
        key: str,
        kind: str,
        pins: Mapping[str, str],
        more: Mapping[str, Any] | None = None,
    ) -> Layer:
        """Seal a finished tree and put it in its place; one that is there already stays.

        Blocking. Nothing in it can raise the rights of who runs it: set-id bits and file
        capabilities are taken away (and every mount of a layer is nosuid as well).
        """
        found = self.find(key)
        if found is not None:
            return found
        seal(tree)
        parcel = tree.with_name("parcel")
        parcel.mkdir(mode=0o700)
        tree.rename(parcel / "root")
        said = {
            "kind": kind, "pins": dict(pins), "more": dict(more or {}),
            "made_at": self._clock.now().isoformat(timespec="seconds"),
        }  # fmt: skip
        text = json.dumps(said, indent=1, sort_keys=True) + "\n"
        (parcel / "layer.json").write_text(text, encoding="utf-8")
        _sync_all(parcel)
        with contextlib.suppress(FileExistsError):
            parcel.rename(self.directory / key)
        generations.sync_directory(self.directory)
        made = self.find(key)
        assert made is not None
        return made

    def resolve(self, request: str, layer: Layer) -> None:
        """Let the key of a request find the layer from now on. Blocking."""
        if request == layer.key:
            return
        new = self.directory / f".{request}"
        new.unlink(missing_ok=True)
        new.symlink_to(layer.key)
        new.replace(self.directory / request)
        generations.sync_directory(self.directory)

    def sweep(self) -> None:
        """Remove what killed builds left. Blocking."""
        if not self._tmp.is_dir():
            return
        for place in self._tmp.iterdir():
            with self._if_nobody_makes(place.name) as mine:
                if mine:
                    remove_tree(place)

    def forget(self, keep: Collection[str]) -> int:
        """Remove every layer whose key is not among *keep*; bytes freed. Blocking."""
        freed = 0
        if not self.directory.is_dir():
            return 0
        entries = [path for path in self.directory.iterdir() if len(path.name) == KEY_DIGITS]
        for path in entries:
            if path.is_symlink() or path.name in keep:
                continue
            with self._if_nobody_makes(path.name) as mine:
                if not mine:
                    continue
                freed += size_of(path)
                # By way of tmp: half a layer must never have its final name.
                self._tmp.mkdir(mode=0o700, exist_ok=True)
                gone = self._tmp / path.name
                if gone.exists():
                    remove_tree(gone)
                path.rename(gone)
                remove_tree(gone)
        for path in entries:
            if path.is_symlink() and not path.exists():
                path.unlink()
        return freed

    @contextlib.contextmanager
    def _if_nobody_makes(self, key: str) -> Iterator[bool]:
        self._locks.mkdir(mode=0o700, parents=True, exist_ok=True)
        fd = os.open(self._locks / key, os.O_CREAT | os.O_RDWR | os.O_CLOEXEC, 0o600)
        try:
            yield _locked(fd)
        finally:
            os.close(fd)


def seal(tree: pathlib.Path) -> None:
    """Take from a tree what could raise rights: set-id bits, and file capabilities."""
    for path in _walk(tree):
        mode = path.lstat().st_mode
        if stat.S_ISLNK(mode):
            continue
        if mode & _RAISED:
            path.chmod(stat.S_IMODE(mode) & ~_RAISED)
        if stat.S_ISREG(mode) and _CAPABILITY in os.listxattr(path):
            os.removexattr(path, _CAPABILITY)
    tree.chmod(0o755)


def size_of(tree: pathlib.Path) -> int:
    """Return the bytes that a tree takes on disk; what goes away meanwhile does not count."""
    total = 0
    for directory, _, files in os.walk(tree):
        for name in files:
            with contextlib.suppress(FileNotFoundError):
                total += pathlib.Path(directory, name).lstat().st_blocks * 512
    return total


def remove_tree(path: pathlib.Path) -> None:
    """Remove a directory that a build has filled; no link is followed.

    Without root also what the build closed to us: it is ours, and so is the right to open it.
    """
    if os.geteuid() != 0:
        for directory, names, _ in os.walk(path):
            for place in (pathlib.Path(directory, name) for name in names):
                if not place.is_symlink():
                    place.chmod(0o700)
    with contextlib.suppress(FileNotFoundError):
        shutil.rmtree(path)


def _walk(tree: pathlib.Path) -> Iterator[pathlib.Path]:
    for directory, names, files in os.walk(tree):
        for name in (*names, *files):
            yield pathlib.Path(directory, name)


def _locked(fd: int) -> bool:
    try:
        fcntl.flock(fd, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except BlockingIOError:
        return False
    return True


def _sync_all(path: pathlib.Path) -> None:
    """Make everything in the file system of *path* durable: thousands of files, one syncfs(2)."""
    fd = os.open(path, os.O_RDONLY | os.O_DIRECTORY)
    try:
        if _libc.syncfs(fd) == -1:
            reason = os.strerror(ctypes.get_errno())
            raise errors.unavailable(f"cannot keep a layer: the disk says: {reason}")
    finally:
        os.close(fd)
