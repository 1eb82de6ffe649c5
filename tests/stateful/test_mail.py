"""Mail against an oracle: any order of sends, receives, ends of turns, crashes and requeues.

Held all the time: nothing is lost, nothing is made up, the order of each sender's mail to each
recipient is kept, whatever comes a second time is marked, and the fifth vain delivery is the last.
"""

from __future__ import annotations

import asyncio
import dataclasses
import pathlib
import tempfile

import pytest
from hypothesis import HealthCheck, settings
from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, initialize, invariant, precondition, rule

from hyperhive import ports
from hyperhive.adapters.clock.manual import ManualClock
from hyperhive.adapters.store.memory import MemoryStore
from hyperhive.adapters.store.sqlite import SqliteStore
from hyperhive.domain import access, agents, errors, ids, messages, turns
from hyperhive.domain.messages import MessageState
from hyperhive.services import messaging

NAMES = ("manager", "ann", "bo")
names = st.sampled_from(NAMES)
OLGA = access.operator("page")


@dataclasses.dataclass
class Expected:
    """What the oracle knows of one message."""

    id: int
    sender: str
    recipient: str
    body: str
    state: MessageState = MessageState.QUEUED
    deliveries: int = 0


class Mail(RuleBasedStateMachine):
    """The machine; subclasses say where the mail is kept."""

    store: ports.Store

    def __init__(self) -> None:
        super().__init__()
        self.runner = asyncio.Runner()
        self.clock = ManualClock()
        self.oracle: dict[int, Expected] = {}
        self.keys: dict[tuple[str, str], Expected] = {}
        self.turn = 0
        self.running: dict[str, ids.TurnId] = {}
        self.callers: dict[str, access.Caller] = {}

    async def open(self) -> ports.Store:
        raise NotImplementedError

    @initialize()
    def begin(self) -> None:
        self.store = self.runner.run(self.open())
        now = self.clock.now()

        def work(tx: ports.Tx) -> None:
            for slot, name in enumerate(NAMES, 1):
                role = agents.Role.MANAGER if name == "manager" else agents.Role.AGENT
                agent = agents.Agent(
                    id=ids.AgentId(f"{slot:012x}"), name=ids.AgentName(name), role=role, slot=slot,
                    created_at=now, wanted=agents.Wanted.RUNNING, epoch=1,
                    phase=agents.Phase.RUNNING, phase_since=now, phase_note="", running_epoch=1,
                    sandbox=None, crashes=0, retry_at=None, turn_state=agents.TurnState.IDLE,
                    turn_since=now, turn_note="", status="", model="", session_id="",
                    session_started=False, start_reason="",
                )  # fmt: skip
                tx.insert_agent(agent)
                self.callers[name] = access.Caller(ids.PartyId(agent.id), name, role, "test")

        self.runner.run(self.store.write(work))

    @property
    def mail(self) -> messaging.Messaging:
        return messaging.Messaging(self.store, self.clock)

    def queued(self, name: str) -> list[Expected]:
        return [
            expected
            for expected in self.oracle.values()
            if expected.recipient == name and expected.state is MessageState.QUEUED
        ]

    @rule(sender=names, to=names, body=st.sampled_from(["a", "b"]), key=st.integers(0, 3))
    def send(self, sender: str, to: str, body: str, key: int) -> None:
        """Key 0 is none; the others come up again and again."""
        text = str(key) if key else None
        asked = self.mail.send(self.callers[sender], to, body, key=text)
        known = self.keys.get((sender, text)) if text else None
        if sender == to or (known is not None and (known.recipient, known.body) != (to, body)):
            wanted = errors.ErrorKind.INVALID if sender == to else errors.ErrorKind.CONFLICT
            with pytest.raises(errors.HiveError) as caught:
                self.runner.run(asked)
            assert caught.value.kind is wanted
            return
        sent = self.runner.run(asked)
        if known is not None:
            assert sent.id == known.id
            return
        assert sent.id not in self.oracle
        expected = Expected(sent.id, sender, to, body)
        self.oracle[sent.id] = expected
        if text:
            self.keys[sender, text] = expected

    @rule(name=names, count=st.integers(1, 4))
    def receive(self, name: str, count: int) -> None:
        if name not in self.running:
            self.turn += 1
            turn = turns.Turn(
                id=ids.TurnId(f"t{self.turn}"), agent=self.callers[name].agent_id,
                started_at=self.clock.now(), ended_at=None, outcome=turns.Outcome.RUNNING,
                note="", woke_by="", model="", tool_calls=0, usage=turns.Usage(),
            )  # fmt: skip
            self.runner.run(self.store.write(lambda tx: tx.insert_turn(turn)))
            self.running[name] = turn.id
        got = self.runner.run(
            self.mail.receive(
                self.callers[name].agent_id, self.running[name], wait_seconds=0, count=count
            )
        )
        # Oldest first, whatever has come back before: so each sender's order is kept.
        assert [m.id for m in got] == [e.id for e in self.queued(name)[:count]]
        for message in got:
            expected = self.oracle[message.id]
            assert message.redelivered is (expected.deliveries > 0)
            expected.deliveries += 1
            expected.state = MessageState.LEASED

    def end_turn(self, name: str, well: bool) -> None:
        turn = self.running.pop(name)
        now = self.clock.now()

        def work(tx: ports.Tx) -> None:
            found = tx.get_turn(turn)
            assert found is not None
            outcome = turns.Outcome.OK if well else turns.Outcome.LOST
            tx.update_turn(dataclasses.replace(found, outcome=outcome, ended_at=now))
            if well:
                messaging.settle(tx, now, turn)
            else:
                messaging.give_back(tx, now, tx.list_leased(lease=turn))

        self.runner.run(self.store.write(work))
        for expected in [*self.oracle.values()]:
            if expected.recipient != name or expected.state is not MessageState.LEASED:
                continue
            if well:
                expected.state = MessageState.HANDLED
            elif expected.deliveries < messages.DELIVERIES_MAX:
                expected.state = MessageState.QUEUED
            else:
                expected.state = MessageState.DEAD
                if name != "manager":
                    self.expect_notice(expected)

    def expect_notice(self, dead: Expected) -> None:
        stored = self.runner.run(self.store.read(lambda tx: tx.list_messages(limit=10_000)))
        notices = [
            m for m in stored
            if m.id not in self.oracle and f'"message": {dead.id},' in m.body
        ]  # fmt: skip
        (notice,) = notices
        self.oracle[notice.id] = Expected(notice.id, "system", "manager", notice.body)

    @precondition(lambda self: self.running)
    @rule(data=st.data(), well=st.booleans())
    def finish(self, data: st.DataObject, well: bool) -> None:
        self.end_turn(data.draw(st.sampled_from(sorted(self.running))), well)

    @rule(name=names, times=st.integers(2, 6))
    def fail_again_and_again(self, name: str, times: int) -> None:
        """What no random walk comes upon: the oldest mail is in vain until it is dead."""
        for _ in range(times):
            self.receive(name, 1)
            self.end_turn(name, well=False)

    @rule()
    def crash(self) -> None:
        """The daemon comes back: all it knows is what the store has kept."""
        self.runner.run(self.store.close())
        self.store = self.runner.run(self.open())
        for name in sorted(self.running):
            self.end_turn(name, well=False)

    @precondition(lambda self: any(e.state is MessageState.DEAD for e in self.oracle.values()))
    @rule()
    def requeue(self) -> None:
        dead = next(e for e in self.oracle.values() if e.state is MessageState.DEAD)
        self.runner.run(self.mail.requeue(OLGA, dead.id))
        dead.state, dead.deliveries = MessageState.QUEUED, 0

    @rule(days=st.integers(0, 40))
    def sweep(self, days: int) -> None:
        before = {e.id for e in self.oracle.values() if e.state is MessageState.HANDLED}
        self.clock.advance(days * 86400)
        self.runner.run(self.mail.sweep())
        stored = self.runner.run(self.store.read(lambda tx: tx.list_messages(limit=10_000)))
        left = {message.id for message in stored}
        swept = set(self.oracle) - left
        assert swept <= before
        assert days < 31 or swept == before
        for number in swept:
            del self.oracle[number]
        self.keys = {key: e for key, e in self.keys.items() if e.id not in swept}

    @invariant()
    def the_store_agrees_with_the_oracle(self) -> None:
        stored = self.runner.run(self.store.read(lambda tx: tx.list_messages(limit=10_000)))
        assert {
            m.id: (m.sender_name, m.recipient_name, m.body, m.state, m.deliveries) for m in stored
        } == {
            e.id: (e.sender, e.recipient, e.body, e.state, e.deliveries)
            for e in self.oracle.values()
        }
        for message in stored:
            assert (message.lease is not None) is (message.state is MessageState.LEASED)

    def teardown(self) -> None:
        if hasattr(self, "store"):
            self.runner.run(self.store.close())
        self.runner.close()


class MemoryMail(Mail):
    tables = None

    async def open(self) -> ports.Store:
        store = MemoryStore(self.clock, self.tables)
        self.tables = store.tables
        return store


class SqliteMail(Mail):
    def __init__(self) -> None:
        super().__init__()
        self.directory = tempfile.TemporaryDirectory()

    async def open(self) -> ports.Store:
        return await SqliteStore.open(pathlib.Path(self.directory.name) / "hive.db", self.clock)

    def teardown(self) -> None:
        super().teardown()
        self.directory.cleanup()


TestMemoryMail = MemoryMail.TestCase
TestMemoryMail.settings = settings(
    max_examples=60, stateful_step_count=50, deadline=None,
    suppress_health_check=list(HealthCheck),
)  # fmt: skip
TestSqliteMail = SqliteMail.TestCase
TestSqliteMail.settings = settings(
    max_examples=12, stateful_step_count=40, deadline=None,
    suppress_health_check=list(HealthCheck),
)  # fmt: skip
