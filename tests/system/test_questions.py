"""A real agent asks its operator and is reminded, while the daemon is killed in between."""

from __future__ import annotations

import json
import pathlib
from typing import Any

import pytest
from tests.system import hive_process as hives

from rigs.scripts import script

pytestmark = [pytest.mark.system, pytest.mark.timeout(300)]


def test_an_answer_and_a_reminder_outlive_the_daemon(
    tmp_path: pathlib.Path, test_cache: pathlib.Path
) -> None:
    home = tmp_path / "home"
    steps = script(
        {
            "tool": "mcp__hive__ask_operator",
            "input": {"question": "Which colour?", "options": ["red", "blue"]},
        },
        {"tool": "mcp__hive__remind", "input": {"text": "look again", "in": "3s"}},
        {"tool": "mcp__hive__loose_ends", "input": {}},
        {"say": "I wait for both."},
    )
    with (
        hives.scripted_model() as (url, key),
        hives.hive(home, test_cache, sandbox="host") as hive,
    ):
        hive.env |= {"ANTHROPIC_BASE_URL": url, "ANTHROPIC_API_KEY": key}
        hive.start()
        hive.call("send", to="manager", body=steps)
        [asked] = hive.until("it has asked", lambda: hive.ask("questions")["questions"])
        assert (asked["from"], asked["options"]) == ("manager", ["red", "blue"])
        hive.until("it has ended its turn", lambda: turns(hive) >= 1)
        before = (hive.agent("manager") or {})["pid"]
        hive.kill()
        # What it said last is kept by the harness, and what is due meanwhile is due at the start.
        hive.start()
        done = hive.run("answer", "1", "--pick", "blue", "or", "green")
        assert done.stdout == "question 1 is answered; manager is told\n", done.stderr
        hive.until("it has heard both", lambda: len(handled(hive)) == 2)
        assert handled(hive) == {
            "operator_answered": [
                {"id": 1, "question": "Which colour?", "answer": "blue, or green"}
            ],
            "reminder": [{"id": 1, "text": "look again"}],
        }
        assert (hive.agent("manager") or {})["pid"] == before
        late = hive.run("answer", "1", "red")
        assert (late.returncode, late.stdout) == (6, "")
        assert "it is answered" in late.stderr
        assert hive.ask("questions")["questions"] == []
        assert hive.ask("status")["questions"] == 0
    assert hives.processes_of(home) == []


def turns(hive: hives.HiveProcess) -> int:
    """How many turns have ended."""
    rows = hive.call("turns", name="manager")["turns"]
    return sum(row["outcome"] == "ok" for row in rows)


def handled(hive: hives.HiveProcess) -> dict[str, list[dict[str, Any]]]:
    """What turns have heard of questions and reminders, by event."""
    found: dict[str, list[dict[str, Any]]] = {}
    for row in hive.call("messages", agent="manager", limit=1000)["messages"]:
        if row["type"] != "event" or row["state"] != "handled":
            continue
        body = json.loads(row["body"])
        event = body.pop("event")
        if event in ("operator_answered", "reminder"):
            kept = {name: body[name] for name in body if not name.endswith("_at")}
            found.setdefault(event, []).append(kept)
    return found
