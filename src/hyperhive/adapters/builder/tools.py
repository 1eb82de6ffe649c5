"""The programs that install packages, lent to builds; agents never see them."""

from __future__ import annotations

import importlib.util
import pathlib
from typing import Final

from hyperhive import ports
from hyperhive.domain import errors

PIP_REMEDY: Final = "as root run: apt-get install python3-pip-whl"
_WHEELS: Final = pathlib.Path("/usr/share/python-wheels")


def find_pip() -> pathlib.Path | None:
    """Return a pip that can be lent to a build: our interpreter's own, or the system's wheel."""
    spec = importlib.util.find_spec("pip")
    if spec is not None and spec.origin is not None:
        return pathlib.Path(spec.origin).parent
    wheels = sorted(_WHEELS.glob("pip-*.whl"))
    return wheels[-1] if wheels else None


def lend_pip() -> tuple[ports.Bind, dict[str, str]]:
    """Return how pip gets into a build, and the variable that says how it is run there.

    `HiveError` UNAVAILABLE when this host has none.
    """
    pip = find_pip()
    if pip is None:
        raise errors.unavailable(
            f"cannot install pip or npm packages: this host has no pip; {PIP_REMEDY}"
        )
    if pip.is_dir():
        return ports.Bind(pip, "/run/tools/pip"), {"PIP": "/run/tools/pip"}
    # A wheel is a zip archive, which Python can run a directory of.
    return ports.Bind(pip, "/run/tools/pip.whl"), {"PIP": "/run/tools/pip.whl/pip"}
