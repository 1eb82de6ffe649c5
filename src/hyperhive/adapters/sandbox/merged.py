"""A root out of base and layers for hosts without an overlay: hard links instead of a mount.

Read-only for who runs on it, made once for each tuple of layers, named after it, put in its place
by a rename. What the layers removed ("whiteouts") or replaced as a whole ("opaque" directories) is
left out, as the kernel's overlayfs documentation says. Costs a directory entry per file where
base and layers lie on one file system, else a copy.
"""

from __future__ import annotations

import contextlib
import errno
import fcntl
import hashlib
import json
import os
import pathlib
import shutil
import stat
from collections.abc import Iterator, Sequence
from typing import Final

from hyperhive import ports
from hyperhive.adapters.sandbox import layers, views
from hyperhive.domain import errors

_OPAQUE: Final = ("trusted.overlay.opaque", "user.overlay.opaque")


def equip(view: views.View, spec: ports.SandboxSpec, cache: pathlib.Path) -> views.View:
    """Return the view of *spec*, which has layers: as it is with an overlay, else merged. Blocking.

    `HiveError` UNAVAILABLE where the layers have nothing to lie on, or are gone.
    """
    if view.base is None:
        raise errors.unavailable(
            f"cannot start {spec.name}: its environment was built for a base root, and agents get "
            "a view of the host's /usr now; set HIVE_SANDBOX to base, or build it again"
        )
    gone = [path for path in spec.lowers if not path.is_dir()]
    if gone:
        raise errors.unavailable(
            f"cannot start {spec.name}: layer {gone[0]} is gone; build its environment again"
        )
    if view.overlay:
        return view
    return views.View(merge(cache, (*spec.lowers, view.base)), overlay=False)


def merge(cache: pathlib.Path, lowers: Sequence[pathlib.Path]) -> pathlib.Path:
    """Return the root that *lowers*, the uppermost first, make together. Blocking."""
    names = [str(path) for path in lowers]
    key = hashlib.sha256("\n".join(names).encode()).hexdigest()[:16]
    place = cache / key
    if place.is_dir():
        return place
    cache.mkdir(mode=0o711, parents=True, exist_ok=True)
    with _alone(cache):
        if place.is_dir():
            return place
        _sweep(cache)
        new = cache / f"{key}.tmp"
        new.mkdir(mode=0o755)
        for lower in reversed(lowers):
            _lay(lower, new)
        (cache / f"{key}.json").write_text(json.dumps(names), encoding="utf-8")
        new.rename(place)
    return place


def _sweep(cache: pathlib.Path) -> None:
    """Remove roots whose layers are gone, which nobody can be running on, and unfinished ones."""
    for path in list(cache.iterdir()):
        if path.suffix == ".tmp":
            layers.remove_tree(path)
        elif path.suffix == ".json":
            names = json.loads(path.read_text(encoding="utf-8"))
            if not all(pathlib.Path(name).is_dir() for name in names):
                root = path.with_suffix("")
                if root.is_dir():
                    layers.remove_tree(root)
                path.unlink()


def _lay(layer: pathlib.Path, root: pathlib.Path) -> None:
    """Put what *layer* holds over what *root* holds; no link of either is followed."""
    for entry in os.scandir(layer):
        source, target = pathlib.Path(entry.path), root / entry.name
        found = entry.stat(follow_symlinks=False)
        kind = stat.S_IFMT(found.st_mode)
        if kind == stat.S_IFDIR:
            if target.is_symlink() or not target.is_dir() or _is_opaque(source):
                _remove(target)
                target.mkdir()
            _lay(source, target)
            # Open to ourselves, or the next layer could put nothing there.
            target.chmod(stat.S_IMODE(found.st_mode) | 0o700)
            if os.geteuid() == 0:
                os.chown(target, found.st_uid, found.st_gid)
            continue
        _remove(target)
        if kind == stat.S_IFCHR and found.st_rdev == 0:
            continue  # A whiteout.
        if kind in (stat.S_IFREG, stat.S_IFLNK):
            _link(source, target)


def _link(source: pathlib.Path, target: pathlib.Path) -> None:
    try:
        os.link(source, target, follow_symlinks=False)
    except OSError as error:
        # Another file system, a full link count, or a kernel that protects what is not ours.
        if error.errno not in (errno.EXDEV, errno.EMLINK, errno.EPERM):
            raise
        shutil.copy2(source, target, follow_symlinks=False)


def _remove(path: pathlib.Path) -> None:
    if path.is_dir() and not path.is_symlink():
        layers.remove_tree(path)
    else:
        path.unlink(missing_ok=True)


def _is_opaque(directory: pathlib.Path) -> bool:
    for name in _OPAQUE:
        with contextlib.suppress(OSError):
            if os.getxattr(directory, name) == b"y":
                return True
    return False


@contextlib.contextmanager
def _alone(cache: pathlib.Path) -> Iterator[None]:
    fd = os.open(cache / "lock", os.O_CREAT | os.O_RDWR | os.O_CLOEXEC, 0o600)
    try:
        fcntl.flock(fd, fcntl.LOCK_EX)
        yield
    finally:
        os.close(fd)
