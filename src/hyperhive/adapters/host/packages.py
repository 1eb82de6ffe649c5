"""Programs of the host that a hive needs, and the Debian packages that bring them."""

from __future__ import annotations

import dataclasses
import os
import shutil
from collections.abc import Callable, Mapping, Sequence
from typing import Final

from hyperhive import ports
from hyperhive.domain import errors


@dataclasses.dataclass(frozen=True, slots=True)
class Need:
    """One program and what it is for."""

    program: str
    package: str
    purpose: str
    required: bool
    """Without it no agent can run; without the others something is weaker."""


NEEDS: Final = (
    Need("bwrap", "bubblewrap", "the sandbox of every agent", True),
    Need("git", "git", "version control of what agents write", True),
    Need("mmdebstrap", "mmdebstrap", "building the agents' own base system", False),
    Need("newuidmap", "uidmap", "building the base system as an ordinary user", False),
)

_APT_SECONDS: Final = 900.0
_APT_ENV: Final[Mapping[str, str]] = {"DEBIAN_FRONTEND": "noninteractive", "HOME": "/root"}


def find_missing(needs: Sequence[Need] = NEEDS) -> list[Need]:
    """Which programs are not installed. Looks at files only."""
    return [need for need in needs if shutil.which(need.program) is None]


def command(needs: Sequence[Need]) -> str:
    """What a person types to install *needs*."""
    packages = " ".join(need.package for need in needs)
    return f"sudo apt-get install --yes --no-install-recommends {packages}"


def may_install() -> bool:
    """Whether this process can install Debian packages."""
    return os.geteuid() == 0 and shutil.which("apt-get") is not None


async def install(
    processes: ports.Processes,
    needs: Sequence[Need],
    progress: Callable[[str], None],
    *,
    env: Mapping[str, str],
) -> None:
    """Install the packages of *needs* with apt-get; `HiveError` UNAVAILABLE says what it said.

    The package lists are fetched only when apt-get does not know a package, so a second
    attempt on a prepared machine needs no network.
    """
    packages = [need.package for need in needs]
    argv = ["apt-get", "install", "--yes", "--no-install-recommends", "--quiet", *packages]
    settings = {k: v for k, v in env.items() if k.lower().endswith("_proxy")} | _APT_ENV
    progress(f"installing with apt-get: {', '.join(packages)}")
    result = await processes.run(argv, env=settings, timeout=_APT_SECONDS)
    if result.code != 0:
        progress("fetching the package lists")
        update = ["apt-get", "update", "--quiet"]
        await processes.run(update, env=settings, timeout=_APT_SECONDS)
        result = await processes.run(argv, env=settings, timeout=_APT_SECONDS)
    if result.code != 0:
        said = result.stderr.decode("utf-8", "replace").strip().splitlines()
        errors_said = [line for line in said if line.startswith("E:")] or said[-1:]
        raise errors.unavailable(
            f"cannot install {', '.join(packages)}: apt-get said: {' '.join(errors_said)[:500]}; "
            f"run it by hand: {command(needs)}"
        )
