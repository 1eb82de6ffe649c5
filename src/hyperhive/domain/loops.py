"""Two agents that only answer each other: when that is a loop.

Rule: what counts is the exchange, so several messages in one direction count once; and
whatever anybody else writes to one of the two ends the count. Mail of the hive itself
(a restart, an event) is nobody else's.
"""

from __future__ import annotations

import datetime
from collections.abc import Sequence

from hyperhive.domain import ids
from hyperhive.domain.messages import Message


def exchanged(
    pair: tuple[ids.PartyId, ids.PartyId],
    received: tuple[Sequence[Message], Sequence[Message]],
    *,
    since: datetime.datetime,
    after: int,
    limit: int,
) -> int:
    """How many messages *pair* has exchanged with nobody else between.

    *received* is the newest mail of each of the two, newest first, at most *limit* of each:
    where one list is full, older mail of the other says nothing and is not counted. Only mail
    counts that was sent *since* a time and has an id above *after*.
    """
    left, right = received
    known_from = max([full[-1].id for full in received if len(full) >= limit], default=0)
    count, last = 0, ids.SYSTEM
    for message in sorted((*left, *right), key=lambda each: each.id, reverse=True):
        if message.id <= after or message.id < known_from or message.sent_at < since:
            break
        if message.sender == ids.SYSTEM:
            continue
        if message.sender not in pair:
            break
        if message.sender != last:
            count, last = count + 1, message.sender
    return count
