"""Mail: leased until a turn has handled it, never lost, never handled silently twice.

Reading does not consume. A receive leases messages to a turn; the end of the
turn settles them; the death of the turn returns them, marked redelivered. There
is no lease by time: a lease belongs to a turn and ends with it, so a jump of
the clock can neither expire nor duplicate anything.
"""

from __future__ import annotations

import dataclasses
import datetime
import enum
from typing import Final

from hyperhive.domain import errors, ids

BODY_MAX: Final = 256 * 1024
"""Bytes of UTF-8 in one body."""
WAIT_MAX: Final = 180.0
"""Seconds that one receive may park."""
BATCH_MAX: Final = 32
DELIVERIES_MAX: Final = 5
EVERYBODY: Final = "*"
"""As a recipient: all agents but the sender."""
KEY_MAX: Final = 128
HANDLED_KEPT: Final = datetime.timedelta(days=30)


class MessageState(enum.Enum):
    """Where one message stands."""

    QUEUED = "queued"
    LEASED = "leased"
    HANDLED = "handled"
    DEAD = "dead"


class MessageType(enum.Enum):
    """What a message is; set by the daemon, never read out of a body."""

    TEXT = "text"
    BROADCAST = "broadcast"
    """To everybody at once; it may need no action from the one who reads it."""
    EVENT = "event"
    """From the system; the body is JSON with a field ``event``."""


class Move(enum.Enum):
    """What may happen to one message."""

    LEASE = "lease"
    HANDLE = "handle"
    RETURN = "return"
    BURY = "bury"
    REQUEUE = "requeue"


TABLE: Final[dict[tuple[MessageState, Move], MessageState]] = {
    (MessageState.QUEUED, Move.LEASE): MessageState.LEASED,
    (MessageState.LEASED, Move.HANDLE): MessageState.HANDLED,
    (MessageState.LEASED, Move.RETURN): MessageState.QUEUED,
    (MessageState.LEASED, Move.BURY): MessageState.DEAD,
    (MessageState.DEAD, Move.REQUEUE): MessageState.QUEUED,
    # The operator reads mail on a page and has no turns: no lease in between.
    (MessageState.QUEUED, Move.HANDLE): MessageState.HANDLED,
}

OWNERS: Final[dict[MessageState, str]] = {
    MessageState.QUEUED: "harness",
    MessageState.LEASED: "harness, and fleet_loop when the sandbox ends",
    MessageState.DEAD: "operator",
}


@dataclasses.dataclass(frozen=True, slots=True)
class Message:
    """One message. ``lease`` is the turn that holds it while LEASED."""

    id: ids.MessageId
    sender: ids.PartyId
    sender_name: str
    recipient: ids.PartyId
    recipient_name: str
    type: MessageType
    body: str
    in_reply_to: ids.MessageId | None
    key: str | None
    """Idempotency key, unique per sender."""
    sent_at: datetime.datetime
    state: MessageState
    deliveries: int
    """How often it was leased; more than one means that a turn died with it."""
    lease: ids.TurnId | None
    changed_at: datetime.datetime

    @property
    def redelivered(self) -> bool:
        """Whether an earlier delivery was never acknowledged."""
        return self.deliveries > 1


def check_body(body: str) -> str:
    """Return *body*, or raise `HiveError` INVALID: empty, too large, or not storable text."""
    if not body.strip():
        raise errors.invalid("cannot send: the body is empty")
    if "\x00" in body:
        raise errors.invalid("cannot send: the body contains a NUL character")
    try:
        size = len(body.encode())
    except UnicodeEncodeError as error:
        raise errors.invalid("cannot send: the body has a lone surrogate character") from error
    if size > BODY_MAX:
        raise errors.invalid(
            f"cannot send: the body has {size} bytes and the limit is {BODY_MAX}; "
            "put long content in a file and send a summary"
        )
    return body


def check_wait(wait_seconds: float | None) -> float:
    """Return how long to park, in seconds; `HiveError` INVALID outside 0 to 180."""
    if wait_seconds is None:
        return 0.0
    if not 0.0 <= wait_seconds <= WAIT_MAX:
        raise errors.invalid(
            f"cannot receive: wait_seconds is {wait_seconds:g} and must be between 0 and "
            f"{WAIT_MAX:g}"
        )
    return float(wait_seconds)


def check_batch(count: int | None) -> int:
    """Return how many messages to take; `HiveError` INVALID outside 1 to 32."""
    if count is None:
        return 1
    if not 1 <= count <= BATCH_MAX:
        raise errors.invalid(
            f"cannot receive: max is {count} and must be between 1 and {BATCH_MAX}"
        )
    return count
