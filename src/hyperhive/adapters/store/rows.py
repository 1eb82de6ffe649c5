"""How domain objects look as rows: times as integers, enums as their words.

The order of the fields here is the order of the columns in `queries`.
"""

from __future__ import annotations

import datetime
import json
from collections.abc import Sequence
from typing import Any, Final

from hyperhive.domain import agents, approvals, events, ids, messages, turns

Row = Sequence[Any]

_EPOCH: Final = datetime.datetime(1970, 1, 1, tzinfo=datetime.UTC)
_MICROSECOND: Final = datetime.timedelta(microseconds=1)
# Calling an enum class costs more than the rest of a row together.
_MESSAGE_STATES: Final = {member.value: member for member in messages.MessageState}
_MESSAGE_TYPES: Final = {member.value: member for member in messages.MessageType}
_EVENT_KINDS: Final = {member.value: member for member in events.EventKind}


def time_in(at: datetime.datetime) -> int:
    """Microseconds since 1970 UTC."""
    return (at - _EPOCH) // _MICROSECOND


def time_out(value: int) -> datetime.datetime:
    """The inverse of `time_in`."""
    return _EPOCH + datetime.timedelta(microseconds=value)


def maybe_time_in(at: datetime.datetime | None) -> int | None:
    """`time_in`, or None for None."""
    return None if at is None else time_in(at)


def maybe_time_out(value: int | None) -> datetime.datetime | None:
    """The inverse of `maybe_time_in`."""
    return None if value is None else time_out(value)


def json_in(value: Any) -> str:
    """A value as JSON text."""
    return json.dumps(value, separators=(",", ":"), allow_nan=False)


def json_out(text: str) -> Any:
    """The inverse of `json_in`."""
    return json.loads(text)


def fact_in(number: int, at: datetime.datetime, event: events.Event) -> Row:
    """Topics hold no spaces, so a space joins them."""
    return (
        number, time_in(at), event.kind.value, event.agent, event.message, event.approval,
        event.turn, event.text, " ".join(event.topics), event.question,
    )  # fmt: skip


def fact_out(row: Row) -> events.Fact:
    """A fact from its row."""
    number, at, kind, agent, message, approval, turn, text, topics, question = row
    event = events.Event(
        _EVENT_KINDS[kind], agent, message, approval, turn, text,
        tuple(events.Topic(topic) for topic in topics.split()), question,
    )  # fmt: skip
    return events.Fact(number, time_out(at), event)


def agent_in(agent: agents.Agent) -> Row:
    """A row from an agent."""
    sandbox = agent.sandbox
    return (
        agent.id, agent.name, agent.role.value, agent.slot, time_in(agent.created_at),
        agent.wanted.value, agent.epoch, agent.phase.value, time_in(agent.phase_since),
        agent.phase_note, agent.running_epoch,
        None if sandbox is None else sandbox.boot_id,
        None if sandbox is None else sandbox.pid,
        None if sandbox is None else sandbox.start_time,
        agent.crashes, maybe_time_in(agent.retry_at), agent.turn_state.value,
        time_in(agent.turn_since), agent.turn_note, agent.status, agent.model, agent.session_id,
        int(agent.session_started), agent.start_reason,
    )  # fmt: skip


def agent_out(row: Row) -> agents.Agent:
    """An agent from its row."""
    boot_id, pid, start_time = row[11:14]
    return agents.Agent(
        id=ids.AgentId(row[0]),
        name=ids.AgentName(row[1]),
        role=agents.Role(row[2]),
        slot=row[3],
        created_at=time_out(row[4]),
        wanted=agents.Wanted(row[5]),
        epoch=row[6],
        phase=agents.Phase(row[7]),
        phase_since=time_out(row[8]),
        phase_note=row[9],
        running_epoch=row[10],
        sandbox=None if boot_id is None else agents.SandboxIdentity(boot_id, pid, start_time),
        crashes=row[14],
        retry_at=maybe_time_out(row[15]),
        turn_state=agents.TurnState(row[16]),
        turn_since=time_out(row[17]),
        turn_note=row[18],
        status=row[19],
        model=row[20],
        session_id=row[21],
        session_started=bool(row[22]),
        start_reason=row[23],
    )


def message_in(message: messages.Message) -> Row:
    """A row from a message."""
    return (
        message.id, message.sender, message.sender_name, message.recipient, message.recipient_name,
        message.type.value, message.body, message.in_reply_to, message.key,
        time_in(message.sent_at), message.state.value, message.deliveries, message.lease,
        time_in(message.changed_at),
    )  # fmt: skip


def message_out(row: Row) -> messages.Message:
    """A message from its row."""
    (
        number, sender, sender_name, recipient, recipient_name, kind, body, in_reply_to, key,
        sent_at, state, deliveries, lease, changed_at,
    ) = row  # fmt: skip
    return messages.Message(
        number, sender, sender_name, recipient, recipient_name, _MESSAGE_TYPES[kind], body,
        in_reply_to, key, time_out(sent_at), _MESSAGE_STATES[state], deliveries, lease,
        time_out(changed_at),
    )  # fmt: skip


def message_leased(row: Row, lease: ids.TurnId, at: datetime.datetime) -> messages.Message:
    """A message from its row, as it is once leased."""
    queued = message_out(row)
    return messages.Message(
        queued.id, queued.sender, queued.sender_name, queued.recipient, queued.recipient_name,
        queued.type, queued.body, queued.in_reply_to, queued.key, queued.sent_at,
        messages.MessageState.LEASED, queued.deliveries + 1, lease, at,
    )  # fmt: skip


def message_with_id(message: messages.Message, number: int) -> messages.Message:
    """*message* as stored under *number* (dataclasses.replace is four times slower)."""
    return messages.Message(
        ids.MessageId(number), message.sender, message.sender_name, message.recipient,
        message.recipient_name, message.type, message.body, message.in_reply_to, message.key,
        message.sent_at, message.state, message.deliveries, message.lease, message.changed_at,
    )  # fmt: skip


def approval_in(approval: approvals.Approval) -> Row:
    """A row from an approval, without its id."""
    return (
        approval.kind.value, approval.agent_name, approval.agent_id, approval.description,
        approval.requested_by, approval.requested_by_name, time_in(approval.requested_at),
        approval.state.value, approval.digest, approval.decided_by, approval.decided_via,
        maybe_time_in(approval.decided_at), approval.note, time_in(approval.changed_at),
    )  # fmt: skip


def approval_out(row: Row) -> approvals.Approval:
    """An approval from its row."""
    return approvals.Approval(
        id=ids.ApprovalId(row[0]),
        kind=approvals.ApprovalKind(row[1]),
        agent_name=ids.AgentName(row[2]),
        agent_id=row[3],
        description=row[4],
        requested_by=ids.PartyId(row[5]),
        requested_by_name=row[6],
        requested_at=time_out(row[7]),
        state=approvals.ApprovalState(row[8]),
        digest=row[9],
        decided_by=row[10],
        decided_via=row[11],
        decided_at=maybe_time_out(row[12]),
        note=row[13],
        changed_at=time_out(row[14]),
    )


def turn_in(turn: turns.Turn) -> Row:
    """A row from a turn."""
    usage = turn.usage
    return (
        turn.id, turn.agent, time_in(turn.started_at), maybe_time_in(turn.ended_at),
        turn.outcome.value, turn.note, turn.woke_by, turn.model, turn.tool_calls,
        usage.input_tokens, usage.output_tokens, usage.cache_read_tokens,
        usage.cache_write_tokens, usage.cost_usd, usage.context_tokens, turn.kind.value,
    )  # fmt: skip


def turn_out(row: Row) -> turns.Turn:
    """A turn from its row."""
    return turns.Turn(
        id=ids.TurnId(row[0]),
        agent=ids.AgentId(row[1]),
        started_at=time_out(row[2]),
        ended_at=maybe_time_out(row[3]),
        outcome=turns.Outcome(row[4]),
        note=row[5],
        woke_by=row[6],
        model=row[7],
        tool_calls=row[8],
        usage=turns.Usage(*row[9:15]),
        kind=turns.TurnKind(row[15]),
    )
