"""The world of the store's contract: both stores on a manual clock, and rows to put into them."""

from __future__ import annotations

import asyncio
import contextlib
import dataclasses
import datetime
import pathlib
from collections.abc import Awaitable, Callable, Iterator

import pytest

from hyperhive import ports
from hyperhive.adapters.clock.manual import ManualClock
from hyperhive.adapters.store.memory import MemoryStore
from hyperhive.adapters.store.sqlite import SqliteStore
from hyperhive.domain import (
    agents,
    approvals,
    deployments,
    errors,
    events,
    ids,
    messages,
    proposals,
    turns,
)
from hyperhive.domain.messages import MessageState

NOW = datetime.datetime(2030, 1, 1, 12, 0, 0, 123456, tzinfo=datetime.UTC)
ALICE, BOB = ids.PartyId("a" * 12), ids.PartyId("b" * 12)
TURN = ids.TurnId("turn-1")
NOTED = events.EventKind.AGENT_STATUS_SET

Scenario = Callable[[ports.Store, ManualClock], Awaitable[None]]
Run = Callable[[Scenario], None]


@pytest.fixture(params=["memory", "sqlite"])
def run(request: pytest.FixtureRequest, tmp_path: pathlib.Path) -> Run:
    def start(scenario: Scenario) -> None:
        async def main() -> None:
            clock = ManualClock(NOW)
            store: ports.Store
            if request.param == "memory":
                store = MemoryStore(clock)
            else:
                store = await SqliteStore.open(tmp_path / "hive.db", clock)
            try:
                await scenario(store, clock)
            finally:
                await store.close()

        asyncio.run(main())

    return start


def make_agent(name: str = "alice", slot: int = 1, **changed: object) -> agents.Agent:
    agent = agents.Agent(
        id=ids.AgentId((name[0] * 12)[:12]), name=ids.AgentName(name), role=agents.Role.AGENT,
        slot=slot, created_at=NOW, wanted=agents.Wanted.RUNNING, epoch=1,
        phase=agents.Phase.SPAWNING, phase_since=NOW, phase_note="", running_epoch=0,
        sandbox=None, crashes=0, retry_at=None, turn_state=agents.TurnState.OFFLINE,
        turn_since=NOW, turn_note="", status="", model="", session_id="",
        session_started=False, start_reason="",
    )  # fmt: skip
    return dataclasses.replace(agent, **changed)  # type: ignore[arg-type]


def make_message(
    recipient: ids.PartyId = BOB, body: str = "hello", key: str | None = None
) -> messages.Message:
    return messages.Message(
        id=ids.MessageId(0), sender=ALICE, sender_name="alice", recipient=recipient,
        recipient_name="bob", type=messages.MessageType.TEXT, body=body, in_reply_to=None,
        key=key, sent_at=NOW, state=MessageState.QUEUED, deliveries=0, lease=None,
        changed_at=NOW,
    )  # fmt: skip


def make_approval(state: approvals.ApprovalState) -> approvals.Approval:
    return approvals.Approval(
        id=ids.ApprovalId(0), kind=approvals.ApprovalKind.SPAWN,
        agent_name=ids.AgentName("coder"), agent_id=None, description="because",
        requested_by=ALICE, requested_by_name="alice", requested_at=NOW, state=state,
        digest="d1", decided_by="", decided_via="", decided_at=None, note="", changed_at=NOW,
    )  # fmt: skip


def make_proposal(approval: int, **changed: object) -> proposals.Proposal:
    proposal = proposals.Proposal(
        approval=ids.ApprovalId(approval), agent_id=ids.AgentId("a" * 12),
        origin=proposals.Origin.COMMIT, commit_ref="abcdef0", sha="", tree="", base_sha="b" * 40,
        build=proposals.BuildState.IMPORTING, build_note="", generation="", configuration={},
        effects={}, step=proposals.DeployStep.NONE, epoch=0, deadline=None, expires_at=None,
        tag="", changed_at=NOW,
    )  # fmt: skip
    return dataclasses.replace(proposal, **changed)  # type: ignore[arg-type]


def make_deployment(agent: str = "a" * 12, **changed: object) -> deployments.Deployment:
    deployment = deployments.Deployment(
        agent_id=ids.AgentId(agent), approval=ids.ApprovalId(0), sha="c" * 40, tree="d" * 40,
        generation="", built_from="", configuration={"schema": 1}, deployed_at=NOW,
    )  # fmt: skip
    return dataclasses.replace(deployment, **changed)  # type: ignore[arg-type]


def make_turn(name: str = "turn-1", agent: str = "a" * 12) -> turns.Turn:
    return turns.Turn(
        id=ids.TurnId(name), agent=ids.AgentId(agent), started_at=NOW, ended_at=None,
        outcome=turns.Outcome.RUNNING, note="", woke_by="operator", model="m", tool_calls=0,
        usage=turns.Usage(),
    )  # fmt: skip


def note(*topics: events.Topic, text: str = "") -> Callable[[ports.Tx], int]:
    return lambda tx: tx.record(events.Event(NOTED, text=text, topics=topics))


@contextlib.contextmanager
def refused(kind: errors.ErrorKind) -> Iterator[None]:
    with pytest.raises(errors.HiveError) as caught:
        yield
    assert caught.value.kind is kind
