"""Sandboxes in memory: payloads are coroutines, processes are tasks, ports are real loopback.

A `World` stands for the host. It outlives each `MemorySandbox`, as sandboxes outlive
the daemon: a test that restarts the daemon makes a new one on the same world.
"""

from __future__ import annotations

import asyncio
import contextlib
import dataclasses
import enum
import os
import pathlib
import secrets
import socket
from collections.abc import AsyncIterator, Awaitable, Callable, Sequence

from hyperhive import ports
from hyperhive.adapters.sandbox import logs
from hyperhive.domain import agents, errors, ids

TERMINATED = 128 + 15
KILLED = 128 + 9


class Mode(enum.Enum):
    """How the host behaves at the next starts."""

    NORMAL = "normal"
    SLOW = "slow"
    """A start takes `World.delay` seconds."""
    NEVER = "never"
    """A start does not come back; cancelling it leaves nothing."""
    DIES = "dies"
    """The payload ends with code 1 as soon as it has started."""
    BAD = "bad"
    """A start is refused: UNAVAILABLE."""


class Inside:
    """What a payload finds in its sandbox."""

    def __init__(self, spec: ports.SandboxSpec) -> None:
        self.spec = spec
        self.terminated = asyncio.Event()
        """Set by SIGTERM; a payload may ignore it."""
        self.addresses: dict[int, tuple[str, int]] = {}
        self.listeners: dict[int, socket.socket] = {}

    def print(self, text: str) -> None:
        """Write a line to stdout, which is the log."""
        with self.spec.log.open("a", encoding="utf-8") as stream:
            stream.write(text + "\n")

    async def connect(self, port: int) -> tuple[asyncio.StreamReader, asyncio.StreamWriter]:
        """Connect to a port as seen inside; ConnectionRefusedError when nobody listens."""
        if port not in self.addresses:
            raise ConnectionRefusedError(port)
        return await asyncio.open_connection(*self.addresses[port])


Payload = Callable[[Inside], Awaitable[int]]
Command = Callable[[ports.SandboxSpec, bytes], ports.ExecResult]


@dataclasses.dataclass(slots=True)
class _Box:
    identity: agents.SandboxIdentity
    inside: Inside
    code: asyncio.Future[int]
    task: asyncio.Task[None] | None = None


class World:
    """The host: its boot, its processes, the programs that exist on it."""

    def __init__(self) -> None:
        self.mode = Mode.NORMAL
        self.delay = 0.05
        self.boxes: dict[int, _Box] = {}
        self.started: list[ports.SandboxSpec] = []
        """Every start that succeeded, in order."""
        self._boot_id = secrets.token_hex(8)
        self._pid = 1000
        self._programs: list[tuple[tuple[str, ...], Payload]] = []
        self._commands: list[tuple[tuple[str, ...], Command]] = []

    def program(self, *prefix: str, payload: Payload) -> None:
        """Say what an ``argv`` that begins with *prefix* does; the newest match wins.

        Any other argv waits for SIGTERM.
        """
        self._programs.insert(0, (prefix, payload))

    def command(self, *prefix: str, result: Command) -> None:
        """Say what `exec` answers to an ``argv`` that begins with *prefix*."""
        self._commands.insert(0, (prefix, result))

    def inside(self, agent: ids.AgentId) -> Inside:
        """Return the inside of the running sandbox of *agent*; LookupError when none runs."""
        return self.running(agent).inside

    def reboot(self) -> None:
        """End everything at once, as a power cut does; no identity of before is valid after."""
        for box in self.boxes.values():
            self.end(box, KILLED)
        self._boot_id = secrets.token_hex(8)

    def running(self, agent: ids.AgentId) -> _Box:
        """Return the running sandbox of *agent*; LookupError when none runs."""
        for box in self.boxes.values():
            if box.inside.spec.agent == agent and not box.code.done():
                return box
        raise LookupError(f"no sandbox of {agent} runs")

    def find(self, identity: agents.SandboxIdentity) -> _Box | None:
        """Return exactly that sandbox, running or ended."""
        box = self.boxes.get(identity.pid)
        return box if box is not None and box.identity == identity else None

    def is_alive(self, identity: agents.SandboxIdentity) -> bool:
        """Whether exactly that sandbox runs."""
        box = self.find(identity)
        return box is not None and not box.code.done() and identity.boot_id == self._boot_id

    def launch(self, spec: ports.SandboxSpec) -> _Box:
        """Make a sandbox and let its payload go."""
        self._pid += 1
        identity = agents.SandboxIdentity(self._boot_id, self._pid, self._pid * 7)
        code: asyncio.Future[int] = asyncio.get_running_loop().create_future()
        box = _Box(identity, Inside(spec), code)
        self.boxes[self._pid] = box
        spec.log.touch()
        return box

    def go(self, box: _Box) -> None:
        """Let the payload of *box* run."""
        box.task = asyncio.create_task(self._live(box))  # noqa: TID251 - stands for a process
        self.started.append(box.inside.spec)

    def end(self, box: _Box, code: int) -> None:
        """Kill: the payload never learns of it."""
        if not box.code.done():
            box.code.set_result(code)
        if box.task is not None:
            box.task.cancel()

    def answer(self, box: _Box, argv: Sequence[str], stdin: bytes) -> ports.ExecResult:
        """Answer a command run inside."""
        for prefix, result in self._commands:
            if tuple(argv[: len(prefix)]) == prefix:
                return result(box.inside.spec, stdin)
        return ports.ExecResult(127, b"", f"cannot run {argv[0]}: not found\n".encode())

    async def _live(self, box: _Box) -> None:
        if self.mode is Mode.DIES:
            code = 1
        else:
            code = await self._payload(box.inside.spec.argv)(box.inside)
        if not box.code.done():
            box.code.set_result(code)

    def _payload(self, argv: Sequence[str]) -> Payload:
        for prefix, payload in self._programs:
            if tuple(argv[: len(prefix)]) == prefix:
                return payload
        return _until_terminated


async def _until_terminated(inside: Inside) -> int:
    await inside.terminated.wait()
    return TERMINATED


class MemorySandbox:
    """One daemon's view of a `World`. See `ports.Sandbox`."""

    def __init__(self, world: World | None = None) -> None:
        self.world = world or World()

    async def probe(self) -> list[ports.Finding]:
        """Say that all is well, or that it is not in mode BAD."""
        if self.world.mode is Mode.BAD:
            return [ports.Finding("sandbox", ports.Severity.BROKEN, "told to be bad", "stop it")]
        return [ports.Finding("sandbox", ports.Severity.OK, "in memory: isolates nothing")]

    async def prepare(self, progress: Callable[[str], None]) -> None:
        """Say that nothing is to be prepared."""
        progress("sandboxes in memory: nothing to prepare")

    async def start(self, spec: ports.SandboxSpec) -> ports.Started:
        """Start the payload. See `ports.Sandbox.start`."""
        if not spec.argv:
            raise errors.invalid(f"cannot run {spec.name}: no command given")
        if spec.uid < 1 or (os.geteuid() != 0 and spec.uid != os.geteuid()):
            raise errors.invalid(f"cannot run {spec.name} as uid {spec.uid}")
        with contextlib.suppress(LookupError):
            self.world.end(self.world.running(spec.agent), KILLED)
        match self.world.mode:
            case Mode.BAD:
                raise errors.unavailable(f"cannot start the sandbox of {spec.name}: told to be bad")
            case Mode.NEVER:
                await asyncio.get_running_loop().create_future()
            case Mode.SLOW:
                await asyncio.sleep(self.world.delay)
            case Mode.NORMAL | Mode.DIES:
                await asyncio.sleep(0)
        box = self.world.launch(spec)
        listeners = {port: self._listen(box, port) for port in spec.ports}
        self.world.go(box)
        return ports.Started(box.identity, listeners)

    async def stop(
        self, agent: ids.AgentId, identity: agents.SandboxIdentity, grace: float
    ) -> None:
        """Ask, wait up to *grace* seconds, end."""
        if not self.world.is_alive(identity):
            return
        box = self.world.boxes[identity.pid]
        box.inside.terminated.set()
        with contextlib.suppress(TimeoutError):
            async with asyncio.timeout(grace):
                await asyncio.shield(box.code)
        await self.kill(agent, identity)

    async def kill(self, agent: ids.AgentId, identity: agents.SandboxIdentity) -> None:
        """End it now."""
        if self.world.is_alive(identity):
            self.world.end(self.world.boxes[identity.pid], KILLED)

    async def is_running(self, agent: ids.AgentId, identity: agents.SandboxIdentity) -> bool:
        """Whether exactly that sandbox still runs."""
        return self.world.is_alive(identity)

    async def find_left(
        self, agent: ids.AgentId, run_dir: pathlib.Path
    ) -> agents.SandboxIdentity | None:
        """The running sandbox of this agent, if any."""
        try:
            return self.world.running(agent).identity
        except LookupError:
            return None

    async def wait(self, agent: ids.AgentId, identity: agents.SandboxIdentity) -> ports.Exit:
        """Return when it has ended."""
        box = self.world.find(identity)
        if box is None:
            return ports.Exit(None, "ended, and nobody knows its exit code")
        code = await asyncio.shield(box.code)
        return ports.Exit(code, f"exit code {code}")

    async def open_port(
        self, agent: ids.AgentId, identity: agents.SandboxIdentity, port: int
    ) -> socket.socket:
        """A listener that `Inside.connect` reaches under *port*."""
        if not self.world.is_alive(identity):
            raise errors.unavailable(f"cannot enter the sandbox of {agent}: it does not run")
        return self._listen(self.world.boxes[identity.pid], port)

    async def exec(
        self,
        agent: ids.AgentId,
        identity: agents.SandboxIdentity,
        argv: Sequence[str],
        *,
        stdin: bytes = b"",
        timeout: float = 30.0,
        output_limit: int = 16 * 1024**2,
    ) -> ports.ExecResult:
        """Answer as `World.command` said; code 127 for any other command."""
        if not self.world.is_alive(identity):
            raise errors.unavailable(f"cannot enter the sandbox of {agent}: it does not run")
        result = self.world.answer(self.world.boxes[identity.pid], argv, stdin)
        if len(result.stdout) + len(result.stderr) > output_limit:
            raise errors.unavailable(
                f"cannot use the output of {argv[0]}: more than {output_limit} bytes"
            )
        return result

    async def stats(self, agent: ids.AgentId, identity: agents.SandboxIdentity) -> ports.Stats:
        """One process and a megabyte while it runs."""
        if not self.world.is_alive(identity):
            return ports.Stats(0, 0, None)
        return ports.Stats(1, 1024 * 1024, 0.0)

    def follow_log(self, log: pathlib.Path, *, lines: int, follow: bool) -> AsyncIterator[str]:
        """Follow the log, which is a real file."""
        return logs.follow_log(log, lines=lines, follow=follow)

    def _listen(self, box: _Box, port: int) -> socket.socket:
        before = box.inside.listeners.get(port)
        if before is not None and before.fileno() != -1:
            raise errors.unavailable(f"cannot open port {port}: Address already in use")
        listener = socket.create_server(("127.0.0.1", 0))
        listener.setblocking(False)
        box.inside.listeners[port] = listener
        box.inside.addresses[port] = listener.getsockname()
        return listener
