"""Which lines of two texts are the same: by content alone, in bounded time.

Done here on the exact bytes and not by ``git diff``: no attribute, configuration or rename
guess can change it, it is the same for every repository adapter, and its work has a limit.
First the lines that both have exactly once (the patience diff of Bram Cohen), then a longest
common subsequence within the gaps. When the budget is used up, what is left counts as
replaced: more is shown then, never less.
"""

from __future__ import annotations

import bisect
import dataclasses
from collections.abc import Sequence
from typing import Final

BUDGET: Final = 1_500_000
"""Cells that all comparisons of one card may look at; about a second at worst."""


@dataclasses.dataclass
class Budget:
    """What may still be spent; shared by the files of a card."""

    left: int = BUDGET

    def spend(self, cost: int) -> bool:
        """Take *cost* if there is as much left."""
        if cost > self.left:
            return False
        self.left -= cost
        return True


@dataclasses.dataclass(frozen=True, slots=True)
class Same:
    """``length`` equal lines, from line ``before`` here and ``after`` there on."""

    before: int
    after: int
    length: int


def find_same(before: Sequence[bytes], after: Sequence[bytes], budget: Budget) -> list[Same]:
    """Return the equal stretches in order; the last one is empty and stands at both ends."""
    found: list[tuple[int, int]] = []
    gaps = [(0, len(before), 0, len(after))]
    while gaps:
        a, a_end, b, b_end = gaps.pop()
        while a < a_end and b < b_end and before[a] == after[b]:
            found.append((a, b))
            a, b = a + 1, b + 1
        while a < a_end and b < b_end and before[a_end - 1] == after[b_end - 1]:
            a_end, b_end = a_end - 1, b_end - 1
            found.append((a_end, b_end))
        if a == a_end or b == b_end or not budget.spend(a_end - a + b_end - b):
            continue
        anchors = _find_anchors(before[a:a_end], after[b:b_end])
        if not anchors:
            if budget.spend((a_end - a) * (b_end - b)):
                common = _find_longest(before[a:a_end], after[b:b_end])
                found += [(a + i, b + j) for i, j in common]
            continue
        i, j = a, b
        for x, y in anchors:
            found.append((a + x, b + y))
            gaps.append((i, a + x, j, b + y))
            i, j = a + x + 1, b + y + 1
        gaps.append((i, a_end, j, b_end))
    return _join(sorted(found), len(before), len(after))


def _find_anchors(before: Sequence[bytes], after: Sequence[bytes]) -> list[tuple[int, int]]:
    """Lines that both sides have exactly once, as many as stand in the same order."""
    here, there = _places_of_unique(before), _places_of_unique(after)
    pairs = [(place, there[line]) for line, place in here.items() if line in there]
    # The longest increasing subsequence of the places there, by patience sorting.
    tops: list[int] = []
    piles: list[tuple[int, int]] = []
    behind: dict[tuple[int, int], tuple[int, int] | None] = {}
    for pair in pairs:
        pile = bisect.bisect_left(tops, pair[1])
        behind[pair] = piles[pile - 1] if pile else None
        tops[pile : pile + 1] = [pair[1]]
        piles[pile : pile + 1] = [pair]
    chain: list[tuple[int, int]] = []
    last = piles[-1] if piles else None
    while last is not None:
        chain.append(last)
        last = behind[last]
    return chain[::-1]


def _places_of_unique(lines: Sequence[bytes]) -> dict[bytes, int]:
    places: dict[bytes, int] = {}
    repeated: set[bytes] = set()
    for place, line in enumerate(lines):
        if line in places:
            repeated.add(line)
        places[line] = place
    return {line: place for line, place in places.items() if line not in repeated}


def _find_longest(before: Sequence[bytes], after: Sequence[bytes]) -> list[tuple[int, int]]:
    """A longest common subsequence, by the textbook's table."""
    width = len(after) + 1
    table = [[0] * width]
    for line in reversed(before):
        under, row = table[-1], [0] * width
        for j in range(width - 2, -1, -1):
            row[j] = under[j + 1] + 1 if line == after[j] else max(under[j], row[j + 1])
        table.append(row)
    table.reverse()
    common: list[tuple[int, int]] = []
    i = j = 0
    while i < len(before) and j < len(after):
        if before[i] == after[j]:
            common.append((i, j))
            i, j = i + 1, j + 1
        elif table[i + 1][j] >= table[i][j + 1]:
            i += 1
        else:
            j += 1
    return common


def _join(pairs: Sequence[tuple[int, int]], before: int, after: int) -> list[Same]:
    joined: list[Same] = []
    for a, b in pairs:
        last = joined[-1] if joined else None
        if last and last.before + last.length == a and last.after + last.length == b:
            joined[-1] = dataclasses.replace(last, length=last.length + 1)
        else:
            joined.append(Same(a, b, 1))
    return [*joined, Same(before, after, 0)]
