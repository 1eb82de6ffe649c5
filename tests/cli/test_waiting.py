"""`hive waiting`, `go-on` and `budget`: what they ask, and what they print."""

from __future__ import annotations

from typing import Any

WAIT = {
    "agent": "coder", "unread": 3, "reason": "budget", "go_on": "go-on",
    "text": "coder's budget: 5.00 of 5.00 USD used today",
    "since": "2026-11-23T08:15:00.123Z", "until": "2026-11-24T00:00:00.000Z",
}  # fmt: skip
NO_MODEL = {
    "agent": None, "unread": 0, "reason": "no_model", "go_on": "model", "text": "no model",
    "since": None, "until": None,
}  # fmt: skip
BUDGET = {
    "agent": "coder", "usd_per_day": 5.0, "tokens_per_day": None, "is_default": False,
    "times_today": 2, "spent_usd": 0.25, "spent_tokens": 1234, "requests": 7,
}  # fmt: skip
BUDGETS = {
    "day": "2026-11-23", "ends_at": "2026-11-24T00:00:00.000Z",
    "budgets": [{**BUDGET, "agent": None, "usd_per_day": None}, BUDGET],
}  # fmt: skip


def test_what_waits_is_a_table_with_the_way_on(hive: Any, daemon: Any) -> None:
    daemon.answers["waiting"] = {"waiting": [NO_MODEL, WAIT]}
    done = hive("waiting")
    assert done.code == 0
    _, whole, coder = done.out.splitlines()
    assert whole.split()[0] == "(hive)" and whole.endswith("hive model")
    assert "until" not in whole and "you act" in whole
    assert "5.00 of 5.00 USD used today" in coder and "2026-11-24 00:00 UTC" in coder
    assert coder.endswith("hive go-on coder")
    daemon.answers["waiting"] = {"waiting": []}
    assert hive("waiting").out == "nothing waits\n"


def test_an_agent_is_let_go(hive: Any, daemon: Any) -> None:
    daemon.answers["go-on"] = {"name": "coder"}
    assert hive("go-on", "coder").out == "coder goes on\n"
    assert daemon.asked[-1] == ("go-on", {"name": "coder"})


def test_a_budget_is_shown_and_set(hive: Any, daemon: Any) -> None:
    daemon.answers["budgets"] = daemon.answers["set-budget"] = BUDGETS
    shown = hive("budget", "coder").out
    assert "$0.2500" in shown and "$5.00 x 2 today" in shown and "1234" in shown
    assert "(hive)" not in shown
    assert shown.endswith("2026-11-23 ends at 2026-11-24 00:00 UTC\n")
    assert "(hive)" in hive("budget").out
    assert hive("budget", "--usd-per-day", "2.5").code == 0
    assert daemon.asked[-1] == (
        "set-budget",
        {"name": None, "usd_per_day": 2.5, "tokens_per_day": None, "clear": False},
    )
    assert hive("budget", "coder", "--clear").code == 0
    assert daemon.asked[-1][1]["clear"] is True
    assert hive("budget", "--usd-per-day", "much").code == 2
