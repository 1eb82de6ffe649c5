"""Copies trees that agents could write to: no link is followed, no device made, no root's bit kept.

Every directory is opened below the one before (openat(2) with O_NOFOLLOW), so a name that is
swapped for a link meanwhile is refused, not followed. Nothing of the tree is run or parsed.
"""

from __future__ import annotations

import contextlib
import ctypes
import dataclasses
import os
import pathlib
import stat
from collections.abc import Collection
from typing import Final

from hyperhive.domain import errors

DEPTH: Final = 200
_PIECE: Final = 1024**2
_LIBC: Final = ctypes.CDLL(None, use_errno=True)
_FRESH: Final = ".import-in-progress"
_KINDS: Final = {
    stat.S_IFIFO: "a named pipe",
    stat.S_IFSOCK: "a socket",
    stat.S_IFCHR: "a device",
    stat.S_IFBLK: "a device",
}


@dataclasses.dataclass(slots=True)
class Copied:
    """What a copy did."""

    files: int = 0
    bytes: int = 0
    left: list[str] = dataclasses.field(default_factory=list[str])
    """What was not copied, with the reason."""


@dataclasses.dataclass(frozen=True, slots=True)
class Manner:
    """How a tree is copied."""

    uid: int | None = None
    """Whom the copy belongs to; None: to us."""
    plain: bool = False
    """Only directories (0755) and files (0644), for a sandbox of nobody to read."""
    skip: frozenset[str] = frozenset()
    """Paths below the top that are left out without a word."""


def copy(top: pathlib.Path, parts: Collection[str], target: pathlib.Path, how: Manner) -> Copied:
    """Copy the directory *top*/*parts* to *target*, which must not exist yet. Blocks.

    *top* is trusted, *parts* are names that nobody is trusted to keep what they were. `HiveError`
    UNAVAILABLE names the file that cannot be read or written.
    """
    copied = Copied()
    try:
        source = open_below(top, parts)
        try:
            target.mkdir(mode=0o700)
            made = os.open(target, os.O_RDONLY | os.O_DIRECTORY | os.O_NOFOLLOW | os.O_CLOEXEC)
            try:
                _copy(source, made, "", how, copied, 0)
                _finish(made, os.fstat(source), how, directory=True)
            finally:
                os.close(made)
        finally:
            os.close(source)
    except OSError as error:
        raise errors.unavailable(
            f"cannot copy {top.joinpath(*parts)}: {error.filename or ''} {error.strerror}".strip()
        ) from error
    return copied


def own(top: pathlib.Path, uid: int) -> Copied:
    """Give everything below *top*, which only we can reach, to *uid*; remove what is no data.

    For a tree that was moved instead of copied. Idempotent. Blocks.
    """
    copied = Copied()
    try:
        place = os.open(top, os.O_RDONLY | os.O_DIRECTORY | os.O_NOFOLLOW | os.O_CLOEXEC)
        try:
            _own(place, "", uid, copied, 0)
            _finish(place, os.fstat(place), Manner(uid), directory=True)
        finally:
            os.close(place)
    except OSError as error:
        raise errors.unavailable(f"cannot give {top} to uid {uid}: {error.strerror}") from error
    return copied


def take(top: pathlib.Path, parts: Collection[str], name: str, target: pathlib.Path) -> bool:
    """Copy one file to *target*, ours alone; whether there was one. Blocks."""
    try:
        source = open_below(top, parts)
        try:
            try:
                os.stat(name, dir_fd=source, follow_symlinks=False)
            except FileNotFoundError:
                return False
            target.unlink(missing_ok=True)
            place = os.open(target.parent, os.O_RDONLY | os.O_DIRECTORY | os.O_CLOEXEC)
            try:
                _copy_file(source, place, name, Manner(), target.name)
            finally:
                os.close(place)
        finally:
            os.close(source)
        target.chmod(0o600)
    except OSError as error:
        raise errors.unavailable(
            f"cannot copy {top.joinpath(*parts, name)}: {error.strerror}"
        ) from error
    return True


def sync(path: pathlib.Path) -> None:
    """Make all of the file system of *path* durable (syncfs(2)). Blocks."""
    descriptor = os.open(path, os.O_RDONLY | os.O_DIRECTORY | os.O_CLOEXEC)
    try:
        if _LIBC.syncfs(descriptor) != 0:
            number = ctypes.get_errno()
            raise OSError(number, os.strerror(number), str(path))
    finally:
        os.close(descriptor)


def open_below(top: pathlib.Path, parts: Collection[str]) -> int:
    """Open a directory below *top*, one name after another, none of which may be a link."""
    here = os.open(top, os.O_RDONLY | os.O_DIRECTORY | os.O_CLOEXEC)
    for part in parts:
        try:
            below = _open_directory(part, here)
        finally:
            os.close(here)
        here = below
    return here


def _copy(source: int, target: int, path: str, how: Manner, copied: Copied, depth: int) -> None:
    for name in sorted(os.listdir(source)):
        here = f"{path}{name}"
        if here in how.skip:
            continue
        found = os.stat(name, dir_fd=source, follow_symlinks=False)
        kind = stat.S_IFMT(found.st_mode)
        if kind == stat.S_IFDIR:
            if depth >= DEPTH:
                copied.left.append(f"{here}: deeper than {DEPTH} directories")
                continue
            _copy_directory(source, target, name, here, how, copied, depth)
        elif kind == stat.S_IFREG:
            copied.bytes += _copy_file(source, target, name, how)
            copied.files += 1
        elif kind == stat.S_IFLNK and not how.plain:
            os.symlink(os.readlink(name, dir_fd=source), name, dir_fd=target)
            if how.uid is not None:
                os.chown(name, how.uid, how.uid, dir_fd=target, follow_symlinks=False)
            times = (found.st_atime_ns, found.st_mtime_ns)
            os.utime(name, ns=times, dir_fd=target, follow_symlinks=False)
        else:
            copied.left.append(f"{here}: {_KINDS.get(kind, 'a link')}")


def _copy_directory(
    source: int, target: int, name: str, here: str, how: Manner, copied: Copied, depth: int
) -> None:
    below = _open_directory(name, source)
    try:
        os.mkdir(name, 0o700, dir_fd=target)
        made = _open_directory(name, target)
        try:
            _copy(below, made, f"{here}/", how, copied, depth + 1)
            _finish(made, os.fstat(below), how, directory=True)
        finally:
            os.close(made)
    finally:
        os.close(below)


def _copy_file(source: int, target: int, name: str, how: Manner, made_as: str = "") -> int:
    # Without O_NONBLOCK a pipe that took the file's place would hold us up for ever.
    flags = os.O_RDONLY | os.O_NOFOLLOW | os.O_NONBLOCK | os.O_CLOEXEC
    opened = os.open(name, flags, dir_fd=source)
    try:
        found = os.fstat(opened)
        if not stat.S_ISREG(found.st_mode):
            raise OSError(22, "is no regular file any more", name)
        flags = os.O_WRONLY | os.O_CREAT | os.O_EXCL | os.O_CLOEXEC
        made = os.open(made_as or name, flags, 0o600, dir_fd=target)
        try:
            size = _pour(opened, made)
            _finish(made, found, how, directory=False)
        finally:
            os.close(made)
    finally:
        os.close(opened)
    return size


def _finish(made: int, found: os.stat_result, how: Manner, *, directory: bool) -> None:
    """Owner, then mode without set-uid bits, then times."""
    if how.uid is not None and how.uid != os.geteuid():
        os.fchown(made, how.uid, how.uid)
    plain = 0o755 if directory else 0o644
    os.fchmod(made, plain if how.plain else stat.S_IMODE(found.st_mode) & 0o777)
    os.utime(made, ns=(found.st_atime_ns, found.st_mtime_ns))


def _own(place: int, path: str, uid: int, copied: Copied, depth: int) -> None:
    for name in sorted(os.listdir(place)):
        here = f"{path}{name}"
        found = os.stat(name, dir_fd=place, follow_symlinks=False)
        kind = stat.S_IFMT(found.st_mode)
        if kind == stat.S_IFDIR:
            if depth >= DEPTH:
                raise OSError(40, f"is deeper than {DEPTH} directories", here)
            below = _open_directory(name, place)
            try:
                _own(below, f"{here}/", uid, copied, depth + 1)
                _finish(below, found, Manner(uid), directory=True)
            finally:
                os.close(below)
        elif kind in _KINDS:
            os.unlink(name, dir_fd=place)
            copied.left.append(f"{here}: {_KINDS[kind]}")
        elif kind == stat.S_IFREG:
            copied.bytes += _own_file(place, name, uid)
            copied.files += 1
        elif os.geteuid() == 0:
            os.chown(name, uid, uid, dir_fd=place, follow_symlinks=False)


def _own_file(place: int, name: str, uid: int) -> int:
    flags = os.O_RDONLY | os.O_NOFOLLOW | os.O_NONBLOCK | os.O_CLOEXEC
    opened = os.open(name, flags, dir_fd=place)
    try:
        found = os.fstat(opened)
        if not stat.S_ISREG(found.st_mode):
            raise OSError(22, "is no regular file any more", name)
        if found.st_nlink == 1:
            _finish(opened, found, Manner(uid), directory=False)
            return found.st_size
        # Its content has other names, which may be somebody else's: this one gets its own.
        with contextlib.suppress(FileNotFoundError):
            os.unlink(_FRESH, dir_fd=place)
        flags = os.O_WRONLY | os.O_CREAT | os.O_EXCL | os.O_CLOEXEC
        made = os.open(_FRESH, flags, 0o600, dir_fd=place)
        try:
            size = _pour(opened, made)
            _finish(made, found, Manner(uid), directory=False)
        finally:
            os.close(made)
        os.rename(_FRESH, name, src_dir_fd=place, dst_dir_fd=place)
        return size
    finally:
        os.close(opened)


def _pour(source: int, target: int) -> int:
    size = 0
    while piece := os.read(source, _PIECE):
        view = memoryview(piece)
        while view:
            view = view[os.write(target, view) :]
        size += len(piece)
    return size


def _open_directory(name: str, below: int) -> int:
    flags = os.O_RDONLY | os.O_DIRECTORY | os.O_NOFOLLOW | os.O_CLOEXEC
    return os.open(name, flags, dir_fd=below)
