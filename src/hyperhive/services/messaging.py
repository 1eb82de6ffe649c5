"""Mail between agents, the operator and the system: at least once, in order, never lost.

A receive leases mail to the running turn; `settle` marks it handled when the turn
has ended well, `give_back` returns it when not.
"""

from __future__ import annotations

import dataclasses
import difflib
from collections.abc import Sequence
from typing import Final

from hyperhive import ports
from hyperhive.domain import access, agents, errors, events, ids, messages, turns
from hyperhive.domain.messages import Message, MessageState, MessageType, Move
from hyperhive.services import holds, lookup, loop_breaker, posting, recipients, waiting
from hyperhive.services.posting import give_back, lease, post, post_event, settle

__all__ = ["Messaging", "give_back", "lease", "post", "post_event", "settle"]

SWEEP_CHUNK: Final = 1000
"""Rows deleted in one transaction, so that no sender waits for a long one."""
FACTS_KEPT: Final = 100_000
"""Newest facts that stay: far more than a page that was away catches up with one by one."""
_NUMBER_MAX: Final = 2**63 - 1


class Messaging:
    """The verbs of mail. Who is calling comes from the edge, never from a body."""

    def __init__(
        self,
        store: ports.Store,
        clock: ports.Clock,
        loops: loop_breaker.LoopBreaker | None = None,
    ) -> None:
        self._store = store
        self._clock = clock
        self._loops = loops or loop_breaker.LoopBreaker(0, 0)

    async def send(
        self,
        caller: access.Caller,
        to: str,
        body: str,
        *,
        in_reply_to: int | None = None,
        key: str | None = None,
    ) -> Message:
        """Send *body* to the agent, the manager or the operator named *to*.

        Repeating a *key* returns the first message, or is a CONFLICT when recipient or
        body differ. `HiveError` NOT_FOUND: nobody of that name, or no such message to
        reply to; INVALID: to oneself, to the system, or a body that cannot be sent.
        """
        messages.check_body(body)
        _check_key(key)
        now = self._clock.now()

        def work(tx: ports.Tx) -> Message:
            recipient, recipient_name = _find_recipient(tx, caller, to)
            if recipient == caller.party:
                raise errors.invalid(
                    "cannot send: that is yourself; to remember something, write it to a file"
                )
            sent = None if key is None else tx.find_message_by_key(caller.party, key)
            if sent is not None:
                return _same(sent, recipient, body)
            message = post(
                tx,
                now,
                sender=caller.party,
                sender_name=caller.name,
                recipient=recipient,
                recipient_name=recipient_name,
                body=body,
                in_reply_to=_check_reply(tx, caller, in_reply_to),
                key=key,
            )
            self._loops.sent(tx, now, message)
            return message

        return await self._store.write(work)

    async def broadcast(
        self, caller: access.Caller, body: str, *, key: str | None = None
    ) -> list[Message]:
        """Send *body* to every other agent, marked as something that may need no action.

        Only those that the caller may write to get it. A repeated *key* sends only to
        those who have not got it yet.
        """
        messages.check_body(body)
        _check_key(key)
        now = self._clock.now()

        def work(tx: ports.Tx) -> list[Message]:
            posted: list[Message] = []
            for agent in tx.list_agents():
                if agent.id == caller.party or not recipients.may_write(caller, agent):
                    continue
                own_key = None if key is None else f"{key}*{agent.id}"
                sent = None if own_key is None else tx.find_message_by_key(caller.party, own_key)
                if sent is not None:
                    posted.append(_same(sent, ids.PartyId(agent.id), body))
                    continue
                message = post(
                    tx,
                    now,
                    sender=caller.party,
                    sender_name=caller.name,
                    recipient=ids.PartyId(agent.id),
                    recipient_name=agent.name,
                    body=body,
                    type=MessageType.BROADCAST,
                    key=own_key,
                )
                posted.append(message)
            return posted

        return await self._store.write(work)

    async def receive(
        self,
        agent: ids.AgentId,
        turn: ids.TurnId,
        *,
        wait_seconds: float | None,
        count: int | None,
        key: str | None = None,
    ) -> list[Message]:
        """Lease up to *count* messages to the running *turn*, waiting for the first.

        Empty when nothing came in time. With a *key* the call can be repeated, also after
        a restart of the daemon: what the first one leased is returned again, so that an
        answer that got lost loses no mail. `HiveError` CONFLICT when that turn is not the
        running one of that agent; INVALID for a wait or a count out of range.
        """
        wait = messages.check_wait(wait_seconds)
        limit = messages.check_batch(count)
        _check_key(key)
        topic = events.inbox_topic(ids.PartyId(agent))
        until = self._clock.monotonic() + wait

        def work(tx: ports.Tx) -> list[Message]:
            _check_running(tx, agent, turn)
            if key is not None:
                again = tx.get_value(posting.received_key(turn, key))
                if again is not None:
                    leased = tx.list_leased(lease=turn)
                    return [message for message in leased if message.id in again]
            if holds.found(tx, agent):
                # A turn that runs may end, and takes up nothing more.
                return []
            leased = lease(tx, self._clock.now(), agent, turn, limit)
            if key is not None and leased:
                tx.put_value(posting.received_key(turn, key), [message.id for message in leased])
            return leased

        while True:
            # Noted before looking, so that mail that comes while we look is not missed.
            seen = self._store.number()
            leased = await self._store.write(work)
            remaining = until - self._clock.monotonic()
            if leased or remaining <= 0:
                return leased
            await waiting.first(self._store.changed(topic, seen), self._clock.sleep(remaining))

    async def handle_for_operator(self, caller: access.Caller, message: int) -> Message:
        """Mark a message in the operator's inbox as handled; again is harmless.

        `HiveError` NOT_FOUND when there is no such message in that inbox.
        """
        access.require(caller, access.Right.OPERATOR, f"handle message {message}")

        def work(tx: ports.Tx) -> Message:
            found = _get(tx, message)
            if found is None or found.recipient != ids.OPERATOR:
                raise errors.not_found(
                    f"cannot handle message {message}: it is not in the operator's inbox"
                )
            if found.state is MessageState.HANDLED:
                return found
            return posting.handle(tx, self._clock.now(), [found])[0]

        return await self._store.write(work)

    async def requeue(self, caller: access.Caller, message: int) -> Message:
        """Put a dead message back into its inbox with a clean count of deliveries.

        For the operator. `HiveError` NOT_FOUND, or CONFLICT when it is not dead.
        """
        access.require(caller, access.Right.OPERATOR, f"requeue message {message}")

        def work(tx: ports.Tx) -> Message:
            found = _get(tx, message)
            if found is None:
                raise errors.not_found(f"cannot requeue message {message}: there is none")
            requeued = dataclasses.replace(
                posting.move(found, Move.REQUEUE, self._clock.now()), deliveries=0
            )
            tx.update_messages([requeued])
            posting.record(
                tx,
                events.EventKind.MESSAGE_REQUEUED,
                requeued,
                text=f"by {caller.name} via {caller.via}",
                topics=(events.inbox_topic(requeued.recipient),),
            )
            return requeued

        return await self._store.write(work)

    async def set_recipients(
        self, caller: access.Caller, name: str, listed: Sequence[str] | None
    ) -> agents.Agent:
        """Let an agent write to those on a list only, or with None to everybody (S4).

        `HiveError` NOT_FOUND when one of them does not exist, INVALID for the manager, whom
        no list binds.
        """
        access.require(caller, access.Right.OPERATOR, "set recipients")

        def work(tx: ports.Tx) -> agents.Agent:
            agent = lookup.require_named(tx, name)
            if agent.role is agents.Role.MANAGER:
                raise errors.invalid("cannot set recipients of the manager: it may write to all")
            found = None if listed is None else [lookup.require_named(tx, n).id for n in listed]
            recipients.put(tx, agent.id, found)
            text = "everybody" if listed is None else ", ".join(listed) or "nobody"
            kind = events.EventKind.AGENT_RECIPIENTS_SET
            tx.record(events.Event(kind, agent=agent.id, text=text[:500]))
            return agent

        return await self._store.write(work)

    async def sweep(self) -> int:
        """Delete mail that was handled more than 30 days ago and return how much it was.

        What made the calls of ended turns repeatable goes too, and facts that no page can ask
        for any more: the rows that they name say what is.
        """
        before = self._clock.now() - messages.HANDLED_KEPT
        deleted = 0

        def work(tx: ports.Tx) -> int:
            count = tx.delete_handled(before, SWEEP_CHUNK)
            if count:
                text = f"{count} messages handled before {before:%Y-%m-%d}"
                tx.record(events.Event(events.EventKind.MESSAGES_SWEPT, text=text))
            return count

        def forget_facts(tx: ports.Tx) -> int:
            return tx.delete_facts(tx.last_number() - FACTS_KEPT, SWEEP_CHUNK)

        await self._store.write(posting.forget_calls)
        while await self._store.write(forget_facts) == SWEEP_CHUNK:
            pass
        while True:
            count = await self._store.write(work)
            deleted += count
            if count < SWEEP_CHUNK:
                return deleted


def _find_recipient(tx: ports.ReadTx, caller: access.Caller, to: str) -> tuple[ids.PartyId, str]:
    """Who is meant by *to*; refused rather than kept for somebody who may never come."""
    if to == ids.OPERATOR:
        return ids.OPERATOR, "operator"
    if to == ids.SYSTEM:
        raise errors.invalid("cannot send to system: nobody reads it; try the operator")
    agent = tx.find_agent(to) if _is_text(to) else None
    if agent is not None:
        recipients.require(tx, caller, agent)
        return ids.PartyId(agent.id), agent.name
    names = [known.name for known in tx.list_agents()] + ["operator"]
    near = difflib.get_close_matches(to, names, n=3) or names[:10]
    raise errors.not_found(
        f"cannot send to {to[:64]!r}: nobody has that name; try {' or '.join(near)}"
    )


def _check_reply(
    tx: ports.ReadTx, caller: access.Caller, in_reply_to: int | None
) -> ids.MessageId | None:
    if in_reply_to is None:
        return None
    found = _get(tx, in_reply_to)
    # One answer for both: whether others have such a message is not the caller's business.
    if found is None or caller.party not in (found.sender, found.recipient):
        raise errors.not_found(
            f"cannot reply to message {in_reply_to}: you neither sent nor received one of that id"
        )
    return found.id


def _check_running(tx: ports.ReadTx, agent: ids.AgentId, turn: ids.TurnId) -> None:
    found = tx.get_turn(turn)
    if found is None or found.agent != agent or found.outcome is not turns.Outcome.RUNNING:
        raise errors.conflict(f"cannot receive: turn {turn} is not running; take a new one")


def _check_key(key: str | None) -> None:
    if key is not None and not (_is_text(key) and 1 <= len(key) <= messages.KEY_MAX):
        raise errors.invalid(
            f"cannot use that key: it must have 1 to {messages.KEY_MAX} characters of text"
        )


def _same(sent: Message, recipient: ids.PartyId, body: str) -> Message:
    if sent.recipient != recipient or sent.body != body:
        raise errors.conflict(
            f"cannot send: the key {sent.key!r} was used for message {sent.id}, which has another "
            "recipient or body; use a new key for a new message"
        )
    return sent


def _get(tx: ports.ReadTx, message: int) -> Message | None:
    """The message, also for a number that no database could hold."""
    return tx.get_message(ids.MessageId(message)) if 0 < message <= _NUMBER_MAX else None


def _is_text(text: str) -> bool:
    """Whether *text* can be stored: no NUL, no lone surrogate."""
    try:
        text.encode()
    except UnicodeEncodeError:
        return False
    return "\x00" not in text
