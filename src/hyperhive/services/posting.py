"""Mail inside the transactions of other services, so that a turn and its mail always agree.

Plain functions on a `ports.Tx`. Other services reach them through `messaging`.
"""

from __future__ import annotations

import dataclasses
import datetime
import json
from collections.abc import Sequence
from typing import Any, Final

from hyperhive import ports
from hyperhive.domain import agents, events, ids, machine, messages, turns
from hyperhive.domain.messages import Message, MessageState, MessageType, Move

_RECEIVED: Final = "received:"
_ONCE: Final = "once:"


def post(
    tx: ports.Tx,
    now: datetime.datetime,
    *,
    sender: ids.PartyId,
    sender_name: str,
    recipient: ids.PartyId,
    recipient_name: str,
    body: str,
    type: MessageType = MessageType.TEXT,  # noqa: A002 - the field's name
    in_reply_to: ids.MessageId | None = None,
    key: str | None = None,
) -> Message:
    """Queue a message and wake its recipient; `HiveError` CONFLICT when the key was used."""
    message = tx.insert_message(
        Message(
            id=ids.MessageId(0),
            sender=sender,
            sender_name=sender_name,
            recipient=recipient,
            recipient_name=recipient_name,
            type=type,
            body=body,
            in_reply_to=in_reply_to,
            key=key,
            sent_at=now,
            state=MessageState.QUEUED,
            deliveries=0,
            lease=None,
            changed_at=now,
        )
    )
    record(
        tx,
        events.EventKind.MESSAGE_SENT,
        message,
        text=f"{sender_name} to {recipient_name}",
        topics=(events.inbox_topic(recipient),),
    )
    return message


def post_event(
    tx: ports.Tx, now: datetime.datetime, agent: agents.Agent, event: str, /, **fields: Any
) -> Message:
    """Queue a system mail to *agent* whose body is the JSON object ``{"event": event, …}``."""
    return post(
        tx,
        now,
        sender=ids.SYSTEM,
        sender_name="system",
        recipient=ids.PartyId(agent.id),
        recipient_name=agent.name,
        body=json.dumps({"event": event, **fields}, ensure_ascii=False),
        type=MessageType.EVENT,
    )


def lease(
    tx: ports.Tx, now: datetime.datetime, agent: ids.AgentId, turn: ids.TurnId, limit: int
) -> list[Message]:
    """Lease up to *limit* messages to *turn*, oldest first, and record it."""
    leased = tx.lease_messages(ids.PartyId(agent), turn, now, limit)
    for message in leased:
        record(tx, events.EventKind.MESSAGE_LEASED, message, turn=turn)
    return leased


def settle(tx: ports.Tx, now: datetime.datetime, turn: ids.TurnId) -> list[Message]:
    """Mark all that *turn* had leased as handled."""
    return handle(tx, now, tx.list_leased(lease=turn))


def give_back(
    tx: ports.Tx, now: datetime.datetime, leased: Sequence[Message], *, blame: bool = True
) -> list[Message]:
    """Return leased mail to its inbox, to be delivered again marked *redelivered*.

    What has been delivered five times in vain is dead instead: kept, shown, told to the
    manager, and requeued by the operator only. So one message cannot stop an inbox. Without
    *blame* (somebody stopped the agent, the machine was restarted) no message dies of it.
    """
    returned: list[Message] = []
    for message in leased:
        dead = blame and message.deliveries >= messages.DELIVERIES_MAX
        returned.append(move(message, Move.BURY if dead else Move.RETURN, now))
    tx.update_messages(returned)
    for message, before in zip(returned, leased, strict=True):
        if message.state is MessageState.DEAD:
            _tell_of_death(tx, now, message, before.lease)
        else:
            record(
                tx,
                events.EventKind.MESSAGE_RETURNED,
                message,
                turn=before.lease,
                topics=(events.inbox_topic(message.recipient),),
            )
    return returned


def give_back_unheard(
    tx: ports.Tx, now: datetime.datetime, turn: ids.TurnId, keys: Sequence[str]
) -> None:
    """Return what the receives of *keys* have leased though their answer reached nobody.

    It does not count as a delivery, and is not marked as one.
    """
    numbers: set[ids.MessageId] = set()
    for key in keys:
        for taken in tx.list_values(received_key(turn, key)).values():
            numbers.update(taken)
    unheard = [message for message in tx.list_leased(lease=turn) if message.id in numbers]
    give_back(tx, now, [dataclasses.replace(m, deliveries=m.deliveries - 1) for m in unheard])


def tell_manager(
    tx: ports.Tx, now: datetime.datetime, about: agents.Agent, event: str, /, **fields: Any
) -> None:
    """Mail the event *event* about an agent to the manager; nothing about the manager itself."""
    manager = tx.find_agent(ids.MANAGER_NAME)
    if manager is not None and manager.id != about.id:
        post_event(tx, now, manager, event, agent=about.name, **fields)


def tell_operator(tx: ports.Tx, now: datetime.datetime, text: str) -> Message:
    """Mail a text of the hive itself to the operator."""
    return post(
        tx,
        now,
        sender=ids.SYSTEM,
        sender_name="system",
        recipient=ids.OPERATOR,
        recipient_name="operator",
        body=text,
    )


def _tell_of_death(
    tx: ports.Tx, now: datetime.datetime, message: Message, turn: ids.TurnId | None
) -> None:
    record(
        tx,
        events.EventKind.MESSAGE_DIED,
        message,
        turn=turn,
        text=f"{message.sender_name} to {message.recipient_name}: "
        f"delivered {message.deliveries} times, never handled",
        topics=(events.inbox_topic(ids.OPERATOR),),
    )
    manager = tx.find_agent(ids.MANAGER_NAME)
    # Not of the manager's own mail: the notice would die the same way, and so on for ever.
    if manager is not None and manager.id != message.recipient:
        post_event(
            tx,
            now,
            manager,
            "message_died",
            message=message.id,
            sender=message.sender_name,
            recipient=message.recipient_name,
            deliveries=message.deliveries,
        )


def handle(tx: ports.Tx, now: datetime.datetime, held: Sequence[Message]) -> list[Message]:
    """Mark *held* as handled; `HiveError` CONFLICT when one of them cannot be."""
    handled = [dataclasses.replace(move(message, Move.HANDLE, now), lease=None) for message in held]
    tx.update_messages(handled)
    for message, before in zip(handled, held, strict=True):
        record(tx, events.EventKind.MESSAGE_HANDLED, message, turn=before.lease)
    return handled


def move(message: Message, by: Move, now: datetime.datetime) -> Message:
    """Return *message* after a move out of any lease; CONFLICT when the table has no such edge."""
    state = machine.advance(messages.TABLE, message.state, by, f"message {message.id}")
    return dataclasses.replace(message, state=state, lease=None, changed_at=now)


def record(
    tx: ports.Tx,
    kind: events.EventKind,
    message: Message,
    *,
    turn: ids.TurnId | None = None,
    text: str = "",
    topics: tuple[events.Topic, ...] = (),
) -> None:
    """Record what happened to *message*, under its recipient where that is an agent."""
    of_agent = message.recipient not in (ids.OPERATOR, ids.SYSTEM)
    tx.record(
        events.Event(
            kind,
            agent=ids.AgentId(message.recipient) if of_agent else None,
            message=message.id,
            turn=turn,
            text=text,
            topics=topics,
        )
    )


def received_key(turn: ids.TurnId, key: str) -> str:
    """The name of the value that remembers what a repeatable receive has leased."""
    return f"{_RECEIVED}{turn}:{key}"


def once_key(turn: ids.TurnId, key: str) -> str:
    """The name of the value that remembers what a repeatable call of a turn has done."""
    return f"{_ONCE}{turn}:{key}"


def forget_calls(tx: ports.Tx) -> None:
    """Drop what is remembered of the repeatable calls of turns that have ended."""
    for key in [*tx.list_values(_RECEIVED), *tx.list_values(_ONCE)]:
        turn = tx.get_turn(ids.TurnId(key.split(":")[1]))
        if turn is None or turn.outcome is not turns.Outcome.RUNNING:
            tx.delete_value(key)
