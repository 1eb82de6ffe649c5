"""When two agents only answer each other."""

from __future__ import annotations

import dataclasses
import datetime
from collections.abc import Sequence

from hypothesis import given
from hypothesis import strategies as st

from hyperhive.domain import ids, loops
from hyperhive.domain.messages import Message, MessageState, MessageType

PAIR = (ids.PartyId("a"), ids.PartyId("b"))
START = datetime.datetime(2026, 11, 23, tzinfo=datetime.UTC)


def mail(pairs: Sequence[str], *, limit: int = 100) -> tuple[list[Message], list[Message]]:
    """Mail like "ab", from the first to the second, one a minute; newest first to a and to b."""
    found = [
        Message(
            id=ids.MessageId(number + 1), sender=ids.PartyId(sent[0]), sender_name=sent[0],
            recipient=ids.PartyId(sent[1]), recipient_name=sent[1], type=MessageType.TEXT,
            body="", in_reply_to=None, key=None, sent_at=START + datetime.timedelta(minutes=number),
            state=MessageState.HANDLED, deliveries=1, lease=None, changed_at=START,
        )
        for number, sent in enumerate(pairs)
    ]  # fmt: skip
    found.reverse()
    left, right = ([m for m in found if m.recipient == to][:limit] for to in "ab")
    return left, right


def count(pairs: Sequence[str], *, limit: int = 100, minutes: float = 0, after: int = 0) -> int:
    since = START + datetime.timedelta(minutes=minutes)
    return loops.exchanged(PAIR, mail(pairs, limit=limit), since=since, after=after, limit=limit)


def test_an_exchange_counts_every_message() -> None:
    assert count(["ab", "ba", "ab", "ba"]) == 4


def test_several_in_one_direction_count_once() -> None:
    assert count(["ab", "ab", "ab", "ba", "ba", "ab"]) == 3
    assert count(["ab"] * 50) == 1


def test_somebody_elses_mail_ends_the_count() -> None:
    assert count(["ab", "ba", "ca", "ab", "ba"]) == 2
    assert count(["ab", "ba", "ab", "cb"]) == 0


def test_mail_of_the_hive_itself_is_nobodys() -> None:
    found = mail(["ab", "ba", "xa", "ab", "ba"])
    for messages in found:
        for number, message in enumerate(messages):
            if message.sender == "x":
                messages[number] = dataclasses.replace(message, sender=ids.SYSTEM)
    assert loops.exchanged(PAIR, found, since=START, after=0, limit=100) == 4


def test_only_what_is_in_the_window_and_after_the_last_hold_counts() -> None:
    pairs = ["ab", "ba"] * 10
    assert count(pairs, minutes=15) == 5
    assert count(pairs, after=18) == 2


def test_what_a_full_list_may_hide_does_not_count() -> None:
    # Ten to b hide what b got before; mail to a of that time says nothing.
    assert count(["ab", "ba", "ab", "ba", *["ab"] * 10], limit=5) == 1


@given(st.lists(st.sampled_from(["ab", "ba", "ca", "cb"]), max_size=40))
def test_the_count_is_that_of_the_turns_since_somebody_else_wrote(pairs: list[str]) -> None:
    expected, last = 0, ""
    for sent in pairs:
        if sent[0] == "c":
            expected, last = 0, ""
        elif sent != last:
            expected, last = expected + 1, sent
    assert count(pairs) == expected
