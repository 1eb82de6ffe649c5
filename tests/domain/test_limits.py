"""What a message, a wait and a batch may be."""

from __future__ import annotations

import pytest

from hyperhive.domain import errors, messages


@pytest.mark.parametrize(
    ("body", "why"),
    [
        ("", "is empty"),
        (" \n\t", "is empty"),
        ("a\x00b", "NUL"),
        ("\ud800", "surrogate"),
        ("ä" * (messages.BODY_MAX // 2 + 1), "the limit is 262144"),
    ],
)
def test_a_bad_body_is_refused_with_the_reason(body, why):
    with pytest.raises(errors.HiveError, match=why) as caught:
        messages.check_body(body)
    assert caught.value.kind is errors.ErrorKind.INVALID


def test_the_largest_body_passes_unchanged():
    body = "x" * messages.BODY_MAX
    assert messages.check_body(body) is body


@pytest.mark.parametrize(("given", "taken"), [(None, 0.0), (0, 0.0), (180, 180.0), (2.5, 2.5)])
def test_waits_up_to_the_cap(given, taken):
    assert messages.check_wait(given) == taken


@pytest.mark.parametrize("given", [-1, 180.1, float("inf"), float("nan")])
def test_other_waits_are_refused_not_clipped(given):
    with pytest.raises(errors.HiveError, match="between 0 and 180"):
        messages.check_wait(given)


@pytest.mark.parametrize("given", [0, 33, -1])
def test_batches_outside_1_to_32_are_refused(given):
    with pytest.raises(errors.HiveError, match="between 1 and 32"):
        messages.check_batch(given)
    assert messages.check_batch(None) == 1
