"""What the page and `hive status` show: one picture, and what changed since."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any

from hyperhive import ports
from hyperhive.domain import (
    agents,
    approvals,
    configuration,
    errors,
    events,
    ids,
    messages,
    proposals,
    questions,
)
from hyperhive.services import (
    effective,
    lookup,
    mcp_servers,
    metering,
    model_source,
    named_secrets,
    pauses,
    recipients,
    refusals,
    sessions,
    turns,
    waits,
)
from hyperhive.wire import views

MESSAGES_SHOWN = 200
BODIES_SHOWN = 4 * 1024 * 1024
"""Characters of all bodies in one list of a picture: pages load in a moment, whatever was sent."""
FACTS_AT_ONCE = 500
QUESTIONS_SHOWN = 100


class Overview:
    """Reads for pages; writes nothing."""

    def __init__(
        self,
        store: ports.Store,
        source: model_source.ModelSource,
        *,
        hive: str,
        version: str,
        model: str,
        refused: refusals.Refusals,
        meter: metering.Metering | None = None,
        allowed_hosts: Sequence[str] = (),
        built_from: Callable[[], str] = str,
    ) -> None:
        self._store = store
        self._source = source
        self._about = {"name": hive, "version": version, "allowed_hosts": list(allowed_hosts)}
        self._model = model
        self._meter = meter or metering.Metering()
        self._refused = refused
        self._built_from = built_from

    async def snapshot(self) -> dict[str, Any]:
        """Everything that the dashboard shows, true at ``number``."""
        model = await self._source.status()

        def look(tx: ports.ReadTx) -> dict[str, Any]:
            inbox = tx.list_messages(
                recipient=ids.OPERATOR, states=[messages.MessageState.QUEUED], limit=MESSAGES_SHOWN
            )
            live = tx.list_approvals(states=approvals.LIVE, limit=200)
            shown = {a.id: a for a in [*tx.list_approvals(limit=100), *live]}
            newest = tx.list_questions(limit=QUESTIONS_SHOWN)
            asked = {q.id: q for q in [*newest, *tx.list_open_questions()]}
            return {
                "number": tx.last_number(),
                "hive": self._about | {"model": model},
                "agents": self.agent_rows(tx),
                "messages": [
                    views.message_view(m) for m in _newest(tx.list_messages(limit=MESSAGES_SHOWN))
                ],
                "inbox": [views.message_view(m) for m in _newest(inbox)],
                "approvals": [
                    views.approval_view(shown[key], tx.get_proposal(key))
                    for key in sorted(shown, reverse=True)
                ],
                "questions": [
                    views.question_view(asked[key]) for key in sorted(asked, reverse=True)
                ],
            }

        return await self._store.read(look)

    def agent_row(self, tx: ports.ReadTx, agent: agents.Agent) -> dict[str, Any]:
        """One agent as every border shows it; the hive's model where it has none of its own.

        ``gateway`` is what passed the model gateway for it since the daemon started, and
        ``refused`` what the egress proxy did not let it reach; ``recipients`` are the agents
        that it may write to, null for all. ``deployment`` is the configuration that it runs,
        null without one; ``pausing`` says that it waits after a failed turn, and ``waiting`` why
        it begins none, for every reason there is. ``paused`` says since when, by whom and why
        the operator lets it begin none, null when not so; ``session`` how full its session is
        and what becomes of it next. ``trouble`` are sentences about its configuration, empty
        when all is well, and ``mcp_servers`` are the extra servers as its harness saw them last.
        """
        unread = tx.count_queued(ids.PartyId(agent.id))
        try:
            configured = effective.current(tx, agent.id).configuration
            trouble = named_secrets.explain_missing(named_secrets.missing(tx, configured))
            listed = recipients.names(tx, agent.id)
        except errors.HiveError as error:
            # One agent's row must not take the page from the others.
            configured, trouble, listed = configuration.Configuration(), [error.message], []
        return views.agent_view(agent, unread) | {
            "model": agent.model or configured.model or self._model,
            "gateway": self._meter.view(agent.id),
            "refused": self._refused.view(agent.id),
            "pausing": turns.is_pausing(tx, agent.id),
            "paused": pauses.by_operator(tx, agent.id),
            "session": sessions.view(tx, agent),
            "waiting": waits.reasons(tx, agent),
            "recipients": listed,
            "mcp_servers": mcp_servers.view(tx, agent.id, configured),
            "trouble": trouble,
            "deployment": self._deployment(tx, agent.id),
        }

    def _deployment(self, tx: ports.ReadTx, agent: ids.AgentId) -> dict[str, Any] | None:
        deployment = tx.get_deployment(agent)
        if deployment is None:
            return None
        present = self._built_from() if deployment.generation else ""
        steps = [step for step in proposals.DeployStep if step is not proposals.DeployStep.NONE]
        work = next(iter(tx.list_proposals(agent=agent, steps=steps, limit=1)), None)
        return views.deployment_view(deployment) | {
            # Built from other inputs than a build would take now (S60).
            "stale": bool(present) and present != deployment.built_from,
            "work": work
            and {"approval": work.approval, "origin": work.origin.value, "step": work.step.value},
        }

    def agent_rows(self, tx: ports.ReadTx) -> list[dict[str, Any]]:
        """All agents, the manager first."""
        return [self.agent_row(tx, agent) for agent in tx.list_agents()]

    async def updates_after(self, number: int) -> dict[str, Any] | None:
        """The facts after *number* with the present rows they name; None when there are none."""
        model = await self._source.status()

        def look(tx: ports.ReadTx) -> dict[str, Any] | None:
            facts = tx.facts_after(number, FACTS_AT_ONCE)
            if not facts:
                return None
            return self._batch(tx, facts, model)

        return await self._store.read(look)

    async def wait(self, number: int) -> None:
        """Return as soon as there is a fact after *number*."""
        await self._store.changed(events.ANY, number)

    async def messages(
        self, *, agent: str | None, limit: int, before: int | None
    ) -> list[dict[str, Any]]:
        """The newest messages, or those to one agent or the operator (S7), newest first."""

        def look(tx: ports.ReadTx) -> list[dict[str, Any]]:
            recipient = None
            if agent == ids.OPERATOR:
                recipient = ids.OPERATOR
            elif agent is not None:
                recipient = ids.PartyId(lookup.require_named(tx, agent).id)
            found = tx.list_messages(
                recipient=recipient,
                before=None if before is None else ids.MessageId(before),
                limit=min(limit, 1000),
            )
            return [views.message_view(m) for m in found]

        return await self._store.read(look)

    def _batch(
        self, tx: ports.ReadTx, facts: list[events.Fact], model: dict[str, Any]
    ) -> dict[str, Any]:
        touched: dict[ids.AgentId, None] = {}
        message_rows: dict[ids.MessageId, messages.Message] = {}
        approval_rows: dict[ids.ApprovalId, approvals.Approval] = {}
        question_rows: dict[ids.QuestionId, questions.Question] = {}
        for fact in facts:
            event = fact.event
            if event.agent is not None:
                touched[event.agent] = None
            if event.message is not None:
                message = tx.get_message(event.message)
                if message is not None:
                    message_rows[message.id] = message
                    if message.recipient not in (ids.OPERATOR, ids.SYSTEM):
                        touched[ids.AgentId(message.recipient)] = None
            if event.approval is not None:
                approval = tx.get_approval(event.approval)
                if approval is not None:
                    approval_rows[approval.id] = approval
            if event.question is not None:
                question = tx.get_question(event.question)
                if question is not None:
                    question_rows[question.id] = question
        found = [tx.get_agent(agent) for agent in touched]
        return {
            "number": facts[-1].number,
            "hive": self._about | {"model": model},
            "facts": [fact_view(fact) for fact in facts],
            "agents": [self.agent_row(tx, agent) for agent in found if agent is not None],
            "messages": [views.message_view(m) for m in message_rows.values()],
            "approvals": [
                views.approval_view(a, tx.get_proposal(a.id)) for a in approval_rows.values()
            ],
            "questions": [views.question_view(q) for q in question_rows.values()],
        }


def _newest(found: list[messages.Message]) -> list[messages.Message]:
    """The first of *found* whose bodies fit into BODIES_SHOWN, and always the first one."""
    shown: list[messages.Message] = []
    size = 0
    for message in found:
        size += len(message.body)
        if shown and size > BODIES_SHOWN:
            break
        shown.append(message)
    return shown


def fact_view(fact: events.Fact) -> dict[str, Any]:
    """One fact as the stream shows it."""
    event = fact.event
    return {
        "number": fact.number,
        "at": views.timestamp(fact.at),
        "kind": event.kind.value,
        "agent": event.agent,
        "message": event.message,
        "approval": event.approval,
        "question": event.question,
        "turn": event.turn,
        "text": event.text,
    }
