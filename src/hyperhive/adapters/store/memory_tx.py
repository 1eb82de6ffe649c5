"""What a work may do on tables in memory: `ports.ReadTx` and `ports.Tx`, with a way back."""

# ruff: noqa: D102 - the port says what each method does
from __future__ import annotations

import dataclasses
import datetime
import functools
from collections.abc import Callable, Iterable, Sequence
from typing import Any, TypeVar

from hyperhive import ports
from hyperhive.adapters.store import memory_questions, memory_statistics, rows
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

T = TypeVar("T")
K = TypeVar("K")
V = TypeVar("V")


class Tables:
    """All rows. ``messages`` and ``turns`` keep insertion order, which is that of their ids."""

    def __init__(self) -> None:
        self.facts: list[events.Fact] = []
        self.facts_deleted = 0
        self.slot = 0
        self.message_id = 0
        self.approval_id = 0
        self.agents: dict[ids.AgentId, agents.Agent] = {}
        self.messages: dict[ids.MessageId, messages.Message] = {}
        self.keys: dict[tuple[ids.PartyId, str], ids.MessageId] = {}
        self.approvals: dict[ids.ApprovalId, approvals.Approval] = {}
        self.proposals: dict[ids.ApprovalId, proposals.Proposal] = {}
        self.deployments: dict[ids.AgentId, deployments.Deployment] = {}
        self.turns: dict[ids.TurnId, turns.Turn] = {}
        self.totals: memory_statistics.Totals = {}
        self.values: dict[str, str] = {}
        self.asked = memory_questions.QuestionTables()

    def last_number(self) -> int:
        """The number of the newest fact."""
        return self.facts_deleted + len(self.facts)


class MemoryTx(memory_questions.MemoryQuestions, memory_statistics.MemoryStatistics):
    """`ports.Tx` on the tables; ``undo`` takes back what was done, newest first."""

    def __init__(self, tables: Tables, clock: ports.Clock) -> None:
        self._tables = tables
        self._clock = clock
        self._undo: list[Callable[[], object]] = []
        self.topics: list[events.Topic] = []

    def undo(self) -> None:
        """Leave the tables as they were before this transaction."""
        while self._undo:
            self._undo.pop()()

    # --- reading ---

    def last_number(self) -> int:
        """See `ports.ReadTx` and `ports.Tx`, as for all methods here."""
        return self._tables.last_number()

    def facts_after(self, number: int, limit: int) -> list[events.Fact]:
        return self._tables.facts[max(number - self._tables.facts_deleted, 0) :][:limit]

    def get_agent(self, agent: ids.AgentId) -> agents.Agent | None:
        return self._tables.agents.get(agent)

    def find_agent(self, name: str) -> agents.Agent | None:
        found = (agent for agent in self._tables.agents.values() if agent.name == name)
        return next(found, None)

    def list_agents(self) -> list[agents.Agent]:
        def order(agent: agents.Agent) -> tuple[bool, str]:
            return agent.role is not agents.Role.MANAGER, agent.name

        return sorted(self._tables.agents.values(), key=order)

    def get_message(self, message: ids.MessageId) -> messages.Message | None:
        return self._tables.messages.get(message)

    def find_message_by_key(self, sender: ids.PartyId, key: str) -> messages.Message | None:
        number = self._tables.keys.get((sender, key))
        return None if number is None else self._tables.messages[number]

    def count_queued(self, recipient: ids.PartyId) -> int:
        return len(self._in_state(messages.MessageState.QUEUED, recipient))

    def list_messages(
        self,
        *,
        recipient: ids.PartyId | None = None,
        states: Iterable[messages.MessageState] | None = None,
        before: ids.MessageId | None = None,
        limit: int = 100,
    ) -> list[messages.Message]:
        wanted = None if states is None else frozenset(states)
        found = [
            message
            for message in self._tables.messages.values()
            if (recipient is None or message.recipient == recipient)
            and (wanted is None or message.state in wanted)
            and (before is None or message.id < before)
        ]
        return found[::-1][:limit]

    def get_approval(self, approval: ids.ApprovalId) -> approvals.Approval | None:
        return self._tables.approvals.get(approval)

    def list_approvals(
        self,
        *,
        states: Iterable[approvals.ApprovalState] | None = None,
        limit: int = 200,
    ) -> list[approvals.Approval]:
        wanted = None if states is None else frozenset(states)
        found = [
            approval
            for approval in self._tables.approvals.values()
            if wanted is None or approval.state in wanted
        ]
        return found[::-1][:limit]

    def get_proposal(self, approval: ids.ApprovalId) -> proposals.Proposal | None:
        return self._tables.proposals.get(approval)

    def list_proposals(
        self,
        *,
        agent: ids.AgentId | None = None,
        builds: Iterable[proposals.BuildState] | None = None,
        steps: Iterable[proposals.DeployStep] | None = None,
        limit: int = 200,
    ) -> list[proposals.Proposal]:
        of_builds = None if builds is None else frozenset(builds)
        of_steps = None if steps is None else frozenset(steps)
        found = [
            proposal
            for proposal in self._tables.proposals.values()
            if (agent is None or proposal.agent_id == agent)
            and (of_builds is None or proposal.build in of_builds)
            and (of_steps is None or proposal.step in of_steps)
        ]
        return sorted(found, key=lambda proposal: -proposal.approval)[:limit]

    def get_deployment(self, agent: ids.AgentId) -> deployments.Deployment | None:
        return self._tables.deployments.get(agent)

    def list_deployments(self) -> list[deployments.Deployment]:
        return [row for _, row in sorted(self._tables.deployments.items())]

    def get_turn(self, turn: ids.TurnId) -> turns.Turn | None:
        return self._tables.turns.get(turn)

    def list_turns(self, agent: ids.AgentId, limit: int = 50) -> list[turns.Turn]:
        found = [turn for turn in self._tables.turns.values() if turn.agent == agent]
        return found[::-1][:limit]

    def get_value(self, key: str) -> Any | None:
        text = self._tables.values.get(key)
        return None if text is None else rows.json_out(text)

    def list_values(self, prefix: str) -> dict[str, Any]:
        found = sorted(self._tables.values.items())
        return {key: rows.json_out(text) for key, text in found if key.startswith(prefix)}

    # --- writing ---

    def record(self, event: events.Event) -> int:
        number = self._tables.last_number() + 1
        self._tables.facts.append(events.Fact(number, self._clock.now(), event))
        self._undo.append(self._tables.facts.pop)
        self.topics.extend(event.topics)
        return number

    def insert_agent(self, agent: agents.Agent) -> None:
        for other in self._tables.agents.values():
            if agent.id == other.id or agent.name == other.name or agent.slot == other.slot:
                raise errors.conflict(
                    f"cannot create agent {agent.name}: that name, id or slot exists; "
                    "choose another"
                )
        self._put(self._tables.agents, agent.id, agent)

    def update_agent(self, agent: agents.Agent) -> None:
        if agent.id not in self._tables.agents:
            raise errors.not_found(f"cannot change agent {agent.name}: no agent has id {agent.id}")
        self._put(self._tables.agents, agent.id, agent)

    def next_slot(self) -> int:
        return self._count("slot")

    def insert_message(self, message: messages.Message) -> messages.Message:
        if message.key is not None and (message.sender, message.key) in self._tables.keys:
            raise errors.conflict(
                f"cannot send: {message.sender_name} has used the key {message.key!r} before"
            )
        stored = rows.message_with_id(message, self._count("message_id"))
        self._put(self._tables.messages, stored.id, stored)
        if message.key is not None:
            self._put(self._tables.keys, (message.sender, message.key), stored.id)
        return stored

    def lease_messages(
        self, recipient: ids.PartyId, lease: ids.TurnId, at: datetime.datetime, limit: int
    ) -> list[messages.Message]:
        queued = self._in_state(messages.MessageState.QUEUED, recipient)
        leased = [
            dataclasses.replace(
                message,
                state=messages.MessageState.LEASED,
                deliveries=message.deliveries + 1,
                lease=lease,
                changed_at=at,
            )
            for message in queued[:limit]
        ]
        for message in leased:
            self._put(self._tables.messages, message.id, message)
        return leased

    def list_leased(
        self, *, lease: ids.TurnId | None = None, recipient: ids.PartyId | None = None
    ) -> list[messages.Message]:
        leased = self._in_state(messages.MessageState.LEASED, recipient)
        return [message for message in leased if lease is None or message.lease == lease]

    def update_messages(self, changed: Sequence[messages.Message]) -> None:
        if any(message.id not in self._tables.messages for message in changed):
            numbers = ", ".join(str(message.id) for message in changed)
            raise errors.not_found(f"cannot change messages {numbers}: not all of them exist")
        for message in changed:
            stored = dataclasses.replace(
                self._tables.messages[message.id],
                state=message.state,
                deliveries=message.deliveries,
                lease=message.lease,
                changed_at=message.changed_at,
            )
            self._put(self._tables.messages, message.id, stored)

    def delete_facts(self, up_to: int, limit: int) -> int:
        tables = self._tables
        count = max(0, min(up_to - tables.facts_deleted, len(tables.facts) - 1, limit))
        deleted = tables.facts[:count]
        del tables.facts[:count]
        tables.facts_deleted += count

        def restore() -> None:
            tables.facts[:0] = deleted
            tables.facts_deleted -= count

        self._undo.append(restore)
        return count

    def delete_handled(self, before: datetime.datetime, limit: int) -> int:
        handled = self._in_state(messages.MessageState.HANDLED, None)
        old = sorted((m for m in handled if m.changed_at < before), key=lambda m: m.changed_at)
        for message in old[:limit]:
            self._drop_message(message)
        return len(old[:limit])

    def delete_turns(self, agent: ids.AgentId, before: datetime.datetime, limit: int) -> int:
        tables = self._tables
        held = {m.lease for m in self._in_state(messages.MessageState.LEASED, None)}
        own = [turn for turn in tables.turns.values() if turn.agent == agent]
        old = {
            turn.id
            for turn in own[:-1][:limit]
            if turn.ended_at is not None and turn.ended_at < before and turn.id not in held
        }
        # A whole dict, because the order of the turns has to come back too.
        self._undo.append(functools.partial(setattr, tables, "turns", tables.turns))
        tables.turns = {turn.id: turn for turn in tables.turns.values() if turn.id not in old}
        return len(old)

    def insert_approval(self, approval: approvals.Approval) -> approvals.Approval:
        stored = dataclasses.replace(approval, id=ids.ApprovalId(self._count("approval_id")))
        self._put(self._tables.approvals, stored.id, stored)
        return stored

    def adopt_approval(self, approval: approvals.Approval) -> None:
        tables, before = self._tables, self._tables.approval_id
        if approval.id in tables.approvals:
            raise errors.conflict(f"cannot adopt approval {approval.id}: it exists")
        self._put(tables.approvals, approval.id, approval)
        self._undo.append(lambda: setattr(tables, "approval_id", before))
        tables.approval_id = max(before, approval.id)

    def update_approval(self, approval: approvals.Approval) -> None:
        if approval.id not in self._tables.approvals:
            raise errors.not_found(f"cannot change approval {approval.id}: there is none")
        self._put(self._tables.approvals, approval.id, approval)

    def insert_proposal(self, proposal: proposals.Proposal) -> None:
        if proposal.approval in self._tables.proposals:
            raise errors.conflict(f"cannot propose: approval {proposal.approval} has a proposal")
        self._put(self._tables.proposals, proposal.approval, proposal)

    def update_proposal(self, proposal: proposals.Proposal) -> None:
        if proposal.approval not in self._tables.proposals:
            raise errors.not_found(f"cannot change proposal {proposal.approval}: there is none")
        self._put(self._tables.proposals, proposal.approval, proposal)

    def put_deployment(self, deployment: deployments.Deployment) -> None:
        self._put(self._tables.deployments, deployment.agent_id, deployment)

    def insert_turn(self, turn: turns.Turn) -> None:
        if turn.id in self._tables.turns:
            raise errors.conflict(f"cannot open turn {turn.id}: it exists")
        self._put(self._tables.turns, turn.id, turn)
        self._count_ended(turn)

    def update_turn(self, turn: turns.Turn) -> None:
        if turn.id not in self._tables.turns:
            raise errors.not_found(f"cannot change turn {turn.id}: there is none")
        if self._tables.turns[turn.id].ended_at is None:
            self._count_ended(turn)
        self._put(self._tables.turns, turn.id, turn)

    def put_value(self, key: str, value: Any) -> None:
        self._put(self._tables.values, key, rows.json_in(value))

    def delete_value(self, key: str) -> None:
        if key in self._tables.values:
            text = self._tables.values.pop(key)
            self._undo.append(lambda: self._tables.values.update({key: text}))

    # --- rows and how to take changes back ---

    def _in_state(
        self, state: messages.MessageState, recipient: ids.PartyId | None
    ) -> list[messages.Message]:
        return [
            message
            for message in self._tables.messages.values()
            if message.state is state and (recipient is None or message.recipient == recipient)
        ]

    def _put(self, table: dict[K, V], key: K, row: V) -> None:
        if key in table:
            before = table[key]
            self._undo.append(lambda: table.update({key: before}))
        else:
            self._undo.append(lambda: table.pop(key))
        table[key] = row

    def _count(self, counter: str) -> int:
        number = getattr(self._tables, counter) + 1
        self._undo.append(lambda: setattr(self._tables, counter, number - 1))
        setattr(self._tables, counter, number)
        return number

    def _drop_message(self, message: messages.Message) -> None:
        tables = self._tables
        before, keys = dict(tables.messages), dict(tables.keys)
        del tables.messages[message.id]
        if message.key is not None:
            del tables.keys[message.sender, message.key]

        def restore() -> None:
            # Whole dicts, because the order of the messages has to come back too.
            tables.messages, tables.keys = before, keys

        self._undo.append(restore)
