"""Verbs about an agent's turns: what they ask the daemon, and what they say."""

from __future__ import annotations

import json
from typing import Any

import pytest

ANSWER = {"name": "coder", "model": "m-1", "says": "does it\x1b[2J next"}


@pytest.mark.parametrize(
    ("line", "verb", "given"),
    [
        (["compact", "coder"], "compact", {"name": "coder"}),
        (["new-session", "coder"], "new-session", {"name": "coder"}),
        (["pause", "coder"], "pause", {"name": "coder", "reason": ""}),
        (["pause", "coder", "--reason", "why"], "pause", {"name": "coder", "reason": "why"}),
        (["resume", "coder"], "resume", {"name": "coder"}),
        (["model", "coder", "m-2"], "set-model", {"name": "coder", "model": "m-2"}),
    ],
)
def test_each_verb_asks_for_itself_and_says_when_it_counts(
    hive: Any, daemon: Any, line: list[str], verb: str, given: dict[str, Any]
) -> None:
    daemon.answers[verb] = ANSWER
    assert hive(*line).out == "coder: does it\\x1b[2J next\n"
    assert daemon.asked == [(verb, given)]
    assert json.loads(hive(*line, "--json").out) == ANSWER


def test_the_model_of_an_agent_is_shown_by_its_name(hive: Any, daemon: Any) -> None:
    daemon.answers["list"] = {"agents": [ANSWER]}
    assert hive("model", "coder").out == "m-1\n"
    unknown = hive("model", "nobody")
    assert unknown.code == 5
    assert "api-key" in unknown.err


def test_a_key_on_the_command_line_becomes_no_models_name(hive: Any, daemon: Any) -> None:
    refused = hive("model", "api-key", "sk-secret")
    assert refused.code == 2
    assert "sk-secret" not in refused.out + refused.err
    assert daemon.asked == []
