"""A budget in a real hive: the gateway stops the real claude program in the middle of a turn."""

from __future__ import annotations

import pathlib
from typing import Any

import pytest
from tests.system import hive_process as hives

from rigs.scripts import script

pytestmark = [pytest.mark.system, pytest.mark.timeout(240)]

USED = {"usage": {"input": 2900, "output": 100}}


def echo(word: str) -> dict[str, Any]:
    return {"tool": "Bash", "input": {"command": f"echo {word} >> /state/said"}}


def test_a_turn_is_stopped_in_the_middle_and_goes_on_when_the_budget_is_raised(
    tmp_path: pathlib.Path, test_cache: pathlib.Path
) -> None:
    with (
        hives.scripted_model() as (url, key),
        hives.hive(tmp_path / "home", test_cache, sandbox="host") as hive,
    ):
        hive.env |= {"ANTHROPIC_BASE_URL": url, "ANTHROPIC_API_KEY": key}
        hive.start()
        hive.ask("budget", "manager", "--tokens-per-day", "5000")
        body = script(USED, echo("one"), USED, echo("two"), USED, {"say": "done"})
        hive.ask("send", "manager", body)

        def held() -> list[dict[str, Any]]:
            rows = hive.call("waiting")["waiting"]
            over = hive.call("turns", name="manager")["turns"]
            return rows if over and over[0]["outcome"] != "running" else []

        [wait] = hive.until("the turn is stopped", held)
        assert (wait["agent"], wait["reason"], wait["unread"]) == ("manager", "budget", 1)
        assert "6000 of 5000 tokens used today" in wait["text"]
        [turn] = hive.call("turns", name="manager")["turns"]
        assert turn["outcome"] == "failed"
        assert "manager's budget: 6000 of 5000 tokens used today" in turn["note"]
        row = hive.agent("manager")
        assert row is not None
        assert (row["turn_state"], row["pausing"]) == ("paused", False)
        [mail] = hive.call("messages", agent="manager")["messages"]
        assert mail["state"] == "queued"
        told = [each["body"] for each in hive.ask("inbox")["messages"]]
        assert len([text for text in told if "manager's budget" in text]) == 1

        # Nothing of it is in memory alone.
        hive.kill()
        hive.start()
        budgets = hive.ask("budget")["budgets"]
        assert budgets[1] | {"agent": "manager", "spent_tokens": 6000, "requests": 2} == budgets[1]
        [again] = hive.call("waiting")["waiting"]
        assert again["text"] == wait["text"]
        assert "manager" in hive.run("waiting").stdout

        hive.ask("budget", "manager", "--tokens-per-day", "100000")
        hive.until(
            "the turn is done",
            lambda: hive.call("messages", agent="manager")["messages"][0]["state"] == "handled",
        )
        assert hive.call("waiting")["waiting"] == []
        newest = hive.call("turns", name="manager")["turns"][0]
        assert newest["outcome"] == "ok"
        assert hive.ask("budget")["budgets"][1]["spent_tokens"] == 15_000
