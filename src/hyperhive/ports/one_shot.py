"""A throw-away sandbox for one command: no identity, nothing kept but what is bound."""

from __future__ import annotations

import dataclasses
import pathlib
from collections.abc import Callable, Mapping, Sequence
from typing import Final, Protocol

from hyperhive.ports.host import ProcessResult
from hyperhive.ports.sandbox import Bind, Finding, Limits

LIMITS: Final = Limits(memory_bytes=1024**3, cpus=2.0, processes=256)
"""Ceilings of a command that says nothing else."""


@dataclasses.dataclass(frozen=True, slots=True)
class OneShot:
    """One command in a sandbox of its own, which is gone when the command is."""

    argv: tuple[str, ...]
    env: Mapping[str, str]
    """All of it: nothing is inherited. Never a secret."""
    binds: tuple[Bind, ...] = ()
    cwd: str = "/"
    uid: int | None = None
    """Host uid and gid as root. None: a throw-away one, to which writable binds seem to belong,
    while on disk all stays the daemon's (idmapped mounts, Linux 5.12). Ignored as an ordinary
    user."""
    lowers: tuple[pathlib.Path, ...] | None = None
    """None: a read-only view of the host's /usr. Else read-only layers of the root, the
    uppermost first, the base root last."""
    upper: pathlib.Path | None = None
    """With ``lowers``: what the command changes in its root is left here, as a layer."""
    as_root: bool = False
    """Be uid 0 of an own user namespace over a range of host uids that is nobody else's
    (package installation); else no capabilities and an unprivileged uid."""
    network: bool = False
    """Whether it sees the host's network; else it has none, not even a neighbour."""
    limits: Limits = LIMITS
    address_space: bool = True
    """Whether the memory limit also holds for address space (RLIMIT_AS): a huge request fails at
    once. Programs that only reserve much (node) cannot run so."""
    file_bytes: int = 64 * 1024**2
    """Largest file that it may write (RLIMIT_FSIZE)."""
    etc: Mapping[str, str] = dataclasses.field(default_factory=dict[str, str])
    """Files below /etc by their path, read-only, instead of the sandbox's own (accounts, say)."""


class OneShots(Protocol):
    """Runs commands that nobody trusts."""

    async def probe(self) -> list[Finding]:
        """Say what this host can and cannot do, by trying it."""
        ...

    async def run(
        self,
        order: OneShot,
        *,
        stdin: bytes | pathlib.Path = b"",
        stdout: pathlib.Path | None = None,
        output_limit: int = 16 * 1024**2,
        timeout: float = 60.0,
        on_line: Callable[[str], None] | None = None,
        pass_fds: Sequence[int] = (),
    ) -> ProcessResult:
        """Run to the end; on time-out, too much output or cancellation the whole tree is killed.

        *stdin* may be a file; *stdout* a file that is written (created, 0600) instead of
        returned. UNAVAILABLE when it cannot be started, took too long or said too much.
        """
        ...
