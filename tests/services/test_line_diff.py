"""Which lines are the same: right, sparse, and never expensive."""

from __future__ import annotations

import time

from hypothesis import given
from hypothesis import strategies as st

from hyperhive.services.line_diff import Budget, Same, find_same

LINES = st.lists(st.sampled_from([b"a", b"b", b"c", b"d", b"", b"x"]), max_size=30)


def check(before: list[bytes], after: list[bytes], found: list[Same]) -> None:
    a = b = 0
    for each in found:
        assert each.before >= a and each.after >= b
        a, b = each.before + each.length, each.after + each.length
        assert before[each.before : a] == after[each.after : b]
    assert found[-1] == Same(len(before), len(after), 0)


@given(LINES, LINES)
def test_what_is_called_equal_is_equal_and_in_order(before, after) -> None:
    check(before, after, find_same(before, after, Budget()))


@given(LINES, LINES)
def test_without_a_budget_more_is_shown_and_nothing_wrong(before, after) -> None:
    check(before, after, find_same(before, after, Budget(0)))


@given(LINES)
def test_nothing_changed_is_one_stretch(lines) -> None:
    found = find_same(lines, lines, Budget())
    assert sum(each.length for each in found) == len(lines)
    assert len(found) <= 2


def test_one_line_in_the_middle_is_one_line() -> None:
    before = [b"%d" % number for number in range(1000)]
    after = [*before[:500], b"new", *before[500:]]
    assert find_same(before, after, Budget()) == [
        Same(0, 0, 500), Same(500, 501, 500), Same(1000, 1001, 0),
    ]  # fmt: skip


def test_moved_blocks_keep_the_longer_chain() -> None:
    before = [b"a", b"b", b"c", b"d", b"e"]
    after = [b"d", b"a", b"b", b"c", b"e"]
    found = find_same(before, after, Budget())
    assert sum(each.length for each in found) == 4


def test_the_worst_files_of_the_largest_size_end_soon() -> None:
    for before, after in (
        ([b""] * 200_000, [b"", b"x"] * 100_000),
        ([b"a", b"b"] * 50_000, [b"b", b"b", b"a"] * 33_000),
        ([b"%d" % n for n in range(40_000)], [b"%d" % n for n in range(40_000, 0, -1)]),
    ):
        began = time.process_time()
        check(before, after, find_same(before, after, Budget()))
        assert time.process_time() - began < 10
