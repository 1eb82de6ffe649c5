"""A configuration goes into a row and comes back as it was."""

from __future__ import annotations

import json
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from hyperhive.domain import configuration, errors

_texts = st.text(max_size=8)
_words = st.lists(_texts, max_size=3).map(tuple)
_maps = st.dictionaries(_texts, _texts, max_size=3)
_servers = st.builds(
    configuration.McpServer,
    command=_texts,
    args=_words,
    env=_maps,
    secrets=_maps,
    allowed_tools=st.none() | _words,
)
_configurations = st.builds(
    configuration.Configuration,
    description=_texts,
    model=_texts,
    prompt=_texts,
    prompt_text=_texts,
    packages=st.builds(configuration.Packages, apt=_words, pip=_words, npm=_words),
    environment=_maps,
    files=_maps,
    mcp_servers=st.dictionaries(_texts, _servers, max_size=2),
    tools=st.none() | _words,
    recipients=st.none() | _words,
    allowed_hosts=_words,
    limits=st.builds(
        configuration.Limits,
        memory_bytes=st.none() | st.integers(1, 2**40),
        cpus=st.none() | st.floats(0.1, 64),
        processes=st.none() | st.integers(1, 9999),
    ),
    secrets=_maps,
)


@given(_configurations)
def test_what_goes_into_a_row_comes_back(wanted: configuration.Configuration) -> None:
    stored = json.loads(json.dumps(configuration.to_json(wanted)))
    assert stored == configuration.to_json(wanted)
    assert configuration.from_json(stored) == wanted


def test_an_empty_row_is_the_default() -> None:
    assert configuration.from_json({}) == configuration.Configuration()


def test_members_that_a_newer_version_added_are_ignored() -> None:
    stored = configuration.to_json(configuration.Configuration(model="m"))
    stored["colour"] = "green"
    stored["limits"]["shares"] = 3
    stored["mcp_servers"] = {"clock": {"command": "clock", "icon": "x"}}
    read = configuration.from_json(stored)
    assert read.model == "m"
    assert read.mcp_servers == {"clock": configuration.McpServer("clock")}


@pytest.mark.parametrize(
    ("stored", "said"),
    [
        ({"schema": 2}, "its schema is 2"),
        ({"mcp_servers": {"clock": {}}}, "command"),
        ({"limits": 7}, "cannot read a stored configuration"),
    ],
)
def test_a_row_of_another_schema_is_refused(stored: dict[str, Any], said: str) -> None:
    with pytest.raises(errors.HiveError, match=said) as refused:
        configuration.from_json(stored)
    assert refused.value.kind is errors.ErrorKind.INVALID
