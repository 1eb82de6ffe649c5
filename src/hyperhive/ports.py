"""All that the hive needs from the world, as Protocols.

Each has a real adapter and a memory twin under `hyperhive.adapters`, and one
contract suite under ``tests/contracts`` that both must pass. Methods raise
`HiveError` (UNAVAILABLE unless said otherwise) when the world refuses.
"""

from __future__ import annotations

import dataclasses
import datetime
import enum
import pathlib
import socket
from collections.abc import AsyncIterator, Awaitable, Callable, Iterable, Mapping, Sequence
from typing import Any, Protocol, TypeVar

from hyperhive.domain import agents, approvals, events, ids, messages, turns

T = TypeVar("T")


class Clock(Protocol):
    """The only source of time. Tests move a manual one."""

    def now(self) -> datetime.datetime:
        """Wall-clock time, aware, UTC."""
        ...

    def monotonic(self) -> float:
        """Seconds that never jump; for durations."""
        ...

    async def sleep(self, seconds: float) -> None:
        """Return after *seconds* of this clock."""
        ...


# --- store ------------------------------------------------------------------------------


class ReadTx(Protocol):
    """A consistent view of the facts. Plain calls: nothing here can be awaited."""

    def last_number(self) -> int:
        """The number of the newest fact; 0 in an empty store."""
        ...

    def facts_after(self, number: int, limit: int) -> list[events.Fact]:
        """Facts with a greater number, oldest first, at most *limit*."""
        ...

    def get_agent(self, agent: ids.AgentId) -> agents.Agent | None: ...
    def find_agent(self, name: str) -> agents.Agent | None: ...
    def list_agents(self) -> list[agents.Agent]:
        """All agents, the manager first, then by name."""
        ...

    def get_message(self, message: ids.MessageId) -> messages.Message | None: ...
    def find_message_by_key(self, sender: ids.PartyId, key: str) -> messages.Message | None: ...
    def count_queued(self, recipient: ids.PartyId) -> int: ...
    def list_messages(
        self,
        *,
        recipient: ids.PartyId | None = None,
        states: Iterable[messages.MessageState] | None = None,
        before: ids.MessageId | None = None,
        limit: int = 100,
    ) -> list[messages.Message]:
        """The newest matching messages, newest first; *before* pages back."""
        ...

    def get_approval(self, approval: ids.ApprovalId) -> approvals.Approval | None: ...
    def list_approvals(
        self,
        *,
        states: Iterable[approvals.ApprovalState] | None = None,
        limit: int = 200,
    ) -> list[approvals.Approval]:
        """Approvals, newest first."""
        ...

    def get_turn(self, turn: ids.TurnId) -> turns.Turn | None: ...
    def list_turns(self, agent: ids.AgentId, limit: int = 50) -> list[turns.Turn]:
        """Turns of one agent, newest first."""
        ...

    def get_value(self, key: str) -> Any | None:
        """A small JSON value by name (settings of the daemon, operator sessions)."""
        ...

    def list_values(self, prefix: str) -> dict[str, Any]: ...


class Tx(ReadTx, Protocol):
    """One transaction on the writer. It commits when the function returns, and not if it raises."""

    def record(self, event: events.Event) -> int:
        """Append a fact and return its number; its topics are announced after commit."""
        ...

    def insert_agent(self, agent: agents.Agent) -> None:
        """Add a row; `HiveError` CONFLICT when the id or the name exists."""
        ...

    def update_agent(self, agent: agents.Agent) -> None:
        """Replace the row of that id; `HiveError` NOT_FOUND when there is none."""
        ...

    def next_slot(self) -> int:
        """A number, 1 and up, that no agent has or had."""
        ...

    def insert_message(self, message: messages.Message) -> messages.Message:
        """Add *message* (its id is ignored) and return it with the id that it got.

        `HiveError` CONFLICT when the sender has used the key before.
        """
        ...

    def lease_messages(
        self, recipient: ids.PartyId, lease: ids.TurnId, at: datetime.datetime, limit: int
    ) -> list[messages.Message]:
        """Lease up to *limit* queued messages, oldest first, and return them as they are now."""
        ...

    def list_leased(
        self, *, lease: ids.TurnId | None = None, recipient: ids.PartyId | None = None
    ) -> list[messages.Message]:
        """Messages that are leased to a turn, or to any turn of a recipient, oldest first."""
        ...

    def update_messages(self, changed: Sequence[messages.Message]) -> None:
        """Write ``state``, ``deliveries``, ``lease`` and ``changed_at`` of each."""
        ...

    def delete_handled(self, before: datetime.datetime, limit: int) -> int:
        """Delete up to *limit* messages handled before a time; return how many."""
        ...

    def insert_approval(self, approval: approvals.Approval) -> approvals.Approval:
        """Add *approval* (its id is ignored) and return it with the id that it got."""
        ...

    def update_approval(self, approval: approvals.Approval) -> None: ...
    def insert_turn(self, turn: turns.Turn) -> None: ...
    def update_turn(self, turn: turns.Turn) -> None: ...
    def put_value(self, key: str, value: Any) -> None: ...
    def delete_value(self, key: str) -> None: ...


class Store(Protocol):
    """The one durable place for facts."""

    async def write(self, work: Callable[[Tx], T]) -> T:
        """Run *work* in a transaction on the writer and return its result once it is durable.

        Group commit: works queued together share one commit; one that raises undoes
        only itself. So a work may run more than once, and only its last run counts:
        it must change nothing but the transaction. A cancelled caller does not
        cancel the work. After an I/O error nothing is acknowledged any more:
        every call raises `HiveError` UNAVAILABLE (a full disk recovers by itself).
        """
        ...

    async def read(self, work: Callable[[ReadTx], T]) -> T:
        """Run *work* on one consistent snapshot of what is committed."""
        ...

    def number(self) -> int:
        """The number of the newest committed fact, as announced."""
        ...

    async def changed(self, topic: events.Topic, after: int) -> int:
        """Return a number greater than *after* once *topic* has changed since; else wait.

        The number of *after* must have been noted before looking at the table.
        """
        ...

    async def close(self) -> None: ...


# --- live log ---------------------------------------------------------------------------


@dataclasses.dataclass(frozen=True, slots=True)
class LiveEvent:
    """One line of an agent's terminal: noise, kept for days, never a fact."""

    number: int
    at: datetime.datetime
    turn: str
    kind: str
    data: Mapping[str, Any]


class LiveLog(Protocol):
    """Per-agent terminal events. Loss under pressure is allowed; stopping an agent is not."""

    async def append(
        self, agent: ids.AgentId, batch: Sequence[tuple[str, str, Mapping[str, Any]]]
    ) -> int:
        """Store (turn, kind, data) rows and return the newest number of that agent."""
        ...

    async def read(
        self, agent: ids.AgentId, *, after: int = 0, before: int | None = None, limit: int = 2000
    ) -> list[LiveEvent]:
        """Rows with ``after < number < before``, oldest first; the newest *limit* of them."""
        ...

    def number(self, agent: ids.AgentId) -> int: ...
    async def changed(self, agent: ids.AgentId, after: int) -> int:
        """Return a number greater than *after* as soon as there is one."""
        ...

    async def sweep(self, before: datetime.datetime) -> int: ...
    async def close(self) -> None: ...


# --- sandbox ----------------------------------------------------------------------------


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
    ) -> ExecResult:
        """Run a command inside, as the payload's uid, without capabilities."""
        ...

    async def stats(self, agent: ids.AgentId, identity: agents.SandboxIdentity) -> Stats: ...

    def follow_log(self, log: pathlib.Path, *, lines: int, follow: bool) -> AsyncIterator[str]:
        """The last *lines* lines of a log and, when following, each new one as it is written."""
        ...


# --- secrets ----------------------------------------------------------------------------


class Secrets(Protocol):
    """A few short secrets by name, readable by the daemon's user alone, outside the store."""

    async def read(self, name: str) -> str | None:
        """The secret of that name, or None when there is none."""
        ...

    async def write(self, name: str, value: str) -> None:
        """Keep *value* durably under *name* before returning."""
        ...

    async def delete(self, name: str) -> None:
        """Forget the secret of that name; no error when there is none."""
        ...


# --- processes --------------------------------------------------------------------------


@dataclasses.dataclass(frozen=True, slots=True)
class ProcessResult:
    """The end of a host command."""

    code: int
    stdout: bytes
    stderr: bytes


class Processes(Protocol):
    """The one place that starts host programs. The environment is built from nothing."""

    async def run(
        self,
        argv: Sequence[str],
        *,
        env: Mapping[str, str] | None = None,
        stdin: bytes = b"",
        cwd: pathlib.Path | None = None,
        timeout: float = 60.0,
        pass_fds: Sequence[int] = (),
        output_limit: int = 16 * 1024 * 1024,
        on_line: Callable[[str], None] | None = None,
    ) -> ProcessResult:
        """Run to the end and always reap; on time-out the process group is killed, UNAVAILABLE."""
        ...


Announce = Callable[[str], None]
Starter = Callable[[], Awaitable[None]]
