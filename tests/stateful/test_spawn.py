"""Approvals, spawns and orders against an oracle: any order of wishes, crashes and restarts.

After each step the hive is let run until nothing can move any more, and then what is must be
what was wanted. A step may also be cut short by the death of the daemon after a few ticks:
the next daemon must come to the same.
"""

from __future__ import annotations

import asyncio
import collections
import dataclasses
import json
import pathlib
import tempfile
from collections.abc import Callable, Coroutine
from typing import Any

from hypothesis import HealthCheck, settings
from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, initialize, invariant, precondition, rule

from hyperhive import ports
from hyperhive.adapters.sandbox.memory import Mode
from hyperhive.domain import access, agents, approvals, errors, events, ids
from hyperhive.domain.agents import Phase, Wanted
from hyperhive.domain.approvals import ApprovalState
from hyperhive.domain.errors import ErrorKind
from rigs.hive_tester import OLGA, Daemon, HiveTester, hive

names = st.sampled_from(["ann", "bo"])
hurries = st.one_of(st.none(), st.integers(0, 12))
"""After how many ticks of the loop the daemon dies; None: it lives."""
orders = st.sampled_from(["start", "stop", "kill", "restart"])
FINAL = set(ApprovalState) - approvals.LIVE


@dataclasses.dataclass
class Asked:
    """What the oracle knows of one approval."""

    id: int
    name: str
    why: str
    by: str
    digest: str
    state: ApprovalState = ApprovalState.PENDING


class Fleet(RuleBasedStateMachine):
    """The machine."""

    def __init__(self) -> None:
        super().__init__()
        self.runner = asyncio.Runner()
        self.directory = tempfile.TemporaryDirectory()
        self.asked: dict[int, Asked] = {}
        self.wanted: dict[str, Wanted] = {}
        self.host: HiveTester

    # --- running ------------------------------------------------------------------------

    @initialize()
    def begin(self) -> None:
        async def start() -> None:
            self.context = hive(pathlib.Path(self.directory.name))
            self.host = await self.context.__aenter__()
            await self.host.up()
            await self.quiet()
            row = await self.host.row("manager")
            self.manager = access.Caller(ids.PartyId(row.id), row.name, row.role, "test")

        self.runner.run(start())

    async def quiet(self) -> None:
        """Return when everything waits for something that only a test can bring."""
        ready = asyncio.get_running_loop()._ready
        await asyncio.sleep(0)
        while ready:
            await asyncio.sleep(0)
        if self.host.broken is not None:
            raise self.host.broken

    def step(
        self, what: Callable[[Daemon], Coroutine[Any, Any, Any]], hurry: int | None = None
    ) -> tuple[Any, ErrorKind | None]:
        """Ask the daemon, perhaps let it die soon after, and let the hive come to rest."""

        async def run() -> tuple[Any, ErrorKind | None]:
            got: Any = None
            refused: ErrorKind | None = None
            try:
                got = await what(self.host.running)
            except errors.HiveError as error:
                refused = error.kind
            if hurry is not None:
                for _ in range(hurry):
                    await asyncio.sleep(0)
                await self.host.again()
            await self.quiet()
            return got, refused

        return self.runner.run(run())

    def look(self, work: Callable[[ports.ReadTx], Any]) -> Any:
        return self.runner.run(self.host.running.store.read(work))

    def row(self, name: str) -> agents.Agent | None:
        return self.look(lambda tx: tx.find_agent(name))

    # --- approvals ----------------------------------------------------------------------

    @rule(name=names, why=st.sampled_from(["a", "b"]), olga=st.booleans(), hurry=hurries)
    def request(self, name: str, why: str, olga: bool, hurry: int | None) -> None:
        caller = OLGA if olga else self.manager
        got, refused = self.step(lambda d: d.review.request_spawn(caller, name, why), hurry)
        live = [a for a in self.asked.values() if a.name == name and a.state not in FINAL]
        if name in self.wanted:
            assert refused is ErrorKind.CONFLICT
        elif live:
            (other,) = live
            same = (other.why, other.by) == (why, caller.name)
            assert (refused is None) is same
            assert not same or got.id == other.id
        else:
            assert refused is None
            assert got.id not in self.asked
            self.asked[got.id] = Asked(got.id, name, why, caller.name, got.digest)

    @precondition(lambda self: self.asked)
    @rule(data=st.data(), stale=st.booleans(), hurry=hurries)
    def approve(self, data: st.DataObject, stale: bool, hurry: int | None) -> None:
        asked = self.asked[data.draw(st.sampled_from(sorted(self.asked)))]
        digest = "0" * 64 if stale else asked.digest
        _, refused = self.step(lambda d: d.review.approve(OLGA, asked.id, digest), hurry)
        if stale or asked.state is not ApprovalState.PENDING:
            assert refused is ErrorKind.CONFLICT
            return
        assert refused is None
        self.built(asked)

    def built(self, asked: Asked) -> None:
        """What an approval leads to, by how the host behaves."""
        good = self.host.world.mode is not Mode.BAD
        asked.state = ApprovalState.DEPLOYED if good else ApprovalState.FAILED
        self.wanted[asked.name] = Wanted.RUNNING if good else Wanted.STOPPED

    @precondition(lambda self: self.host.world.mode is Mode.NORMAL)
    @rule(name=names, ticks=st.integers(0, 20), verb=st.sampled_from(["stop", "kill"]))
    def spawn_and_call_off(self, name: str, ticks: int, verb: str) -> None:
        """Before, while or just after it starts: its approval ends one way or the other."""
        if name in self.wanted or any(a.name == name for a in self.asked.values()):
            return

        async def call_off(daemon: Daemon) -> approvals.Approval:
            asked = await daemon.review.spawn(OLGA, name, "a")
            for _ in range(ticks):
                await asyncio.sleep(0)
            try:
                await getattr(daemon.fleet, verb)(OLGA, name)
            except errors.HiveError as error:
                assert error.kind is ErrorKind.NOT_FOUND
            return asked

        asked, _ = self.step(call_off)
        row = self.row(name)
        assert row is not None
        self.wanted[name] = row.wanted
        state = self.look(lambda tx: tx.get_approval(asked.id)).state
        assert state in (ApprovalState.DEPLOYED, ApprovalState.FAILED)
        self.asked[asked.id] = Asked(asked.id, name, "a", "operator", asked.digest, state)

    @rule(name=names, hurry=hurries)
    def spawn(self, name: str, hurry: int | None) -> None:
        got, refused = self.step(lambda d: d.review.spawn(OLGA, name, "a"), hurry)
        live = [a for a in self.asked.values() if a.name == name and a.state not in FINAL]
        if name in self.wanted or any((a.why, a.by) != ("a", "operator") for a in live):
            assert refused is ErrorKind.CONFLICT
            return
        assert refused is None
        asked = self.asked.setdefault(got.id, Asked(got.id, name, "a", "operator", got.digest))
        self.built(asked)

    @precondition(lambda self: self.asked)
    @rule(data=st.data(), deny=st.booleans(), hurry=hurries)
    def turn_down(self, data: st.DataObject, deny: bool, hurry: int | None) -> None:
        asked = self.asked[data.draw(st.sampled_from(sorted(self.asked)))]
        if deny:
            _, refused = self.step(lambda d: d.review.deny(OLGA, asked.id, "no"), hurry)
        else:
            _, refused = self.step(lambda d: d.review.withdraw(self.manager, asked.id), hurry)
            if asked.by != "manager":
                assert refused is ErrorKind.FORBIDDEN
                return
        if asked.state is not ApprovalState.PENDING:
            assert refused is ErrorKind.CONFLICT
            return
        assert refused is None
        asked.state = ApprovalState.DENIED if deny else ApprovalState.WITHDRAWN

    # --- orders -------------------------------------------------------------------------

    @rule(
        name=names,
        verbs=st.lists(orders, min_size=1, max_size=3),
        ticks=st.integers(0, 8),
        hurry=hurries,
    )
    def order(self, name: str, verbs: list[str], ticks: int, hurry: int | None) -> None:
        """One order, or several at once or soon after one another: the last one counts."""
        before = self.row(name)
        kills = self.told("killed")

        async def give(daemon: Daemon) -> None:
            for verb in verbs:
                await getattr(daemon.fleet, verb)(OLGA, name)
                for _ in range(ticks):
                    await asyncio.sleep(0)

        _, refused = self.step(give, hurry)
        if before is None:
            assert refused is ErrorKind.NOT_FOUND
            return
        assert refused is None
        up = verbs[-1] in ("start", "restart")
        self.wanted[name] = Wanted.RUNNING if up else Wanted.STOPPED
        after = self.row(name)
        assert after is not None
        if up and self.host.world.mode is Mode.NORMAL:
            assert after.phase is Phase.RUNNING
        if "restart" in verbs and up and before.sandbox is not None:
            assert after.sandbox != before.sandbox
        if verbs == ["start"] and before.phase is Phase.RUNNING:
            assert after.sandbox == before.sandbox
        if verbs == ["kill"]:
            told = self.told("killed") - kills
            assert told == collections.Counter({name: int(before.phase is not Phase.STOPPED)})

    # --- the world ----------------------------------------------------------------------

    @rule(mode=st.sampled_from([Mode.NORMAL, Mode.NORMAL, Mode.BAD, Mode.DIES]))
    def host_changes(self, mode: Mode) -> None:
        self.host.world.mode = mode

    @rule(name=names, hurry=hurries)
    def sandbox_ends(self, name: str, hurry: int | None) -> None:
        """By itself, with or without a daemon that sees it."""
        row = self.row(name)
        if row is None or row.sandbox is None:
            return
        world = self.host.world

        async def end(_: Daemon) -> None:
            world.end(world.running(row.id), 1)

        self.step(end, hurry)

    @rule(seconds=st.sampled_from([1.0, 20.0, 700.0]))
    def time_passes(self, seconds: float) -> None:
        async def advance(_: Daemon) -> None:
            self.host.clock.advance(seconds)

        self.step(advance)

    @rule(power=st.booleans())
    def daemon_dies(self, power: bool) -> None:
        async def die(_: Daemon) -> None:
            await self.host.crash()
            if power:
                self.host.world.reboot()
            await self.host.up()

        self.step(die)

    @rule()
    def hive_goes_down_and_up(self) -> None:
        async def down(_: Daemon) -> None:
            await self.host.down(agents_too=True)
            assert not any(self.alive(row.id) for row in self.rows_now())
            await self.host.up()

        self.step(down)

    def rows_now(self) -> list[agents.Agent]:
        return list(self.host.tables.agents.values())

    # --- what must hold -----------------------------------------------------------------

    def alive(self, agent: ids.AgentId) -> list[agents.SandboxIdentity]:
        world = self.host.world
        return [
            box.identity
            for box in world.boxes.values()
            if box.inside.spec.agent == agent and not box.code.done()
        ]

    def told(self, event: str, **fields: Any) -> collections.Counter[str]:
        """How often the manager was told an event, by the agent that it is about."""
        bodies = self.runner.run(self.host.events_to("manager"))
        told = [json.loads(body) for body in bodies]
        return collections.Counter(
            each["agent"]
            for each in told
            if each["event"] == event and all(each[key] == fields[key] for key in fields)
        )

    @invariant()
    def approvals_are_as_decided(self) -> None:
        stored = self.look(lambda tx: tx.list_approvals(limit=1000))
        assert {a.id: a.state for a in stored} == {a.id: a.state for a in self.asked.values()}
        live = [a.agent_name for a in stored if a.state in approvals.LIVE]
        assert len(live) == len(set(live))
        for state, ok in ((ApprovalState.DEPLOYED, True), (ApprovalState.FAILED, False)):
            ended = collections.Counter(a.agent_name for a in stored if a.state is state)
            assert self.told("spawned", ok=ok) == ended

    @invariant()
    def agents_are_as_wanted(self) -> None:
        rows = self.look(lambda tx: tx.list_agents())
        now = self.host.clock.now()
        wanted = {row.name: row.wanted for row in rows if row.name != "manager"}
        assert wanted == self.wanted
        for row in rows:
            alive = self.alive(row.id)
            doors = self.host.running.doors
            if row.phase is Phase.RUNNING:
                assert row.wanted is Wanted.RUNNING
                assert row.epoch == row.running_epoch
                assert alive == [row.sandbox]
                assert row.id in doors.attached
                continue
            assert alive == []
            assert row.sandbox is None
            assert row.id not in doors.open_for
            assert row.turn_state is agents.TurnState.OFFLINE
            if row.wanted is Wanted.STOPPED:
                assert row.phase is Phase.STOPPED
            elif row.phase is Phase.CRASHED:
                assert row.retry_at is not None
                assert now < row.retry_at
            else:
                assert row.phase is Phase.HALTED
                assert row.crashes >= self.host.crash_limit

    @invariant()
    def every_move_is_in_a_table(self) -> None:
        facts = self.look(lambda tx: tx.facts_after(0, 100_000))
        edges = {(source.value, target.value) for (source, _), target in agents.TABLE.items()}
        phases: dict[Any, str] = {}
        turns: set[Any] = set()
        kicks: collections.Counter[Any] = collections.Counter()
        for fact in facts:
            event = fact.event
            if event.kind is events.EventKind.TURN_STARTED:
                turns.add(event.agent)
            if event.kind is not events.EventKind.AGENT_MOVED:
                continue
            before = phases.get(event.agent, Phase.SPAWNING.value)
            assert (before, event.text) in edges
            phases[event.agent] = event.text
            if event.text == Phase.RUNNING.value and event.agent in turns:
                kicks[event.agent] += 1
        for row in self.look(lambda tx: tx.list_agents()):
            assert phases[row.id] == row.phase.value
            bodies = self.runner.run(self.host.events_to(row.name))
            assert sum('"restarted"' in body for body in bodies) == kicks[row.id]

    @invariant()
    def who_is_halted_was_reported(self) -> None:
        inbox = self.look(lambda tx: tx.list_messages(recipient=ids.OPERATOR, limit=1000))
        facts = self.look(lambda tx: tx.facts_after(0, 100_000))
        halts = [
            fact for fact in facts
            if fact.event.kind is events.EventKind.AGENT_MOVED
            and fact.event.text == Phase.HALTED.value
        ]  # fmt: skip
        assert sum("is halted" in m.body for m in inbox) == len(halts)

    def teardown(self) -> None:
        if hasattr(self, "host"):
            self.runner.run(self.context.__aexit__(None, None, None))
        self.runner.close()
        self.directory.cleanup()


TestFleet = Fleet.TestCase
TestFleet.settings = settings(
    max_examples=40, stateful_step_count=30, deadline=None,
    suppress_health_check=list(HealthCheck),
)  # fmt: skip
