"""Where agents run."""

from __future__ import annotations

import dataclasses
import enum
import pathlib
import socket
from collections.abc import AsyncIterator, Callable, Mapping, Sequence
from typing import Protocol

from hyperhive.domain import agents, ids


@dataclasses.dataclass(frozen=True, slots=True)
class Bind:
    """A directory or file of the host shown inside."""

    source: pathlib.Path
    target: str
    writable: bool = False


@dataclasses.dataclass(frozen=True, slots=True)
class Limits:
    """Ceilings of one sandbox."""

    memory_bytes: int = 4 * 1024**3
    cpus: float = 2.0
    processes: int = 512


@dataclasses.dataclass(frozen=True, slots=True)
class SandboxSpec:
    """What a sandbox is started with. Nothing secret belongs in ``argv`` or ``env``."""

    agent: ids.AgentId
    name: str
    uid: int
    """Host uid and gid of the payload: the agent's own as root, else the daemon's."""
    argv: tuple[str, ...]
    env: Mapping[str, str]
    cwd: str
    binds: tuple[Bind, ...]
    limits: Limits
    log: pathlib.Path
    """stdout and stderr are appended here; outlives the daemon."""
    run_dir: pathlib.Path
    """A directory of the daemon's alone for the adapter's own files of this agent."""
    ports: tuple[int, ...] = ()
    """Loopback ports inside on which the daemon listens before the payload starts."""
    lowers: tuple[pathlib.Path, ...] = ()
    """Read-only layers over the base root, the uppermost first (`Generation.lowers`)."""


@dataclasses.dataclass(frozen=True, slots=True)
class Started:
    """A running sandbox and the daemon's listeners inside it."""

    identity: agents.SandboxIdentity
    listeners: Mapping[int, socket.socket]


@dataclasses.dataclass(frozen=True, slots=True)
class Exit:
    """How a sandbox ended. ``code`` is None when nobody can know it any more."""

    code: int | None
    reason: str


@dataclasses.dataclass(frozen=True, slots=True)
class Stats:
    """What a sandbox uses now. None where this host cannot tell."""

    processes: int | None
    memory_bytes: int | None
    cpu_seconds: float | None


@dataclasses.dataclass(frozen=True, slots=True)
class ExecResult:
    """The end of a command that ran inside."""

    code: int
    stdout: bytes
    stderr: bytes


class Severity(enum.Enum):
    """How much a finding matters."""

    OK = "ok"
    NOTICE = "notice"
    """Works, but something is weaker than it could be."""
    BROKEN = "broken"
    """Agents cannot run until this is mended."""


@dataclasses.dataclass(frozen=True, slots=True)
class Finding:
    """One line of `hive doctor`: what was looked at, how it stands, how to mend it."""

    topic: str
    severity: Severity
    text: str
    remedy: str = ""


class Sandbox(Protocol):
    """Where agents run. Every call is idempotent."""

    async def probe(self) -> list[Finding]:
        """Say what this host can and cannot do, by trying it."""
        ...

    async def prepare(self, progress: Callable[[str], None]) -> None:
        """Make what all sandboxes share (the base root file system), once, with progress lines."""
        ...

    async def start(self, spec: SandboxSpec) -> Started:
        """Start the payload; whatever an earlier start of this agent left is ended first."""
        ...

    async def stop(
        self, agent: ids.AgentId, identity: agents.SandboxIdentity, grace: float
    ) -> None:
        """Ask with SIGTERM, wait up to *grace* seconds, then end the whole tree."""
        ...

    async def kill(self, agent: ids.AgentId, identity: agents.SandboxIdentity) -> None:
        """End the whole process tree now, detached children included."""
        ...

    async def is_running(self, agent: ids.AgentId, identity: agents.SandboxIdentity) -> bool:
        """Whether exactly that sandbox still runs (boot id, pid and start time agree)."""
        ...

    async def find_left(
        self, agent: ids.AgentId, run_dir: pathlib.Path
    ) -> agents.SandboxIdentity | None:
        """A sandbox of this agent that runs though no row says so (we died while starting it)."""
        ...

    async def wait(self, agent: ids.AgentId, identity: agents.SandboxIdentity) -> Exit:
        """Return when it has ended; woken by the process itself (pidfd), not by a poll."""
        ...

    async def open_port(
        self, agent: ids.AgentId, identity: agents.SandboxIdentity, port: int
    ) -> socket.socket:
        """A listener on 127.0.0.1:*port* inside; used again after the daemon restarted."""
        ...

    async def exec(
        self,
        agent: ids.AgentId,
        identity: agents.SandboxIdentity,
        argv: Sequence[str],
        *,
        stdin: bytes = b"",
        timeout: float = 30.0,
        output_limit: int = 16 * 1024**2,
    ) -> ExecResult:
        """Run a command inside, as the payload's uid, without capabilities.

        Longer than *timeout*, or more than *output_limit* bytes: it is ended, UNAVAILABLE.
        """
        ...

    async def stats(self, agent: ids.AgentId, identity: agents.SandboxIdentity) -> Stats: ...

    def follow_log(self, log: pathlib.Path, *, lines: int, follow: bool) -> AsyncIterator[str]:
        """The last *lines* lines of a log and, when following, each new one as it is written."""
        ...
