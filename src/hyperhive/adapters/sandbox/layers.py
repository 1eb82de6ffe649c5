"""The writable layer of one sandbox over the base root: fresh at every start.

What an agent must keep is in its binds. /usr/local belongs to the agent, so that it
can install tools for the time of one run; all else below is the root of the base.
"""

from __future__ import annotations

import os
import pathlib
import shutil
from typing import Final

from hyperhive import ports
from hyperhive.adapters.sandbox import views

OWN: Final = ("usr/local", "usr/local/bin", "usr/local/lib", "usr/local/share",
              "usr/local/include", "usr/local/sbin", "usr/local/etc", "usr/local/src")  # fmt: skip


def prepare(base: pathlib.Path, spec: ports.SandboxSpec) -> dict[str, str]:
    """Empty the agent's layer, make the mount points of *spec*, and say what to mount.

    Runs as root while no process of the agent lives; `shutil.rmtree` follows no link.
    """
    upper, work = spec.run_dir / "upper", spec.run_dir / "work"
    discard(spec.run_dir)
    for directory in (upper, work):
        directory.mkdir(mode=0o755, parents=True)
    directories, files = views.upper_places(spec)
    for name in (*OWN, *directories):
        _make(upper, base, name.lstrip("/"))
    for name in files:
        place = pathlib.PurePath(name.lstrip("/"))
        _make(upper, base, str(place.parent))
        (upper / place).touch(mode=0o644)
    for name in OWN:
        os.chown(upper / name, spec.uid, spec.uid)
    return {"lower": str(base), "upper": str(upper), "work": str(work)}


def discard(run_dir: pathlib.Path) -> None:
    """Remove an agent's layer."""
    for name in ("upper", "work"):
        if (run_dir / name).exists():
            shutil.rmtree(run_dir / name)


def _make(upper: pathlib.Path, base: pathlib.Path, name: str) -> None:
    """Make a directory and its parents; each looks as it does in the base, if it is there."""
    made = pathlib.PurePath()
    for part in pathlib.PurePath(name).parts:
        made /= part
        if (upper / made).exists():
            continue
        (upper / made).mkdir()
        mode = (base / made).stat().st_mode & 0o7777 if (base / made).is_dir() else 0o755
        (upper / made).chmod(mode)
