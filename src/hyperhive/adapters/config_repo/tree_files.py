"""The files of a tree on a disk: written one by one, and read back to prove what is there.

No checkout, no archive, no attributes: what a reviewer saw are blobs, and blobs are written.
Files are opened below an open directory, never by a path that could lead elsewhere
(``O_EXCL | O_NOFOLLOW``), and the id of the tree is recomputed from the disk at the end.
"""

from __future__ import annotations

import contextlib
import hashlib
import os
import pathlib
import stat
from collections.abc import Iterable

from hyperhive.adapters.config_repo import git_objects
from hyperhive.domain import errors

_CHUNK = 256 * 1024


def make_empty(target: pathlib.Path) -> None:
    """Make the directory *target*; CONFLICT when there is something in it."""
    target.mkdir(mode=0o755, parents=True, exist_ok=True)
    if any(target.iterdir()):
        raise errors.conflict(f"cannot export to {target}: it is not empty")


def write(target: pathlib.Path, path: str, mode: str, content: bytes) -> None:
    """Write one new file below *target*; its directories are made as needed."""
    git_objects.check_path(path)
    if mode not in git_objects.FILE_MODES:
        raise errors.invalid(f"cannot export {path!r}: mode {mode} is no ordinary file")
    *above, name = path.split("/")
    here = os.open(target, os.O_RDONLY | os.O_DIRECTORY | os.O_NOFOLLOW)
    try:
        for part in above:
            with contextlib.suppress(FileExistsError):
                os.mkdir(part, 0o755, dir_fd=here)
            inner = os.open(part, os.O_RDONLY | os.O_DIRECTORY | os.O_NOFOLLOW, dir_fd=here)
            os.close(here)
            here = inner
            os.fchmod(here, 0o755)
        flags = os.O_WRONLY | os.O_CREAT | os.O_EXCL | os.O_NOFOLLOW
        file = os.open(name, flags, 0o600, dir_fd=here)
        with os.fdopen(file, "wb") as stream:
            stream.write(content)
            os.fchmod(stream.fileno(), 0o755 if mode == "100755" else 0o644)
    finally:
        os.close(here)


def tree_id(target: pathlib.Path) -> str:
    """Recompute the id of the tree from what lies below *target*.

    INVALID when there is anything but plain files and directories. Empty directories count as
    nothing, as in git.
    """
    found: dict[str, git_objects.Entry] = {}
    for path, descriptor in _walk(target):
        found[path] = _entry(descriptor)
    made, _ = git_objects.tree_objects(found)
    return made


def check(target: pathlib.Path, tree: str) -> None:
    """UNAVAILABLE when the files below *target* are not exactly *tree*."""
    found = tree_id(target)
    if found != tree:
        raise errors.unavailable(
            f"cannot use the files below {target}: they are tree {found[:12]}, "
            f"and {tree[:12]} was asked for"
        )


def _walk(target: pathlib.Path) -> Iterable[tuple[str, int]]:
    """Yield (path, open file) of every file; the descriptor is closed afterwards."""
    for top, directories, files, directory in os.fwalk(target, follow_symlinks=False):
        base = pathlib.PurePath(top).relative_to(target)
        for name in directories:
            if stat.S_ISLNK(os.stat(name, dir_fd=directory, follow_symlinks=False).st_mode):
                raise errors.invalid(f"cannot use {base / name}: it is a symbolic link")
        for name in files:
            if not stat.S_ISREG(os.stat(name, dir_fd=directory, follow_symlinks=False).st_mode):
                raise errors.invalid(f"cannot use {base / name}: it is no ordinary file")
            flags = os.O_RDONLY | os.O_NOFOLLOW | os.O_NONBLOCK
            descriptor = os.open(name, flags, dir_fd=directory)
            try:
                yield str(base / name), descriptor
            finally:
                os.close(descriptor)


def _entry(descriptor: int) -> git_objects.Entry:
    facts = os.fstat(descriptor)
    digest = hashlib.sha1(f"blob {facts.st_size}\0".encode(), usedforsecurity=False)
    while chunk := os.read(descriptor, _CHUNK):
        digest.update(chunk)
    mode = "100755" if facts.st_mode & stat.S_IXUSR else "100644"
    return git_objects.Entry(mode, digest.hexdigest())
