"""A whole hive in one process, without edges: real services and loops on memory twins.

`HiveTester` is the host: clock, sandboxes and store outlive the daemon, which can be
stopped hard at any moment (`Fuse`) and built anew. Harnesses are coroutines in the
sandboxes that play the agent protocol; they outlive the daemon too and ask again.
Nothing here polls: a lost wake-up hangs the test.
"""

from __future__ import annotations

import asyncio
import contextlib
import dataclasses
import datetime
import functools
import os
import pathlib
import socket
from collections.abc import AsyncIterator, Callable, Coroutine, Mapping
from typing import Any, TypeVar

import structlog

from hyperhive import ports
from hyperhive.adapters.clock.manual import ManualClock
from hyperhive.adapters.sandbox.memory import World
from hyperhive.adapters.store.memory import MemoryStore
from hyperhive.adapters.store.sqlite import SqliteStore
from hyperhive.domain import access, agents, approvals, errors, events, ids, messages
from hyperhive.runtime import agent_worker, fleet_loop, supervisor
from hyperhive.services import asking, budgets, fleet, messaging, reminding, review, turns
from hyperhive.services.loop_breaker import LoopBreaker
from rigs import config_daemon, fake_harness
from rigs.fuse import Fuse, FusedSandbox, FusedStore

T = TypeVar("T")
OLGA = access.operator("page")
PORT = 4100


class Doors:
    """`agent_worker.Doors` that keeps a log of words like ``open bob``."""

    def __init__(self, daemon: Daemon) -> None:
        self._daemon = daemon
        self.open_for: dict[ids.AgentId, set[asyncio.Task[None]]] = {}
        self.attached: dict[ids.AgentId, Mapping[int, socket.socket]] = {}
        self.names: dict[ids.AgentId, str] = {}

    async def open(self, agent: agents.Agent, spec: ports.SandboxSpec) -> None:
        self._note("open", agent.id, agent.name)
        self.open_for.setdefault(agent.id, set())
        self._daemon.host.door_opened()
        await self._daemon.fuse.passed()

    async def attach(self, agent: agents.Agent, listeners: Mapping[int, socket.socket]) -> None:
        self._note("attach", agent.id, agent.name)
        assert agent.id in self.open_for, "attached before it was opened"
        assert set(listeners) == {PORT}
        self.attached[agent.id] = listeners

    async def close(self, agent: ids.AgentId) -> None:
        self._daemon.fuse.check()
        if agent in self.open_for:
            self._note("close", agent, self.names[agent])
        for task in self.open_for.pop(agent, set()):
            task.cancel()
        for listener in self.attached.pop(agent, {}).values():
            listener.close()

    def _note(self, word: str, agent: ids.AgentId, name: str) -> None:
        self._daemon.fuse.check()
        self.names[agent] = name
        self._daemon.host.doors_log.append(f"{word} {name}")


class Daemon:
    """One run of the daemon."""

    def __init__(self, host: HiveTester, store: ports.Store, fuse: Fuse) -> None:
        self.host = host
        self.fuse = fuse
        self.store = FusedStore(store, fuse)
        self.sockets: list[socket.socket] = []
        clock = host.clock
        self.mail = messaging.Messaging(self.store, clock, LoopBreaker(*host.loops))
        self.budgets = budgets.Budgets(self.store, clock, host.limits, datetime.UTC)
        self.turns = turns.Turns(
            self.store, clock, TURN_SETTINGS, lambda: "api_key", "run",
            before_turn=self.budgets.before_turn,
        )  # fmt: skip
        self.fleet = fleet.Fleet(self.store, clock)
        self.review = review.Review(self.store, clock)
        self.asking = asking.Asking(self.store, clock)
        self.reminding = reminding.Reminding(self.store, clock)
        self.doors = Doors(self)
        log = structlog.wrap_logger(structlog.ReturnLogger(), processors=[host.note])
        self.configs = config_daemon.Configs(host.place, self.store, clock, log, fuse)
        self.proposing = self.configs.proposing
        self.parts = agent_worker.WorkerParts(
            store=self.store,
            clock=clock,
            sandbox=FusedSandbox(host.world, fuse, self.sockets),
            doors=self.doors,
            turns=self.turns,
            spec=host.spec,
            seed=self.configs.seeder.ensure,
            crash_limit=host.crash_limit,
            log=log,
        )
        self.group = asyncio.TaskGroup()
        self.began = asyncio.Event()
        self._stop = asyncio.Event()
        self._end_agents = False
        fuse.on_blow = self._die
        # The main task of a process of its own.
        self.main = asyncio.create_task(self._run())

    def _die(self) -> None:
        self.host.daemon = None
        self.main.cancel()

    async def _run(self) -> None:
        try:
            async with self.group:
                self.host.daemon = self
                self.host.door_opened()
                self.began.set()
                tasks = supervisor.Supervisor(self.group, self.parts.log)
                loop = fleet_loop.FleetLoop(self.parts, tasks)
                await loop.ensure_manager()
                tasks.start("fleet", loop.run())
                self.configs.start(tasks)
                await self._stop.wait()
                await tasks.stop_all()
                if self._end_agents:
                    for row in await self.store.read(lambda tx: tx.list_agents()):
                        await agent_worker.AgentWorker(row.id, self.parts).shut_down()
                self.fuse.blow()
        except BaseExceptionGroup as error:
            self.host.broken = error
            raise
        finally:
            # What the kernel does at the end of a process.
            self.host.daemon = None
            for each in self.sockets:
                each.close()
            self.host.door_opened()

    async def end(self, *, agents_too: bool = False) -> None:
        """Stop as `hive down` does."""
        self._end_agents = agents_too
        self._stop.set()
        with contextlib.suppress(asyncio.CancelledError):
            await self.main

    async def serve(
        self, agent: ids.AgentId | None, what: Callable[[], Coroutine[Any, Any, T]]
    ) -> T:
        """Do *what* for a client; `fake_harness.ConnectionLost` when the daemon or door ends."""
        behind = set() if agent is None else self.doors.open_for.get(agent)
        if self.host.daemon is not self or behind is None:
            raise fake_harness.ConnectionLost
        answered: list[T] = []
        refused: list[errors.HiveError] = []
        ended = asyncio.Event()

        async def answer() -> None:
            try:
                answered.append(await what())
            except errors.HiveError as error:
                refused.append(error)

        task = self.group.create_task(answer())
        behind.add(task)
        task.add_done_callback(lambda _: ended.set())
        try:
            await ended.wait()
        finally:
            task.cancel()
            behind.discard(task)
        if refused:
            raise refused[0]
        if not answered:
            raise fake_harness.ConnectionLost
        return answered[0]


TURN_SETTINGS = turns.TurnSettings(
    hive="test", pronouns="they/them", model="m-1", warm_seconds=1.0, warm_bytes=1,
    max_retries=1, turn_seconds=60.0, tools=("Bash",),
)  # fmt: skip


@dataclasses.dataclass
class HiveTester:
    """The host, the operator's view of it, and the daemon that runs now (if one does)."""

    directory: pathlib.Path
    durable: bool = False
    crash_limit: int = 5
    loops: tuple[int, float] = (0, 0.0)
    """How many messages in how many minutes are a loop; none."""
    limits: budgets.Limits = dataclasses.field(default_factory=budgets.Limits)
    clock: ManualClock = dataclasses.field(default_factory=ManualClock)
    world: World = dataclasses.field(default_factory=World)
    brains: dict[str, fake_harness.Brain] = dataclasses.field(default_factory=dict)
    """What an agent of that name does with a message; the others only end their turn."""
    turns: list[fake_harness.Turn] = dataclasses.field(default_factory=list)
    """Every turn that a harness was given, in order."""
    doors_log: list[str] = dataclasses.field(default_factory=list)
    refuse_spec: str = ""
    log: list[str] = dataclasses.field(default_factory=list)
    """What the daemons logged."""
    daemon: Daemon | None = None
    broken: BaseException | None = None
    """What a daemon died of, other than its fuse."""
    _last: Daemon | None = None
    _store: ports.Store | None = None
    _arrived: asyncio.Event = dataclasses.field(default_factory=asyncio.Event)

    def __post_init__(self) -> None:
        self.place = config_daemon.Place(self.directory, self.clock)
        self.world.program("harness", payload=fake_harness.payload(self))

    # --- the daemon ---------------------------------------------------------------------

    async def up(self, fuse: Fuse | None = None) -> Daemon:
        """Start a daemon on what is in the store."""
        assert self.daemon is None
        if self.durable:
            self._store = await SqliteStore.open(self.directory / "hive.db", self.clock)
        else:
            tables = self._store.tables if isinstance(self._store, MemoryStore) else None
            self._store = MemoryStore(self.clock, tables)
        self._last = Daemon(self, self._store, fuse or Fuse())
        await self._last.began.wait()
        return self._last

    async def down(self, *, agents_too: bool = False) -> None:
        """End the daemon as `hive down` does."""
        assert self._last is not None
        await self._last.end(agents_too=agents_too)
        await self._close()

    async def crash(self) -> None:
        """End the daemon hard, here and now, if its fuse has not done so already."""
        assert self._last is not None
        if not self._last.fuse.blown:
            self._last.fuse.blow()
        await self.buried()

    async def buried(self) -> None:
        """Return when the daemon has died; raises what it died of unless that was its fuse."""
        assert self._last is not None
        with contextlib.suppress(asyncio.CancelledError):
            await self._last.main
        await self._close()

    async def _close(self) -> None:
        assert self._store is not None
        await self._store.close()

    async def again(self) -> Daemon:
        """Stop hard and start anew."""
        await self.crash()
        return await self.up()

    @property
    def tables(self) -> Any:
        """The rows of a store in memory, for a test that has no daemon to ask."""
        assert isinstance(self._store, MemoryStore)
        return self._store.tables

    @property
    def running(self) -> Daemon:
        """The daemon that runs now."""
        assert self.daemon is not None, "no daemon runs"
        return self.daemon

    def note(self, _: Any, name: str, event: Any) -> str:
        """A processor for structlog."""
        self.log.append(f"{name}: {dict(event)}")
        return ""

    def door_opened(self) -> None:
        """Wake the harnesses and people who wait for a daemon or a door."""
        self._arrived.set()
        self._arrived = asyncio.Event()

    async def door(self, agent: ids.AgentId | None) -> Daemon:
        """The daemon, once it runs and serves *agent* (None: once it runs)."""
        while True:
            daemon = self.daemon
            if daemon is not None and (agent is None or agent in daemon.doors.open_for):
                return daemon
            if self.broken is not None:
                raise AssertionError("the daemon broke") from self.broken
            await self._arrived.wait()

    async def spec(self, agent: agents.Agent) -> ports.SandboxSpec:
        """See `WorkerParts.spec`."""
        if self.refuse_spec:
            raise errors.unavailable(self.refuse_spec)
        run = self.directory / agent.id
        run.mkdir(exist_ok=True)
        return ports.SandboxSpec(
            agent=agent.id, name=agent.name, uid=os.geteuid() or 12345, argv=("harness",), env={},
            cwd="/", binds=(), limits=ports.Limits(), log=run / "log", run_dir=run, ports=(PORT,),
        )  # fmt: skip

    # --- the operator, who goes on when the daemon comes back ---------------------------

    async def ask(self, what: Callable[[Daemon], Coroutine[Any, Any, T]]) -> T:
        """Ask the daemon, and ask again when it died before it answered."""
        while True:
            daemon = await self.door(None)
            try:
                return await daemon.serve(None, functools.partial(what, daemon))
            except fake_harness.ConnectionLost:
                continue

    async def look(self, work: Callable[[ports.ReadTx], T]) -> T:
        """Read the store."""
        return await self.ask(lambda daemon: daemon.store.read(work))

    async def until(self, reached: Callable[[ports.ReadTx], T | None]) -> T:
        """Return what *reached* returns once that is true, looking after each fact."""

        async def wait(daemon: Daemon) -> T:
            while True:
                number = daemon.store.number()
                found = await daemon.store.read(reached)
                if found:
                    return found
                await daemon.store.changed(events.ANY, number)

        return await self.ask(wait)

    async def mails(self, to: str, body: str, key: str | None = None) -> messages.Message:
        """The operator sends."""
        return await self.ask(lambda daemon: daemon.mail.send(OLGA, to, body, key=key))

    async def gets(self, body: str) -> messages.Message:
        """Wait for a mail to the operator that begins with *body*, and handle it."""

        def find(tx: ports.ReadTx) -> messages.Message | None:
            inbox = tx.list_messages(recipient=ids.OPERATOR)
            return next((m for m in inbox if m.body.startswith(body)), None)

        found = await self.until(find)
        return await self.ask(lambda daemon: daemon.mail.handle_for_operator(OLGA, found.id))

    async def approves(self, name: str) -> approvals.Approval:
        """Wait for the request for *name* and approve it; done already is fine."""

        def find(tx: ports.ReadTx) -> approvals.Approval | None:
            return next((a for a in tx.list_approvals() if a.agent_name == name), None)

        async def approve(daemon: Daemon) -> approvals.Approval:
            # Looked at anew for each try: she may have approved it before the daemon died.
            waiting = await daemon.store.read(find)
            assert waiting is not None
            if waiting.state is not approvals.ApprovalState.PENDING:
                return waiting
            return await daemon.review.approve(OLGA, waiting.id, waiting.digest)

        await self.until(find)
        return await self.ask(approve)

    async def row(self, name: str) -> agents.Agent:
        """The agent's row as of now."""
        found = await self.look(lambda tx: tx.find_agent(name))
        assert found is not None, f"no agent {name}"
        return found

    async def is_in(self, name: str, phase: agents.Phase) -> agents.Agent:
        """Wait until the agent is in *phase*."""

        def find(tx: ports.ReadTx) -> agents.Agent | None:
            found = tx.find_agent(name)
            return found if found is not None and found.phase is phase else None

        return await self.until(find)

    async def events_to(self, name: str) -> list[str]:
        """The bodies of the system's mail to an agent, oldest first."""

        def find(tx: ports.ReadTx) -> list[str]:
            agent = tx.find_agent(name)
            assert agent is not None
            found = tx.list_messages(recipient=ids.PartyId(agent.id), limit=1000)
            return [m.body for m in reversed(found) if m.sender == ids.SYSTEM]

        return await self.look(find)


@contextlib.asynccontextmanager
async def hive(directory: pathlib.Path, **options: Any) -> AsyncIterator[HiveTester]:
    """A host with no daemon yet; at the end everything on it is ended."""
    host = HiveTester(directory, **options)
    try:
        yield host
    finally:
        if host._last is not None:
            await host.crash()
        tasks = [box.task for box in host.world.boxes.values() if box.task is not None]
        host.world.reboot()
        await asyncio.gather(*tasks, return_exceptions=True)
