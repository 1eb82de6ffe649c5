"""One agent's worker on memory twins: hurried kills, ends in the middle, a disk that is full."""

from __future__ import annotations

import asyncio
import contextlib
import dataclasses
import json
import os
import pathlib

import structlog

from hyperhive import ports
from hyperhive.adapters.clock.manual import ManualClock
from hyperhive.adapters.sandbox.memory import MemorySandbox, Mode
from hyperhive.adapters.store.memory import MemoryStore
from hyperhive.domain import access, agents, approvals, errors, ids
from hyperhive.runtime import agent_worker, patience
from hyperhive.services import fleet, review, spawning, turns

OLGA = access.operator("page")
SETTINGS = turns.TurnSettings(
    hive="test", pronouns="they/them", model="m-1", warm_seconds=1.0, warm_bytes=1,
    max_retries=1, turn_seconds=60.0, tools=("Bash",),
)  # fmt: skip


class _FullStore(MemoryStore):
    """Refuses to write while ``full``."""

    full = False

    async def write(self, work):
        if self.full:
            raise errors.unavailable("cannot store anything: the disk is full")
        return await super().write(work)


class _Doors:
    broken = False

    def __init__(self):
        self.opened = set()

    async def open(self, agent, spec):
        self.opened.add(agent.id)

    async def attach(self, agent, listeners):
        if self.broken:
            raise errors.unavailable("cannot serve: told to be bad")

    async def close(self, agent):
        self.opened.discard(agent)


class _House:
    def __init__(self, top: pathlib.Path) -> None:
        self.clock = ManualClock()
        self.store = _FullStore(self.clock)
        self.sandbox = MemorySandbox()
        self.doors = _Doors()
        self.fleet = fleet.Fleet(self.store, self.clock)
        self.review = review.Review(self.store, self.clock)
        self.parts = agent_worker.WorkerParts(
            store=self.store, clock=self.clock, sandbox=self.sandbox, doors=self.doors,
            turns=turns.Turns(self.store, self.clock, SETTINGS, lambda: "api_key", "run"),
            spec=self._spec, seed=self._seed, crash_limit=5,
            log=structlog.wrap_logger(structlog.ReturnLogger(), processors=[]),
        )  # fmt: skip
        self._top = top

    async def _spec(self, agent):
        return ports.SandboxSpec(
            agent=agent.id, name=agent.name, uid=os.geteuid() or 1000, argv=("harness",), env={},
            cwd="/", binds=(), limits=ports.Limits(), log=self._top / "log", run_dir=self._top,
        )  # fmt: skip

    async def _seed(self, agent):
        """Configurations are not the topic here."""

    async def make(self, name: str, role: agents.Role = agents.Role.AGENT) -> agents.Agent:
        return await self.store.write(
            lambda tx: spawning.create(tx, self.clock, ids.AgentName(name), role, "test")
        )

    async def row(self, name: str) -> agents.Agent:
        found = await self.store.read(lambda tx: tx.find_agent(name))
        assert found is not None
        return found

    @contextlib.asynccontextmanager
    async def worker(self, agent: agents.Agent):
        async with asyncio.TaskGroup() as group:
            task = group.create_task(agent_worker.AgentWorker(agent.id, self.parts).run())
            yield task
            task.cancel()

    async def until(self, name: str, phase: agents.Phase) -> agents.Agent:
        async with asyncio.timeout(5):
            while (row := await self.row(name)).phase is not phase:
                await asyncio.sleep(0)
        return row


def test_a_kill_does_not_wait_for_the_grace_of_an_earlier_stop(tmp_path):
    async def story():
        house = _House(tmp_path)

        async def deaf(inside):
            await asyncio.get_running_loop().create_future()
            return 0

        house.sandbox.world.program("harness", payload=deaf)
        await house.make("manager", agents.Role.MANAGER)
        bob = await house.make("bob")
        async with house.worker(bob):
            await house.until("bob", agents.Phase.RUNNING)
            await house.fleet.stop(OLGA, "bob")
            await house.until("bob", agents.Phase.STOPPING)
            begin = asyncio.get_running_loop().time()
            await house.fleet.kill(OLGA, "bob", "it hangs")
            row = await house.until("bob", agents.Phase.STOPPED)
            assert asyncio.get_running_loop().time() - begin < agent_worker.GRACE / 2
            assert row.phase_note == "killed by operator: it hangs"
        mail = await house.store.read(
            lambda tx: tx.list_messages(recipient=ids.PartyId(tx.find_agent("manager").id))
        )
        assert [json.loads(m.body)["event"] for m in mail] == ["killed"]

    asyncio.run(story())


def test_a_stop_says_who_asked_and_a_start_forgets_it(tmp_path):
    async def story():
        house = _House(tmp_path)
        bob = await house.make("bob")
        async with house.worker(bob):
            await house.until("bob", agents.Phase.RUNNING)
            await house.fleet.stop(OLGA, "bob")
            row = await house.until("bob", agents.Phase.STOPPED)
            assert row.phase_note == "stopped by operator"
            await house.fleet.start(OLGA, "bob")
            assert (await house.until("bob", agents.Phase.RUNNING)).phase_note == ""
            await house.fleet.restart(OLGA, "bob")
            await house.until("bob", agents.Phase.STOPPING)
            await house.until("bob", agents.Phase.RUNNING)

    asyncio.run(story())


def test_an_end_and_an_order_at_the_same_moment_end_no_worker(tmp_path):
    """The row of the end is being written while the order wakes the worker."""

    async def story():
        house = _House(tmp_path)
        bob = await house.make("bob")
        for _ in range(20):
            async with house.worker(bob) as task:
                await house.until("bob", agents.Phase.RUNNING)
                world = house.sandbox.world
                world.end(world.running(bob.id), 137)
                await house.fleet.kill(OLGA, "bob")
                await house.until("bob", agents.Phase.STOPPED)
                assert not task.done()
                await house.fleet.start(OLGA, "bob")
                await house.until("bob", agents.Phase.RUNNING)

    asyncio.run(story())


def test_a_full_disk_ends_no_worker(tmp_path):
    async def story():
        house = _House(tmp_path)
        bob = await house.make("bob")
        async with house.worker(bob) as task:
            await house.until("bob", agents.Phase.RUNNING)
            house.store.full = True
            world = house.sandbox.world
            world.end(world.running(bob.id), 1)
            for _ in range(3):
                async with asyncio.timeout(5):
                    while not house.clock.sleepers:
                        await asyncio.sleep(0)
                house.clock.advance(patience.PAUSES[-1])
            assert not task.done()
            assert (await house.row("bob")).phase is agents.Phase.RUNNING
            house.store.full = False
            async with asyncio.timeout(5):
                while (await house.row("bob")).phase is not agents.Phase.CRASHED:
                    house.clock.advance(1)
                    await asyncio.sleep(0)
            house.clock.advance(60)
            await house.until("bob", agents.Phase.RUNNING)

    asyncio.run(story())


def test_a_sandbox_that_cannot_be_served_does_not_go_on_unseen(tmp_path):
    async def story():
        house = _House(tmp_path)
        house.doors.broken = True
        bob = await house.make("bob")
        async with house.worker(bob):
            row = await house.until("bob", agents.Phase.CRASHED)
            assert row.sandbox is None
            assert await house.sandbox.find_left(bob.id, tmp_path) is None
            assert not house.doors.opened

    asyncio.run(story())


def test_the_approval_of_a_spawn_that_is_stopped_before_it_starts_comes_to_an_end(tmp_path):
    async def story():
        house = _House(tmp_path)
        await house.make("manager", agents.Role.MANAGER)
        asked = await house.review.spawn(OLGA, "bob", "")
        await house.store.write(lambda tx: spawning.begin_approved(tx, house.clock))
        await house.fleet.stop(OLGA, "bob")
        async with house.worker(await house.row("bob")):
            await house.until("bob", agents.Phase.STOPPED)
            found = await house.store.read(lambda tx: tx.get_approval(asked.id))
            assert found.state is approvals.ApprovalState.FAILED
            assert "stopped before" in found.note

    asyncio.run(story())


def test_a_start_that_a_dead_daemon_left_and_nobody_wants_comes_to_an_end(tmp_path):
    async def story():
        house = _House(tmp_path)
        house.sandbox.world.mode = Mode.NORMAL
        asked = await house.review.spawn(OLGA, "bob", "")
        await house.store.write(lambda tx: spawning.begin_approved(tx, house.clock))

        def left(tx):
            row = tx.find_agent("bob")
            tx.update_agent(dataclasses.replace(row, phase=agents.Phase.STARTING))

        await house.store.write(left)
        await house.fleet.stop(OLGA, "bob")
        async with house.worker(await house.row("bob")):
            await house.until("bob", agents.Phase.STOPPED)
            found = await house.store.read(lambda tx: tx.get_approval(asked.id))
            assert found.state is approvals.ApprovalState.FAILED

    asyncio.run(story())
