"""Entries of an allow-list of hosts: what they say, and what is refused."""

from __future__ import annotations

import pytest

from hyperhive.domain import errors, hosts


@pytest.mark.parametrize(
    ("entry", "target", "matches"),
    [
        ("example.org", hosts.Target("example.org", 443), True),
        ("example.org", hosts.Target("www.example.org", 443), False),
        ("*.example.org", hosts.Target("www.example.org", 443), True),
        ("*.example.org", hosts.Target("example.org", 443), False),
        ("example.org:8443", hosts.Target("example.org", 443), False),
        ("*", hosts.Target("anything.net", 443), True),
        ("*:8443", hosts.Target("anything.net", 8443), True),
        ("*:8443", hosts.Target("anything.net", 443), False),
    ],
)
def test_an_entry_allows_what_it_names(entry: str, target: hosts.Target, matches: bool) -> None:
    [rule] = hosts.parse_rules([entry])
    assert rule.matches(target, 443) is matches


@pytest.mark.parametrize(
    "entry",
    ["", "*:", "*:0", "*:99999", "*:x", "*=10.1.2.3", "a b", "http://example.org", "*.10.1.2.3",
     "*.corp=10.1.2.3", "example.org:0", "example.org:99999", "2130706433"],
)  # fmt: skip
def test_an_odd_entry_is_refused_by_name(entry: str) -> None:
    with pytest.raises(errors.HiveError) as refused:
        hosts.parse_rules([entry])
    assert refused.value.kind is errors.ErrorKind.INVALID
    assert repr(entry) in refused.value.message
