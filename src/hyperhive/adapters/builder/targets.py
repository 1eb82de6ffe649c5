"""Files of a configuration, put at absolute places of an agent's root.

Who approves a configuration has seen these files. The places below are refused all the same:
there lies what others own (state, mail socket, repositories, kernel) or what the hive itself
writes at every start, so that a file would be hidden or, worse, would hide it.
"""

from __future__ import annotations

import pathlib
import shutil
import unicodedata
from collections.abc import Mapping, Sequence
from typing import Final

from hyperhive.domain import errors

FORBIDDEN: Final = (
    "/state", "/agents", "/applied", "/meta", "/proc", "/sys", "/dev", "/run", "/tmp", "/var/run",
    "/var/tmp", "/opt/hive", "/opt/hive-pip", "/opt/hive-npm", "/etc/passwd", "/etc/group",
    "/etc/shadow", "/etc/gshadow", "/etc/hosts", "/etc/hostname", "/etc/resolv.conf",
    "/etc/gitconfig", "/etc/ld.so.preload", "/etc/ld.so.cache", "/lib", "/lib32", "/lib64",
    "/libx32", "/bin", "/sbin", "/usr/bin/python3", "/usr/bin/node",
)  # fmt: skip
"""Neither these nor anything below."""
LENGTH_MAX: Final = 255


def check(target: str) -> pathlib.PurePosixPath:
    """Return *target* as a path when a file may be put there, or raise `HiveError` INVALID."""
    path = pathlib.PurePosixPath(target)
    refusal = f"cannot put a file at {target[:LENGTH_MAX]!r}: "
    if not target.startswith("/") or target.startswith("//") or str(path) != target:
        raise errors.invalid(f"{refusal}it is not a plain absolute path")
    if ".." in path.parts or len(target) > LENGTH_MAX or len(path.parts) < 2:
        raise errors.invalid(f"{refusal}it is not a plain absolute path of a file")
    if any(unicodedata.category(letter)[0] in "CZ" and letter != " " for letter in target):
        raise errors.invalid(f"{refusal}it holds letters that cannot be seen")
    for place in FORBIDDEN:
        if path.is_relative_to(place):
            raise errors.invalid(f"{refusal}{place} is the hive's own")
    return path


def lay(
    files: Mapping[str, str],
    source: pathlib.Path,
    tree: pathlib.Path,
    lowers: Sequence[pathlib.Path],
) -> None:
    """Copy the *files* of a commit to their places in the new layer *tree*. Blocking.

    Directories on the way look as they do in *lowers*, the uppermost first; a file keeps only
    whether it can be executed. The commit holds no links (the import refuses them).
    """
    for target, name in sorted(files.items()):
        place = check(target).relative_to("/")
        origin = find(source, name)
        made = pathlib.PurePath()
        for part in place.parent.parts:
            made /= part
            below = [lower / made for lower in lowers]
            if any(path.is_symlink() for path in below):
                raise errors.invalid(f"cannot put a file at {target}: /{made} is a link")
            if not (tree / made).exists():
                (tree / made).mkdir()
                found = [path for path in below if path.is_dir()]
                (tree / made).chmod(found[0].stat().st_mode & 0o777 if found else 0o755)
        if (tree / place).exists() or any(
            (lower / place).is_dir() and not (lower / place).is_symlink() for lower in lowers
        ):
            raise errors.invalid(f"cannot put a file at {target}: there is a directory")
        shutil.copyfile(origin, tree / place, follow_symlinks=False)
        (tree / place).chmod(0o755 if origin.stat().st_mode & 0o100 else 0o644)


def find(source: pathlib.Path, name: str) -> pathlib.Path:
    """Return the file *name* of the exported commit, or raise `HiveError` INVALID."""
    path = pathlib.PurePosixPath(name)
    origin = source / path
    if path.is_absolute() or ".." in path.parts or origin.is_symlink() or not origin.is_file():
        raise errors.invalid(f"cannot find {name!r} (files): the commit has no such file")
    return origin
