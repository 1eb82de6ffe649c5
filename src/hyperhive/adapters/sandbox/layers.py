"""The writable layer of one sandbox over the base root: fresh at every start.

What an agent must keep is in its binds. /usr/local belongs to the agent, so that it
can install tools for the time of one run; all else below is the root of the base.
"""

from __future__ import annotations

import os
import pathlib
import shutil
from collections.abc import Sequence
from typing import Final

from hyperhive import ports
from hyperhive.adapters.sandbox import orders, views

OWN: Final = ("usr/local", "usr/local/bin", "usr/local/lib", "usr/local/share",
              "usr/local/include", "usr/local/sbin", "usr/local/etc", "usr/local/src")  # fmt: skip


def prepare(base: pathlib.Path, spec: ports.SandboxSpec) -> orders.Overlay:
    """Empty the agent's layer, make the mount points of *spec*, and say what to mount.

    Runs as root while no process of the agent lives.
    """
    upper, work = spec.run_dir / "upper", spec.run_dir / "work"
    discard(spec.run_dir)
    for directory in (upper, work):
        directory.mkdir(mode=0o755, parents=True)
    lowers = (*spec.lowers, base)
    for name in OWN:
        _make(upper, lowers, name)
    make_places(upper, lowers, spec)
    for name in OWN:
        os.chown(upper / name, spec.uid, spec.uid)
    return orders.Overlay(
        lowers=[str(path) for path in lowers], top=str(spec.run_dir), upper="upper", work="work"
    )


def make_places(
    layer: pathlib.Path, lowers: Sequence[pathlib.Path], spec: ports.SandboxSpec
) -> None:
    """Make the mount points of *spec* in *layer*, which lies over *lowers*."""
    directories, files = views.upper_places(spec)
    for name in directories:
        _make(layer, lowers, name.lstrip("/"))
    for name in files:
        place = pathlib.PurePath(name.lstrip("/"))
        _make(layer, lowers, str(place.parent))
        (layer / place).touch(mode=0o644)


def discard(run_dir: pathlib.Path) -> None:
    """Remove an agent's layer."""
    for name in ("upper", "work"):
        if (run_dir / name).exists():
            remove_tree(run_dir / name)


def remove_tree(path: pathlib.Path) -> None:
    """Remove a directory that others filled; no link is followed.

    Without root also what they closed to us: it is ours, and so is the right to open it.
    """
    if os.geteuid() != 0:
        for directory, names, _ in os.walk(path):
            for place in (pathlib.Path(directory, name) for name in names):
                if not place.is_symlink():
                    place.chmod(0o700)
    shutil.rmtree(path)


def _make(layer: pathlib.Path, lowers: Sequence[pathlib.Path], name: str) -> None:
    """Make a directory and its parents; each looks as it does below, if it is there."""
    made = pathlib.PurePath()
    for part in pathlib.PurePath(name).parts:
        made /= part
        if (layer / made).exists():
            continue
        (layer / made).mkdir()
        found = [lower / made for lower in lowers if (lower / made).is_dir()]
        (layer / made).chmod(found[0].stat().st_mode & 0o7777 if found else 0o755)
