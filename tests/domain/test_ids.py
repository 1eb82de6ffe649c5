"""Names and ids at the border."""

from __future__ import annotations

import string

import pytest
from hypothesis import given
from hypothesis import strategies as st

from hyperhive.domain import errors, ids

GOOD = ["a", "coder", "a1", "a-b", "web-2-front", "x" * 32]
BAD = [
    "", "A", "1a", "a_b", "a b", "a\n", "\na", "-a", "a-", "a--b", "..", "a/b", "a.b", "x" * 33,
    "\uff46ull", "caf\u00e9", "\u0430", "a\u0663", "a\x00", "--help",
    "operator", "system", "hive", "manager",
]  # fmt: skip


@pytest.mark.parametrize("text", GOOD)
def test_good_names_stay_what_they_are(text):
    assert ids.parse_agent_name(text) == text


@pytest.mark.parametrize("text", BAD)
def test_bad_names_are_invalid(text):
    with pytest.raises(errors.HiveError) as caught:
        ids.parse_agent_name(text)
    assert caught.value.kind is errors.ErrorKind.INVALID


def test_only_the_daemon_may_make_the_manager():
    assert ids.parse_agent_name("manager", allow_manager=True) == "manager"


@given(st.text(max_size=40))
def test_no_text_passes_that_a_path_or_an_option_could_misread(text):
    try:
        name = ids.parse_agent_name(text)
    except errors.HiveError:
        return
    assert set(name) <= set(string.ascii_lowercase + string.digits + "-")
    assert name[0] in string.ascii_lowercase
    assert not name.endswith("-")
    assert len(name) <= 32


def test_new_ids_are_valid_and_differ():
    made = {ids.new_agent_id() for _ in range(100)}
    assert len(made) == 100
    assert all(ids.parse_agent_id(agent) == agent for agent in made)


@pytest.mark.parametrize(
    "text", ["", "0" * 11, "0" * 13, "G" * 12, "0" * 12 + "\n", "../../../etc/"]
)
def test_bad_ids_are_invalid(text):
    with pytest.raises(errors.HiveError):
        ids.parse_agent_id(text)
