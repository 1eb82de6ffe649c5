"""Looks after one agent's sandbox: one step at a time, each ending in a written row.

The worker reads the row, does the step that `steps.next_step` names, writes what came
of it, and waits for a change of the row, the end of the sandbox or the time of a
retry. Dying anywhere leaves a row from which the next daemon goes on.
"""

from __future__ import annotations

import dataclasses
import datetime
import socket
from collections.abc import Awaitable, Callable, Mapping
from typing import Final, Protocol

import structlog

from hyperhive import ports
from hyperhive.domain import agents, errors, events, ids, machine
from hyperhive.runtime import patience, steps
from hyperhive.services import fleet, lookup, posting, spawning, turns, waiting

GRACE: Final = 8.0
"""Seconds that a harness gets to interrupt its turn and leave when it is stopped."""
HEALTHY: Final = datetime.timedelta(minutes=10)
"""A sandbox that ran this long has earned a fresh count of crashes."""
BACKOFF_MAX: Final = 300.0
START_SECONDS: Final = 120.0
"""A start that takes longer has failed; it takes a second or two when the host is well."""


WITH_SANDBOX: Final = frozenset(
    {agents.Phase.RUNNING, agents.Phase.STARTING, agents.Phase.STOPPING}
)
"""Phases in which there may be a sandbox on the host."""


class Doors(Protocol):
    """What the daemon serves to one sandbox: its socket, and listeners inside."""

    async def open(self, agent: agents.Agent, spec: ports.SandboxSpec) -> None:
        """Serve the agent's socket; before the sandbox starts or is adopted."""
        ...

    async def attach(self, agent: agents.Agent, listeners: Mapping[int, socket.socket]) -> None:
        """Serve the gateway and the egress proxy on the listeners inside."""
        ...

    async def close(self, agent: ids.AgentId) -> None:
        """Stop serving this sandbox; no error when nothing is served."""
        ...


@dataclasses.dataclass(frozen=True)
class WorkerParts:
    """What every worker works with."""

    store: ports.Store
    clock: ports.Clock
    sandbox: ports.Sandbox
    doors: Doors
    turns: turns.Turns
    spec: Callable[[agents.Agent], Awaitable[ports.SandboxSpec]]
    """Makes the directories of an agent (idempotent) and says how to start it."""
    seed: Callable[[agents.Agent], Awaitable[None]]
    """Gives an agent its configuration repository (idempotent)."""
    crash_limit: int
    log: structlog.typing.FilteringBoundLogger


class AgentWorker:
    """The worker of one agent."""

    def __init__(self, agent: ids.AgentId, parts: WorkerParts) -> None:
        self._id = agent
        self._parts = parts

    async def run(self) -> None:
        """Until cancelled: adopt, then step after step."""
        clock, log = self._parts.clock, self._parts.log
        await patience.keep_trying(self._adopt, clock, log, f"agent {self._id}")
        while True:
            await patience.keep_trying(self._advance, clock, log, f"agent {self._id}")

    async def _advance(self) -> None:
        """Do the one next step, or rest until there is one."""
        number = self._parts.store.number()
        agent = await self._row()
        step = steps.next_step(agent, self._parts.clock.now())
        if step is steps.Step.CREATE:
            await self._create()
        elif step is steps.Step.START:
            await self._start()
        elif step is steps.Step.STOP:
            await self._stop(agent)
        else:
            await self._rest(agent, number)

    async def _rest(self, agent: agents.Agent, number: int) -> None:
        parts, clock = self._parts, self._parts.clock
        ends: list[ports.Exit] = []

        async def watch(identity: agents.SandboxIdentity) -> None:
            ends.append(await parts.sandbox.wait(self._id, identity))

        waits: list[Awaitable[object]] = [parts.store.changed(events.agent_topic(self._id), number)]
        if agent.phase is agents.Phase.RUNNING and agent.sandbox is not None:
            waits.append(watch(agent.sandbox))
        elif agent.phase is agents.Phase.CRASHED and agent.retry_at is not None:
            waits.append(clock.sleep((agent.retry_at - clock.now()).total_seconds()))
        await waiting.first(*waits)
        # Written here and not in the race: a write goes on when its caller is cancelled, and
        # the next step would be taken from a row that is changing.
        for end in ends:
            await self._note_exit(end)

    async def _create(self) -> None:
        def work(tx: ports.Tx) -> None:
            row = lookup.require_agent(tx, self._id)
            self._write(tx, row, agents.Move.CREATE, "")
            self._settle_unwanted(tx, row)
            fleet.forget_stop_order(tx, self._id)

        await self._parts.store.write(work)

    async def _adopt(self) -> None:
        """After a start of the daemon: take up a sandbox that runs, note one that does not."""
        agent = await self._row()
        if agent.phase is not agents.Phase.RUNNING or agent.sandbox is None:
            return
        sandbox, identity = self._parts.sandbox, agent.sandbox
        if not await sandbox.is_running(self._id, identity):
            await self._note_absence(identity)
            return
        try:
            spec = await self._parts.spec(agent)
            await self._parts.doors.open(agent, spec)
            listeners = {
                port: await sandbox.open_port(self._id, identity, port) for port in spec.ports
            }
            await self._parts.doors.attach(agent, listeners)
            self._parts.log.info("adopted a running sandbox", agent=agent.name, pid=identity.pid)
        except errors.HiveError as error:
            self._parts.log.warning("cannot adopt", agent=agent.name, reason=error.message)
            await self._parts.doors.close(self._id)
            await sandbox.kill(self._id, identity)

    async def shut_down(self) -> None:
        """End the sandbox but keep what is wanted: the next daemon starts it again."""
        agent = await self._row()
        if agent.phase in WITH_SANDBOX:
            await self._stop(agent, reason="the hive was stopped and started again")

    async def _note_absence(self, identity: agents.SandboxIdentity) -> None:
        """The sandbox ended while no daemon looked: a reboot, say (S61)."""
        end = await self._parts.sandbox.wait(self._id, identity)
        await self._move(agents.Move.STOP)
        reason = f"it had ended while the hive was down: {end.reason}"
        await self._parts.store.write(lambda tx: self._write_stopped(tx, reason, reason, reason))

    async def _start(self) -> None:
        parts = self._parts
        agent = await parts.store.write(self._begin_start)
        if agent is None:
            return
        begun: list[agents.SandboxIdentity] = []
        await self._seed(agent)
        try:
            spec = await parts.spec(agent)
            await parts.doors.open(agent, spec)
            started = await self._start_sandbox(agent, spec)
            if started is None:
                return  # The row says that we are starting: the next step ends that.
            begun.append(started.identity)
            await parts.doors.attach(agent, started.listeners)
        except errors.HiveError as error:
            parts.log.warning("cannot start", agent=agent.name, reason=error.message)
            await parts.doors.close(self._id)
            for identity in begun:
                await parts.sandbox.kill(self._id, identity)
            await self._failed(agents.Move.FAIL, error.message, tried=agent.epoch)
            return

        def work(tx: ports.Tx) -> None:
            row = lookup.require_agent(tx, self._id)
            self._write(
                tx,
                dataclasses.replace(
                    row, running_epoch=agent.epoch, sandbox=started.identity, retry_at=None
                ),
                agents.Move.STARTED,
                "",
            )
            spawning.settle(tx, parts.clock, row, ok=True, note="")
            if tx.list_turns(row.id, limit=1):
                # S5: inside the one shared operation, so that no path can forget it. Who has
                # never had a turn has nothing to go on with.
                posting.post_event(
                    tx,
                    parts.clock.now(),
                    row,
                    "restarted",
                    reason=agent.start_reason,
                    hint="your notes are in /state and your session continues",
                )

        await parts.store.write(work)
        parts.log.info("started", agent=agent.name, pid=started.identity.pid)

    async def _seed(self, agent: agents.Agent) -> None:
        """An agent can run without a repository; the deploy loop tries again."""
        try:
            await self._parts.seed(agent)
        except errors.HiveError as error:
            self._parts.log.warning("cannot seed", agent=agent.name, reason=error.message)

    async def _start_sandbox(
        self, agent: agents.Agent, spec: ports.SandboxSpec
    ) -> ports.Started | None:
        """Start the sandbox; None when somebody wanted otherwise before it had started."""
        parts = self._parts
        begun: list[ports.Started] = []
        overruled: list[bool] = []

        async def start() -> None:
            begun.append(await parts.sandbox.start(spec))

        async def watch() -> None:
            await self._until(
                lambda row: row.wanted is agents.Wanted.STOPPED or row.epoch != agent.epoch
            )
            overruled.append(True)

        await waiting.first(start(), watch(), parts.clock.sleep(START_SECONDS))
        if begun:
            return begun[0]
        if overruled:
            return None
        raise errors.unavailable(
            f"cannot start the sandbox of {agent.name}: it has not begun after {START_SECONDS:g} s"
        )

    async def _until(self, reached: Callable[[agents.Agent], bool]) -> None:
        """Return when the row is as asked, looking when something is wanted of the agent."""
        store = self._parts.store
        while True:
            number = store.number()
            if reached(await self._row()):
                return
            await store.changed(events.agent_topic(self._id), number)

    def _begin_start(self, tx: ports.Tx) -> agents.Agent | None:
        """In a transaction: begin a start, unless somebody has wanted otherwise since we looked."""
        row = lookup.require_agent(tx, self._id)
        if steps.next_step(row, self._parts.clock.now()) is not steps.Step.START:
            return None
        return self._write(tx, row, agents.Move.START, "")

    async def _stop(self, agent: agents.Agent, reason: str = "") -> None:
        parts = self._parts
        identity = agent.sandbox
        if agent.phase is agents.Phase.RUNNING or agent.phase is agents.Phase.STARTING:
            agent = await self._move(agents.Move.STOP)
        if identity is None:
            spec = await parts.spec(agent)
            identity = await parts.sandbox.find_left(self._id, spec.run_dir)
        if identity is not None:
            await self._end(identity)
        await parts.doors.close(self._id)

        await parts.store.write(
            lambda tx: self._write_stopped(tx, "", "the sandbox was stopped", reason)
        )
        parts.log.info("stopped", agent=agent.name)

    def _write_stopped(self, tx: ports.Tx, note: str, lost: str, reason: str) -> None:
        """In a transaction: the sandbox is gone; a stop that somebody asked for is done."""
        row = lookup.require_agent(tx, self._id)
        order = fleet.stop_order(tx, self._id)
        row = dataclasses.replace(
            row, sandbox=None, retry_at=None, start_reason=reason or row.start_reason
        )
        if row.wanted is agents.Wanted.STOPPED:
            # It is down: whoever wants it again starts it, and restarts nothing.
            row = dataclasses.replace(row, running_epoch=0)
        self._write(tx, row, agents.Move.STOPPED, order.note if order else note)
        gone = lookup.require_agent(tx, self._id)
        self._parts.turns.lose_in(tx, gone, lost, blame=False)
        self._settle_unwanted(tx, row)
        if order is not None:
            fleet.forget_stop_order(tx, self._id)
            if order.at_once:
                posting.tell_manager(tx, self._parts.clock.now(), row, "killed")

    async def _end(self, identity: agents.SandboxIdentity) -> None:
        """End the sandbox, with grace unless somebody wants it killed, also while it has grace."""
        sandbox = self._parts.sandbox
        await waiting.first(sandbox.stop(self._id, identity, GRACE), self._until_killed())
        await sandbox.kill(self._id, identity)

    async def _until_killed(self) -> None:
        store = self._parts.store
        while True:
            number = store.number()
            order = await store.read(lambda tx: fleet.stop_order(tx, self._id))
            if order is not None and order.at_once:
                return
            await store.changed(events.agent_topic(self._id), number)

    async def _note_exit(self, end: ports.Exit) -> None:
        await self._parts.doors.close(self._id)
        await self._failed(agents.Move.EXITED, end.reason)

    async def _failed(self, move: agents.Move, note: str, tried: int | None = None) -> None:
        """Write a failed start (of the epoch *tried*) or an unasked exit: retry later, or halt."""
        parts = self._parts
        now = parts.clock.now()

        def work(tx: ports.Tx) -> None:
            row = lookup.require_agent(tx, self._id)
            healthy = move is agents.Move.EXITED and now - row.phase_since > HEALTHY
            crashes = 1 if healthy else row.crashes + 1
            delay = min(2.0 ** (crashes - 1), BACKOFF_MAX)
            changed = dataclasses.replace(
                row,
                sandbox=None,
                crashes=crashes,
                # Not the row's: a restart wanted while this one failed is still to come.
                running_epoch=row.running_epoch if tried is None else tried,
                retry_at=now + datetime.timedelta(seconds=delay),
                start_reason=f"restarted after a failure: {note}"[:500],
            )
            if tried == row.epoch and spawning.settle(tx, parts.clock, row, ok=False, note=note):
                # A spawn that failed stays down until a person looks; its approval says why.
                changed = dataclasses.replace(changed, wanted=agents.Wanted.STOPPED)
            self._write(tx, changed, move, note)
            parts.turns.lose_in(tx, lookup.require_agent(tx, self._id), note, blame=True)
            if crashes >= parts.crash_limit:
                halted = dataclasses.replace(lookup.require_agent(tx, self._id), retry_at=None)
                self._write(tx, halted, agents.Move.GIVE_UP, f"{crashes} failures in a row: {note}")
                posting.post(
                    tx,
                    now,
                    sender=ids.SYSTEM,
                    sender_name="system",
                    recipient=ids.OPERATOR,
                    recipient_name="operator",
                    body=f"{row.name} is halted after {crashes} failures in a row: {note}. "
                    f"Look at its log, then start it again.",
                )
            if move is agents.Move.EXITED:
                posting.tell_manager(tx, now, row, "container_crash")

        await parts.store.write(work)
        parts.log.warning("failed", agent=self._id, note=note)

    def _settle_unwanted(self, tx: ports.Tx, row: agents.Agent) -> None:
        """End the approval of a spawn that nobody wants any more; else it would build for ever."""
        if row.wanted is agents.Wanted.STOPPED:
            note = "it was stopped before it had started"
            spawning.settle(tx, self._parts.clock, row, ok=False, note=note)

    async def _row(self) -> agents.Agent:
        return await self._parts.store.read(lambda tx: lookup.require_agent(tx, self._id))

    async def _move(self, move: agents.Move) -> agents.Agent:
        return await self._parts.store.write(
            lambda tx: self._write(tx, lookup.require_agent(tx, self._id), move, "")
        )

    def _write(self, tx: ports.Tx, row: agents.Agent, move: agents.Move, note: str) -> agents.Agent:
        """In a transaction: take one edge of the table; *row* carries the other changes."""
        moved = dataclasses.replace(
            row,
            phase=machine.advance(agents.TABLE, row.phase, move, f"agent {row.name}"),
            phase_since=self._parts.clock.now(),
            phase_note=note[:2000],
        )
        tx.update_agent(moved)
        tx.record(events.Event(events.EventKind.AGENT_MOVED, agent=row.id, text=moved.phase.value))
        return moved
