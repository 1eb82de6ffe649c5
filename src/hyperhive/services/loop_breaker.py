"""The loop breaker: two agents that only answer each other are held as a pair.

Rule: the rows decide, in the transaction of the send. A count in memory, never smaller
than the truth, only says when it is worth looking at them: once in so many sends.
"""

from __future__ import annotations

import datetime
import math
from typing import Final

from hyperhive import ports
from hyperhive.domain import ids, loops
from hyperhive.domain.messages import Message
from hyperhive.services import holding, holds, posting

LEARNT: Final = 200
"""Newest messages that a new run of the daemon looks at; bodies make more of them heavy."""
Pair = tuple[ids.PartyId, ids.PartyId]


class LoopBreaker:
    """Watches what agents send each other. *most* zero: it watches nothing."""

    def __init__(self, most: int, minutes: float) -> None:
        self._most = most
        self._window = datetime.timedelta(minutes=minutes)
        # Changes of direction since the last look, and what that found. Used on the store's
        # writer alone; a work that is undone leaves it too high, which costs one more look.
        self._at_most: dict[Pair, int] = {}
        self._last: dict[Pair, ids.PartyId] = {}
        """Who of a pair has sent last: several messages in one direction count once."""
        self._unknown_until = math.inf
        """Before this time (Unix) a pair that we have not seen may have talked before our start."""

    def sent(self, tx: ports.Tx, now: datetime.datetime, message: Message) -> None:
        """In the transaction of a send: hold both when they loop, and tell the operator once."""
        if not self._most or _no_agent(message.sender) or _no_agent(message.recipient):
            return
        pair = _pair(message)
        if self._last.get(pair) == message.sender:
            return
        self._last[pair] = message.sender
        if self._unknown_until == math.inf:
            self._learn(tx, now)
        unseen = self._most if now.timestamp() < self._unknown_until else 0
        count = self._at_most.get(pair, unseen) + 1
        if count > self._most:
            count = self._look(tx, now, pair)
        if count > self._most:
            self._hold(tx, now, message, count)
            count = 0
        self._at_most[pair] = count

    def _learn(self, tx: ports.ReadTx, now: datetime.datetime) -> None:
        """Take in what was sent before our start, so that not every pair needs a look."""
        newest = tx.list_messages(limit=LEARNT)
        recent = [message for message in newest if message.sent_at >= now - self._window]
        for message in recent:
            self._at_most[_pair(message)] = self._at_most.get(_pair(message), 0) + 1
        complete = len(recent) < LEARNT
        # What was sent before our start leaves the window in its time.
        self._unknown_until = (now if complete else now + self._window).timestamp()

    def _look(self, tx: ports.ReadTx, now: datetime.datetime, pair: Pair) -> int:
        limit = self._most + 1
        return loops.exchanged(
            pair,
            (
                tx.list_messages(recipient=pair[0], limit=limit),
                tx.list_messages(recipient=pair[1], limit=limit),
            ),
            since=now - self._window,
            after=tx.get_value(_key(pair)) or 0,
            limit=limit,
        )

    def _hold(self, tx: ports.Tx, now: datetime.datetime, message: Message, count: int) -> None:
        minutes = f"{self._window.total_seconds() / 60:g}"
        names = sorted((message.sender_name, message.recipient_name))
        text = f"{names[0]} and {names[1]} exchanged {count} messages in {minutes} minutes"
        for one, other in (
            (message.sender, message.recipient),
            (message.recipient, message.sender),
        ):
            hold = holds.Hold(
                holds.Reason.LOOP, now, now + self._window, f"{text} and nobody else wrote", other
            )
            holding.hold(tx, ids.AgentId(one), hold)
        # Counting begins anew: what led to this hold leads to no second one.
        tx.put_value(_key(_pair(message)), message.id)
        posting.tell_operator(
            tx,
            now,
            f"{text}, and nobody else wrote to them: both are paused for {minutes} minutes. Their "
            f"mail waits. See why with: hive waiting; let them go on with: hive go-on {names[0]}",
        )


def _pair(message: Message) -> Pair:
    """The same for either direction."""
    left, right = sorted((message.sender, message.recipient))
    return left, right


def _no_agent(party: ids.PartyId) -> bool:
    return party in (ids.OPERATOR, ids.SYSTEM)


def _key(pair: Pair) -> str:
    return f"loop:{pair[0]}:{pair[1]}"
