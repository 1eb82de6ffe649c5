"""The one durable place for facts."""

from __future__ import annotations

import datetime
from collections.abc import Callable, Iterable, Sequence
from typing import Any, Protocol, TypeVar

from hyperhive.domain import (
    agents,
    approvals,
    deployments,
    events,
    ids,
    messages,
    proposals,
    questions,
    reminders,
    statistics,
    turns,
)

T = TypeVar("T")


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

    def get_proposal(self, approval: ids.ApprovalId) -> proposals.Proposal | None: ...
    def list_proposals(
        self,
        *,
        agent: ids.AgentId | None = None,
        builds: Iterable[proposals.BuildState] | None = None,
        steps: Iterable[proposals.DeployStep] | None = None,
        limit: int = 200,
    ) -> list[proposals.Proposal]:
        """Matching proposals, newest first."""
        ...

    def get_deployment(self, agent: ids.AgentId) -> deployments.Deployment | None: ...
    def list_deployments(self) -> list[deployments.Deployment]: ...
    def get_question(self, question: ids.QuestionId) -> questions.Question | None: ...
    def list_questions(
        self, *, asker: ids.PartyId | None = None, limit: int = 200
    ) -> list[questions.Question]:
        """Questions in any state, of all or of one asker, newest first."""
        ...

    def list_open_questions(self, limit: int = 1000) -> list[questions.Question]:
        """Questions that wait, oldest first."""
        ...

    def list_expiring(self, limit: int) -> list[questions.Question]:
        """Questions that wait and have a deadline, the earliest first."""
        ...

    def get_reminder(self, reminder: ids.ReminderId) -> reminders.Reminder | None: ...
    def list_reminders(
        self, agent: ids.AgentId | None = None, limit: int = 100
    ) -> list[reminders.Reminder]:
        """Reminders that wait, of all or of one agent, the earliest first."""
        ...

    def get_turn(self, turn: ids.TurnId) -> turns.Turn | None: ...
    def list_turns(self, agent: ids.AgentId, limit: int = 50) -> list[turns.Turn]:
        """Turns of one agent, newest first."""
        ...

    def sum_turns(
        self, since: datetime.datetime, agent: ids.AgentId | None = None
    ) -> list[statistics.TurnSum]:
        """Turns that began since then, by agent, model and outcome."""
        ...

    def measure_turns(
        self, since: datetime.datetime, agent: ids.AgentId | None = None
    ) -> list[statistics.Spread]:
        """How long those took: first all together, then by agent and model; none for none."""
        ...

    def count_wakers(
        self, since: datetime.datetime, agent: ids.AgentId | None = None
    ) -> list[statistics.Waker]:
        """Who started those, by agent and model, the busiest first."""
        ...

    def turn_totals(self) -> list[statistics.TurnSum]:
        """All turns that ever ended, also those that were deleted since."""
        ...

    def oldest_queued(self, recipient: ids.PartyId) -> datetime.datetime | None:
        """When the queued message was sent that has waited longest; None when none is queued."""
        ...

    def count_approvals(self, state: approvals.ApprovalState) -> int:
        """Approvals in that state."""
        ...

    def count_builds(self, build: proposals.BuildState) -> int:
        """Proposals whose build is in that state."""
        ...

    def count_steps(self, step: proposals.DeployStep) -> int:
        """Proposals whose deploy is at that step."""
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

    def delete_facts(self, up_to: int, limit: int) -> int:
        """Delete up to *limit* of the oldest facts, none above *up_to* nor the newest one.

        Returns how many. Numbers are never used again.
        """
        ...

    def delete_handled(self, before: datetime.datetime, limit: int) -> int:
        """Delete up to *limit* messages handled before a time; return how many."""
        ...

    def delete_turns(self, agent: ids.AgentId, before: datetime.datetime, limit: int) -> int:
        """Of the *limit* oldest turns of *agent* delete those that ended before a time.

        Never its newest turn nor one that holds leases. Returns how many were deleted.
        """
        ...

    def insert_approval(self, approval: approvals.Approval) -> approvals.Approval:
        """Add *approval* (its id is ignored) and return it with the id that it got."""
        ...

    def adopt_approval(self, approval: approvals.Approval) -> None:
        """Add *approval* under the id that it has: from another hive, whose tags name that id.

        Later approvals get greater ids. `HiveError` CONFLICT when the id was used.
        """
        ...

    def update_approval(self, approval: approvals.Approval) -> None: ...
    def insert_proposal(self, proposal: proposals.Proposal) -> None:
        """Add a row; `HiveError` CONFLICT when the approval has one."""
        ...

    def update_proposal(self, proposal: proposals.Proposal) -> None:
        """Replace the row; `HiveError` NOT_FOUND when there is none."""
        ...

    def put_deployment(self, deployment: deployments.Deployment) -> None:
        """Add or replace the row of that agent."""
        ...

    def insert_question(self, question: questions.Question) -> questions.Question:
        """Add *question* (its id is ignored) and return it with the id that it got."""
        ...

    def update_question(self, question: questions.Question) -> None:
        """Replace the row; `HiveError` NOT_FOUND when there is none."""
        ...

    def delete_questions(self, before: datetime.datetime, limit: int) -> int:
        """Delete up to *limit* questions that ended before a time; return how many."""
        ...

    def insert_reminder(self, reminder: reminders.Reminder) -> reminders.Reminder:
        """Add *reminder* (its id is ignored) and return it with the id that it got."""
        ...

    def update_reminder(self, reminder: reminders.Reminder) -> None:
        """Replace the row; `HiveError` NOT_FOUND when there is none."""
        ...

    def delete_reminders(self, before: datetime.datetime, limit: int) -> int:
        """Delete up to *limit* reminders that ended before a time; return how many."""
        ...

    def insert_turn(self, turn: turns.Turn) -> None: ...
    def update_turn(self, turn: turns.Turn) -> None:
        """Replace the row; a turn that ends by it counts in `turn_totals`, once."""
        ...

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
