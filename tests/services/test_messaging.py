"""Mail: who may be written to, what a receive leases, how mail comes back, dies and is swept."""

from __future__ import annotations

import asyncio
import dataclasses
import json
import pathlib
from collections.abc import Awaitable, Callable

import pytest

from hyperhive import ports
from hyperhive.adapters.clock.manual import ManualClock
from hyperhive.adapters.store.memory import MemoryStore
from hyperhive.adapters.store.sqlite import SqliteStore
from hyperhive.domain import access, agents, errors, events, ids, messages, turns
from hyperhive.domain.messages import MessageState, MessageType
from hyperhive.services import messaging

pytestmark = pytest.mark.timeout(30)

OLGA = access.operator("page")
CONFLICT, FORBIDDEN = errors.ErrorKind.CONFLICT, errors.ErrorKind.FORBIDDEN
INVALID, NOT_FOUND = errors.ErrorKind.INVALID, errors.ErrorKind.NOT_FOUND


@dataclasses.dataclass
class Office:
    store: ports.Store
    clock: ManualClock
    mail: messaging.Messaging

    async def hire(self, name: str) -> access.Caller:
        """Make an agent of that name with a running turn ``turn-NAME``."""
        now = self.clock.now()
        role = agents.Role.MANAGER if name == "manager" else agents.Role.AGENT

        def work(tx: ports.Tx) -> access.Caller:
            agent = agents.Agent(
                id=ids.AgentId((name * 12).encode().hex()[:12]), name=ids.AgentName(name),
                role=role, slot=tx.next_slot(), created_at=now, wanted=agents.Wanted.RUNNING,
                epoch=1, phase=agents.Phase.RUNNING, phase_since=now, phase_note="",
                running_epoch=1, sandbox=None, crashes=0, retry_at=None,
                turn_state=agents.TurnState.IDLE, turn_since=now, turn_note="", status="",
                model="", session_id="", session_started=False, start_reason="",
            )  # fmt: skip
            tx.insert_agent(agent)
            tx.insert_turn(
                turns.Turn(
                    id=ids.TurnId(f"turn-{name}"), agent=agent.id, started_at=now, ended_at=None,
                    outcome=turns.Outcome.RUNNING, note="", woke_by="", model="", tool_calls=0,
                    usage=turns.Usage(),
                )
            )  # fmt: skip
            return access.Caller(ids.PartyId(agent.id), name, role, "agent socket")

        return await self.store.write(work)

    async def receive(
        self, who: access.Caller, wait: float | None = None, count: int = 32, key: str | None = None
    ) -> list[messages.Message]:
        return await self.mail.receive(
            who.agent_id, turn(who), wait_seconds=wait, count=count, key=key
        )

    async def settle(self, who: access.Caller) -> list[messages.Message]:
        return await self.store.write(lambda tx: messaging.settle(tx, self.clock.now(), turn(who)))

    async def give_back(self, who: access.Caller) -> list[messages.Message]:
        return await self.store.write(
            lambda tx: messaging.give_back(tx, self.clock.now(), tx.list_leased(lease=turn(who)))
        )

    async def parked(self) -> None:
        while not self.clock.sleepers:
            await asyncio.sleep(0)

    async def refuses(self, kind: errors.ErrorKind, asked: Awaitable[object]) -> str:
        before = self.store.number()
        with pytest.raises(errors.HiveError) as caught:
            await asked
        assert caught.value.kind is kind
        assert caught.value.message.startswith("cannot ")
        assert self.store.number() == before
        return caught.value.message


def turn(who: access.Caller) -> ids.TurnId:
    return ids.TurnId(f"turn-{who.name}")


Scenario = Callable[[Office], Awaitable[None]]


@pytest.fixture(params=["memory", "sqlite"])
def run(request: pytest.FixtureRequest, tmp_path: pathlib.Path) -> Callable[[Scenario], None]:
    def start(scenario: Scenario) -> None:
        async def main() -> None:
            clock = ManualClock()
            store: ports.Store
            if request.param == "memory":
                store = MemoryStore(clock)
            else:
                store = await SqliteStore.open(tmp_path / "hive.db", clock)
            try:
                await scenario(Office(store, clock, messaging.Messaging(store, clock)))
            finally:
                await store.close()

        asyncio.run(main())

    return start


Run = Callable[[Scenario], None]


def test_mail_goes_from_a_name_to_a_name_and_is_recorded(run: Run) -> None:
    async def scenario(office: Office) -> None:
        alice, bob = await office.hire("alice"), await office.hire("bob")
        sent = await office.mail.send(alice, "bob", "hello")
        assert (sent.sender_name, sent.recipient_name) == ("alice", "bob")
        assert (sent.state, sent.type, sent.sent_at) == (
            MessageState.QUEUED, MessageType.TEXT, office.clock.now(),
        )  # fmt: skip
        (fact,) = await office.store.read(lambda tx: tx.facts_after(0, 9))
        assert fact.event.kind is events.EventKind.MESSAGE_SENT
        assert fact.event.agent == bob.agent_id
        assert fact.event.topics == (events.inbox_topic(bob.party),)
        assert "hello" not in fact.event.text

    run(scenario)


def test_unknown_recipients_are_refused_and_near_names_offered(run: Run) -> None:
    async def scenario(office: Office) -> None:
        alice = await office.hire("alice")
        await office.hire("coder")
        told = await office.refuses(NOT_FOUND, office.mail.send(alice, "codr", "x"))
        assert "coder" in told
        for name in ("", "manager", "bob\n", "Coder", "*", "\ud800", "a\0b", "x" * 10_000):
            await office.refuses(NOT_FOUND, office.mail.send(alice, name, "x"))
        await office.refuses(INVALID, office.mail.send(alice, "system", "x"))
        await office.refuses(INVALID, office.mail.send(alice, "alice", "x"))
        await office.refuses(INVALID, office.mail.send(OLGA, "operator", "x"))
        assert await office.store.read(lambda tx: tx.list_messages()) == []

    run(scenario)


def test_bodies_that_cannot_be_kept_are_refused(run: Run) -> None:
    async def scenario(office: Office) -> None:
        alice = await office.hire("alice")
        for body in ("", " \n", "a\0b", "\ud800", "x" * (messages.BODY_MAX + 1)):
            await office.refuses(INVALID, office.mail.send(alice, "operator", body))

    run(scenario)


def test_a_repeated_key_is_one_message(run: Run) -> None:
    async def scenario(office: Office) -> None:
        alice, bob = await office.hire("alice"), await office.hire("bob")
        first, again = await asyncio.gather(
            office.mail.send(alice, "bob", "hello", key="k"),
            office.mail.send(alice, "bob", "hello", key="k"),
        )
        assert first == again
        other = await office.mail.send(bob, "alice", "hello", key="k")
        assert other.id != first.id
        await office.refuses(CONFLICT, office.mail.send(alice, "bob", "other", key="k"))
        await office.refuses(CONFLICT, office.mail.send(alice, "operator", "hello", key="k"))
        for key in ("", "x" * (messages.KEY_MAX + 1), "a\0", "\udfff"):
            await office.refuses(INVALID, office.mail.send(alice, "bob", "hello", key=key))

    run(scenario)


def test_replies_are_to_ones_own_mail_only(run: Run) -> None:
    async def scenario(office: Office) -> None:
        alice, bob = await office.hire("alice"), await office.hire("bob")
        carol = await office.hire("carol")
        asked = await office.mail.send(alice, "bob", "how?")
        answer = await office.mail.send(bob, "alice", "so", in_reply_to=asked.id)
        assert answer.in_reply_to == asked.id
        await office.mail.send(alice, "bob", "more", in_reply_to=asked.id)
        await office.refuses(NOT_FOUND, office.mail.send(carol, "bob", "x", in_reply_to=asked.id))
        for number in (0, -1, 99, 2**63, 2**80):
            await office.refuses(NOT_FOUND, office.mail.send(bob, "alice", "x", in_reply_to=number))

    run(scenario)


def test_a_broadcast_reaches_everybody_else_once(run: Run) -> None:
    async def scenario(office: Office) -> None:
        alice, bob = await office.hire("alice"), await office.hire("bob")
        await office.hire("manager")
        sent = await office.mail.broadcast(alice, "tea is ready", key="k")
        assert [message.recipient_name for message in sent] == ["manager", "bob"]
        assert {message.type for message in sent} == {MessageType.BROADCAST}
        await office.hire("dora")
        again = await office.mail.broadcast(alice, "tea is ready", key="k")
        assert [message.recipient_name for message in again] == ["manager", "bob", "dora"]
        assert again[:2] == sent
        await office.refuses(CONFLICT, office.mail.broadcast(alice, "coffee", key="k"))
        assert len(await office.receive(bob)) == 1

    run(scenario)


def test_receive_answers_at_once_without_a_wait(run: Run) -> None:
    async def scenario(office: Office) -> None:
        alice, bob = await office.hire("alice"), await office.hire("bob")
        assert await office.receive(bob) == []
        assert await office.receive(bob, wait=0) == []
        for number in range(3):
            await office.mail.send(alice, "bob", str(number))
        assert [m.body for m in await office.receive(bob, count=2)] == ["0", "1"]
        assert [m.body for m in await office.receive(bob, wait=180)] == ["2"]
        for wait, count in ((-1, 1), (180.1, 1), (float("nan"), 1), (0, 0), (0, 33)):
            await office.refuses(INVALID, office.receive(bob, wait=wait, count=count))

    run(scenario)


def test_a_parked_receive_ends_with_the_first_message(run: Run) -> None:
    async def scenario(office: Office) -> None:
        alice, bob = await office.hire("alice"), await office.hire("bob")
        async with asyncio.TaskGroup() as group:
            parked = group.create_task(office.receive(bob, wait=180))
            await office.parked()
            await office.mail.send(bob, "alice", "not for bob")
            office.clock.advance(179)
            assert not parked.done()
            await office.mail.send(alice, "bob", "at last")
            assert [m.body for m in await parked] == ["at last"]
        assert office.clock.sleepers == 0

    run(scenario)


def test_a_parked_receive_ends_empty_when_its_time_is_over(run: Run) -> None:
    async def scenario(office: Office) -> None:
        bob = await office.hire("bob")
        async with asyncio.TaskGroup() as group:
            parked = group.create_task(office.receive(bob, wait=10))
            await office.parked()
            office.clock.set_wall(office.clock.now().replace(year=2090))
            office.clock.advance(10)
            assert await parked == []

    run(scenario)


def test_a_parked_receive_says_when_the_store_is_gone(run: Run) -> None:
    async def scenario(office: Office) -> None:
        bob = await office.hire("bob")

        async def parked() -> None:
            await office.refuses(errors.ErrorKind.UNAVAILABLE, office.receive(bob, wait=10))

        async with asyncio.TaskGroup() as group:
            group.create_task(parked())
            await office.parked()
            await office.store.close()

    run(scenario)


def test_only_the_running_turn_of_that_agent_receives(run: Run) -> None:
    async def scenario(office: Office) -> None:
        alice, bob = await office.hire("alice"), await office.hire("bob")
        await office.mail.send(alice, "bob", "x")
        for agent, of in ((bob.agent_id, turn(alice)), (bob.agent_id, ids.TurnId("none"))):
            await office.refuses(CONFLICT, office.mail.receive(agent, of, wait_seconds=0, count=1))

        def end(tx: ports.Tx) -> None:
            found = tx.get_turn(turn(bob))
            assert found is not None
            tx.update_turn(dataclasses.replace(found, outcome=turns.Outcome.OK))

        await office.store.write(end)
        await office.refuses(CONFLICT, office.receive(bob))

    run(scenario)


def test_a_receive_repeated_with_its_key_returns_the_same(run: Run) -> None:
    async def scenario(office: Office) -> None:
        alice, bob = await office.hire("alice"), await office.hire("bob")
        for number in range(3):
            await office.mail.send(alice, "bob", str(number))
        first = await office.receive(bob, count=1, key="call-1")
        assert await office.receive(bob, count=1, key="call-1") == first
        assert [m.body for m in await office.receive(bob, key="call-2")] == ["1", "2"]

        def remembered(tx: ports.ReadTx) -> int:
            return len(tx.list_values("received:"))

        def end(tx: ports.Tx) -> None:
            found = tx.get_turn(turn(bob))
            assert found is not None
            tx.update_turn(dataclasses.replace(found, outcome=turns.Outcome.OK))

        await office.mail.sweep()
        assert await office.store.read(remembered) == 2
        await office.store.write(end)
        await office.mail.sweep()
        assert await office.store.read(remembered) == 0

    run(scenario)


def test_settled_mail_is_handled_for_good(run: Run) -> None:
    async def scenario(office: Office) -> None:
        alice, bob = await office.hire("alice"), await office.hire("bob")
        await office.mail.send(alice, "bob", "x")
        await office.receive(bob)
        (handled,) = await office.settle(bob)
        assert (handled.state, handled.lease) == (MessageState.HANDLED, None)
        assert await office.settle(bob) == []
        assert await office.receive(bob) == []
        facts = await office.store.read(lambda tx: tx.facts_after(0, 9))
        assert [fact.event.turn for fact in facts] == [None, turn(bob), turn(bob)]

    run(scenario)


def test_returned_mail_comes_again_first_and_marked(run: Run) -> None:
    async def scenario(office: Office) -> None:
        alice, bob = await office.hire("alice"), await office.hire("bob")
        await office.mail.send(alice, "bob", "1")
        await office.receive(bob)
        await office.mail.send(alice, "bob", "2")
        seen = office.store.number()
        await office.give_back(bob)
        assert await office.store.changed(events.inbox_topic(bob.party), seen) > seen
        again = await office.receive(bob)
        assert [(m.body, m.redelivered) for m in again] == [("1", True), ("2", False)]

    run(scenario)


def test_after_five_deliveries_a_message_is_dead_and_stops_nobody(run: Run) -> None:
    async def scenario(office: Office) -> None:
        manager, alice, bob = [await office.hire(n) for n in ("manager", "alice", "bob")]
        sent = await office.mail.send(alice, "bob", "poison")
        for _ in range(messages.DELIVERIES_MAX):
            assert [m.id for m in await office.receive(bob, count=1)] == [sent.id]
            (returned,) = await office.give_back(bob)
        assert (returned.state, returned.deliveries) == (MessageState.DEAD, 5)
        assert await office.receive(bob) == []
        (told,) = await office.receive(manager)
        assert told.type is MessageType.EVENT
        assert json.loads(told.body) == {
            "event": "message_died", "message": sent.id, "sender": "alice", "recipient": "bob",
            "deliveries": 5,
        }  # fmt: skip
        facts = await office.store.read(lambda tx: tx.facts_after(0, 99))
        (died,) = [f for f in facts if f.event.kind is events.EventKind.MESSAGE_DIED]
        assert events.inbox_topic(ids.OPERATOR) in died.event.topics

        await office.refuses(FORBIDDEN, office.mail.requeue(manager, sent.id))
        requeued = await office.mail.requeue(OLGA, sent.id)
        assert (requeued.state, requeued.deliveries) == (MessageState.QUEUED, 0)
        await office.refuses(CONFLICT, office.mail.requeue(OLGA, sent.id))
        await office.refuses(NOT_FOUND, office.mail.requeue(OLGA, 2**70))
        assert [m.redelivered for m in await office.receive(bob)] == [False]

    run(scenario)


def test_the_managers_own_dead_mail_breeds_no_more_mail(run: Run) -> None:
    async def scenario(office: Office) -> None:
        manager = await office.hire("manager")
        await office.mail.send(OLGA, "manager", "poison")
        for _ in range(messages.DELIVERIES_MAX):
            await office.receive(manager)
            await office.give_back(manager)
        assert len(await office.store.read(lambda tx: tx.list_messages())) == 1

    run(scenario)


def test_the_operator_handles_mail_without_a_turn(run: Run) -> None:
    async def scenario(office: Office) -> None:
        alice = await office.hire("alice")
        await office.hire("bob")
        mine = await office.mail.send(alice, "operator", "look")
        other = await office.mail.send(alice, "bob", "psst")
        handled = await office.mail.handle_for_operator(OLGA, mine.id)
        assert handled.state is MessageState.HANDLED
        number = office.store.number()
        assert await office.mail.handle_for_operator(OLGA, mine.id) == handled
        assert office.store.number() == number
        await office.refuses(NOT_FOUND, office.mail.handle_for_operator(OLGA, other.id))
        await office.refuses(NOT_FOUND, office.mail.handle_for_operator(OLGA, 99))
        await office.refuses(FORBIDDEN, office.mail.handle_for_operator(alice, mine.id))

    run(scenario)


def test_sweep_takes_only_what_was_handled_thirty_days_ago(
    run: Run, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(messaging, "SWEEP_CHUNK", 2)

    async def scenario(office: Office) -> None:
        alice, bob = await office.hire("alice"), await office.hire("bob")
        for number in range(5):
            await office.mail.send(alice, "bob", str(number))
        await office.receive(bob, key="k")
        await office.settle(bob)
        await office.mail.send(alice, "bob", "unread")
        office.clock.advance(29 * 86400)
        assert await office.mail.sweep() == 0
        office.clock.advance(86400 + 1)
        before = office.store.number()
        assert await office.mail.sweep() == 5
        assert await office.mail.sweep() == 0
        facts = await office.store.read(lambda tx: tx.facts_after(before, 99))
        assert {fact.event.kind for fact in facts} == {events.EventKind.MESSAGES_SWEPT}
        left = await office.store.read(lambda tx: tx.list_messages())
        assert [message.body for message in left] == ["unread"]

    run(scenario)


def test_a_list_of_recipients_binds_an_agent_but_hides_nobody_who_helps(make_desk):
    async def story():
        desk = make_desk()
        for name in ("manager", "bob", "eve", "zoe"):
            await desk.agent(name)
        bob = await desk.caller("bob")
        await desk.mail.send(bob, "zoe", "free")
        await desk.mail.set_recipients(desk.olga, "bob", ["eve"])
        # Rights follow the store: an edge asks who calls at each call.
        bob = await desk.caller("bob")
        for name in ("eve", "manager", "operator"):
            await desk.mail.send(bob, name, "hello")
        with pytest.raises(errors.HiveError, match="you may write to eve, manager, op") as caught:
            await desk.mail.send(bob, "zoe", "hello")
        assert caught.value.kind is errors.ErrorKind.FORBIDDEN
        everybody = await desk.mail.broadcast(bob, "all of you")
        assert [message.recipient_name for message in everybody] == ["manager", "eve"]
        # Others are not bound by it, and it can be taken back.
        await desk.mail.send(await desk.caller("eve"), "zoe", "hello")
        await desk.mail.send(desk.olga, "zoe", "hello")
        await desk.mail.set_recipients(desk.olga, "bob", None)
        await desk.mail.send(await desk.caller("bob"), "zoe", "hello")

    asyncio.run(story())


def test_a_list_of_recipients_is_the_operators_and_names_who_exists(make_desk):
    async def story():
        desk = make_desk()
        for name in ("manager", "bob"):
            await desk.agent(name)
        with pytest.raises(errors.HiveError, match="only the operator"):
            await desk.mail.set_recipients(await desk.caller("manager"), "bob", [])
        with pytest.raises(errors.HiveError, match="cannot find agent 'nobody'"):
            await desk.mail.set_recipients(desk.olga, "bob", ["nobody"])
        with pytest.raises(errors.HiveError, match="it may write to all"):
            await desk.mail.set_recipients(desk.olga, "manager", [])

    asyncio.run(story())
