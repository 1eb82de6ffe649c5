"""How facts look outside the process: plain JSON objects for page, socket and command line."""

from __future__ import annotations

import datetime
from typing import Any

from hyperhive.domain import (
    agents,
    approvals,
    deployments,
    messages,
    proposals,
    questions,
    reminders,
    turns,
)


def timestamp(moment: datetime.datetime | None) -> str | None:
    """RFC 3339 in UTC with milliseconds, e.g. ``2026-11-23T08:15:00.123Z``."""
    if moment is None:
        return None
    utc = moment.astimezone(datetime.UTC)
    return utc.isoformat(timespec="milliseconds").replace("+00:00", "Z")


def agent_view(agent: agents.Agent, unread: int) -> dict[str, Any]:
    """One agent; ``doing`` is the work in progress or null (S59)."""
    goes_on = agent.wanted is agents.Wanted.RUNNING
    start = "starting" if agent.running_epoch == 0 else "restarting"
    doing = {
        agents.Phase.SPAWNING: "spawning",
        # For an instant, between two steps of the fleet loop.
        agents.Phase.STOPPED: start if goes_on else None,
        agents.Phase.STARTING: start,
        agents.Phase.STOPPING: start if goes_on else "stopping",
    }.get(agent.phase)
    return {
        "id": agent.id,
        "name": agent.name,
        "role": agent.role.value,
        "wanted": agent.wanted.value,
        "phase": agent.phase.value,
        "phase_since": timestamp(agent.phase_since),
        "phase_note": agent.phase_note,
        "doing": doing,
        "pid": agent.sandbox.pid if agent.sandbox else None,
        "crashes": agent.crashes,
        "retry_at": timestamp(agent.retry_at),
        "turn_state": agent.turn_state.value,
        "turn_since": timestamp(agent.turn_since),
        "turn_note": agent.turn_note,
        "status": agent.status,
        "model": agent.model,
        "created_at": timestamp(agent.created_at),
        "unread": unread,
    }


def message_view(message: messages.Message) -> dict[str, Any]:
    """One message with its state."""
    return {
        "id": message.id,
        "from": message.sender_name,
        "to": message.recipient_name,
        "type": message.type.value,
        "body": message.body,
        "in_reply_to": message.in_reply_to,
        "sent_at": timestamp(message.sent_at),
        "state": message.state.value,
        "deliveries": message.deliveries,
        "redelivered": message.redelivered,
        "changed_at": timestamp(message.changed_at),
    }


def approval_view(
    approval: approvals.Approval, proposal: proposals.Proposal | None = None
) -> dict[str, Any]:
    """One approval with its proposal or null; ``digest`` must be named when deciding."""
    return {
        "id": approval.id,
        "kind": approval.kind.value,
        "agent": approval.agent_name,
        "description": approval.description,
        "requested_by": approval.requested_by_name,
        "requested_at": timestamp(approval.requested_at),
        "state": approval.state.value,
        "digest": approval.digest,
        "decided_by": approval.decided_by,
        "decided_via": approval.decided_via,
        "decided_at": timestamp(approval.decided_at),
        "note": approval.note,
        "changed_at": timestamp(approval.changed_at),
        "proposal": None if proposal is None else proposal_view(proposal),
    }


def proposal_view(proposal: proposals.Proposal) -> dict[str, Any]:
    """How far a proposal is; the contents are the card's (`services.card`)."""
    return {
        "sha": proposal.sha,
        "tree": proposal.tree,
        "base_sha": proposal.base_sha,
        "origin": proposal.origin.value,
        "commit_ref": proposal.commit_ref,
        "build": proposal.build.value,
        "build_note": proposal.build_note,
        "generation": proposal.generation,
        "step": proposal.step.value,
        "deadline": timestamp(proposal.deadline),
        "expires_at": timestamp(proposal.expires_at),
        "tag": proposal.tag,
        "inputs": list(proposal.configuration.get("inputs", ()))
        if proposal.origin is proposals.Origin.INPUTS
        else [],
        "changed_at": timestamp(proposal.changed_at),
    }


def deployment_view(deployment: deployments.Deployment) -> dict[str, Any]:
    """What an agent runs; ``trial`` is the approval whose switch is being checked, or null."""
    return {
        "approval": deployment.approval,
        "tag": f"deployed/{deployment.approval}",
        "sha": deployment.sha,
        "generation": deployment.generation,
        "deployed_at": timestamp(deployment.deployed_at),
        "trial": deployment.trial,
    }


def question_view(question: questions.Question) -> dict[str, Any]:
    """One question; ``answer`` is empty while it is open."""
    return {
        "id": question.id,
        "from": question.asker_name,
        "to": question.asked_name,
        "question": question.text,
        "options": list(question.options),
        "multi": question.multi,
        "asked_at": timestamp(question.asked_at),
        "expires_at": timestamp(question.expires_at),
        "state": question.state.value,
        "answer": question.answer,
        "answered_by": question.answered_by,
        "answered_via": question.answered_via,
        "changed_at": timestamp(question.changed_at),
    }


def reminder_view(reminder: reminders.Reminder) -> dict[str, Any]:
    """One reminder of an agent."""
    return {
        "id": reminder.id,
        "text": reminder.text,
        "set_at": timestamp(reminder.set_at),
        "due_at": timestamp(reminder.due_at),
        "state": reminder.state.value,
    }


def turn_view(turn: turns.Turn) -> dict[str, Any]:
    """One turn with what it used."""
    return {
        "id": turn.id,
        "started_at": timestamp(turn.started_at),
        "ended_at": timestamp(turn.ended_at),
        "kind": turn.kind.value,
        "outcome": turn.outcome.value,
        "note": turn.note,
        "woke_by": turn.woke_by,
        "model": turn.model,
        "tool_calls": turn.tool_calls,
        "input_tokens": turn.usage.input_tokens,
        "output_tokens": turn.usage.output_tokens,
        "cache_read_tokens": turn.usage.cache_read_tokens,
        "cache_write_tokens": turn.usage.cache_write_tokens,
        "cost_usd": turn.usage.cost_usd,
        "context_tokens": turn.usage.context_tokens,
    }
